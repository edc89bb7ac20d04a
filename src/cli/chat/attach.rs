//! Files in a message: `@path` in the text, or `/file path` before it.

use crate::Result;
use crate::platform::input;
use std::path::{Path, PathBuf};

/// More than any context holds.
const MOST: u64 = 16 << 20;

/// A file that goes with a message.
pub(super) struct Attachment {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Reads a text file.
///
/// # Errors
/// A file that cannot be read, is too long, or is not text in UTF-8.
pub(super) fn read(path: &Path) -> Result<Attachment> {
    // A FIFO or a device might keep the chat waiting for ever.
    let text = input::read_regular_text(path, MOST)?;
    Ok(Attachment { path: path.to_path_buf(), text })
}

/// Reads the files that words of `line` name with an `@`. A word that names no file stays what it is (an address, a name).
///
/// # Errors
/// A file that is there and cannot be used.
pub(super) fn expand(line: &str) -> Result<(String, Vec<Attachment>)> {
    let mut files = Vec::new();
    for word in line.split_whitespace() {
        if let Some(path) = word.strip_prefix('@').map(Path::new).filter(|path| path.is_file()) {
            files.push(read(path)?);
        }
    }
    Ok((line.to_owned(), files))
}

/// The message with the files' texts before it, each under its name.
pub(super) fn with_files(message: &str, files: &[Attachment]) -> String {
    let mut text = String::new();
    for file in files {
        let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        text.push_str(&format!("{name}:\n```\n{}\n```\n\n", file.text.trim_end()));
    }
    text + message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn at_words_are_files_where_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note.txt");
        std::fs::write(&path, "여보세요\n").unwrap();
        let line = format!("mail me@home about @{} and @nothing", path.display());
        let (message, files) = expand(&line).unwrap();
        assert_eq!(message, line);
        assert_eq!(files.len(), 1);
        assert_eq!(with_files("?", &files), "note.txt:\n```\n여보세요\n```\n\n?");
    }

    #[test]
    fn files_that_are_no_text_are_refused_with_the_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"ab\xff").unwrap();
        let error = read(file.path()).err().unwrap().to_string();
        assert!(error.contains("invalid byte at 2"), "{error}");
    }
}
