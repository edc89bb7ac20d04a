//! The place where a model is put together before it appears under its name.

use super::manifest::{self, Manifest, Stored};
use super::{Store, disk, name};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A model under way: `partial/NAME`, locked against other processes for as long as this value lives.
#[derive(Debug)]
pub struct Staging {
    name: String,
    dir: PathBuf,
    target: PathBuf,
    _lock: File,
}

impl Staging {
    /// Opens (and creates) the staging directory of `name`; what an earlier try left there stays.
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        name::check(name)?;
        let dir = store.partial_dir().join(name);
        let ready = dir.join("ready");
        std::fs::create_dir_all(&ready).map_err(|e| Error::io(&ready, "create", e))?;
        let path = dir.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|e| Error::io(&path, "create", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::failed(name, "another tokki is fetching it").hint("wait for it, or stop it"));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(Error::io(&path, "lock", e)),
        }
        Ok(Self { name: name.to_owned(), dir, target: store.models_dir().join(name), _lock: lock })
    }

    /// Where unfinished files lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes on disk that count towards the download.
    pub(super) fn allocated(&self) -> u64 {
        [self.dir.clone(), self.dir.join("ready")]
            .iter()
            .flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten())
            .map(|entry| disk::allocated(&entry.path()))
            .fold(0, u64::saturating_add)
    }

    /// Removes what an earlier try left.
    pub(super) fn clear(&self) -> Result<()> {
        let entries = std::fs::read_dir(&self.dir).map_err(|e| Error::io(&self.dir, "read", e))?;
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !path.ends_with("lock")) {
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(|e| Error::io(&path, "remove", e))?;
        }
        let ready = self.dir.join("ready");
        std::fs::create_dir_all(&ready).map_err(|e| Error::io(&ready, "create", e))
    }

    /// Where a finished file goes.
    pub fn ready(&self, file: &str) -> PathBuf {
        self.dir.join("ready").join(file)
    }

    /// Moves a finished, synced file to its place among the ready ones.
    pub fn promote(&self, from: &Path, file: &str) -> Result<()> {
        let to = self.ready(file);
        std::fs::rename(from, &to).map_err(|e| Error::io(&to, "rename", e))?;
        manifest::sync_dir(&self.dir.join("ready"))
    }

    /// Publishes the ready files under the model's name, in one rename, and clears the rest.
    pub fn publish(self, source: &str, files: Vec<Stored>) -> Result<PathBuf> {
        let ready = self.dir.join("ready");
        Manifest { version: 1, name: self.name.clone(), source: source.to_owned(), files }.write(&ready)?;
        let models = self.target.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(models).map_err(|e| Error::io(models, "create", e))?;
        if self.target.exists() {
            return Err(Error::failed(&self.name, "a model of this name is already there")
                .hint(format!("remove it first: tokki rm {}", self.name)));
        }
        std::fs::rename(&ready, &self.target).map_err(|e| Error::io(&self.target, "rename", e))?;
        manifest::sync_dir(models)?;
        // The model is complete: left-overs cost space, not correctness.
        drop(std::fs::remove_dir_all(&self.dir));
        Ok(self.target)
    }
}

/// The SHA-256 of a reader's content in lower-case hex; `each` sees the length of every piece and may stop the work.
pub(super) fn sha256(
    mut reader: impl Read,
    mut each: impl FnMut(u64) -> Result<()>,
) -> Result<std::io::Result<String>> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(Ok(hex(&hasher.finalize()))),
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                each(n as u64)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Ok(Err(e)),
        }
    }
}

/// Bytes as lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_model_appears_complete_and_staging_goes_away() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::at(home.path());
        let staging = Staging::open(&store, "m").unwrap();
        assert!(Staging::open(&store, "m").unwrap_err().to_string().contains("another"));
        let part = staging.dir().join("m.gguf.part");
        std::fs::write(&part, "GGUF").unwrap();
        staging.promote(&part, "m.gguf").unwrap();
        assert!(store.find("m").unwrap().is_none(), "not before it is published");
        let file = Stored { name: "m.gguf".into(), size: 4, sha256: None, link: None };
        staging.publish("s", vec![file]).unwrap();
        assert_eq!(store.resolve("m").unwrap(), store.models_dir().join("m/m.gguf"));
        assert!(!store.partial_dir().join("m").exists());
        Staging::open(&store, "m").unwrap();
        assert!(Staging::open(&store, "../m").is_err());
    }

    #[test]
    fn known_hash() {
        let hash = sha256(&b"abc"[..], |_| Ok(())).unwrap().unwrap();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
