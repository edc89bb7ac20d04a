//! Reading a model's files ahead into the page cache, in order and at the disk's full speed. Left to page faults, a cold
//! model comes in small pieces, in the order in which threads stumble over them.

use super::file::{Gguf, Shard};
use super::map;
use crate::error::FileAction;
use crate::platform::files::{is_cached, read_at};
use crate::{Error, Result};
use std::fs::File;

/// Pages that are looked at to tell how much of a file is there.
const SAMPLES: u64 = 256;

/// Bytes between two reports.
const STEP_BYTES: usize = 4 << 20;

/// How far ahead of the reading the system is told of it: enough to keep a fast disk's queue full.
const AHEAD_BYTES: usize = 64 << 20;

impl Gguf {
    /// About how many bytes of the files are not in the page cache, by a sample of their pages; takes less than a
    /// millisecond. 0 where the system does not tell.
    pub fn missing_bytes(&self) -> u64 {
        let of = |file: &File, len: u64| -> u64 {
            let step = (len / SAMPLES).max(1);
            let places = (0..len).step_by(usize::try_from(step).unwrap_or(usize::MAX));
            let (mut looked, mut missing) = (0u64, 0u64);
            for at in places {
                looked += 1;
                missing += u64::from(!is_cached(file, at));
            }
            (len as f64 * missing as f64 / looked.max(1) as f64) as u64
        };
        self.files().map(|(shard, file)| of(file, shard.map.len() as u64)).sum()
    }

    /// Reads all files into the page cache. `progress` is told how many bytes are done, again and again; its error ends
    /// the reading.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, and those of `progress`.
    pub fn warm(&self, progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; STEP_BYTES];
        let mut done = 0;
        for (shard, file) in self.files() {
            let len = shard.map.len();
            let (mut at, mut told) = (0, 0);
            while at < len {
                if told < len && told < at + AHEAD_BYTES {
                    map::read_ahead(&shard.map, told..len.min(told + AHEAD_BYTES));
                    told += AHEAD_BYTES;
                }
                let read =
                    read_at(file, &mut buffer, at as u64).map_err(|e| Error::io(&shard.path, FileAction::Read, e))?;
                if read == 0 {
                    // Shorter than it was: what computes with it will say so.
                    break;
                }
                at += read;
                progress(done + at.min(len) as u64)?;
            }
            done += len as u64;
        }
        Ok(())
    }

    /// Checks that every file is still as it was when it was mapped. Asked after each piece of work, it tells whether that
    /// work saw the model or what became of it meanwhile.
    ///
    /// # Errors
    /// [`Error::Failed`] that names the file.
    pub fn intact(&self) -> Result<()> {
        for (shard, file) in self.files() {
            let len = shard.map.len() as u64;
            let meta = file.metadata().map_err(|e| Error::io(&shard.path, FileAction::Read, e))?;
            let why = if meta.len() < len {
                format!("the file was cut short while it was in use: {} bytes of {len} are left", meta.len())
            } else if shard.map.is_damaged() {
                "the file was cut short for a while, while it was in use".to_owned()
            } else if meta.modified().ok() != shard.modified {
                "the file was changed while it was in use".to_owned()
            } else {
                continue;
            };
            return Err(Error::failed(shard.path.display().to_string(), why)
                .hint("replace a model's file by renaming a new one over it, and start again"));
        }
        Ok(())
    }

    /// The shards that are files.
    fn files(&self) -> impl Iterator<Item = (&Shard, &File)> {
        self.shards.iter().filter_map(|shard| Some((shard, shard.file.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use crate::Error;
    use crate::gguf::Gguf;
    use crate::testing::tiny;

    #[test]
    fn all_bytes_are_read_and_the_reading_can_be_ended() {
        let file = tempfile::NamedTempFile::new().unwrap();
        tiny("llama", 1).unwrap().tensor_f32("unused", &[1 << 20, 3], &vec![1.0; 3 << 20]).write(file.path()).unwrap();
        let gguf = Gguf::open(file.path()).unwrap();
        let mut reports = Vec::new();
        gguf.warm(&mut |done| {
            reports.push(done);
            Ok(())
        })
        .unwrap();
        assert!(reports.len() > 2 && reports.is_sorted());
        assert_eq!(reports.last(), Some(&gguf.file_bytes()));
        assert_eq!(gguf.missing_bytes(), 0, "what was just read is there");
        let mut calls = 0;
        let ended = gguf.warm(&mut |_| {
            calls += 1;
            Err(Error::Interrupted)
        });
        assert!(matches!(ended, Err(Error::Interrupted)) && calls == 1);
    }

    #[test]
    fn a_file_that_shrinks_is_noticed_and_one_that_is_replaced_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        tiny("llama", 1).unwrap().write(&path).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        assert!(gguf.intact().is_ok());
        // Another file of that name leaves the mapped one as it was.
        std::fs::write(dir.path().join("other"), "short").unwrap();
        std::fs::rename(dir.path().join("other"), &path).unwrap();
        assert!(gguf.intact().is_ok());
        tiny("llama", 1).unwrap().write(&path).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
        let error = gguf.intact().unwrap_err().to_string();
        assert!(error.contains("m.gguf") && error.contains("1000 bytes of"), "{error}");
    }
}
