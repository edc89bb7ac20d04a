//! Stored models with interleaved rows: made of the files that came, and given back as those.

use super::hash::hash_file;
use super::manifest::StoredFile;
use super::{Manifest, Staging, Store, StoreProgress, disk, name};
use crate::error::FileAction;
use crate::gguf::{Gguf, Rearranged, RowLayout};
use crate::platform::output::OutputFile;
use crate::units::hex;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Makes files with interleaved rows of the files `files` in the folder `from`, and puts them among the ready ones. The hash
/// that is recorded stays that of the original, which is proven to come back.
///
/// # Errors
/// A disk without room for both, and what reading and writing can fail with; nothing is changed then.
pub(super) fn interleave(
    staging: &Staging,
    from: &Path,
    files: &[StoredFile],
    progress: &dyn StoreProgress,
) -> Result<Vec<StoredFile>> {
    let size = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    disk::check_room(staging.dir(), size)?;
    files.iter().map(|file| interleave_one(staging, from, file, progress)).collect()
}

fn interleave_one(
    staging: &Staging,
    from: &Path,
    file: &StoredFile,
    progress: &dyn StoreProgress,
) -> Result<StoredFile> {
    let original = from.join(&file.name);
    let wanted = match &file.sha256 {
        Some(hash) => hash.clone(),
        None => hash_file(&original, &file.name, progress)?,
    };
    let name = name::interleaved(&file.name);
    let part = staging.dir().join(format!("{name}.part"));
    disk::remove(&part)?;
    let source = Rearranged::open(&original, RowLayout::Interleaved)?;
    let mut out = File::create_new(&part).map_err(|e| Error::io(&part, FileAction::Create, e))?;
    stream(&source, &format!("{}: arranging", file.name), progress, &mut |bytes| {
        out.write_all(bytes).map_err(|e| Error::io(&part, FileAction::Write, e))
    })?;
    out.sync_all().map_err(|e| Error::io(&part, FileAction::Sync, e))?;
    let found = original_hash(&part, &name, progress)?;
    if found != wanted {
        let why = format!("the original would not come back: its sha256 is {wanted}, not {found}");
        return Err(Error::failed(original.display().to_string(), why));
    }
    staging.promote(&part, &name)?;
    Ok(StoredFile { name, size: file.size, sha256: Some(wanted), original: Some(file.name.clone()), link: None })
}

/// What the original of a file with interleaved rows hashes to.
pub(super) fn original_hash(path: &Path, shown: &str, progress: &dyn StoreProgress) -> Result<String> {
    let mut hash = Sha256::new();
    let source = Rearranged::open(path, RowLayout::Plain)?;
    stream(&source, &format!("{shown}: checking"), progress, &mut |bytes| {
        hash.update(bytes);
        Ok(())
    })?;
    Ok(hex(&hash.finalize()))
}

/// What a stored file, or the one that it was made of, hashes to.
pub(super) fn stored_hash(dir: &Path, file: &StoredFile, progress: &dyn StoreProgress) -> Result<String> {
    let path = dir.join(&file.name);
    match file.original {
        Some(_) => original_hash(&path, &file.name, progress),
        None => hash_file(&path, &file.name, progress),
    }
}

/// Calls `each` with the rearranged file, and shows how far it is.
fn stream(
    source: &Rearranged,
    what: &str,
    progress: &dyn StoreProgress,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    progress.begin(what, source.bytes(), 0);
    let stop = progress.stop();
    let outcome = source.write(&mut |bytes| {
        each(bytes)?;
        progress.advance(bytes.len() as u64);
        stop.check()
    });
    progress.end();
    outcome
}

impl Store {
    /// Writes the files of a model as they came, to `to`: a file, or a folder (which a model of several files needs). Returns
    /// their paths.
    ///
    /// # Errors
    /// [`Error::Input`] for a place that is taken and not to be `replaced`, [`Error::Failed`] when the bytes are not those that
    /// were stored; what was at the place is still there then.
    pub fn export(&self, name: &str, to: &Path, replaced: bool, progress: &dyn StoreProgress) -> Result<Vec<PathBuf>> {
        let entry = self.get(name)?;
        entry.path()?;
        let manifest = entry.manifest?;
        let folder = to.is_dir();
        if !folder && manifest.files.len() > 1 {
            let wanted = format!("a folder for its {} files", manifest.files.len());
            return Err(Error::input(to.display().to_string(), wanted, "no folder"));
        }
        let place = |file: &StoredFile| match folder {
            true => to.join(file.original.as_ref().unwrap_or(&file.name)),
            false => to.to_path_buf(),
        };
        if let Some(taken) = manifest.files.iter().map(place).find(|path| path.exists()).filter(|_| !replaced) {
            return Err(Error::input(taken.display().to_string(), "a new name", "a file of this name")
                .hint("choose another, or replace it with `force`"));
        }
        let into = if folder { to } else { to.parent().unwrap_or(Path::new("")) };
        disk::check_room_or(into, manifest.size(), "free some room there, or export to another disk")?;
        manifest.files.iter().map(|file| export_one(&entry.dir, file, place(file), progress)).collect()
    }

    /// Stores a model with its rows in another layout: interleaved, or as the files that came.
    ///
    /// # Errors
    /// As [`Store::export`]; the model is then as it was.
    pub fn rearrange(&self, name: &str, layout: RowLayout, progress: &dyn StoreProgress) -> Result<PathBuf> {
        let entry = self.get(name)?;
        let path = entry.path()?;
        let manifest: Manifest = entry.manifest?;
        if manifest.layout() == layout {
            return Ok(path);
        }
        let staging = Staging::fresh(self, &entry.name)?;
        let files = match layout {
            RowLayout::Interleaved => interleave(&staging, &entry.dir, &manifest.files, progress)?,
            RowLayout::Plain => {
                disk::check_room(staging.dir(), manifest.size())?;
                let back = |file: &StoredFile| {
                    let name = file.original.clone().unwrap_or_else(|| file.name.clone());
                    export_one(&entry.dir, file, staging.ready(&name), progress)?;
                    Ok(StoredFile { name, original: None, ..file.clone() })
                };
                manifest.files.iter().map(back).collect::<Result<_>>()?
            }
        };
        let first = files.first().map(|file| file.name.clone()).unwrap_or_default();
        Gguf::open(&staging.ready(&first))?;
        Ok(staging.publish(&manifest.source, files, true)?.join(first))
    }
}

/// Writes one file as it came, and checks that it is what came.
fn export_one(dir: &Path, file: &StoredFile, to: PathBuf, progress: &dyn StoreProgress) -> Result<PathBuf> {
    let source = Rearranged::open(&dir.join(&file.name), RowLayout::Plain)?;
    let (mut out, mut hash) = (OutputFile::begin_model(&to)?, Sha256::new());
    let shown = file.original.as_ref().unwrap_or(&file.name);
    stream(&source, &format!("{shown}: writing"), progress, &mut |bytes| {
        hash.update(bytes);
        out.write_all(bytes).map_err(|e| out.failed(e))
    })?;
    let found = hex(&hash.finalize());
    if let Some(wanted) = file.sha256.as_ref().filter(|wanted| **wanted != found) {
        let why = format!("it is damaged: the sha256 of the original is {wanted}, not {found}");
        return Err(Error::failed(dir.join(&file.name).display().to_string(), why));
    }
    out.commit()?;
    Ok(to)
}
