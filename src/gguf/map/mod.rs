//! The memory map of a model file, and what keeps the process alive when the file is cut short under it.
//!
//! A page beyond the end of its file cannot be read: the system sends SIGBUS, which would end the process without a word.
//! [`guard`] turns that into zeros and a mark on the map; what computes with it looks at the mark when the work is done
//! and fails with a sentence ([`Gguf::intact`](super::Gguf::intact)).

mod guard;

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};

use crate::error::FileAction;
use crate::platform::{kind_of, process};
use crate::{Error, ErrorKind, Result};

/// A mapped file, or a copy of one.
pub(super) struct Map {
    /// Before the map: it has to go first.
    guarded: Option<guard::Guarded>,
    bytes: Mmap,
}

impl Map {
    /// Whether zeros stand for a part of the file that is not there any more.
    pub(super) fn is_damaged(&self) -> bool {
        self.guarded.as_ref().is_some_and(guard::Guarded::is_damaged)
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Maps the regular file at `path` for reading, and keeps it open.
///
/// # Errors
/// [`Error::Io`] when it cannot be opened or mapped, [`Error::Input`] when it is empty or no regular file.
pub(super) fn map(path: &Path) -> Result<(Arc<Map>, File)> {
    // Asked before opening: opening a pipe would wait for a writer.
    let meta = std::fs::metadata(path).map_err(|e| Error::io(path, FileAction::Open, e))?;
    let place = path.display().to_string();
    if !meta.is_file() {
        let error = Error::input(place, "a GGUF file", kind_of(meta.file_type()));
        return Err(error.of(ErrorKind::NotAModel));
    }
    if meta.len() == 0 {
        return Err(Error::input(place, "a GGUF file", "an empty file")
            .of(ErrorKind::NotAModel)
            .hint("download it again"));
    }
    let file = File::open(path).map_err(|e| Error::io(path, FileAction::Open, e))?;
    #[expect(unsafe_code, reason = "mapping the file is what makes it the only copy of the weights")]
    // SAFETY: the map is read-only and only ever seen as bytes, which are valid whatever they hold; every use checks
    // the bytes it reads or accepts any. Model files are not modified in place while they are open (the store replaces
    // files by renaming); where another process does so all the same, the bytes are others, but bytes, and those that are
    // gone read as zeros (`guard`).
    let bytes = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, FileAction::Map, e))?;
    process::room(process::SMALLEST_ROOM, &format!("{place}, which is mapped"))?;
    let guarded = guard::Guarded::new(&bytes);
    let guarded = guarded.ok_or_else(|| Error::failed(place, "too many files are mapped at once"))?;
    Ok((Arc::new(Map { guarded: Some(guarded), bytes }), file))
}

/// Asks the system to read a range of the map into the page cache. A hint: failure is ignored.
///
/// In steps, because Linux takes no more than the device's read-ahead window (128 KiB by default) out of one
/// request and drops the rest without a word. A step whose pages are there already costs about a microsecond.
#[cfg(unix)]
pub(super) fn read_ahead(map: &Map, range: Range<usize>) {
    const STEP_BYTES: usize = 128 << 10;
    let mut start = range.start;
    while start < range.end {
        // Whole steps of the file, so that neighbouring ranges don't ask for the same pages twice.
        let end = range.end.min((start / STEP_BYTES + 1) * STEP_BYTES);
        let _ = map.bytes.advise_range(memmap2::Advice::WillNeed, start, end - start);
        start = end;
    }
}

/// Other systems have no such request.
#[cfg(not(unix))]
pub(super) fn read_ahead(_: &Map, _: Range<usize>) {}

/// Tells the system that a range of a mapped file is not needed soon: its whole pages no longer count as this process's, and come
/// out of the page cache, or the file, when they are read again. A hint: failure is ignored.
#[cfg(unix)]
pub(super) fn let_go(map: &Map, range: Range<usize>) {
    // Memory that is no file's would lose what it holds.
    if map.guarded.is_some() {
        #[expect(unsafe_code, reason = "the system's call is unsafe for what may write to its memory")]
        // SAFETY: the map is read-only and a file's, of which a page that is gone is read anew with the same bytes; where a zero page
        // stands for one that the file lost (`guard`), a zero page it is again.
        let _ =
            unsafe { map.bytes.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
    }
}

/// Other systems have no such request.
#[cfg(not(unix))]
pub(super) fn let_go(_: &Map, _: Range<usize>) {}

/// Memory that holds `bytes`, in the form of a mapped file.
///
/// # Errors
/// [`Error::Input`] when there are none, [`Error::Io`] when there is no memory.
pub(super) fn copy(name: &Path, bytes: &[u8]) -> Result<Arc<Map>> {
    filled(name, bytes.len(), &mut |map| {
        map.copy_from_slice(bytes);
        Ok(())
    })
}

/// `len` bytes of memory that `fill` fills, in the form of a mapped file.
///
/// # Errors
/// As [`copy`], and those of `fill`.
pub(super) fn filled(name: &Path, len: usize, fill: &mut dyn FnMut(&mut [u8]) -> Result<()>) -> Result<Arc<Map>> {
    if len == 0 {
        return Err(Error::input(name.display().to_string(), "a GGUF file", "an empty one"));
    }
    let mut map = MmapMut::map_anon(len).map_err(|e| Error::io(name, FileAction::Map, e))?;
    // Weights are read from end to end: fewer, larger pages cost less. A hint.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    fill(&mut map)?;
    let bytes = map.make_read_only().map_err(|e| Error::io(name, FileAction::Map, e))?;
    Ok(Arc::new(Map { guarded: None, bytes }))
}
