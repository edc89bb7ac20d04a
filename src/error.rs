//! The one error type of the library. An error names the place (file, key, tensor, flag), what was wanted, what was
//! found, and what to do next; the command line turns it into one message and an exit code. What of it others wrote is
//! cleaned and shortened when it is shown.

use crate::text::brief;
use std::io;
use std::path::{Path, PathBuf};

/// `Result` with the library's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident => $code:ident,)+) => {
        /// What went wrong, for callers that act on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl ErrorKind {
            /// The process exit code of the command contract: 1 failed while running, 2 bad usage or input, 130 interrupted.
            pub fn exit_code(self) -> u8 {
                match self {
                    $(Self::$kind => $code,)+
                }
            }
        }
    };
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

// THE TABLE of kinds, each with the exit code that it ends a command with.
kinds! {
    /// An input (header, flag, template, schema, prompt) is malformed or out of range.
    Invalid => USAGE,
    /// A command or request that cannot be done as it was said.
    Usage => USAGE,
    /// No such file, model, tensor in a repository, or name.
    NotFound => USAGE,
    /// A file that is there and cannot be read.
    Unreadable => USAGE,
    /// A file that is no language model: an adapter, a projector, a web page, a vocabulary.
    NotAModel => USAGE,
    /// A key that the model needs is missing.
    MissingKey => USAGE,
    /// A key has another type or range than the model allows.
    InvalidKey => USAGE,
    /// A tensor that the model needs is missing.
    MissingTensor => USAGE,
    /// A tensor has another shape or place than the model's sizes say.
    InvalidTensor => USAGE,
    /// An encoding of weights that cannot be computed with.
    UnsupportedFormat => USAGE,
    /// An architecture that cannot be computed.
    UnsupportedArchitecture => USAGE,
    /// A chat was asked for, and there is no template for it.
    NoTemplate => USAGE,
    /// More tokens than the context holds.
    ContextFull => USAGE,
    /// The work would need more memory than there is; nothing was begun.
    TooLarge => USAGE,
    /// A stored model is known not to be what was stored.
    Damaged => USAGE,
    /// The bytes that came are not those that were announced.
    Mismatch => FAILED,
    /// A server could not be reached, or answered with an error.
    Network => FAILED,
    /// A file or folder that cannot be created, written, renamed or removed.
    Unwritable => FAILED,
    /// The disk has not enough room; nothing was begun.
    NoRoom => FAILED,
    /// The system refused memory while running.
    OutOfMemory => FAILED,
    /// Another process or request holds what is needed.
    InUse => FAILED,
    /// More work is waiting than may.
    Busy => FAILED,
    /// Anything else that failed while running.
    Failed => FAILED,
    /// The user interrupted.
    Interrupted => INTERRUPTED,
}

/// What was being done to a file when the system refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileAction {
    /// Opening it to read.
    Open,
    /// Reading it, or asking what it is.
    Read,
    /// Mapping it, or taking memory without a file.
    Map,
    /// Taking its lock.
    Lock,
    /// Creating it, or a folder.
    Create,
    /// Writing to it.
    Write,
    /// Waiting until it is on the disk.
    Sync,
    /// Giving it its name.
    Rename,
    /// Removing it.
    Remove,
}

impl FileAction {
    fn verb(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Map => "map",
            Self::Lock => "lock",
            Self::Create => "create",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
        }
    }

    fn kind(self, why: io::ErrorKind) -> ErrorKind {
        match (self, why) {
            (_, io::ErrorKind::OutOfMemory) => ErrorKind::OutOfMemory,
            (Self::Open | Self::Read, io::ErrorKind::NotFound) => ErrorKind::NotFound,
            (Self::Open | Self::Read, _) => ErrorKind::Unreadable,
            (Self::Map | Self::Lock, _) => ErrorKind::Failed,
            (_, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => ErrorKind::NoRoom,
            (Self::Create | Self::Write | Self::Sync | Self::Rename | Self::Remove, _) => ErrorKind::Unwritable,
        }
    }
}

/// Everything that can go wrong: [`Error::kind`] says what, the text says where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An input (file, key, tensor, flag, template, prompt) is not what it has to be.
    #[error("{}: wanted {}, found {}{}", brief(place), brief(wanted), brief(found), hint_text(hint))]
    Input {
        /// [`ErrorKind::Invalid`], or a narrower one.
        kind: ErrorKind,
        /// The file, key, tensor or flag.
        place: String,
        /// What it has to be.
        wanted: String,
        /// What it is.
        found: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// What a person typed cannot be done: a sentence or two that say so, and what to type instead.
    #[error("{}", brief(message))]
    Usage {
        /// [`ErrorKind::Usage`], or a narrower one.
        kind: ErrorKind,
        /// Whole sentences.
        message: String,
    },
    /// A file could not be opened, read or written.
    #[error("{}{}", io_text(path, *action, source), hint_text(hint))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done to it.
        action: FileAction,
        /// The operating system's word.
        source: io::Error,
        /// What to do; may be empty.
        hint: String,
    },
    /// More tokens than the context holds. Nothing is ever cut silently.
    #[error(
        "the context is full: {needed} tokens needed, {available} available; use a larger `ctx`, where the model allows one, or a shorter prompt"
    )]
    ContextFull {
        /// Tokens that the request needs in all.
        needed: usize,
        /// Tokens that fit.
        available: usize,
    },
    /// Something failed while running.
    #[error("{}: {}{}", brief(place), brief(why), hint_text(hint))]
    Failed {
        /// [`ErrorKind::Failed`], or a narrower one.
        kind: ErrorKind,
        /// What failed.
        place: String,
        /// Why.
        why: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// More work is waiting than may.
    #[error("busy: as many requests as may wait are waiting already ({waiting}); try again later")]
    Busy {
        /// How many are waiting.
        waiting: usize,
    },
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// A place (`/models/a.gguf: key x`) that begins with the path of a file, with the file's name instead.
fn named_file(place: &str) -> Option<String> {
    let end = place.find(": ").or_else(|| place.rfind(", line ")).unwrap_or(place.len());
    let (path, rest) = place.split_at(end);
    let name = Path::new(path).file_name()?.to_string_lossy();
    let is_file = Path::new(path).is_absolute() || (name.len() < path.len() && Path::new(path).exists());
    is_file.then(|| format!("{name}{rest}"))
}

/// A text in which files that are named by their whole paths have their names only.
fn without_folders(text: &str) -> String {
    let word = |word: &str| {
        let start = word.find(|c: char| !"'\"(`".contains(c)).unwrap_or(0);
        let (before, path) = word.split_at(start);
        match Path::new(path).file_name().filter(|_| Path::new(path).is_absolute()) {
            Some(name) => format!("{before}{}", name.to_string_lossy()),
            None => word.to_owned(),
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// What the operating system said, without its number.
fn reason(source: &io::Error) -> String {
    if source.kind() == io::ErrorKind::NotFound {
        // A folder on the way may be what is missing.
        return "No such file or folder".to_owned();
    }
    let text = source.to_string();
    text.split_once(" (os error").map_or_else(|| text.clone(), |(said, _)| said.to_owned())
}

fn io_text(path: &Path, action: FileAction, source: &io::Error) -> String {
    // A name may hold a line's end.
    let path = crate::text::line(&path.display().to_string()).into_owned();
    match action.kind(source.kind()) {
        ErrorKind::NotFound => format!("No such file or folder: {}", brief(&path)),
        _ => format!("{}: cannot {}: {}", brief(&path), action.verb(), reason(source)),
    }
}

fn hint_text(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; {}", brief(hint)) }
}

impl Error {
    /// A bad input without a hint.
    pub fn input(place: impl Into<String>, wanted: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Input {
            kind: ErrorKind::Invalid,
            place: place.into(),
            wanted: wanted.into(),
            found: found.into(),
            hint: String::new(),
        }
    }

    /// What a person typed cannot be done, in whole sentences.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { kind: ErrorKind::Usage, message: message.into() }
    }

    /// A failure without a hint.
    pub fn failed(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Failed { kind: ErrorKind::Failed, place: place.into(), why: why.into(), hint: String::new() }
    }

    /// An I/O error at `path` while doing `action`.
    pub fn io(path: impl AsRef<Path>, action: FileAction, source: io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), action, source, hint: String::new() }
    }

    /// Narrows an input's or a failure's kind (other errors have one already).
    #[must_use]
    pub fn of(mut self, narrower: ErrorKind) -> Self {
        if let Self::Input { kind, .. } | Self::Usage { kind, .. } | Self::Failed { kind, .. } = &mut self {
            *kind = narrower;
        }
        self
    }

    /// What went wrong, to act on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Input { kind, .. } | Self::Usage { kind, .. } | Self::Failed { kind, .. } => *kind,
            Self::Io { action, source, .. } => action.kind(source.kind()),
            Self::ContextFull { .. } => ErrorKind::ContextFull,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Interrupted => ErrorKind::Interrupted,
        }
    }

    /// Adds what to do next (errors that carry no hint stay as they are).
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Input { hint, .. } | Self::Failed { hint, .. } | Self::Io { hint, .. } = &mut self {
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
            Self::Io { path, action, source, .. } => io_text(path, *action, source),
            other => other.to_string(),
        }
    }

    /// The same failure once more, for another whom it concerns.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Input { kind, place, wanted, found, hint } => Self::Input {
                kind: *kind,
                place: place.clone(),
                wanted: wanted.clone(),
                found: found.clone(),
                hint: hint.clone(),
            },
            Self::Usage { kind, message } => Self::Usage { kind: *kind, message: message.clone() },
            Self::Io { path, action, source, hint } => {
                let source = source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
                Self::Io { path: path.clone(), action: *action, source, hint: hint.clone() }
            }
            &Self::ContextFull { needed, available } => Self::ContextFull { needed, available },
            Self::Failed { kind, place, why, hint } => {
                Self::Failed { kind: *kind, place: place.clone(), why: why.clone(), hint: hint.clone() }
            }
            &Self::Busy { waiting } => Self::Busy { waiting },
            Self::Interrupted => Self::Interrupted,
        }
    }

    /// The same for someone who is not to know where files lie: they keep their names and lose their folders.
    #[must_use]
    pub fn without_folders(mut self) -> Self {
        match &mut self {
            Self::Io { path, .. } => *path = path.file_name().map_or_else(|| path.clone(), PathBuf::from),
            Self::Input { place, found, hint, .. } | Self::Failed { place, why: found, hint, .. } => {
                // What was found may be a person's own text, unless it was found in a file.
                if let Some(name) = named_file(place) {
                    *place = name;
                    *found = without_folders(found);
                }
                *hint = without_folders(hint);
            }
            Self::Usage { message, .. } => *message = without_folders(message),
            Self::ContextFull { .. } | Self::Busy { .. } | Self::Interrupted => {}
        }
        self
    }

    /// The process exit code of the command contract, by [`Error::kind`].
    pub fn exit_code(&self) -> u8 {
        self.kind().exit_code()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_follows_from_the_kind() {
        let input = Error::input("a", "b", "c");
        assert_eq!((input.kind(), input.exit_code()), (ErrorKind::Invalid, 2));
        assert_eq!(input.of(ErrorKind::MissingKey).kind(), ErrorKind::MissingKey);
        let failed = Error::failed("a", "b").of(ErrorKind::Network);
        assert_eq!((failed.kind(), failed.exit_code()), (ErrorKind::Network, 1));
        assert_eq!(Error::usage("No.").of(ErrorKind::NotFound).exit_code(), 2);
        assert_eq!(Error::ContextFull { needed: 2, available: 1 }.exit_code(), 2);
        assert_eq!(Error::Interrupted.exit_code(), 130);
    }

    #[test]
    fn files_keep_their_names_and_lose_their_folders() {
        let told = |error: Error| error.without_folders().to_string();
        let full = Error::io("/srv/data/file-1", FileAction::Write, io::ErrorKind::StorageFull.into());
        assert!(told(full.again()).starts_with("file-1: cannot write: "), "{full}");
        assert_eq!(full.again().kind(), ErrorKind::NoRoom);
        let key =
            Error::input("/srv/my models/a.gguf: key x", "a number", "none").hint("open '/srv/b-00001.gguf' first");
        assert_eq!(told(key), "a.gguf: key x: wanted a number, found none; open 'b-00001.gguf' first");
        assert_eq!(told(Error::failed("/srv/a.gguf", "it was cut")), "a.gguf: it was cut");
        assert_eq!(told(Error::usage("No such file: /srv/a.gguf.")), "No such file: a.gguf.");
        // A person's own text stays as it is.
        let own = Error::input("the regular expression", "one that is valid", "/home/a/(");
        assert_eq!(told(own.again()), own.to_string());
    }

    #[test]
    fn what_was_done_to_a_file_decides_its_kind() {
        let kind = |action, why: io::ErrorKind| Error::io("f", action, why.into()).kind();
        assert_eq!(kind(FileAction::Open, io::ErrorKind::NotFound), ErrorKind::NotFound);
        assert_eq!(kind(FileAction::Read, io::ErrorKind::PermissionDenied), ErrorKind::Unreadable);
        assert_eq!(kind(FileAction::Map, io::ErrorKind::OutOfMemory), ErrorKind::OutOfMemory);
        assert_eq!(kind(FileAction::Write, io::ErrorKind::StorageFull), ErrorKind::NoRoom);
        for action in [FileAction::Create, FileAction::Write, FileAction::Sync, FileAction::Rename, FileAction::Remove]
        {
            assert_eq!(Error::io("f", action, io::ErrorKind::NotFound.into()).exit_code(), 1, "{action:?}");
        }
    }

    #[test]
    fn the_system_is_quoted_without_its_number() {
        let denied = Error::io("f", FileAction::Open, io::Error::from_raw_os_error(13));
        assert_eq!(denied.to_string(), "f: cannot open: Permission denied");
        assert_eq!(
            Error::io("f", FileAction::Open, io::Error::from_raw_os_error(2)).to_string(),
            "No such file or folder: f"
        );
    }
}
