//! The record of a file under way: which blocks are on disk, and what each hashes to.
//!
//! ```text
//! {"version":2,"url":"https://...","size":19343818784,"block":16777216,"sha256":"...","etag":null}
//! 0 5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9
//! 3 ...
//! ```
//! A line is appended, and synced, only after its block is synced; so a line never promises what a power cut could take
//! away. The last line may be torn and is then ignored. A later line on the same block replaces the earlier one. A fetch
//! that ends in order, though unfinished, adds a line for each block that it had begun: how many bytes of it are there.
//! ```text
//! 4 5242880 9b74c9897bac770ffc029102a200c5de68f1f2c9...
//! ```
//!
//! Two things prove that a server's file is still the one that the blocks came from: the hash of the whole, or a strong
//! ETag at the same address. Length, date and weak marks prove nothing. Where there is no proof, it starts over.

use crate::error::FileAction;
use crate::platform::{input, output};
use crate::store::disk;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const MAX_JOURNAL_BYTES: u64 = 64 << 20;
const JOURNAL_VERSION: u32 = 2;

/// What is being fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::store) struct JournalHead {
    pub(in crate::store) version: u32,
    /// Where from.
    pub(in crate::store) url: String,
    /// Length of the file.
    pub(in crate::store) size: u64,
    /// Length of a block; the last may be shorter.
    pub(in crate::store) block: u64,
    /// What the whole file has to hash to, if known.
    pub(in crate::store) sha256: Option<String>,
    /// The server's strong mark of this version of the file, if it gave one.
    pub(in crate::store) etag: Option<String>,
}

impl JournalHead {
    pub(in crate::store) fn new(url: &str, size: u64, block: u64) -> Self {
        Self { version: JOURNAL_VERSION, url: url.to_owned(), size, block, sha256: None, etag: None }
    }

    /// True if bytes of `self` and of `other` are proven to be bytes of the same file.
    pub(in crate::store) fn same_file(&self, other: &Self) -> bool {
        let both = |a: &Option<String>, b: &Option<String>| a.as_ref().zip(b.as_ref()).map(|(a, b)| a == b);
        let mark = self.url == other.url && both(&self.etag, &other.etag) == Some(true);
        self.size == other.size && both(&self.sha256, &other.sha256).unwrap_or(mark)
    }

    /// True if a later try can be proven to be about the same file.
    pub(in crate::store) fn provable(&self) -> bool {
        self.sha256.is_some() || self.etag.is_some()
    }

    pub(in crate::store) fn blocks(&self) -> u64 {
        self.size.div_ceil(self.block)
    }

    /// The bytes of a block.
    pub(in crate::store) fn range(&self, index: u64) -> Range<u64> {
        let start = index.saturating_mul(self.block);
        start..start.saturating_add(self.block).min(self.size)
    }

    fn is_valid(&self) -> bool {
        self.version == JOURNAL_VERSION && (1 << 12..=1 << 30).contains(&self.block) && self.size > 0
    }
}

/// An open journal.
#[derive(Debug)]
pub(in crate::store) struct Journal {
    file: Mutex<File>,
    path: PathBuf,
}

/// Blocks that are there, with their hashes.
pub(in crate::store) type Done = BTreeMap<u64, String>;
/// Blocks of which the front is there: how many bytes, and what these hash to.
pub(in crate::store) type Begun = BTreeMap<u64, (u64, String)>;

/// What a journal says.
pub(in crate::store) struct Told {
    pub(in crate::store) head: JournalHead,
    pub(in crate::store) done: Done,
    pub(in crate::store) begun: Begun,
    /// How many bytes of the journal are whole lines.
    whole: u64,
}

/// A journal with what it says.
pub(in crate::store) struct Opened {
    pub(in crate::store) journal: Journal,
    pub(in crate::store) head: JournalHead,
    pub(in crate::store) done: Done,
    pub(in crate::store) begun: Begun,
    /// There was one that is of no use: nothing that is on the disk counts.
    pub(in crate::store) started_over: bool,
}

impl Journal {
    /// Opens the journal at `path` if it is about the file that `head` describes, else begins a new one. A continued one
    /// keeps its block length.
    pub(in crate::store) fn open(path: &Path, head: JournalHead) -> Result<Opened> {
        let there = std::fs::symlink_metadata(path).is_ok();
        if let Some(Told { head, done, begun, whole }) = read(path).filter(|told| told.head.same_file(&head)) {
            let mut file = disk::open_own(path)?;
            // A torn line must not run into the next one.
            file.set_len(whole).map_err(|e| Error::io(path, FileAction::Write, e))?;
            file.seek(SeekFrom::End(0)).map_err(|e| Error::io(path, FileAction::Write, e))?;
            return Ok(Opened { journal: Self::of(file, path), head, done, begun, started_over: false });
        }
        if there {
            disk::remove(path)?;
        }
        let mut line = serde_json::to_string(&head).map_err(|e| Error::failed("journal", e.to_string()))?;
        line.push('\n');
        output::write(path, line.as_bytes())?;
        let mut file = disk::open_own(path)?;
        file.seek(SeekFrom::End(0)).map_err(|e| Error::io(path, FileAction::Write, e))?;
        let journal = Self::of(file, path);
        Ok(Opened { journal, head, done: Done::new(), begun: Begun::new(), started_over: there })
    }

    fn of(file: File, path: &Path) -> Self {
        Self { file: Mutex::new(file), path: path.to_path_buf() }
    }

    /// Records that a block is on disk and synced.
    pub(in crate::store) fn record(&self, index: u64, hash: &str) -> Result<()> {
        self.append(&format!("{index} {hash}\n"))
    }

    /// Records the fronts of blocks: how many bytes are there, and what these hash to. They need not be synced, for a later
    /// try believes the bytes alone.
    pub(in crate::store) fn record_begun(&self, begun: &Begun) -> Result<()> {
        let line = |(index, (length, hash)): (&u64, &(u64, String))| format!("{index} {length} {hash}\n");
        self.append(&begun.iter().map(line).collect::<String>())
    }

    fn append(&self, line: &str) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(line.as_bytes()).map_err(|e| Error::io(&self.path, FileAction::Write, e))?;
        file.sync_data().map_err(|e| Error::io(&self.path, FileAction::Sync, e))
    }
}

/// What the journal at `path` says; `None` for one that cannot be used.
pub(in crate::store) fn read(path: &Path) -> Option<Told> {
    let mut bytes = Vec::new();
    if !std::fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    input::open_regular(path).ok()?.take(MAX_JOURNAL_BYTES).read_to_end(&mut bytes).ok()?;
    told(&bytes)
}

/// What a journal of these bytes says.
fn told(bytes: &[u8]) -> Option<Told> {
    let whole = bytes.iter().rposition(|&byte| byte == b'\n')? + 1;
    let mut lines = std::str::from_utf8(bytes.get(..whole)?).ok()?.lines();
    let head: JournalHead = serde_json::from_str(lines.next()?).ok().filter(JournalHead::is_valid)?;
    let (mut done, mut begun) = (Done::new(), Begun::new());
    for (index, length, hash) in lines.filter_map(parse_line).filter(|(index, ..)| *index < head.blocks()) {
        let range = head.range(index);
        match length {
            None => drop(done.insert(index, hash)),
            Some(length) if (1..range.end - range.start).contains(&length) => drop(begun.insert(index, (length, hash))),
            Some(_) => {}
        }
    }
    begun.retain(|index, _| !done.contains_key(index));
    Some(Told { head, done, begun, whole: whole as u64 })
}

impl Told {
    /// The bytes that are there.
    fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        let front = |(&index, (length, _)): (&u64, &(u64, String))| {
            let start = self.head.range(index).start;
            start..start.saturating_add(*length)
        };
        self.done.keys().map(|&index| self.head.range(index)).chain(self.begun.iter().map(front))
    }

    /// How many those are.
    pub(in crate::store) fn bytes(&self) -> u64 {
        self.ranges().map(|range| range.end - range.start).fold(0, u64::saturating_add)
    }
}

#[cfg(any(test, feature = "testing"))]
/// The length of the file that the record of a download is about, and the bytes that it says are there; `None` for a record
/// that cannot be used.
pub fn vouched(record: &[u8]) -> Option<(u64, Vec<Range<u64>>)> {
    told(record).map(|told| (told.head.size, told.ranges().collect()))
}

/// Index, length where it is of a block that has only begun, and hash.
fn parse_line(line: &str) -> Option<(u64, Option<u64>, String)> {
    let (index, rest) = line.split_once(' ')?;
    let (length, hash) = match rest.split_once(' ') {
        Some((length, hash)) => (Some(length.parse().ok()?), hash),
        None => (None, rest),
    };
    let good = hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    Some((index.parse().ok()?, length, good.then(|| hash.to_owned())?))
}

/// The record of a file of a split model that is all there, while others are under way.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::store) struct Finished {
    pub(in crate::store) head: JournalHead,
    /// What the file hashes to.
    pub(in crate::store) found: String,
}

impl Finished {
    pub(in crate::store) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|e| Error::failed("journal", e.to_string()))?;
        output::write(path, text.as_bytes())
    }

    pub(in crate::store) fn read(path: &Path) -> Option<Self> {
        let bytes = input::read_regular(path, MAX_JOURNAL_BYTES).ok()?;
        serde_json::from_slice::<Self>(&bytes).ok().filter(|finished| finished.head.is_valid())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn head() -> JournalHead {
        JournalHead { etag: Some("\"a\"".into()), ..JournalHead::new("http://h/m.gguf", 10_000, 4096) }
    }

    #[test]
    fn torn_and_damaged_lines_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let opened = Journal::open(&path, head()).unwrap();
        assert!(opened.done.is_empty() && !opened.started_over);
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        opened.journal.record(0, &a).unwrap();
        opened.journal.record(1, &a).unwrap();
        opened.journal.record(1, &b).unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        write!(file, "9 {a}\nx {a}\n2 short\n2 {}", "c".repeat(30)).unwrap();
        let opened = Journal::open(&path, head()).unwrap();
        assert_eq!(opened.done, Done::from([(0, a.clone()), (1, b.clone())]));
        opened.journal.record(2, &a).unwrap();
        let opened = Journal::open(&path, head()).unwrap();
        assert_eq!(opened.done, Done::from([(0, a.clone()), (1, b), (2, a)]));
    }

    #[test]
    fn fronts_of_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let journal = Journal::open(&path, head()).unwrap().journal;
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let begun =
            |index, length, hash: &String| journal.record_begun(&Begun::from([(index, (length, hash.clone()))]));
        begun(0, 100, &a).unwrap();
        begun(0, 200, &b).unwrap();
        begun(1, 300, &a).unwrap();
        journal.record(1, &b).unwrap();
        for (index, length) in [(2, 0), (2, 1808), (2, u64::MAX), (3, 1)] {
            begun(index, length, &a).unwrap();
        }
        let opened = Journal::open(&path, head()).unwrap();
        assert_eq!(opened.begun, Begun::from([(0, (200, b.clone()))]), "the later line, and only what can be");
        assert_eq!(opened.done, Done::from([(1, b)]));
        assert_eq!(vouched(&std::fs::read(&path).unwrap()), Some((10_000, vec![4096..8192, 0..200])));
    }

    #[test]
    fn only_a_hash_or_a_strong_mark_at_the_same_address_proves() {
        let hash = |text: &str| JournalHead { sha256: Some(text.into()), ..head() };
        let none = JournalHead { etag: None, ..head() };
        let elsewhere = |head: JournalHead| JournalHead { url: "http://other/m.gguf".into(), ..head };
        assert!(head().same_file(&head()) && head().provable());
        assert!(!none.same_file(&none) && !none.provable());
        assert!(!head().same_file(&none) && !none.same_file(&head()));
        assert!(!head().same_file(&elsewhere(head())));
        assert!(!head().same_file(&JournalHead { size: 10_001, ..head() }));
        assert!(hash("x").same_file(&elsewhere(JournalHead { etag: None, ..hash("x") })));
        assert!(!hash("x").same_file(&hash("y")));
        assert!(hash("x").same_file(&head()), "the mark is the same");
    }

    #[test]
    fn what_is_not_proven_to_be_the_same_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let begin = || Journal::open(&path, head()).unwrap().journal.record(0, &"a".repeat(64)).unwrap();
        let over = |head: JournalHead| {
            let opened = Journal::open(&path, head).unwrap();
            opened.started_over && opened.done.is_empty()
        };
        begin();
        assert_eq!(Journal::open(&path, JournalHead { block: 8192, ..head() }).unwrap().head.block, 4096);
        for other in [JournalHead { size: 10_001, ..head() }, JournalHead { etag: None, ..head() }] {
            begin();
            assert!(over(other));
        }
        for junk in [&b""[..], b"{}\n", b"\0\n", b"\xff\n", b"{\"version\":1,\"size\":1,\"block\":0}\n"] {
            std::fs::write(&path, junk).unwrap();
            assert!(over(head()), "{junk:?}");
        }
    }

    proptest::proptest! {
        /// Whatever bytes a journal holds: a journal, never a panic; and only blocks of the file.
        #[test]
        fn any_bytes(junk in proptest::collection::vec(proptest::num::u8::ANY, 0..400), whole in proptest::bool::ANY) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("j");
            let mut bytes = if whole { serde_json::to_vec(&head()).unwrap() } else { Vec::new() };
            bytes.extend(junk);
            std::fs::write(&path, bytes).unwrap();
            let opened = Journal::open(&path, head()).unwrap();
            assert!(opened.done.keys().all(|&index| index * opened.head.block < opened.head.size));
        }
    }
}
