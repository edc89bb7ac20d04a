//! Lines that were typed in chats, and the file in which they are remembered.

use crate::error::FileAction;
use crate::store::chats::{Chats, KeptChat};
use crate::{Error, Result};
use rustyline::Config;
use rustyline::error::ReadlineError;
use rustyline::history::{FileHistory, History};

/// Lines that are remembered.
pub(super) const HISTORY: usize = 1000;

/// Begins and ends a text of several lines.
pub(super) const FENCE: &str = "\"\"\"";

/// Takes the questions of `chat` out of the lines that were typed in chats.
pub(in crate::cli) fn forget_lines(chats: &Chats, chat: &KeptChat) -> Result<()> {
    let path = chats.lines();
    let mut typed = FileHistory::with_config(&Config::builder().max_history_size(HISTORY).map_err(failed)?.build());
    if typed.load(&path).is_err() {
        // There are none, or none that can be read.
        return Ok(());
    }
    // A question may stand beside the text of files that it named.
    let plain =
        |line: &str| line.split_whitespace().filter(|word| !word.starts_with('@')).collect::<Vec<_>>().join(" ");
    let asked: Vec<String> = chat.asked().map(plain).collect();
    let mut left = FileHistory::with_config(&Config::builder().max_history_size(HISTORY).map_err(failed)?.build());
    for line in typed.iter() {
        let words = plain(unfenced(line));
        if words.is_empty() || !asked.iter().any(|asked| asked.contains(&words)) {
            left.add(line).map_err(failed)?;
        }
    }
    std::fs::remove_file(&path).map_err(|why| Error::io(&path, FileAction::Remove, why))?;
    if left.len() > 0 { left.save(&path).map_err(failed) } else { Ok(()) }
}

pub(super) fn failed(why: ReadlineError) -> Error {
    Error::failed("the terminal", why.to_string())
}

/// The text between fences, or all of it.
pub(super) fn unfenced(line: &str) -> &str {
    let inner = line.trim().strip_prefix(FENCE).and_then(|rest| rest.strip_suffix(FENCE));
    inner.map_or(line, |text| text.trim_matches('\n'))
}
