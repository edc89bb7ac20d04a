//! Files by position, and the room that is left.

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

/// An error if `needed` more bytes do not fit where `dir` is.
pub(super) fn check_room(dir: &Path, needed: u64) -> Result<()> {
    match free(dir) {
        Some(free) if free < needed.saturating_add(MARGIN) => {
            let why = format!("{} more are needed and {} are free", show_bytes(needed), show_bytes(free));
            Err(Error::failed(format!("the disk of {}", dir.display()), why)
                .hint("free some room, or choose another place with --home DIR"))
        }
        _ => Ok(()),
    }
}

/// `19.3 GB`: powers of 1000, as disks and hubs count.
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
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

    #[test]
    fn sizes_are_shown_shortly() {
        let shown = [0, 999, 1000, 98_362_432, 999_960_000, 19_343_818_784].map(show_bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "98.4 MB", "1.0 GB", "19.3 GB"]);
    }
}
