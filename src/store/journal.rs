//! The record of a file under way: which blocks are on disk, and what each hashes to.
//!
//! ```text
//! {"version":1,"size":19343818784,"block":16777216,"sha256":"...","etag":null}
//! 0 5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9
//! 3 ...
//! ```
//! A line is appended, and synced, only after its block is synced; so a line never promises what a power cut could take
//! away. The last line may be torn and is then ignored. A later line on the same block replaces the earlier one.

use super::manifest::write_atomically;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const MOST_BYTES: u64 = 64 << 20;

/// What is being fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) version: u32,
    /// Length of the file.
    pub(super) size: u64,
    /// Length of a block; the last may be shorter.
    pub(super) block: u64,
    /// What the whole file has to hash to, if known.
    pub(super) sha256: Option<String>,
    /// The server's mark of this version of the file, if it gave one.
    pub(super) etag: Option<String>,
}

impl Head {
    /// True if blocks of `self` may be continued with bytes of `other`: the same hash, or at least nothing against it.
    fn continues(&self, other: &Self) -> bool {
        let agree = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
        let same_hash = self.sha256.is_some() && self.sha256 == other.sha256;
        self.size == other.size && agree(&self.sha256, &other.sha256) && (same_hash || agree(&self.etag, &other.etag))
    }

    fn check(&self, path: &Path) -> Result<()> {
        let good = self.version == 1 && (1 << 12..=1 << 30).contains(&self.block) && self.size > 0;
        if good { Ok(()) } else { Err(unusable(path, "a head that makes no sense")) }
    }
}

fn unusable(path: &Path, found: &str) -> Error {
    Error::input(path.display().to_string(), "the journal of a download", found).hint("start over with: --restart")
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: Mutex<File>,
    path: PathBuf,
}

/// Blocks that are there, with their hashes.
pub(super) type Done = BTreeMap<u64, String>;

impl Journal {
    /// Opens the journal at `path`, or begins one with `head`. An existing one keeps its block length.
    pub(super) fn open(path: &Path, head: Head) -> Result<(Self, Head, Done)> {
        if !path.exists() {
            let mut line = serde_json::to_string(&head).map_err(|e| Error::failed("journal", e.to_string()))?;
            line.push('\n');
            write_atomically(path, line.as_bytes())?;
        }
        let file = File::options().read(true).write(true).open(path);
        let mut file = file.map_err(|e| Error::io(path, "open", e))?;
        let mut text = Vec::new();
        (&mut file).take(MOST_BYTES).read_to_end(&mut text).map_err(|e| Error::io(path, "read", e))?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let lines = text.get(..whole).and_then(|text| std::str::from_utf8(text).ok());
        let mut lines = lines.ok_or_else(|| unusable(path, "other bytes"))?.lines();
        let found: Head = serde_json::from_str(lines.next().unwrap_or_default())
            .map_err(|e| unusable(path, &format!("no head ({e})")))?;
        found.check(path)?;
        if !found.continues(&head) {
            let place = path.with_extension("part").display().to_string();
            return Err(Error::input(
                place,
                "a part of the file as the server has it now",
                "a part of another version",
            )
            .hint("discard it and start over with: --restart"));
        }
        let blocks = found.size.div_ceil(found.block);
        let done = lines.filter_map(parse_line).filter(|(index, _)| *index < blocks).collect();
        // A torn line must not run into the next one.
        file.set_len(whole as u64).map_err(|e| Error::io(path, "write", e))?;
        file.seek(SeekFrom::End(0)).map_err(|e| Error::io(path, "write", e))?;
        Ok((Self { file: Mutex::new(file), path: path.to_path_buf() }, found, done))
    }

    /// Records that a block is on disk and synced.
    pub(super) fn record(&self, index: u64, hash: &str) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let line = format!("{index} {hash}\n");
        file.write_all(line.as_bytes()).map_err(|e| Error::io(&self.path, "write", e))?;
        file.sync_data().map_err(|e| Error::io(&self.path, "sync", e))
    }
}

fn parse_line(line: &str) -> Option<(u64, String)> {
    let (index, hash) = line.split_once(' ')?;
    let good = hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    Some((index.parse().ok()?, good.then(|| hash.to_owned())?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn head() -> Head {
        Head { version: 1, size: 10_000, block: 4096, sha256: None, etag: Some("a".into()) }
    }

    #[test]
    fn torn_and_damaged_lines_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (journal, _, done) = Journal::open(&path, head()).unwrap();
        assert!(done.is_empty());
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        journal.record(0, &a).unwrap();
        journal.record(1, &a).unwrap();
        journal.record(1, &b).unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        write!(file, "9 {a}\nx {a}\n2 short\n2 {}", "c".repeat(30)).unwrap();
        let (journal, _, done) = Journal::open(&path, head()).unwrap();
        assert_eq!(done, Done::from([(0, a.clone()), (1, b.clone())]));
        journal.record(2, &a).unwrap();
        let (_, _, done) = Journal::open(&path, head()).unwrap();
        assert_eq!(done, Done::from([(0, a.clone()), (1, b), (2, a)]));
    }

    #[test]
    fn parts_of_another_version_are_not_mixed_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        Journal::open(&path, head()).unwrap();
        let refused = |head: Head| Journal::open(&path, head).unwrap_err().to_string().contains("--restart");
        assert!(refused(Head { size: 10_001, ..head() }));
        assert!(refused(Head { etag: Some("b".into()), ..head() }));
        assert!(Journal::open(&path, Head { etag: None, block: 8192, ..head() }).unwrap().1.block == 4096);
        for junk in ["", "{}\n", "\u{0}\n", "{\"version\":1,\"size\":1,\"block\":0,\"sha256\":null,\"etag\":null}\n"] {
            std::fs::write(&path, junk).unwrap();
            assert!(refused(head()), "{junk:?}");
        }
        std::fs::write(&path, [0xff, b'\n']).unwrap();
        assert!(refused(head()));
    }

    proptest::proptest! {
        /// Whatever bytes a journal holds: an error or a journal, never a panic; and only blocks of the file.
        #[test]
        fn any_bytes(junk in proptest::collection::vec(proptest::num::u8::ANY, 0..400), whole in proptest::bool::ANY) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("j");
            let mut bytes = if whole { serde_json::to_vec(&head()).unwrap() } else { Vec::new() };
            bytes.extend(junk);
            std::fs::write(&path, bytes).unwrap();
            if let Ok((_, head, done)) = Journal::open(&path, head()) {
                assert!(done.keys().all(|&index| index * head.block < head.size));
            }
        }
    }
}
