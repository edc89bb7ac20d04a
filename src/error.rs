//! The one error type of the library. An error names the place (file, key, tensor, flag), what was wanted, what was
//! found, and what to do next; the command line turns it into one message and an exit code. What of it others wrote is
//! cleaned and shortened when it is shown.

use crate::text::brief;
use std::path::{Path, PathBuf};

/// `Result` with the library's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, by what the user can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An input (file, key, tensor, flag, template, prompt) is not what it has to be. Exit code 2.
    #[error("{}: wanted {}, found {}{}", brief(place), brief(wanted), brief(found), hint_text(hint))]
    Input {
        /// The file, key, tensor or flag.
        place: String,
        /// What it has to be.
        wanted: String,
        /// What it is.
        found: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// What a person typed cannot be done: a sentence or two that say so, and what to type instead. Exit code 2.
    #[error("{}", brief(message))]
    Usage {
        /// Whole sentences.
        message: String,
    },
    /// A file could not be opened, read or written. Exit code 2 for reading, 1 for writing.
    #[error("{}", io_text(path, action, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// `open`, `read`, `write`, ...
        action: &'static str,
        /// The operating system's word.
        source: std::io::Error,
    },
    /// More tokens than the context holds. Nothing is ever cut silently. Exit code 2.
    #[error(
        "the context is full: {needed} tokens needed, {available} available; use a larger --ctx or a shorter prompt"
    )]
    ContextFull {
        /// Tokens that the request needs in all.
        needed: usize,
        /// Tokens that fit.
        available: usize,
    },
    /// Something failed while running. Exit code 1.
    #[error("{}: {}{}", brief(place), brief(why), hint_text(hint))]
    Failed {
        /// What failed.
        place: String,
        /// Why.
        why: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// More work is waiting than may. Exit code 1.
    #[error("busy: {waiting} requests are waiting already; try again later")]
    Busy {
        /// How many are waiting.
        waiting: usize,
    },
    /// The user interrupted. Exit code 130.
    #[error("interrupted")]
    Interrupted,
}

/// What the operating system said, in a person's words.
fn reason(source: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match source.kind() {
        ErrorKind::NotFound => "No such file or folder".to_owned(),
        ErrorKind::PermissionDenied => "it is not allowed".to_owned(),
        ErrorKind::StorageFull => "the disk is full".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the disk can only be read".to_owned(),
        _ => source.to_string(),
    }
}

fn io_text(path: &Path, action: &str, source: &std::io::Error) -> String {
    let path = path.display().to_string();
    match source.kind() {
        std::io::ErrorKind::NotFound if matches!(action, "open" | "read") => {
            format!("No such file or folder: {}", brief(&path))
        }
        _ => format!("{}: cannot {action}: {}", brief(&path), reason(source)),
    }
}

fn hint_text(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; {}", brief(hint)) }
}

impl Error {
    /// A bad input without a hint.
    pub fn input(place: impl Into<String>, wanted: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Input { place: place.into(), wanted: wanted.into(), found: found.into(), hint: String::new() }
    }

    /// What a person typed cannot be done, in whole sentences.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into() }
    }

    /// A failure without a hint.
    pub fn failed(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Failed { place: place.into(), why: why.into(), hint: String::new() }
    }

    /// An I/O error at `path` while doing `action`.
    pub fn io(path: impl AsRef<Path>, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), action, source }
    }

    /// Adds what to do next (errors that carry no hint stay as they are).
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Input { hint, .. } | Self::Failed { hint, .. } = &mut self {
            *hint = text.into();
        }
        self
    }

    /// What went wrong, without what to do next.
    pub fn bare(&self) -> String {
        match self {
            Self::Input { place, wanted, found, .. } => {
                format!("{}: wanted {}, found {}", brief(place), brief(wanted), brief(found))
            }
            Self::Failed { place, why, .. } => format!("{}: {}", brief(place), brief(why)),
            other => other.to_string(),
        }
    }

    /// The process exit code of the command contract: 1 failed while running, 2 bad usage or input, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input { .. } | Self::Usage { .. } | Self::ContextFull { .. } => 2,
            Self::Io { action, .. } => {
                if matches!(*action, "write" | "create" | "rename" | "sync") {
                    1
                } else {
                    2
                }
            }
            Self::Failed { .. } | Self::Busy { .. } => 1,
            Self::Interrupted => 130,
        }
    }
}
