//! Commands that read stdin line by line.

use crate::Result;
use crate::platform::input;
use std::io::{self, IsTerminal};

/// Hands the lines of stdin to `each`, with their numbers from 1. Where `count` is set, stderr tells how many are done.
pub(super) fn for_each(count: bool, each: &mut dyn FnMut(usize, &str) -> Result<()>) -> Result<()> {
    if !io::stdin().is_terminal() {
        super::stdin::comes(false);
    }
    let bar = super::progress::counted("lines");
    let shown = count && !io::stdin().is_terminal();
    let mut stdin = io::stdin().lock();
    for number in 1.. {
        let mut bytes = Vec::new();
        if input::line(&mut stdin, "stdin", input::MAX_TEXT_BYTES, &mut bytes)? == 0 {
            break;
        }
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes).to_vec();
        each(number, &input::text(&format!("line {number} of stdin"), bytes)?)?;
        if shown {
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}
