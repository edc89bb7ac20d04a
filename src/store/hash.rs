//! What files hash to.

use super::progress::StoreProgress;
use crate::error::FileAction;
use crate::platform::input;
use crate::units::hex;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// The SHA-256 of a reader's content in lower-case hex; `each` sees the length of every piece and may stop the work.
pub(super) fn sha256(reader: impl Read, each: impl FnMut(u64) -> Result<()>) -> Result<std::io::Result<String>> {
    Ok(sha256_so_far(reader, each)?.map(|hasher| hex(&hasher.finalize())))
}

/// The same, which more bytes can follow.
pub(super) fn sha256_so_far(
    mut reader: impl Read,
    mut each: impl FnMut(u64) -> Result<()>,
) -> Result<std::io::Result<Sha256>> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(Ok(hasher)),
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                each(n as u64)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Ok(Err(e)),
        }
    }
}

/// What a file hashes to; it may take a while.
pub(super) fn hash_file(path: &Path, shown: &str, progress: &dyn StoreProgress) -> Result<String> {
    let file = input::open_regular(path)?;
    let size = file.metadata().map_err(|e| Error::io(path, FileAction::Read, e))?.len();
    progress.begin(&format!("{shown}: checking"), size, 0);
    let stop = progress.stop();
    let found = sha256(file, |bytes| {
        progress.advance(bytes);
        stop.check()
    });
    progress.end();
    found?.map_err(|e| Error::io(path, FileAction::Read, e))
}
