//! One file over HTTP: several connections, each asking for a run of blocks; a journal of finished blocks; a hash of
//! each block and of the whole.
//!
//! A run is what one request asks for (64 MiB), a block is that divided by the number of connections. Whatever moment
//! the process dies, at most one block per connection, so one run in all, is fetched again; where it ends in order (it is
//! interrupted, the network is gone), nothing is. Bytes go to their place in `FILE.part`; nothing here ever touches the
//! final name.
//!
//! Bytes of two answers are put together only where they are proven to be of one file: by the hash of the whole, or by a
//! strong ETag that both carry. A server that gives neither is read in one answer, and what that leaves unfinished is
//! thrown away.

use super::http::{HttpAnswer, HttpFault, Net, shown};
use super::journal::{self, Done, Journal, JournalHead};
use super::probe::{FileProbe, content_range, probe, rest};
use super::remote::{Remote, Tuning};
use crate::error::FileAction;
use crate::platform::files;
use crate::store::disk;
use crate::store::hash::{sha256, sha256_so_far};
use crate::store::progress::{StopFlag, StoreProgress};
use crate::units::hex;
use crate::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use ureq::http::header;

const GRAIN_BYTES: u64 = 1 << 16;
const BUFFER_BYTES: usize = 1 << 18;

/// What was fetched.
#[derive(Debug)]
pub(in crate::store) struct Fetched {
    /// What it is, for a later try to compare with.
    pub(in crate::store) head: JournalHead,
    pub(in crate::store) sha256: String,
}

/// Why a worker stops.
enum Halt {
    /// The network; the worker tries again.
    Fault(HttpFault),
    /// The disk; nothing helps.
    Error(Error),
    /// The work was ended from elsewhere.
    Stopped,
}

/// The journal beside a file under way.
pub(in crate::store) fn journal_of(part: &Path) -> PathBuf {
    part.with_extension("journal")
}

impl From<HttpFault> for Halt {
    fn from(fault: HttpFault) -> Self {
        Self::Fault(fault)
    }
}

/// Blocks of which the front is on disk: how many bytes, and the hash of these so far.
type Fronts = BTreeMap<u64, (u64, Sha256)>;

/// What the threads of one fetch share. They may outlive it, stuck in a read: the gate then keeps them from writing.
struct Shared {
    net: Net,
    remote: Remote,
    tuning: Tuning,
    ranges: bool,
    head: JournalHead,
    file: File,
    part: PathBuf,
    journal: Journal,
    done: Mutex<Done>,
    begun: Mutex<Fronts>,
    queue: Mutex<VecDeque<Range<u64>>>,
    gate: RwLock<bool>,
    /// Bytes on disk, for the progress.
    bytes: AtomicU64,
    failure: Mutex<Option<Error>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fetches `remote` into `part` (beside it, the journal), continuing what is there, and checks it. On success the file
/// is synced and right; the caller renames it. After a failure only what can be continued is still there.
pub(in crate::store) fn fetch(
    net: &Net,
    remote: &Remote,
    part: &Path,
    tuning: Tuning,
    progress: &dyn StoreProgress,
) -> Result<Fetched> {
    let probe = probe(net, remote, tuning)?;
    disk::check_room(part, probe.size.saturating_sub(disk::allocated(part)))?;
    let shared = Shared::begin(net, remote, &probe, part, tuning, progress)?;
    let outcome = shared.complete(progress);
    match outcome {
        Ok(sha256) => Ok(Fetched { head: shared.head.clone(), sha256 }),
        Err(error) => Err(shared.keep_what_can_be_continued(error, progress)?),
    }
}

/// Where a worker stands in its run: the next byte, and the hash of its block so far.
struct Cursor {
    at: u64,
    hasher: Sha256,
}

impl Shared {
    /// Opens what is there, or begins.
    fn begin(
        net: &Net,
        remote: &Remote,
        probe: &FileProbe,
        part: &Path,
        tuning: Tuning,
        progress: &dyn StoreProgress,
    ) -> Result<Arc<Self>> {
        let block = (tuning.part / tuning.connections.max(1) as u64 / GRAIN_BYTES * GRAIN_BYTES).max(GRAIN_BYTES);
        let opened = Journal::open(&journal_of(part), probe.head(remote, block))?;
        let mut head = opened.head;
        head.sha256 = remote.sha256.clone().or(head.sha256);
        let file = disk::open_own(part)?;
        if opened.done.is_empty() && opened.begun.is_empty() {
            file.set_len(0).map_err(|e| Error::io(part, FileAction::Write, e))?;
        }
        if opened.started_over {
            let why = "what an earlier try left is not proven to be of the same file";
            progress.note(&format!("{}: {why}; starting over", remote.name));
        }
        file.set_len(probe.size).map_err(|e| Error::io(part, FileAction::Write, e))?;
        let begun = fronts_on_disk(&head, part, opened.begun, net.stop())?;
        Ok(Arc::new(Self {
            net: net.clone(),
            remote: remote.clone(),
            tuning,
            ranges: probe.ranges && head.provable(),
            head,
            file,
            part: part.to_path_buf(),
            journal: opened.journal,
            done: Mutex::new(opened.done),
            begun: Mutex::new(begun),
            queue: Mutex::default(),
            gate: RwLock::new(true),
            bytes: AtomicU64::new(0),
            failure: Mutex::default(),
        }))
    }

    /// Fetches what is missing, checks the whole, and makes it last.
    fn complete(self: &Arc<Self>, progress: &dyn StoreProgress) -> Result<String> {
        self.forget_damaged(progress)?;
        self.run_all(self.missing(), progress)?;
        let found = self.settle(progress)?;
        self.file.sync_all().map_err(|e| Error::io(&self.part, FileAction::Sync, e))?;
        Ok(found)
    }

    /// After a failure: removes what no later try could prove to be of its file.
    fn keep_what_can_be_continued(&self, error: Error, progress: &dyn StoreProgress) -> Result<Error> {
        let provable = self.head.provable();
        if provable {
            self.record_begun();
            if !(lock(&self.done).is_empty() && lock(&self.begun).is_empty()) {
                return Ok(error);
            }
        }
        disk::remove(&self.part)?;
        disk::remove(&journal_of(&self.part))?;
        let why = "nothing was kept: the server gives no strong ETag that would prove a later part to be of the same \
                   file; where its hash is given, by tokki pull with `sha256` HEX, a download can be continued";
        match error {
            Error::Interrupted if !provable => progress.note(&format!("{}: {why}", self.remote.name)),
            error if !provable => return Ok(error.hint(why)),
            _ => {}
        }
        Ok(error)
    }

    /// Writes down how much of the blocks under way is there, for a later try. Where that fails, they come again.
    fn record_begun(&self) {
        let told =
            |(&index, (length, hasher)): (&u64, &(u64, Sha256))| (index, (*length, hex(&hasher.clone().finalize())));
        let begun = lock(&self.begun).iter().map(told).collect();
        drop(self.journal.record_begun(&begun));
    }

    fn block_range(&self, index: u64) -> Range<u64> {
        self.head.range(index)
    }

    /// Forgets all that came, for it is not of the wanted file.
    fn forget_all(&self) {
        lock(&self.done).clear();
        lock(&self.begun).clear();
    }

    /// Runs of blocks that are not there: as long as a part, or as long as can be where the server serves no ranges. Where
    /// it does, a block of which the front is there begins its run.
    fn missing(&self) -> VecDeque<Range<u64>> {
        let (done, begun) = (lock(&self.done), lock(&self.begun));
        let joins = |index: &u64| !(self.ranges && begun.contains_key(index));
        let most = if self.ranges { (self.tuning.part / self.head.block).max(1) } else { u64::MAX };
        let mut runs: VecDeque<Range<u64>> = VecDeque::new();
        for index in (0..self.head.blocks()).filter(|index| !done.contains_key(index)) {
            match runs.back_mut() {
                Some(run) if run.end == index && run.end - run.start < most && joins(&index) => run.end += 1,
                _ => runs.push_back(index..index + 1),
            }
        }
        runs
    }

    fn hash_on_disk(&self, index: u64) -> Result<String> {
        let Range { start, end } = self.block_range(index);
        let io = |e| Error::io(&self.part, FileAction::Read, e);
        let mut file = File::open(&self.part).map_err(io)?;
        file.seek(SeekFrom::Start(start)).map_err(io)?;
        sha256(file.take(end - start), |_| self.net.stop().check())?.map_err(io)
    }

    /// Forgets the blocks whose bytes on disk are not what the journal says. Returns how many.
    fn forget_damaged(&self, progress: &dyn StoreProgress) -> Result<usize> {
        let done = lock(&self.done).clone();
        if done.is_empty() {
            return Ok(0);
        }
        let total = done.keys().map(|&index| self.block_range(index)).map(|range| range.end - range.start).sum();
        progress.begin(&format!("{}: checking what is there", self.remote.name), total, 0);
        let mut damaged = 0;
        for (index, hash) in done {
            if self.hash_on_disk(index)? != hash {
                lock(&self.done).remove(&index);
                damaged += 1;
            }
            let range = self.block_range(index);
            progress.advance(range.end - range.start);
        }
        progress.end();
        Ok(damaged)
    }

    /// Fetches these runs with all connections.
    fn run_all(self: &Arc<Self>, runs: VecDeque<Range<u64>>, progress: &dyn StoreProgress) -> Result<()> {
        // Blocks in flight are what a crash loses: no more of them than make up a part.
        let most = usize::try_from(self.tuning.part / self.head.block).unwrap_or(usize::MAX).min(runs.len()).max(1);
        let workers = if self.ranges { self.tuning.connections.clamp(1, most) } else { 1 };
        let missing: u64 = runs.iter().map(|run| self.block_range(run.end - 1).end - self.front(run.start).at).sum();
        if missing == 0 {
            return Ok(());
        }
        self.bytes.store(0, Ordering::Relaxed);
        *lock(&self.queue) = runs;
        progress.begin(&self.remote.name, self.head.size, self.head.size - missing);
        let mut threads = Vec::new();
        for _ in 0..workers {
            let shared = Arc::clone(self);
            let thread = std::thread::Builder::new().name("fetch".into()).spawn(move || shared.work());
            threads.push(thread.map_err(|e| Error::failed("a thread for the download", e.to_string()))?);
        }
        let mut shown = 0;
        let outcome = loop {
            let over = threads.iter().all(std::thread::JoinHandle::is_finished);
            let bytes = self.bytes.load(Ordering::Relaxed);
            if bytes < shown {
                // Started over.
                progress.end();
                progress.begin(&self.remote.name, self.head.size, 0);
                shown = 0;
            }
            progress.advance(bytes - shown);
            shown = bytes;
            if self.net.stop().is_raised() {
                break Err(Error::Interrupted);
            }
            if let Some(error) = lock(&self.failure).take() {
                break Err(error);
            }
            if over {
                break Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        if outcome.is_err() {
            *self.gate.write().unwrap_or_else(PoisonError::into_inner) = false;
        }
        progress.end();
        outcome
    }

    /// Where a run that starts with this block goes on.
    fn front(&self, index: u64) -> Cursor {
        let start = self.block_range(index).start;
        match lock(&self.begun).get(&index) {
            Some((length, hasher)) => Cursor { at: start + length, hasher: hasher.clone() },
            None => Cursor { at: start, hasher: Sha256::new() },
        }
    }

    /// A thread's life: runs from the queue until there are none.
    fn work(&self) {
        loop {
            let Some(run) = lock(&self.queue).pop_front() else { return };
            let outcome = self.run(run);
            match outcome {
                Ok(()) => {}
                Err(Halt::Stopped) => return,
                Err(Halt::Error(error)) => return self.fail(error),
                Err(Halt::Fault(fault)) => return self.fail(fault.error()),
            }
        }
    }

    fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
    }

    fn stopped(&self) -> bool {
        !*self.gate.read().unwrap_or_else(PoisonError::into_inner) || self.net.stop().is_raised()
    }

    /// One run, with as many requests as it takes: what arrived before a connection broke is kept.
    fn run(&self, blocks: Range<u64>) -> std::result::Result<(), Halt> {
        let end = self.block_range(blocks.end.saturating_sub(1)).end;
        let mut cursor = self.front(blocks.start);
        let mut misses = 0;
        while cursor.at < end {
            let before = cursor.at;
            let fault = match self.stream(&mut cursor, end) {
                Ok(()) => continue,
                Err(Halt::Fault(fault)) => fault,
                Err(other) => return Err(other),
            };
            let gained = cursor.at - before >= GRAIN_BYTES;
            misses = if gained && self.head.provable() { 1 } else { misses + 1 };
            if !fault.passing || misses > self.tuning.retries {
                let why = if misses > 1 { format!("{} ({misses} times in a row)", fault.why) } else { fault.why };
                return Err(Halt::Fault(HttpFault { why, ..fault }));
            }
            let pause = self.tuning.pause.saturating_mul(1 << (misses - 1).min(6));
            rest(fault.wait.unwrap_or(pause), || self.stopped());
            if self.stopped() {
                return Err(Halt::Stopped);
            }
            if !self.head.provable() {
                // The next answer may be of another file: none of this one's bytes may stay.
                self.forget_all();
                self.bytes.store(0, Ordering::Relaxed);
                cursor = Cursor { at: 0, hasher: Sha256::new() };
            }
        }
        Ok(())
    }

    /// One request, from the cursor to `end`.
    fn stream(&self, cursor: &mut Cursor, end: u64) -> std::result::Result<(), Halt> {
        let answer = self.net.get(&self.remote.url, self.ranges.then_some((cursor.at, end)))?;
        let host = shown(&self.remote.url);
        self.check_answer(&answer, cursor.at, &host)?;
        // Without ranges the answer starts at the front, and what is there already is read past.
        let mut at = if self.ranges { cursor.at } else { 0 };
        let mut body = answer.reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            let n = match body.read(buffer.get_mut(..most).unwrap_or_default()) {
                Ok(0) => return Err(HttpFault::passing(&host, "the connection ended early").into()),
                Ok(n) => n,
                Err(e) => return Err(HttpFault::passing(&host, format!("the connection broke: {e}")).into()),
            };
            let skip = usize::try_from(cursor.at.saturating_sub(at)).unwrap_or(n).min(n);
            self.put(cursor, buffer.get(skip..n).unwrap_or_default())?;
            at += n as u64;
        }
        Ok(())
    }

    /// The answer is the stretch of the file that was asked for, unchanged since the probe.
    fn check_answer(&self, answer: &HttpAnswer, start: u64, host: &str) -> std::result::Result<(), HttpFault> {
        answer.check_plain(host)?;
        let changed =
            |found: u64| HttpFault::lasting(host, format!("the file has {found} bytes now, not {}", self.head.size));
        if self.ranges {
            let range = answer.text(header::CONTENT_RANGE).and_then(content_range).filter(|_| answer.status == 206);
            let (first, _, total) =
                range.ok_or_else(|| HttpFault::passing(host, "no part of the file, though asked for"))?;
            if let Some(total) = total.filter(|&total| total != self.head.size) {
                return Err(changed(total));
            }
            if first != start {
                return Err(HttpFault::passing(host, format!("bytes from {first}, though asked from {start}")));
            }
        } else if let Some(total) =
            answer.text(header::CONTENT_LENGTH).and_then(|t| t.parse().ok()).filter(|&t| t != self.head.size)
        {
            return Err(changed(total));
        }
        // With a hash of the whole the end decides; without, every answer has to prove itself.
        let mark = self.head.etag.as_deref();
        if self.head.sha256.is_none() && mark.is_some() && answer.mark() != mark {
            return Err(HttpFault::lasting(host, "the file changed while it was fetched"));
        }
        Ok(())
    }

    /// Bytes to their place; finished blocks into the journal.
    fn put(&self, cursor: &mut Cursor, mut bytes: &[u8]) -> std::result::Result<(), Halt> {
        let io = |action| move |e| Halt::Error(Error::io(&self.part, action, e));
        while !bytes.is_empty() {
            let index = cursor.at / self.head.block;
            let end = self.block_range(index).end;
            let n = usize::try_from(end - cursor.at).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(n);
            let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            if !*gate {
                return Err(Halt::Stopped);
            }
            files::write_at(&self.file, now, cursor.at).map_err(io(FileAction::Write))?;
            cursor.hasher.update(now);
            cursor.at += n as u64;
            self.bytes.fetch_add(n as u64, Ordering::Relaxed);
            if cursor.at == end {
                self.file.sync_data().map_err(io(FileAction::Sync))?;
                let hash = hex(&std::mem::take(&mut cursor.hasher).finalize());
                self.journal.record(index, &hash).map_err(Halt::Error)?;
                lock(&self.done).insert(index, hash);
                lock(&self.begun).remove(&index);
            } else {
                let front = (cursor.at - self.block_range(index).start, cursor.hasher.clone());
                lock(&self.begun).insert(index, front);
            }
            bytes = later;
        }
        Ok(())
    }

    /// The hash of the whole, which must be the wanted one. If it is not: blocks that the disk damaged are fetched
    /// again; if none is, the server gave wrong bytes somewhere, and every block gets a second chance.
    fn settle(self: &Arc<Self>, progress: &dyn StoreProgress) -> Result<String> {
        let Some(wanted) = self.head.sha256.clone() else { return self.whole_hash(progress) };
        let first = self.whole_hash(progress)?;
        if first == wanted {
            return Ok(first);
        }
        if self.forget_damaged(progress)? > 0 {
            self.run_all(self.missing(), progress)?;
            if self.whole_hash(progress)? == wanted {
                return Ok(wanted);
            }
        }
        progress.note(&format!(
            "{}: the bytes are not those of the wanted hash; fetching them a second time",
            self.remote.name
        ));
        self.forget_all();
        self.run_all(self.missing(), progress)?;
        let found = self.whole_hash(progress)?;
        if found == wanted {
            return Ok(found);
        }
        // No continuation can make it right.
        self.forget_all();
        let why = format!("sha256 is {found}, but it has to be {wanted}");
        Err(Error::failed(self.remote.name.as_str(), why)
            .of(ErrorKind::Mismatch)
            .hint("what came was thrown away: the server's copy is damaged, or another version"))
    }

    fn whole_hash(&self, progress: &dyn StoreProgress) -> Result<String> {
        progress.begin(&format!("{}: checking", self.remote.name), self.head.size, 0);
        let io = |e| Error::io(&self.part, FileAction::Read, e);
        let file = File::open(&self.part).map_err(io)?;
        let found = sha256(file.take(self.head.size), |bytes| {
            progress.advance(bytes);
            self.net.stop().check()
        });
        progress.end();
        found?.map_err(io)
    }
}

/// The fronts of blocks that are on disk as the journal says, with the hash to go on from.
fn fronts_on_disk(head: &JournalHead, part: &Path, told: journal::Begun, stop: &StopFlag) -> Result<Fronts> {
    let io = |e| Error::io(part, FileAction::Read, e);
    let mut fronts = Fronts::new();
    for (index, (length, hash)) in told {
        let mut file = File::open(part).map_err(io)?;
        file.seek(SeekFrom::Start(head.range(index).start)).map_err(io)?;
        let hasher = sha256_so_far(file.take(length), |_| stop.check())?.map_err(io)?;
        if hex(&hasher.clone().finalize()) == hash {
            fronts.insert(index, (length, hasher));
        }
    }
    Ok(fronts)
}

#[cfg(test)]
mod tests;
