//! The memory map of a model file.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};

use crate::{Error, Result};

/// Maps the regular file at `path` for reading, and keeps it open.
///
/// # Errors
/// [`Error::Io`] when it cannot be opened or mapped, [`Error::Input`] when it is empty or no regular file.
pub(super) fn map(path: &Path) -> Result<(Arc<Mmap>, File)> {
    // Asked before opening: opening a pipe would wait for a writer.
    let meta = std::fs::metadata(path).map_err(|e| Error::io(path, "open", e))?;
    let place = path.display().to_string();
    if !meta.is_file() {
        let found = if meta.is_dir() { "a folder" } else { "something else" };
        return Err(Error::input(place, "a GGUF file", found));
    }
    if meta.len() == 0 {
        return Err(Error::input(place, "a GGUF file", "an empty file").hint("download it again"));
    }
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    #[expect(unsafe_code, reason = "mapping the file is what makes it the only copy of the weights")]
    // SAFETY: the map is read-only and only ever seen as bytes, which are valid whatever they hold; every use checks
    // the bytes it reads or accepts any. Model files are not modified in place while they are open (the store replaces
    // files by renaming); truncation by another process ends this one with SIGBUS, not with wrong memory
    // (`Gguf::check_length` finds it out before in most cases).
    let map = unsafe { Mmap::map(&file) };
    map.map(|map| (Arc::new(map), file)).map_err(|e| Error::io(path, "map", e))
}

/// Asks the system to read a range of the map into the page cache. A hint: failure is ignored.
///
/// In steps, because Linux takes no more than the device's read-ahead window (128 KiB unless somebody set it) out of one
/// request and drops the rest without a word. A step whose pages are there already costs about a microsecond.
#[cfg(unix)]
pub(super) fn read_ahead(map: &Mmap, range: Range<usize>) {
    const STEP: usize = 128 << 10;
    let mut start = range.start;
    while start < range.end {
        // Whole steps of the file, so that neighbouring ranges don't ask for the same pages twice.
        let end = range.end.min((start / STEP + 1) * STEP);
        let _ = map.advise_range(memmap2::Advice::WillNeed, start, end - start);
        start = end;
    }
}

/// Other systems have no such request.
#[cfg(not(unix))]
pub(super) fn read_ahead(_: &Mmap, _: Range<usize>) {}

/// Memory that holds `bytes`, in the form of a mapped file.
///
/// # Errors
/// [`Error::Input`] when there are none, [`Error::Io`] when there is no memory.
pub(super) fn copy(name: &Path, bytes: &[u8]) -> Result<Arc<Mmap>> {
    if bytes.is_empty() {
        return Err(Error::input(name.display().to_string(), "a GGUF file", "an empty one"));
    }
    let mut map = MmapMut::map_anon(bytes.len()).map_err(|e| Error::io(name, "map", e))?;
    map.copy_from_slice(bytes);
    map.make_read_only().map(Arc::new).map_err(|e| Error::io(name, "map", e))
}
