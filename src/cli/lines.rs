//! Commands that read stdin line by line.

use crate::platform::input;
use crate::{Error, Result};
use std::io::{self, BufRead, IsTerminal};

/// Hands the lines of stdin to `each`, with their numbers from 1.
pub(super) fn for_each(each: &mut dyn FnMut(usize, &str) -> Result<()>) -> Result<()> {
    if !io::stdin().is_terminal() {
        super::waiting::comes(false);
    }
    let mut stdin = io::stdin().lock();
    for number in 1.. {
        let mut bytes = Vec::new();
        if take_line(&mut stdin, &mut bytes)? == 0 {
            break;
        }
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes).to_vec();
        each(number, &input::text(&format!("line {number} of stdin"), bytes)?)?;
    }
    Ok(())
}

/// Reads a line of bounded length; returns how many bytes.
fn take_line(reader: &mut impl BufRead, bytes: &mut Vec<u8>) -> Result<usize> {
    let mut limited = io::Read::take(reader, input::MOST_TEXT + 1);
    let read = limited.read_until(b'\n', bytes).map_err(|why| Error::failed("stdin", why.to_string()))?;
    if bytes.len() as u64 > input::MOST_TEXT {
        return Err(Error::input("a line of stdin", format!("at most {} bytes", input::MOST_TEXT), "a longer one"));
    }
    Ok(read)
}
