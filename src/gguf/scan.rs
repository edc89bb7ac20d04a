//! The bounded pre-scan of a header: every count, length and type is checked against what the file can hold before
//! anything is allocated. It finds where arrays lie (they are read from the map) and makes a small copy of the header
//! in which arrays are empty and tensor types are plain, which is all that the `gguf-rs` decoder ever sees.

use std::collections::HashSet;
use std::ops::Range;

use super::magic;
use super::value::{ArraySpan, ValueKind};
use crate::{Error, ErrorKind, Result};

/// Largest header, arrays included.
const MAX_HEADER_BYTES: usize = 256 << 20;
/// Largest header without arrays: the copy that is decoded.
const MAX_VIEW: usize = 16 << 20;
/// Longest single text (chat templates are the longest in practice, well under a megabyte).
const MAX_VALUE_BYTES: usize = 8 << 20;
/// Longest name of a key or tensor.
const MAX_NAME_BYTES: usize = 1024;
/// Most keys; real files have under a hundred.
const MAX_KEYS: u64 = 1 << 16;
/// Most tensors; the largest real models have a few thousand.
const MAX_TENSORS: u64 = 1 << 17;
/// Most values in one tensor; `MAX_TENSORS` of these still sum to a `u64`.
const MAX_ELEMENTS: u64 = 1 << 46;
/// Alignment of tensor data where the file does not say.
pub(super) const DEFAULT_ALIGNMENT: u64 = 32;
/// Largest alignment.
const MAX_ALIGNMENT: u64 = 1 << 20;

/// What the pre-scan learned.
pub(super) struct Scan {
    /// 2 or 3.
    pub(super) version: u32,
    pub(super) keys: Vec<KeySpan>,
    pub(super) tensors: Vec<TensorSpan>,
    /// `general.alignment`.
    pub(super) alignment: u64,
    /// Where the header ends; data starts at the next multiple of the alignment.
    pub(super) end: usize,
    /// The header after its magic, arrays emptied, tensor types replaced by F32.
    pub(super) view: Vec<u8>,
}

/// A key as it lies in the file.
pub(super) struct KeySpan {
    pub(super) name: String,
    pub(super) kind: ValueKind,
    /// The array's elements, for [`ValueKind::Array`].
    pub(super) array: Option<ArraySpan>,
    /// Whether a text is UTF-8 (true for everything else).
    pub(super) utf8: bool,
}

/// A tensor as the header declares it.
pub(super) struct TensorSpan {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
    pub(super) kind: u32,
    /// Where the file says so.
    pub(super) kind_at: usize,
    pub(super) offset: u64,
}

/// Checks the header in `file` (the whole mapped file); `place` names the file in errors.
pub(super) fn scan(file: &[u8], place: &str) -> Result<Scan> {
    scan_at(&mut Cursor::new(file, file.len() as u64, place))
}

/// Length of the header of a file of `file_len` bytes that begins with `prefix`; `None` when it goes on after that.
///
/// # Errors
/// [`Error::Input`] for what makes no header, as soon as the prefix shows it.
pub fn header_len(prefix: &[u8], file_len: u64, place: &str) -> Result<Option<usize>> {
    let mut cursor = Cursor::new(prefix, file_len, place);
    match scan_at(&mut cursor) {
        Ok(scan) => Ok(Some(scan.end)),
        Err(_) if cursor.cut => Ok(None),
        Err(error) => Err(error),
    }
}

fn scan_at(cursor: &mut Cursor<'_>) -> Result<Scan> {
    let (version, n_tensors, n_keys) = preamble(cursor)?;
    let mut view = Vec::with_capacity(1 << 16);
    view.extend_from_slice(&version.to_le_bytes());
    view.extend_from_slice(&n_tensors.to_le_bytes());
    view.extend_from_slice(&n_keys.to_le_bytes());
    let mut alignment = DEFAULT_ALIGNMENT;
    let mut keys = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..n_keys {
        let start = cursor.at;
        let key = scan_key(cursor, &mut view)?;
        if !seen.insert(key.name.clone()) {
            return Err(cursor.wrong(start, "each key once", format!("{} twice", shown(&key.name))));
        }
        if key.name == "general.alignment" {
            alignment = scan_alignment(cursor, &key)?;
        }
        keys.push(key);
    }
    seen.clear();
    let mut tensors = Vec::new();
    for _ in 0..n_tensors {
        let start = cursor.at;
        let tensor = scan_tensor(cursor, &mut view)?;
        if !seen.insert(tensor.name.clone()) {
            return Err(cursor.wrong(start, "each tensor once", format!("{} twice", shown(&tensor.name))));
        }
        tensors.push(tensor);
    }
    Ok(Scan { version, keys, tensors, alignment, end: cursor.at, view })
}

/// That a file does not begin as models do.
fn no_model(cursor: &Cursor<'_>) -> Error {
    let (found, hint) = magic::kind(cursor.bytes);
    cursor.wrong(0, "a GGUF file (magic `GGUF`)", found).of(ErrorKind::NotAModel).hint(hint)
}

/// Magic, version and counts.
fn preamble(cursor: &mut Cursor<'_>) -> Result<(u32, u64, u64)> {
    if cursor.bytes.len() < 4 && !b"GGUF".starts_with(cursor.bytes) {
        return Err(no_model(cursor));
    }
    let magic = cursor.take(4, "the magic `GGUF`")?;
    if magic == b"FUGG" {
        return Err(big_endian(cursor));
    }
    if magic != b"GGUF" {
        return Err(no_model(cursor));
    }
    let version = cursor.u32("the version")?;
    if version & 0xffff == 0 && version != 0 {
        return Err(big_endian(cursor));
    }
    if !(2..=3).contains(&version) {
        return Err(cursor.wrong(4, "GGUF version 2 or 3", format!("version {version}")).hint(match version {
            0..=1 => "convert the model again with a current converter",
            _ => "the format is newer than this tokki: update it, or convert the model again",
        }));
    }
    let n_tensors = cursor.count("tensors", MAX_TENSORS, 24)?;
    let n_keys = cursor.count("keys", MAX_KEYS, 13)?;
    Ok((version, n_tensors, n_keys))
}

fn big_endian(cursor: &Cursor<'_>) -> Error {
    cursor
        .wrong(0, "a little-endian GGUF file", "a big-endian one".into())
        .hint("get the little-endian file, or convert it with gguf_convert_endian")
}

fn scan_key(cursor: &mut Cursor<'_>, view: &mut Vec<u8>) -> Result<KeySpan> {
    let start = cursor.at;
    let name = cursor.name("a key")?;
    let kind_at = cursor.at;
    let id = cursor.u32("a key's type")?;
    let unknown = |id: u32| format!("type {id} for key {}", shown(&name));
    let kind = ValueKind::from_id(id).ok_or_else(|| cursor.wrong(kind_at, "a value type from 0 to 12", unknown(id)))?;
    let mut key = KeySpan { name, kind, array: None, utf8: true };
    match kind {
        ValueKind::Text => {
            let text = cursor.text(MAX_VALUE_BYTES, "a text")?;
            key.utf8 = std::str::from_utf8(text).is_ok();
            copy(cursor, view, start..cursor.at)?;
        }
        ValueKind::Array => {
            let array = scan_array(cursor, &key.name)?;
            copy(cursor, view, start..kind_at)?;
            view.extend_from_slice(&id.to_le_bytes());
            view.extend_from_slice(&array.of.id().to_le_bytes());
            view.extend_from_slice(&0u64.to_le_bytes());
            key.array = Some(array);
        }
        _ => {
            cursor.take(kind.size(), "a value")?;
            copy(cursor, view, start..cursor.at)?;
        }
    }
    Ok(key)
}

fn scan_array(cursor: &mut Cursor<'_>, key: &str) -> Result<ArraySpan> {
    let at = cursor.at;
    let id = cursor.u32("an array's type")?;
    let of = match ValueKind::from_id(id) {
        Some(ValueKind::Array) => {
            return Err(cursor.wrong(at, "an array of plain values", format!("arrays within key {}", shown(key))));
        }
        Some(kind) => kind,
        None => {
            let found = format!("element type {id} in key {}", shown(key));
            return Err(cursor.wrong(at, "a value type from 0 to 12", found));
        }
    };
    let least = if of == ValueKind::Text { 8 } else { of.size() };
    let len = cursor.count("array elements", u64::MAX, least)? as usize;
    let start = cursor.at;
    if of == ValueKind::Text {
        for _ in 0..len {
            cursor.text(MAX_VALUE_BYTES, "an array's text")?;
        }
    } else {
        // `count` has shown that this many bytes are left.
        cursor.take(len * of.size(), "an array's elements")?;
    }
    Ok(ArraySpan { of, len, data: start..cursor.at })
}

/// `general.alignment`, which has to be known before any tensor can be placed.
fn scan_alignment(cursor: &Cursor<'_>, key: &KeySpan) -> Result<u64> {
    let at = cursor.at.saturating_sub(key.kind.size());
    let wanted = "key general.alignment to be a u32 power of two from 8 to 1048576";
    if key.kind != ValueKind::U32 {
        return Err(cursor.wrong(at, wanted, key.kind.name().into()));
    }
    let value = cursor.bytes[at..].first_chunk().map_or(0, |b| u64::from(u32::from_le_bytes(*b)));
    if !value.is_power_of_two() || !(8..=MAX_ALIGNMENT).contains(&value) {
        return Err(cursor.wrong(at, wanted, value.to_string()));
    }
    Ok(value)
}

fn scan_tensor(cursor: &mut Cursor<'_>, view: &mut Vec<u8>) -> Result<TensorSpan> {
    let start = cursor.at;
    let name = cursor.name("a tensor")?;
    let dims_at = cursor.at;
    let dims = cursor.u32("a tensor's number of dimensions")?;
    if !(1..=4).contains(&dims) {
        return Err(cursor.wrong(dims_at, format!("1 to 4 dimensions for tensor {}", shown(&name)), dims.to_string()));
    }
    let mut shape = Vec::with_capacity(4);
    let mut elements = 1u64;
    for _ in 0..dims {
        let at = cursor.at;
        let dim = cursor.u64("a tensor's dimension")?;
        if dim == 0 {
            return Err(cursor.wrong(at, format!("dimensions over 0 for tensor {}", shown(&name)), "0".into()));
        }
        elements = elements.checked_mul(dim).filter(|&n| n <= MAX_ELEMENTS).ok_or_else(|| {
            let wanted = format!("at most {MAX_ELEMENTS} values in tensor {}", shown(&name));
            cursor.wrong(at, wanted, format!("{shape:?} x {dim}"))
        })?;
        shape.push(dim);
    }
    copy(cursor, view, start..cursor.at)?;
    let kind_at = cursor.at;
    let kind = cursor.u32("a tensor's type")?;
    let offset_at = cursor.at;
    let offset = cursor.u64("a tensor's offset")?;
    // The decoder ends the process's thread on some type numbers and refuses others; sizes are computed here anyway.
    view.extend_from_slice(&0u32.to_le_bytes());
    copy(cursor, view, offset_at..cursor.at)?;
    Ok(TensorSpan { name, shape, kind, kind_at, offset })
}

/// Appends a piece of the file to the view, within its limit.
fn copy(cursor: &Cursor<'_>, view: &mut Vec<u8>, range: Range<usize>) -> Result<()> {
    if view.len() + range.len() > MAX_VIEW {
        let wanted = format!("at most {MAX_VIEW} bytes of keys and tensor names");
        return Err(cursor.wrong(range.start, wanted, "more".into()));
    }
    view.extend_from_slice(&cursor.bytes[range]);
    Ok(())
}

/// A name fit for a message: escaped, and short whatever the file says.
pub(super) fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    if name.chars().nth(64).is_some() {
        text.push_str("...");
    }
    format!("`{text}`")
}

/// A checked position in the header.
struct Cursor<'a> {
    /// The file up to the largest header, as far as it is there.
    bytes: &'a [u8],
    /// Length of the file up to the largest header.
    limit: usize,
    at: usize,
    file_len: u64,
    /// Something lies beyond the bytes that are there, yet within the limit.
    cut: bool,
    place: &'a str,
}

impl<'a> Cursor<'a> {
    fn new(prefix: &'a [u8], file_len: u64, place: &'a str) -> Self {
        let limit = usize::try_from(file_len).unwrap_or(usize::MAX).min(MAX_HEADER_BYTES);
        Self { bytes: &prefix[..prefix.len().min(limit)], limit, at: 0, file_len, cut: false, place }
    }

    fn wrong(&self, at: usize, wanted: impl Into<String>, found: String) -> Error {
        Error::input(format!("{}: byte {at}", self.place), wanted, found)
    }

    fn left(&self) -> usize {
        self.limit - self.at
    }

    fn short(&self, at: usize, what: &str) -> Error {
        if (self.limit as u64) < self.file_len {
            return self.wrong(at, format!("a header of at most {MAX_HEADER_BYTES} bytes"), "a larger one".into());
        }
        self.wrong(at, what, "the end of the file".into()).hint("the file is cut short or damaged: download it again")
    }

    fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8]> {
        if n > self.left() {
            return Err(self.short(self.at, what));
        }
        let Some(taken) = self.bytes.get(self.at..self.at + n) else {
            self.cut = true;
            return Err(self.short(self.at, what));
        };
        self.at += n;
        Ok(taken)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        let at = self.at;
        let bytes = self.take(4, what)?;
        bytes.first_chunk().map(|b| u32::from_le_bytes(*b)).ok_or_else(|| self.short(at, what))
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        let at = self.at;
        let bytes = self.take(8, what)?;
        bytes.first_chunk().map(|b| u64::from_le_bytes(*b)).ok_or_else(|| self.short(at, what))
    }

    /// A number of things of at least `least` bytes each: no more than `most`, nor than the file can hold.
    fn count(&mut self, what: &str, most: u64, least: usize) -> Result<u64> {
        let at = self.at;
        let count = self.u64(what)?;
        if count > most {
            return Err(self.wrong(at, format!("at most {most} {what}"), count.to_string()));
        }
        if count.checked_mul(least as u64).is_none_or(|bytes| bytes > self.left() as u64) {
            return Err(self.short(at, &format!("{count} {what}")));
        }
        Ok(count)
    }

    fn text(&mut self, most: usize, what: &str) -> Result<&'a [u8]> {
        let at = self.at;
        let len = self.u64(what)?;
        if len > self.left() as u64 {
            return Err(self.short(at, &format!("{what} of {len} bytes")));
        }
        if len > most as u64 {
            return Err(self.wrong(at, format!("{what} of at most {most} bytes"), len.to_string()));
        }
        self.take(len as usize, what)
    }

    fn name(&mut self, of: &str) -> Result<String> {
        let at = self.at;
        let bytes = self.text(MAX_NAME_BYTES, &format!("the name of {of}"))?;
        match std::str::from_utf8(bytes) {
            Ok("") => Err(self.wrong(at, format!("a name for {of}"), "an empty one".into())),
            Ok(name) => Ok(name.to_owned()),
            Err(_) => Err(self.wrong(at, format!("a name in UTF-8 for {of}"), "invalid bytes".into())),
        }
    }
}
