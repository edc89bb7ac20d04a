//! Files and folders of the store's own, and the room that is left.

use crate::error::FileAction;
use crate::platform::{files, kind_of};
use crate::units::show_bytes;
use crate::{Error, ErrorKind, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Kept free beside what a download needs, for everything else that writes.
const MARGIN: u64 = 64 << 20;

/// Opens a file of the store's own for reading and writing, and creates it if it isn't there. A link in its place, or
/// another name of the same file, is refused: what it leads to is not the store's to change.
pub(super) fn open_own(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    files::follow_no_link(&mut options);
    let file = options.open(path).map_err(|e| match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => not_own(path, "a file", meta.file_type()),
        _ => Error::io(path, FileAction::Create, e),
    })?;
    let meta = file.metadata().map_err(|e| Error::io(path, FileAction::Read, e))?;
    if !meta.is_file() {
        return Err(not_own(path, "a file", meta.file_type()));
    }
    if files::names(&meta) > 1 {
        return Err(Error::input(path.display().to_string(), "a file of the store", "one that has another name too")
            .hint("move it out of the store"));
    }
    Ok(file)
}

/// Creates a folder of the store's own below one that is there. A link in its place is refused.
pub(super) fn own_folder(path: &Path) -> Result<()> {
    match std::fs::create_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            let kind = std::fs::symlink_metadata(path).map_err(|e| Error::io(path, FileAction::Read, e))?.file_type();
            if kind.is_dir() { Ok(()) } else { Err(not_own(path, "a folder", kind)) }
        }
        created => created.map_err(|e| Error::io(path, FileAction::Create, e)),
    }
}

fn not_own(path: &Path, wanted: &str, kind: std::fs::FileType) -> Error {
    Error::input(path.display().to_string(), format!("{wanted} of the store"), kind_of(kind))
        .hint("move it out of the store")
}

/// Removes a file, a link (never what it leads to) or a folder with all that is in it; what isn't there is no error.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, FileAction::Remove, e)),
        _ => Ok(()),
    }
}

/// Bytes that can still be written where `dir` is; `None` where the system does not say.
pub fn free(dir: &Path) -> Option<u64> {
    // The directory may not exist yet: its nearest ancestor is on the same disk.
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."));
    files::free(there)
}

/// Bytes that a file, perhaps with holes, already takes on disk.
pub(super) fn allocated(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).map_or(0, |meta| files::allocated(&meta))
}

/// Whether `needed` more bytes, if any, fit where `dir` is, as far as the system tells.
pub fn has_room(dir: &Path, needed: u64) -> bool {
    needed == 0 || free(dir).is_none_or(|free| free >= needed.saturating_add(MARGIN))
}

/// An error if `needed` more bytes do not fit where `dir`, a folder of the store, is.
pub(super) fn check_room(dir: &Path, needed: u64) -> Result<()> {
    check_room_or(dir, needed, "free some room, or choose another place with `home` DIR")
}

/// The same with another way on.
pub(super) fn check_room_or(dir: &Path, needed: u64, way_on: &str) -> Result<()> {
    if has_room(dir, needed) {
        return Ok(());
    }
    let free = show_bytes(free(dir).unwrap_or_default());
    let margin = show_bytes(MARGIN);
    let why = format!("{} more are needed, {margin} are kept free beside, and {free} are free", show_bytes(needed));
    Err(Error::failed(format!("the disk of {}", dir.display()), why).of(ErrorKind::NoRoom).hint(way_on))
}

/// How the folder begins in which a model is while it is removed, and what its name follows there.
const REMOVING: &str = ".removing-";
const REMOVED: &str = "model-";

/// The folder of a model that is out of sight.
pub(super) struct PutAway {
    away: tempfile::TempDir,
    was: PathBuf,
}

/// Takes the folder of a model out of sight in one step, so that an interruption leaves no half of a model under its name.
pub(super) fn put_away(partial_dir: &Path, dir: &Path) -> Result<PutAway> {
    let stays = |why| Error::io(dir, FileAction::Remove, why);
    let removed = format!("{REMOVED}{}", dir.file_name().unwrap_or_default().display());
    loop {
        let away = tempfile::Builder::new().prefix(REMOVING).tempdir_in(partial_dir).map_err(stays)?;
        match std::fs::rename(dir, away.path().join(&removed)) {
            Ok(()) => return Ok(PutAway { away, was: dir.to_path_buf() }),
            // Another process has cleared the new folder away, as one that was left.
            Err(_) if dir.exists() && !away.path().exists() => {}
            Err(why) if files::is_in_use(&why) => {
                return Err(stays(why).hint("a program may still read it, such as a chat or a server: end that first"));
            }
            Err(why) => return Err(stays(why)),
        }
    }
}

impl PutAway {
    /// Removes it. False where a program still reads its files and the system keeps them for it: [`models_away`] tells of them, and
    /// they are cleared away later.
    pub(super) fn remove(self) -> Result<bool> {
        // Not by its own `close`, which hides the system's error code.
        match std::fs::remove_dir_all(self.away.keep()) {
            Ok(()) => Ok(true),
            // Another process has just cleared it away.
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(true),
            Err(why) if files::is_in_use(&why) => Ok(false),
            Err(why) => {
                let left = "it is no longer in the list; what is left of it goes with the next model that is pulled or removed";
                Err(Error::io(&self.was, FileAction::Remove, why).hint(left))
            }
        }
    }
}

/// The model (or none yet), by its name and its folder, in a folder of [`put_away`]; `None` for any other folder.
pub(super) fn models_away(dir: &Path) -> Option<Vec<(String, PathBuf)>> {
    dir.file_name()?.to_str()?.strip_prefix(REMOVING)?;
    let own = std::fs::symlink_metadata(dir).ok()?.is_dir();
    let model = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        Some((entry.file_name().to_str()?.strip_prefix(REMOVED)?.to_owned(), entry.path()))
    };
    own.then(|| std::fs::read_dir(dir).ok()?.map(model).collect())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    #[cfg(unix)]
    fn links_in_the_store_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("precious")).unwrap();
        std::fs::write(at("precious/thesis"), "all of it").unwrap();
        std::os::unix::fs::symlink("precious", at("folder")).unwrap();
        std::os::unix::fs::symlink("precious/thesis", at("file")).unwrap();
        assert!(own_folder(&at("folder")).unwrap_err().to_string().contains("a link"));
        assert!(open_own(&at("file")).unwrap_err().to_string().contains("a link"));
        assert!(open_own(&at("precious")).unwrap_err().to_string().contains("a folder"));
        remove(&at("folder")).unwrap();
        remove(&at("file")).unwrap();
        remove(&at("file")).unwrap();
        assert_eq!(std::fs::read(at("precious/thesis")).unwrap(), b"all of it");
        open_own(&at("file")).unwrap();
        std::fs::hard_link(at("precious/thesis"), at("hard")).unwrap();
        assert!(open_own(&at("hard")).unwrap_err().to_string().contains("another name"));
        own_folder(&at("folder")).and_then(|()| own_folder(&at("folder"))).unwrap();
    }

    #[test]
    fn room_is_checked_where_the_directory_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let later = dir.path().join("a/b/c");
        assert!(check_room(&later, 1).is_ok());
        if cfg!(unix) {
            let error = check_room(&later, u64::MAX / 2).unwrap_err();
            assert!(error.to_string().contains("are free") && error.exit_code() == 1);
            let elsewhere = check_room_or(&later, u64::MAX / 2, "take another disk").unwrap_err().to_string();
            assert!(elsewhere.contains("another disk") && !elsewhere.contains("home"), "{elsewhere}");
        }
    }
}
