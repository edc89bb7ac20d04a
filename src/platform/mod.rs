//! What systems differ in: files, read within bounds and written whole or not at all, processes, terminals and signals.
//! (How a file is mapped is in `gguf/map`, what the machine is like in `machine`.)

pub(crate) mod files;
pub mod input;
pub mod output;
pub(crate) mod places;
pub(crate) mod process;
#[cfg(feature = "server")]
pub mod signals;
#[cfg(feature = "cli")]
pub mod terminal;

use std::fs::FileType;

/// What a thing in the file system is, for messages.
pub fn kind_of(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a FIFO";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a link"
    } else {
        "a file"
    }
}

/// That something a person named as a file is none.
fn no_file(path: &std::path::Path, kind: FileType) -> crate::Error {
    crate::Error::usage(format!("{} is {}, not a file.", path.display(), kind_of(kind)))
}
