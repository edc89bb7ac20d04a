//! What is done with models that are there: import, check, remove.

use super::manifest::Stored;
use super::staging::sha256;
use super::{Manifest, Progress, Staging, Store, disk, name};
use crate::gguf::Gguf;
use crate::{Error, Result, interrupt};
use std::fs::File;
use std::path::Path;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte is the recorded one.
    Right,
    /// The files can be read; at least one had no hash, and has one now.
    Recorded,
}

/// An unfinished download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// The name it will have.
    pub name: String,
    /// Bytes that it takes on disk.
    pub bytes: u64,
}

impl Store {
    /// Links the model whose (first) file is `file` into the store. Returns its name and its length in bytes.
    ///
    /// # Errors
    /// When the file is no model that can be read, or the name is taken.
    pub fn import(&self, file: &Path, name: Option<&str>) -> Result<(String, u64)> {
        let file = std::fs::canonicalize(file).map_err(|e| Error::io(file, "open", e))?;
        let shown = file.display().to_string();
        let base = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let base =
            name::file_name(base).map_err(|_| Error::input(shown.as_str(), "a file NAME.gguf", format!("{base:?}")))?;
        if let Some(shard) = name::shard(&base).filter(|shard| shard.number != 1) {
            return Err(Error::input(shown, "the first file of a split model", format!("number {}", shard.number)));
        }
        Gguf::open(&file)?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => name::from_file(&base)?,
        };
        if self.find(&name)?.is_some() {
            return Err(Error::input(name.as_str(), "a name that is free", "a model of this name")
                .hint(format!("choose another with --name, or remove it: tokki rm {name}")));
        }
        let folder = file.parent().unwrap_or(Path::new("/"));
        let staging = Staging::open(self, &name)?;
        staging.clear()?;
        let mut files = Vec::new();
        for shard in name::shards(&base) {
            let target = folder.join(&shard);
            let size = std::fs::metadata(&target).map_err(|e| Error::io(&target, "open", e))?.len();
            let link = staging.ready(&shard);
            link_file(&target, &link).map_err(|e| Error::io(&link, "create", e))?;
            files.push(Stored { name: shard, size, sha256: None, link: Some(target) });
        }
        let size = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
        staging.publish(&shown, files)?;
        Ok((name, size))
    }

    /// Reads every byte of a model and compares with the recorded hashes; records those that are missing.
    ///
    /// # Errors
    /// [`Error::Failed`] when the bytes are others, [`Error::Input`] when the model is unknown or no readable model.
    pub fn verify(&self, name: &str, progress: &dyn Progress) -> Result<Verdict> {
        let entry = self.get(name)?;
        let first = entry.path()?;
        let mut manifest = entry.manifest?;
        let mut verdict = Verdict::Right;
        for file in &mut manifest.files {
            let path = entry.dir.join(&file.name);
            progress.begin(&file.name, file.size, 0);
            let reader = File::open(&path).map_err(|e| Error::io(&path, "open", e))?;
            let found = sha256(reader, |bytes| {
                progress.advance(bytes);
                interrupt::check()
            });
            progress.end();
            let found = found?.map_err(|e| Error::io(&path, "read", e))?;
            match &file.sha256 {
                Some(wanted) if *wanted != found => {
                    return Err(Error::failed(path.display().to_string(), format!("sha256 is {found}, not {wanted}")));
                }
                Some(_) => {}
                None => {
                    file.sha256 = Some(found);
                    verdict = Verdict::Recorded;
                }
            }
        }
        Gguf::open(&first)?;
        if verdict == Verdict::Recorded {
            manifest.write(&entry.dir)?;
        }
        Ok(verdict)
    }

    /// Removes a model, or what an unfinished download of this name left. Returns what it was and the bytes freed.
    ///
    /// # Errors
    /// When there is neither, or when another process is fetching it.
    pub fn remove(&self, name: &str) -> Result<Partial> {
        if let Some(entry) = self.find(name)? {
            let own = |file: &Stored| if file.link.is_none() { file.size } else { 0 };
            let bytes = entry.manifest.as_ref().map_or(0, |m: &Manifest| m.files.iter().map(own).sum());
            // Out of sight in one step, so that an interruption leaves no half of a model under its name.
            std::fs::create_dir_all(self.partial_dir()).map_err(|e| Error::io(self.partial_dir(), "create", e))?;
            let away = tempfile::Builder::new().prefix(".removing-").tempdir_in(self.partial_dir());
            let away = away.map_err(|e| Error::io(self.partial_dir(), "create", e))?;
            std::fs::rename(&entry.dir, away.path().join("model")).map_err(|e| Error::io(&entry.dir, "rename", e))?;
            away.close().map_err(|e| Error::io(&entry.dir, "remove", e))?;
            return Ok(Partial { name: entry.name, bytes });
        }
        match self.partials().into_iter().find(|partial| partial.name == name) {
            Some(partial) => {
                let staging = Staging::open(self, name)?;
                std::fs::remove_dir_all(staging.dir()).map_err(|e| Error::io(staging.dir(), "remove", e))?;
                Ok(partial)
            }
            None => self.get(name).and_then(|entry| Err(Error::failed(entry.name, "it was not there a moment ago"))),
        }
    }

    /// Unfinished downloads by name.
    pub fn partials(&self) -> Vec<Partial> {
        let entries = std::fs::read_dir(self.partial_dir()).into_iter().flatten().flatten();
        let mut partials: Vec<Partial> = entries
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name::check(name).is_ok())
            .map(|name| Partial { bytes: allocated_below(&self.partial_dir().join(&name), 4), name })
            .collect();
        partials.sort_by(|a, b| a.name.cmp(&b.name));
        partials
    }
}

fn allocated_below(dir: &Path, depth: usize) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.fold(0, |sum, entry| {
        let path = entry.path();
        let more = if path.is_dir() && depth > 0 { allocated_below(&path, depth - 1) } else { disk::allocated(&path) };
        sum.saturating_add(more)
    })
}

/// A link at `link` to the file `target`.
fn link_file(target: &Path, link: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::symlink(target, link);
    // Symbolic links need a privilege on Windows; hard links do not, on the same drive.
    #[cfg(windows)]
    return std::os::windows::fs::symlink_file(target, link).or_else(|_| std::fs::hard_link(target, link));
    #[cfg(not(any(unix, windows)))]
    return std::fs::hard_link(target, link);
}
