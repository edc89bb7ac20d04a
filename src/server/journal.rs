//! Where answers to lines go: the output is its own journal. A line is written and synced as soon as its answer is there;
//! one that was being written when the process ended is cut off.

use crate::error::FileAction;
use crate::platform::input;
use crate::{Error, ErrorKind, Result};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    Answered,
    /// Its answer is an error.
    Refused,
}

impl Was {
    /// What a line of the output says.
    pub(super) fn of(answer: &Value) -> Self {
        if answer["response"]["status_code"] == 200 { Self::Answered } else { Self::Refused }
    }
}

/// Where answers go.
pub(super) struct AnswerFiles {
    pub(super) answers: File,
    /// Those that are errors, where they have a file of their own.
    pub(super) errors: Option<File>,
    /// The first file, for people.
    pub(super) path: PathBuf,
}

impl AnswerFiles {
    /// Writes an answer, so that it is there after a crash as well.
    pub(super) fn write(&mut self, answer: &Value) -> Result<()> {
        let file = match (&mut self.errors, Was::of(answer)) {
            (Some(errors), Was::Refused) => errors,
            _ => &mut self.answers,
        };
        let whole = file.metadata().map(|meta| meta.len());
        let written = file.write_all(format!("{answer}\n").as_bytes()).and_then(|()| file.sync_data());
        written.map_err(|why| {
            // Half a line is none.
            let _ = whole.and_then(|whole| file.set_len(whole));
            Error::io(&self.path, FileAction::Write, why)
        })
    }
}

/// The output, to be appended to, and the ids that it answers, each with how. A line without its end is cut off.
pub(super) fn open_output(path: &Path) -> Result<(File, HashMap<String, Was>)> {
    let failed = |action| move |why| Error::io(path, action, why);
    if path.exists() {
        drop(input::open_regular(path)?);
    }
    let open = OpenOptions::new().read(true).append(true).create(true).open(path);
    let mut file = open.map_err(failed(FileAction::Open))?;
    // Before anything is cut off: two would answer the same requests. Where there are no locks, it is unknown.
    if matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
        let why = "another tokki batch is at it: wait for that one, or end it";
        return Err(Error::failed(path.display().to_string(), why).of(ErrorKind::InUse));
    }
    let mut done = HashMap::new();
    let mut whole = 0;
    let mut reader = BufReader::new(&file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = input::line(&mut reader, &path.display().to_string(), input::MAX_TEXT_BYTES, &mut line)?;
        if length == 0 || !line.ends_with(b"\n") {
            break;
        }
        let value: Value = serde_json::from_slice(&line).map_err(|why| {
            let found = format!("at byte {whole}: {why}");
            Error::input(path.display().to_string(), "an output of an earlier run, or a new file", found)
        })?;
        done.extend(value["custom_id"].as_str().map(|id| (id.to_owned(), Was::of(&value))));
        whole += length as u64;
    }
    file.set_len(whole).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed(FileAction::Write))?;
    Ok((file, done))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_torn_line_is_cut_off_and_whole_ones_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let answered = r#"{"custom_id":"a","response":{"status_code":200}}"#;
        std::fs::write(&path, format!("{answered}\n{{\"custom_id\":\"b\"}}\n{{\"custom_")).unwrap();
        let (mut file, done) = open_output(&path).unwrap();
        assert_eq!(done, [("a".to_owned(), Was::Answered), ("b".to_owned(), Was::Refused)].into());
        file.write_all(b"{\"custom_id\":\"c\"}\n").unwrap();
        assert_eq!(open_output(&path).err().map(|why| why.kind()), Some(ErrorKind::InUse));
        drop(file);
        let (_, done) = open_output(&path).unwrap();
        assert_eq!(done.len(), 3);
        std::fs::write(&path, "something else\n").unwrap();
        assert!(open_output(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "something else\n");
    }
}
