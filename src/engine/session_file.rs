//! Sessions on disk: a conversation with its key-value cache, so that it continues tomorrow without a prefill.
//!
//! ```text
//! "TOKKISES" | version u32 | header length u32 | header (JSON) | tokens u32 ... | pages ... | states ... | SHA-256 of all before
//! "TOKKIASK" | notes length u32 | notes (JSON) | SHA-256 of the notes
//! ```
//! The second line is there while a question has no answer yet: the notes with it, appended in a moment where the cache would be
//! written for long. What does not end as it should (the process was killed within it) counts for nothing.
//!
//! A session file is input like any other: lengths are checked against the file's before anything is allocated, the
//! checksum before anything is used, and the model by its fingerprint, by what is computed (its `Spec`)
//! and by its tokenizer: a cache means nothing elsewhere. Files are replaced by a rename, so a crash leaves the old one or
//! the new one.

use super::{Options, Session};
use crate::error::FileAction;
use crate::gguf::{Gguf, MetaValue};
use crate::kv::{CacheShape, KvCache};
use crate::model::Model;
use crate::parallel::Pool;
use crate::platform::files::{self, Claim, is_same};
use crate::platform::input;
use crate::platform::output::{self, OutputFile};
use crate::units::hex;
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SESSION_MAGIC: &[u8; 8] = b"TOKKISES";
const SESSION_VERSION: u32 = 2;
/// Begins the notes of a question without an answer.
const ASKED: &[u8; 8] = b"TOKKIASK";
/// A header holds a conversation's text: 64 MiB is more than any context.
const MAX_SESSION_HEADER_BYTES: u64 = 64 << 20;
const DIGEST_BYTES: u64 = 32;

/// What a session file says about itself.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Hash of the tensors' names, shapes, formats and first bytes.
    model: String,
    /// Hash of what is computed with them.
    spec: String,
    /// Hash of what the token ids mean.
    tokenizer: String,
    kv: String,
    tokens: u64,
    page_bytes: u64,
    pages: u64,
    /// Whether the cache is one of a conversation past the length at which its model changes its divisors.
    #[serde(default)]
    far: Option<bool>,
    /// Values of each recurrent state; those follow the pages.
    #[serde(default)]
    state_values: u64,
    /// The positions that each of the states has seen, upwards: those that the conversation can go back to, and its end.
    /// Older files hold that of the end alone, and do not say so.
    #[serde(default)]
    states: Vec<u64>,
    /// Whatever the caller keeps with the tokens, such as the messages.
    notes: serde_json::Value,
}

/// A short text that tells whether two files hold the same model: a hash of tensor names, shapes, formats and the first
/// bytes of their data.
#[doc(hidden)]
pub fn fingerprint(model: &Model) -> Result<String> {
    /// Bytes of each tensor that are looked at: enough to tell models of the same shape apart.
    const SAMPLE: usize = 256;
    let mut hash = Sha256::new();
    for info in model.gguf.tensors() {
        hash.update(format!("{} {:?} {}\n", info.name, info.shape, info.format.name()));
        if info.dtype().is_some() {
            // The bytes of the original file, so that both layouts of a model are the same one.
            let bytes = model.gguf.view(&info.name)?.first_bytes(SAMPLE);
            hash.update(&bytes);
        }
    }
    Ok(hex(&hash.finalize()))
}

/// What is computed, as a short text.
#[doc(hidden)]
pub fn spec_mark(model: &Model) -> String {
    hex(&Sha256::digest(format!("{:?}", model.spec)))
}

/// What the token ids mean, as a short text: all keys of the tokenizer. The chat template is none of them.
fn tokenizer_mark(gguf: &Gguf) -> String {
    let mut hash = Sha256::new();
    for (key, value) in gguf.keys().filter(|(key, _)| key.starts_with("tokenizer.ggml.")) {
        hash.update(key);
        let MetaValue::Array(array) = value else {
            hash.update(format!("{value:?}"));
            continue;
        };
        hash.update(format!("{array:?}"));
        array.texts().into_iter().flatten().for_each(|text| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        });
        array.integers().into_iter().flatten().for_each(|n| hash.update(n.to_le_bytes()));
        array.floats().into_iter().flatten().for_each(|x| hash.update(x.to_bits().to_le_bytes()));
    }
    hex(&hash.finalize())
}

/// What a session file is bound to.
#[derive(Debug, Clone)]
struct Marks {
    model: String,
    spec: String,
    tokenizer: String,
}

impl Marks {
    /// Of a model whose file is as it was when it was opened.
    fn of(model: &Model) -> Result<Self> {
        let spec = spec_mark(model);
        let marks = Self { model: fingerprint(model)?, spec, tokenizer: tokenizer_mark(&model.gguf) };
        model.gguf.intact()?;
        Ok(marks)
    }
}

/// All that a cache is bound to, as a short text.
///
/// # Errors
/// A model whose file is no longer as it was.
pub(super) fn mark(model: &Model) -> Result<String> {
    let Marks { model, spec, tokenizer } = Marks::of(model)?;
    Ok(format!("{model} {spec} {tokenizer}"))
}

/// Writes `session` to `path`, with `notes`.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be written or the disk is full; the old file is then still there.
pub fn save(session: &Session, notes: serde_json::Value, path: &Path) -> Result<()> {
    written(session, &Marks::of(session.model())?, notes, path)?.commit()
}

/// A file that holds the session, up to its last step.
fn written(session: &Session, marks: &Marks, notes: serde_json::Value, path: &Path) -> Result<OutputFile> {
    let cache = session.cache();
    let states = cache.states();
    let Marks { model, spec, tokenizer } = marks.clone();
    let header = Header {
        model,
        spec,
        tokenizer,
        kv: cache.shape().kind().name().to_owned(),
        tokens: session.tokens().len() as u64,
        page_bytes: cache.shape().page_bytes() as u64,
        pages: cache.page_data().count() as u64,
        far: Some(cache.is_far()),
        state_values: states.first().map_or(0, |(_, state)| state.values().len() as u64),
        states: states.iter().map(|(seen, _)| *seen as u64).collect(),
        notes,
    };
    let header = serde_json::to_vec(&header).map_err(|why| Error::failed("the session's header", why.to_string()))?;
    let mut out = Hashing { inner: OutputFile::begin(path)?, hash: Sha256::new() };
    let written = (|| {
        out.write_all(SESSION_MAGIC)?;
        out.write_all(&SESSION_VERSION.to_le_bytes())?;
        out.write_all(&(header.len() as u32).to_le_bytes())?;
        out.write_all(&header)?;
        session.tokens().iter().try_for_each(|token| out.write_all(&token.to_le_bytes()))?;
        cache.page_data().try_for_each(|page| out.write_all(page))?;
        states
            .iter()
            .flat_map(|(_, state)| state.values())
            .try_for_each(|value| out.write_all(&value.to_le_bytes()))?;
        let digest = out.hash.finalize_reset();
        out.inner.write_all(&digest)
    })();
    match written {
        Ok(()) => Ok(out.inner),
        Err(why) => Err(out.inner.failed(why)),
    }
}

/// Whether the file at `path` begins as a session does; what cannot be read does not.
pub fn is_session(path: &Path) -> bool {
    let mut magic = [0; 8];
    input::open_regular(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok()) && &magic == SESSION_MAGIC
}

/// The file that one process keeps its session in. No other process may have it open at the same time: the one that saved
/// last would silently win.
#[derive(Debug)]
pub struct SessionFile {
    path: PathBuf,
    /// The file that is there now, which no other process writes.
    claim: Claim,
    /// It was made to hold the place, and goes again if nothing is saved.
    made: bool,
    /// How long the file was before a question was noted in it that has no answer yet.
    before: Option<u64>,
    /// What its sessions are bound to, since the first was saved: a model whose file is spoilt later on does not take the
    /// conversation with it.
    marks: Option<Marks>,
}

impl SessionFile {
    /// Takes the file at `path`, which need not be there yet, before anything is computed for it.
    ///
    /// # Errors
    /// [`Error::Io`] for a place that cannot be written to, [`Error::Input`] for something else than a file, and
    /// [`Error::Failed`] where another process has it.
    pub fn open(path: &Path) -> Result<Self> {
        output::check(path)?;
        let made = !path.exists();
        // A file of no bytes holds the place of one to come.
        let claimed = files::claim(path).map_err(|why| Error::io(path, FileAction::Write, why))?;
        let claim = claimed.ok_or_else(|| {
            Error::failed(path.display().to_string(), "another tokki has this session open")
                .hint("end that one, or use another `session` file")
                .of(ErrorKind::InUse)
        })?;
        Ok(Self { path: path.to_path_buf(), claim, made, before: None, marks: None })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Nothing was saved in it yet.
    pub fn is_new(&self) -> bool {
        self.claim.file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|meta| meta.len() == 0))
    }

    /// Saves `session` with `notes`.
    ///
    /// # Errors
    /// As [`save`].
    pub fn save(&mut self, session: &Session, notes: serde_json::Value) -> Result<()> {
        let marks = match self.marks.take() {
            Some(marks) => marks,
            None => Marks::of(session.model())?,
        };
        let written = written(session, &marks, notes, &self.path);
        self.marks = Some(marks);
        written?.commit_over(&mut self.claim)?;
        self.before = None;
        Ok(())
    }

    /// Notes a question before its answer is computed, so that it outlives the process: `notes` are those with it.
    ///
    /// # Errors
    /// As [`save`]; the file is then as it was.
    pub fn ask(&mut self, session: &Session, notes: serde_json::Value) -> Result<()> {
        if self.is_new() {
            // There is no cache yet that would take long to write.
            self.save(session, notes)?;
            self.before = Some(0);
            return Ok(());
        }
        // Not opened again since it could not be replaced: all of it is saved anew.
        let Some(file) = &mut self.claim.file else { return self.save(session, notes) };
        let failed = |why| Error::io(&self.path, FileAction::Write, why);
        let notes = serde_json::to_vec(&notes).map_err(|why| Error::failed("the question", why.to_string()))?;
        let length = (notes.len() as u32).to_le_bytes();
        let digest = Sha256::digest(&notes);
        let before = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let written = file.write_all(&[&ASKED[..], &length, &notes, &digest].concat());
        let outcome = written.and_then(|()| file.sync_data()).map_err(failed);
        self.before = Some(before);
        if outcome.is_err() {
            self.take_back();
        }
        outcome
    }

    /// Forgets the question that was noted last: there was an error in the place of its answer. What cannot be forgotten now
    /// goes with what is saved next.
    pub fn take_back(&mut self) {
        if let (Some(before), Some(file)) = (self.before.take(), &self.claim.file) {
            drop(file.set_len(before));
        }
    }
}

impl Drop for SessionFile {
    fn drop(&mut self) {
        let is_there = |file: &File| is_same(file, &self.path);
        if self.made && self.is_new() && self.claim.file.as_ref().is_some_and(is_there) {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// The notes of a session whose model is not known yet. Nothing of the file has been proven then.
///
/// # Errors
/// [`Error::Input`] for what is no session.
pub fn notes(path: &Path) -> Result<serde_json::Value> {
    Ok(Reader::open(path)?.header()?.notes)
}

/// Reads a session of `model` from `path`, and its notes.
///
/// # Errors
/// [`Error::Input`] for a file that is damaged, of another version, of another model or of another kind of cache.
#[doc(hidden)]
pub fn load(path: &Path, model: Arc<Model>, pool: Arc<Pool>, options: Options) -> Result<(Session, serde_json::Value)> {
    let mut reader = Reader::open(path)?;
    let header = reader.header()?;
    let shape = CacheShape::new(&model.spec, options.kv);
    reader.check(&header, &model, &shape, &options)?;
    let tokens: Vec<u32> = {
        let bytes = reader.bytes(header.tokens.saturating_mul(4))?;
        bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
    };
    let pages = (0..header.pages).map(|_| reader.bytes(header.page_bytes)).collect::<Result<Vec<_>>>()?;
    let seen = if header.states.is_empty() { vec![header.tokens] } else { header.states.clone() };
    let states = seen.iter().map(|&seen| reader.state(seen, header.state_values)).collect::<Result<Vec<_>>>()?;
    let asked = reader.finish()?;
    let count = tokens.len();
    if let Some(bad) = tokens.iter().find(|&&token| token as usize >= model.spec.vocab) {
        return Err(reader.wrong("token ids of the model's vocabulary", bad.to_string()));
    }
    let Some(mut cache) = KvCache::from_pages(shape, pages, count, header.far.unwrap_or_default()) else {
        return Err(reader.wrong("as many pages as the tokens need", format!("{} pages", header.pages)));
    };
    if count > 0 && !cache.restore_states(states) {
        let wanted = format!("recurrent states of {} values up to token {count}", cache.shape().state_len());
        return Err(reader.wrong(wanted, format!("{} values at {seen:?}", header.state_values)));
    }
    Ok((Session::with_cache(model, pool, options, cache, tokens), asked.unwrap_or(header.notes)))
}

/// The first of the noted questions that `bytes` begin with, and what follows it.
fn question(bytes: &[u8]) -> Option<(serde_json::Value, &[u8])> {
    let (length, rest) = bytes.strip_prefix(ASKED)?.split_first_chunk()?;
    let (notes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let (digest, rest) = rest.split_first_chunk::<{ DIGEST_BYTES as usize }>()?;
    if *Sha256::digest(notes) != *digest {
        return None;
    }
    Some((serde_json::from_slice(notes).ok()?, rest))
}

struct Reader<'a> {
    path: &'a Path,
    inner: BufReader<File>,
    hash: Sha256,
    /// Bytes of the file that are still unread.
    left: u64,
}

impl<'a> Reader<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = input::open_regular(path)?;
        let left = file.metadata().map_err(|why| Error::io(path, FileAction::Read, why))?.len();
        Ok(Self { path, inner: BufReader::with_capacity(1 << 20, file), hash: Sha256::new(), left })
    }

    fn wrong(&self, wanted: impl Into<String>, found: impl Into<String>) -> Error {
        Error::input(self.path.display().to_string(), wanted, found)
            .hint("start a new session with another `session` file")
    }

    /// The next `n` bytes; they must leave room for the checksum.
    fn bytes(&mut self, n: u64) -> Result<Box<[u8]>> {
        if n > self.left.saturating_sub(DIGEST_BYTES) {
            return Err(self.wrong(format!("{n} more bytes of a session"), format!("{} to the end", self.left)));
        }
        let mut bytes = vec![0; n as usize].into_boxed_slice();
        self.inner.read_exact(&mut bytes).map_err(|why| Error::io(self.path, FileAction::Read, why))?;
        self.left -= n;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    /// A recurrent state, which has seen `seen` positions.
    fn state(&mut self, seen: u64, values: u64) -> Result<(usize, Box<[f32]>)> {
        let bytes = self.bytes(values.saturating_mul(4))?;
        Ok((seen as usize, bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes = self.bytes(4)?;
        Ok(bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)))
    }

    fn header(&mut self) -> Result<Header> {
        if !self.bytes(8).is_ok_and(|magic| &*magic == SESSION_MAGIC) {
            let path = self.path.display();
            return Err(Error::usage(format!("{path} is not a session of tokki. It was left as it is.")));
        }
        let version = self.u32()?;
        if version != SESSION_VERSION {
            return Err(self.wrong(format!("version {SESSION_VERSION}"), format!("version {version}")));
        }
        let length = u64::from(self.u32()?);
        if length > MAX_SESSION_HEADER_BYTES {
            return Err(self.wrong(format!("a header of at most {MAX_SESSION_HEADER_BYTES} bytes"), length.to_string()));
        }
        let bytes = self.bytes(length)?;
        serde_json::from_slice(&bytes).map_err(|why| self.wrong("a header that can be read", why.to_string()))
    }

    fn check(&self, header: &Header, model: &Model, shape: &CacheShape, options: &Options) -> Result<()> {
        if header.model != fingerprint(model)? {
            return Err(self.wrong("a session of this model", "one of another model"));
        }
        if header.spec != spec_mark(model) {
            return Err(self
                .wrong("a session of this model", "one in which it was computed otherwise")
                .hint("the model's keys have changed, or this tokki reads them in another way; start a new session"));
        }
        if header.tokenizer != tokenizer_mark(&model.gguf) {
            return Err(self.wrong("a session of this model", "one with another tokenizer"));
        }
        if header.far.is_none() && model.spec.turn().is_some() {
            return Err(
                self.wrong("which divisors a session of this model is rotated by", "a session of an older version")
            );
        }
        if header.kv != options.kv.name() {
            let hint = format!("run with `kv_type` {}", header.kv);
            return Err(self.wrong(format!("a {} cache", options.kv.name()), header.kv.clone()).hint(hint));
        }
        if header.page_bytes != shape.page_bytes() as u64 {
            return Err(self.wrong(format!("pages of {} bytes", shape.page_bytes()), header.page_bytes.to_string()));
        }
        if header.pages > header.tokens {
            return Err(self.wrong("as many pages as the tokens need", format!("{} pages", header.pages)));
        }
        if header.tokens > options.context as u64 {
            return Err(Error::ContextFull { needed: header.tokens as usize, available: options.context });
        }
        Ok(())
    }

    /// What follows must be the checksum of all before. Gives the notes with the last question that is noted after it.
    fn finish(&mut self) -> Result<Option<serde_json::Value>> {
        let mut digest = [0; DIGEST_BYTES as usize];
        if self.left < DIGEST_BYTES {
            return Err(self.wrong("a checksum at the end", format!("{} bytes", self.left)));
        }
        self.inner.read_exact(&mut digest).map_err(|why| Error::io(self.path, FileAction::Read, why))?;
        if *self.hash.finalize_reset() != digest {
            return Err(self.wrong("a file that agrees with its checksum", "a damaged one"));
        }
        let mut rest = Vec::new();
        let read = self.inner.by_ref().take(MAX_SESSION_HEADER_BYTES).read_to_end(&mut rest);
        read.map_err(|why| Error::io(self.path, FileAction::Read, why))?;
        let mut rest = rest.as_slice();
        let asked = std::iter::from_fn(|| {
            let (notes, after) = question(rest)?;
            rest = after;
            Some(notes)
        });
        Ok(asked.last())
    }
}

/// Hashes what passes through.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
