//! Pages of past conversations on disk: what the memory has no room for, and what a later start begins with.
//!
//! A file is one whole page: 128 tokens that follow those of the pages before. Its name is a hash of what its bytes depend
//! on: the model, what is computed with it, its tokenizer, the kind of cache, and all tokens up to its end. So a file is
//! either the very page that is wanted or is not there.
//!
//! ```text
//! "TOKKIPAG" | version u32 | values of the recurrent state u32 | tokens u32 x 128 | page | state f32 ... | SHA-256 of all before
//! ```
//! The folder may have been written to by anybody: a file of another length, or that disagrees with its checksum, its
//! tokens or its name, is deleted and computed again. Nothing here fails a request: a disk that is full or gone is as one
//! that has nothing.

use super::DiskCache;
use super::session_file;
use crate::error::FileAction;
use crate::kv::{Budget, CacheShape, Evicted, Page, PageState, PrefixTree, Snapshot};
use crate::model::Model;
use crate::platform::files::{lock, private_file, private_folder};
use crate::platform::input;
use crate::units::{hex, unhex};
use crate::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokki_quant::attention::TILE;

const PAGE_MAGIC: &[u8; 8] = b"TOKKIPAG";
const PAGES_VERSION: u32 = 1;
const DIGEST_LEN: usize = 32;
/// Bytes before the page.
const HEAD: usize = 16 + 4 * TILE;
/// What the files of pages end in.
const ENDING: &str = "page";

type Key = [u8; 32];

/// The pages of one model on disk.
pub(super) struct Disk {
    folder: PathBuf,
    /// No other process may use the folder at the same time.
    _own: Own,
    _lock: File,
    limit: u64,
    used: u64,
    files: HashMap<Key, Entry>,
    /// What the first page follows.
    root: Key,
    shape: Arc<CacheShape>,
    clock: u64,
}

struct Entry {
    bytes: u64,
    used: u64,
    /// Whether the recurrent state after the page is there.
    state: bool,
}

/// Folders that this process uses.
static OWN_FOLDERS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// One of them, for as long as this lives.
struct Own(PathBuf);

impl Own {
    fn take(folder: &Path) -> Option<Self> {
        let new = OWN_FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        new.then(|| Self(folder.to_owned()))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        OWN_FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

impl Disk {
    /// Takes the model's folder, which is made if it is not there; none where this process has it already, for a model of the
    /// same content under another name.
    ///
    /// # Errors
    /// A folder that cannot be made or read, or that another process uses.
    pub(super) fn open(place: &DiskCache, model: &Model, shape: &Arc<CacheShape>) -> Result<Option<Self>> {
        let marks = session_file::mark(model)?;
        let root: Key = Sha256::new()
            .chain_update(marks)
            .chain_update(shape.kind().name())
            .chain_update((shape.page_bytes() as u64).to_le_bytes())
            .chain_update((shape.state_len() as u64).to_le_bytes())
            .finalize()
            .into();
        let folder = place.folder.join(&hex(&root)[..16]);
        // Pages are what people wrote.
        private_folder(&folder).map_err(|why| Error::io(&folder, FileAction::Create, why))?;
        let Some(own) = Own::take(&folder) else { return Ok(None) };
        let path = folder.join("lock");
        let Some(lock) = lock(&path).map_err(|why| Error::io(&path, FileAction::Lock, why))? else {
            let what = folder.display().to_string();
            return Err(Error::failed(what, "another tokki uses this part of the cache on disk")
                .of(ErrorKind::InUse)
                .hint("end that one, or use another folder"));
        };
        let mut disk = Self {
            folder,
            _own: own,
            _lock: lock,
            limit: place.bytes,
            used: 0,
            files: HashMap::new(),
            root,
            shape: Arc::clone(shape),
            clock: 0,
        };
        disk.list()?;
        Ok(Some(disk))
    }

    /// What is there; what cannot be a page of this model is deleted.
    fn list(&mut self) -> Result<()> {
        let failed = |why| Error::io(&self.folder, FileAction::Read, why);
        let mut found: Vec<(SystemTime, Key, u64)> = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let ours = [ENDING, "part"].map(|ending| path.extension().is_some_and(|own| own == ending));
            let key = name.to_str().and_then(|name| name.strip_suffix(".page")).and_then(unhex);
            // One name for each page: digits in lower case.
            let key = key.filter(|key| self.path(key) == path);
            let length = entry.metadata().ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
            let fits = length.filter(|&bytes| bytes == self.length(false) || bytes == self.length(true));
            match (key, fits) {
                (Some(key), Some(bytes)) => {
                    let when = entry.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                    found.push((when, key, bytes));
                }
                _ if ours.contains(&true) => drop(std::fs::remove_file(&path)),
                _ => {}
            }
        }
        found.sort_unstable();
        for (_, key, bytes) in found {
            self.clock += 1;
            self.used += bytes;
            let state = self.shape.state_len() > 0 && bytes == self.length(true);
            self.files.insert(key, Entry { bytes, used: self.clock, state });
        }
        self.shrink(0);
        Ok(())
    }

    /// Bytes of a file, with the recurrent state or without.
    fn length(&self, state: bool) -> u64 {
        let state = if state { self.shape.state_bytes() } else { 0 };
        (HEAD + self.shape.page_bytes() + state + DIGEST_LEN) as u64
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{}.{ENDING}", hex(key)))
    }

    /// The keys of the whole pages of `tokens`.
    fn keys(&self, tokens: &[u32], far: bool) -> impl Iterator<Item = Key> {
        let mut before: Key = Sha256::new().chain_update(self.root).chain_update([u8::from(far)]).finalize().into();
        tokens.as_chunks::<TILE>().0.iter().map(move |page| {
            let mut hash = Sha256::new().chain_update(before);
            page.iter().for_each(|token| hash.update(token.to_le_bytes()));
            before = hash.finalize().into();
            before
        })
    }

    /// Keeps a page that the memory lets go of, if it is a whole one and there is room for it.
    pub(super) fn keep(&mut self, page: &Evicted) {
        let Some(key) = self.keys(&page.tokens, page.far).last().filter(|_| page.tokens.len().is_multiple_of(TILE))
        else {
            return;
        };
        self.clock += 1;
        let state = page.state.as_ref().filter(|(at, _)| *at == TILE).map(|(_, state)| state);
        let length = self.length(state.is_some());
        match self.files.get_mut(&key) {
            Some(known) if known.state || state.is_none() => {
                known.used = self.clock;
                return;
            }
            Some(_) => self.remove(&key),
            None => {}
        }
        self.shrink(length);
        if self.used + length <= self.limit && self.write(&key, page, state).is_ok() {
            self.used += length;
            self.files.insert(key, Entry { bytes: length, used: self.clock, state: state.is_some() });
        }
    }

    fn write(&self, key: &Key, page: &Evicted, state: Option<&Snapshot>) -> std::io::Result<()> {
        let temporary = self.folder.join(format!("{}.part", hex(key)));
        let values = state.map_or(&[][..], |state| state.values());
        let written = (|| {
            let mut head = Vec::with_capacity(HEAD);
            head.extend_from_slice(PAGE_MAGIC);
            head.extend_from_slice(&PAGES_VERSION.to_le_bytes());
            head.extend_from_slice(&(values.len() as u32).to_le_bytes());
            let own = &page.tokens[page.tokens.len() - TILE..];
            own.iter().for_each(|token| head.extend_from_slice(&token.to_le_bytes()));
            let state: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let digest =
                Sha256::new().chain_update(&head).chain_update(page.page.bytes()).chain_update(&state).finalize();
            let mut file = private_file(&temporary)?;
            for part in [&head[..], page.page.bytes(), &state, &digest] {
                file.write_all(part)?;
            }
            std::fs::rename(&temporary, self.path(key))
        })();
        if written.is_err() {
            drop(std::fs::remove_file(&temporary));
        }
        written
    }

    /// Makes room for `more` bytes: what was not used for the longest time goes.
    fn shrink(&mut self, more: u64) {
        while self.used + more > self.limit {
            let oldest = self.files.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.files.remove(key) {
            self.used -= entry.bytes;
            drop(std::fs::remove_file(self.path(key)));
        }
    }

    /// Bytes of memory for what the disk has of the beginning of a conversation, after what is in `tree`.
    pub(super) fn room(&self, tokens: &[u32], len: usize, tree: &PrefixTree) -> usize {
        let known = tree.known(tokens, len, &self.shape) / TILE;
        let keys = self.keys(tokens, self.shape.is_far(len)).skip(known);
        let count = keys.take_while(|key| self.files.contains_key(key)).count();
        if count == 0 { 0 } else { count * self.shape.page_bytes() + self.shape.state_bytes() }
    }

    /// Takes what the disk has of the beginning of a conversation into `tree`, after what is there already, for at most
    /// `time` and as far as the memory has room.
    pub(super) fn recall(
        &mut self,
        tokens: &[u32],
        len: usize,
        tree: &mut PrefixTree,
        budget: &Arc<Budget>,
        time: Duration,
    ) {
        let start = Instant::now();
        let known = tree.known(tokens, len, &self.shape) / TILE;
        let keys: Vec<Key> = self.keys(tokens, self.shape.is_far(len)).collect();
        let there = |key: &&Key| self.files.contains_key(*key);
        let mut wanted: Vec<Key> = keys.iter().skip(known).take_while(there).copied().collect();
        if self.shape.state_len() > 0 {
            // Only a place with a state can be gone on from.
            let last = wanted.iter().rposition(|key| self.files[key].state);
            wanted.truncate(last.map_or(0, |last| last + 1));
        }
        if wanted.is_empty() {
            return;
        }
        let mut cache = tree.find(&tokens[..known * TILE], len, &self.shape, budget);
        if cache.len() != known * TILE {
            return;
        }
        let mut state = None;
        for key in &wanted {
            let room = self.shape.page_bytes() + self.shape.state_bytes();
            let from = cache.len();
            if start.elapsed() > time || budget.free() < room {
                break;
            }
            let Some((page, own)) = self.read(key, &tokens[from..from + TILE], budget) else { break };
            cache.share(page, TILE);
            state = own;
        }
        // From the last to the first, so that later pages go before those that they build on.
        for key in wanted.iter().rev() {
            self.clock += 1;
            if let Some(entry) = self.files.get_mut(key) {
                entry.used = self.clock;
            }
        }
        match (state, self.shape.state_len()) {
            (None, 0) => {}
            (Some(state), _) => cache.set_state(state),
            (None, _) => return,
        }
        tree.keep(&tokens[..cache.len()], &cache);
    }

    /// The page of a file, and the state after it; what is damaged is deleted.
    fn read(&mut self, key: &Key, tokens: &[u32], budget: &Arc<Budget>) -> Option<(Page, Option<Snapshot>)> {
        let page = self.checked(key, tokens).and_then(|bytes| {
            let (page, rest) = bytes[HEAD..bytes.len() - DIGEST_LEN].split_at(self.shape.page_bytes());
            let page = Page::of(page, budget).ok()?;
            let values: Box<[f32]> = rest.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let state = (!values.is_empty()).then(|| Snapshot::new(PageState::new(values, budget)));
            Some((page, state))
        });
        if page.is_none() {
            self.remove(key);
        }
        page
    }

    /// The bytes of a file that is what its name says.
    fn checked(&self, key: &Key, tokens: &[u32]) -> Option<Vec<u8>> {
        let entry = self.files.get(key)?;
        let path = self.path(key);
        let mut bytes = Vec::with_capacity(usize::try_from(entry.bytes).ok()?);
        let file = input::open_regular(&path).ok()?;
        file.take(entry.bytes + 1).read_to_end(&mut bytes).ok()?;
        if bytes.len() as u64 != entry.bytes {
            return None;
        }
        let (body, digest) = bytes.split_at(bytes.len() - DIGEST_LEN);
        let values = if entry.state { self.shape.state_len() } else { 0 };
        let numbers =
            |bytes: &[u8]| bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect::<Vec<_>>();
        let head = body.starts_with(PAGE_MAGIC) && numbers(&body[8..16]) == [PAGES_VERSION, values as u32];
        let same = head && numbers(&body[16..HEAD]) == tokens && Sha256::digest(body)[..] == *digest;
        drop(File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now())));
        same.then_some(bytes)
    }

    /// Forgets the pages of `tokens` after the first `known` of them.
    pub(super) fn forget(&mut self, tokens: &[u32], known: usize) {
        for far in [false, true] {
            let keys: Vec<Key> = self.keys(tokens, far).skip(known.div_ceil(TILE)).collect();
            keys.iter().for_each(|key| self.remove(key));
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        let keys: Vec<Key> = self.files.keys().copied().collect();
        keys.iter().for_each(|key| self.remove(key));
    }
}

/// Takes all pages of a tree, the last ones of conversations first.
pub(super) fn keep_all(disk: &mut Disk, tree: &mut PrefixTree) {
    while let Some(page) = tree.evict() {
        disk.keep(&page);
    }
}
