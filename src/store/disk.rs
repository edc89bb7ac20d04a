//! Files by position, and the room that is left.

use crate::units::show_bytes;
use crate::{Error, Result};
use std::fs::File;
use std::path::Path;

/// Kept free beside what a download needs, for everything else that writes.
const MARGIN: u64 = 64 << 20;

/// Writes `bytes` at `offset`.
pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, offset);
    #[cfg(not(unix))]
    {
        use std::io::{Seek, SeekFrom, Write};
        static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut file = file;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }
}

/// Bytes that can still be written where `dir` is; `None` where the system does not say.
pub fn free(dir: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        // The directory may not exist yet: its nearest ancestor is on the same disk.
        let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."));
        let stat = rustix::fs::statvfs(there).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = dir;
        None
    }
}

/// Bytes that a file, perhaps with holes, already takes on disk.
pub(super) fn allocated(path: &Path) -> u64 {
    let Ok(meta) = std::fs::metadata(path) else { return 0 };
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::blocks(&meta).saturating_mul(512);
    #[cfg(not(unix))]
    return meta.len();
}

/// Whether `needed` more bytes fit where `dir` is, as far as the system tells.
pub fn has_room(dir: &Path, needed: u64) -> bool {
    free(dir).is_none_or(|free| free >= needed.saturating_add(MARGIN))
}

/// An error if `needed` more bytes do not fit where `dir` is.
pub(super) fn check_room(dir: &Path, needed: u64) -> Result<()> {
    if has_room(dir, needed) {
        return Ok(());
    }
    let free = show_bytes(free(dir).unwrap_or_default());
    let why = format!("{} more are needed and {free} are free", show_bytes(needed));
    Err(Error::failed(format!("the disk of {}", dir.display()), why)
        .hint("free some room, or choose another place with --home DIR"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn room_is_checked_where_the_directory_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let later = dir.path().join("a/b/c");
        assert!(check_room(&later, 1).is_ok());
        if cfg!(unix) {
            let error = check_room(&later, u64::MAX / 2).unwrap_err();
            assert!(error.to_string().contains("are free") && error.exit_code() == 1);
        }
    }
}
