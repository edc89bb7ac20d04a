//! What is done with models that are there: import, check, remove.

use super::home::folder_as_model;
use super::manifest::StoredFile;
use super::staging::{self, Order};
use super::{Manifest, Staging, Store, StoreProgress, disk, is_damage, layout, name};
use crate::error::FileAction;
use crate::gguf::{Gguf, RowLayout};
use crate::platform::files;
use crate::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte is the recorded one.
    Matches,
    /// The files can be read; at least one had no hash, and has one now.
    Recorded,
    /// No byte is another than the recorded one, but what is new could not be recorded, and why.
    NotRecorded(String),
}

/// The name that a file gets in its model's folder: its own, where that can be one on every system, else the model's.
fn base_of(own: &str, name: Option<&str>, file: &Path) -> Result<String> {
    if let Ok(base) = name::file_name(own) {
        return Ok(base);
    }
    if name::ShardName::parse(own).is_some() {
        let why = format!("The parts of {} have names that not every system takes: rename them first.", file.display());
        return Err(Error::usage(why));
    }
    let name = match name {
        Some(name) => name.to_owned(),
        None => name::from_file(own)
            .map_err(|_| Error::usage(format!("{} needs a name for the store: `name` NAME.", file.display())))?,
    };
    name::check(&name)?;
    name::file_name(&format!("{name}.gguf"))
}

/// An unfinished download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// The name it will have.
    pub name: String,
    /// Bytes that it takes on disk.
    pub bytes: u64,
    /// What it is of, if it says so.
    pub order: Option<Order>,
}

/// A model, or an unfinished download, that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The name it had.
    pub name: String,
    /// Bytes that it took on disk.
    pub bytes: u64,
    /// Another program still reads it, and its system keeps the files for as long: the next removal or download after that one has
    /// ended clears them away.
    pub in_use: bool,
}

impl Store {
    /// Takes the model whose (first) file is `file` into the store: links it, or with interleaved rows makes a copy, so that the
    /// file may go. Returns its name and its length in bytes.
    ///
    /// # Errors
    /// When the file is no model that can be read, the name is taken, or the disk has no room for a copy.
    pub fn import(
        &self,
        file: &Path,
        name: Option<&str>,
        layout: RowLayout,
        progress: &dyn StoreProgress,
    ) -> Result<(String, u64)> {
        let target = files::canonical(file).map_err(|e| Error::io(file, FileAction::Open, e))?;
        if target.is_dir() {
            return Err(folder_as_model(&target));
        }
        // A link's own name counts: what it leads to may be called by its hash.
        let own = file.file_name().or(target.file_name()).unwrap_or_default();
        let own = own.to_string_lossy().replace('\u{fffd}', "_");
        // The parts of a split model lie beside each other, by name.
        let split = name::ShardName::parse(&own).and(file.parent()).map(files::canonical);
        let file = match split {
            Some(Ok(folder)) => folder.join(file.file_name().unwrap_or_default()),
            _ => target,
        };
        let base = base_of(&own, name, &file)?;
        self.import_as(&file, &base, name, layout, progress)
    }

    /// Takes in the model whose (first) file is `file`, an absolute path, under the file name `base`.
    ///
    /// # Errors
    /// As [`Self::import`].
    pub fn import_as(
        &self,
        file: &Path,
        base: &str,
        name: Option<&str>,
        layout: RowLayout,
        progress: &dyn StoreProgress,
    ) -> Result<(String, u64)> {
        let (file, base) = (file.to_path_buf(), base.to_owned());
        let shown = file.display().to_string();
        if let Some(shard) = name::ShardName::parse(&base).filter(|shard| shard.number != 1) {
            return Err(Error::input(shown, "the first file of a split model", format!("number {}", shard.number)));
        }
        let gguf = Gguf::open(&file)?;
        let copied = layout == RowLayout::Interleaved && gguf.layout() == RowLayout::Plain;
        drop(gguf);
        let name = match name {
            Some(name) => name.to_owned(),
            None => name::from_file(&base)?,
        };
        if self.find(&name)?.is_some() {
            return Err(Error::input(name.as_str(), "a name that is free", "a model of this name")
                .hint(format!("choose another with `name`, or remove it: tokki rm {name}")));
        }
        let folder = file.parent().unwrap_or(Path::new("/"));
        drop(self.sweep());
        let staging = Staging::fresh(self, &name)?;
        let mut files = Vec::new();
        let shards = name::shards(&base);
        let alone = shards.len() == 1;
        for shard in shards {
            // The name in the store is text; that of the file may not be.
            let target = if alone { file.clone() } else { folder.join(&shard) };
            let size = std::fs::metadata(&target).map_err(|e| Error::io(&target, FileAction::Open, e))?.len();
            let link = staging.ready(&shard);
            files::link(&target, &link).map_err(|e| Error::io(&link, FileAction::Create, e))?;
            files.push(StoredFile {
                name: shard,
                size,
                sha256: None,
                original: None,
                link: Some(target.to_string_lossy().into_owned().into()),
            });
        }
        let size = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
        if copied {
            files = layout::interleave(&staging, &staging.ready(""), &files, progress)?;
        }
        staging.publish(&shown, files, false)?;
        Ok((name, size))
    }

    /// Reads every byte of a model and compares with the recorded hashes; records those that are missing, and what is
    /// found to be damaged until it is repaired.
    ///
    /// # Errors
    /// [`Error::Failed`] when the bytes are others, [`Error::Input`] when the model is unknown or no readable model.
    pub fn verify(&self, name: &str, progress: &dyn StoreProgress) -> Result<Verdict> {
        let entry = self.get(name)?;
        let first = entry.whole()?;
        let repair = entry.repair();
        let mut manifest = entry.manifest?;
        let before = manifest.clone();
        let verdict = compare(&mut manifest, &entry.dir, progress);
        let verdict = verdict.and_then(|verdict| Gguf::open(&first).map(|_| verdict));
        match &verdict {
            Ok(_) => manifest.damaged = None,
            Err(Error::Interrupted) => {}
            // Nothing was seen of the bytes: a lack of memory or of rights passes.
            Err(why) if !is_damage(why) => {}
            Err(Error::Failed { why, .. }) => manifest.damaged = Some(why.clone()),
            Err(other) => manifest.damaged = Some(other.to_string()),
        }
        let noted = if manifest == before { Ok(()) } else { manifest.write(&entry.dir) };
        match (verdict, noted) {
            (verdict, Ok(())) => verdict.map_err(|found| found.hint(repair)),
            // The disk that the record is on says nothing about the model.
            (Ok(_), Err(why)) => Ok(Verdict::NotRecorded(why.to_string())),
            (Err(found), Err(why)) => {
                Err(found.hint(format!("{repair}; this could not be noted, so that it is still run: {why}")))
            }
        }
    }

    /// Removes a model, or what an unfinished download of this name left. Returns what it was and the bytes freed.
    ///
    /// # Errors
    /// When there is neither, or when another process is fetching it.
    pub fn remove(&self, name: &str) -> Result<Removed> {
        if let Some(entry) = self.find(name)? {
            if !Manifest::is_in(&entry.dir)
                && std::fs::read_dir(&entry.dir).is_ok_and(|mut inside| inside.next().is_some())
            {
                return Err(staging::not_ours(&entry.dir));
            }
            drop(self.sweep());
            let there = |file: &StoredFile| std::fs::metadata(entry.dir.join(&file.name)).map_or(0, |meta| meta.len());
            let own = |file: &StoredFile| if file.link.is_none() { there(file) } else { 0 };
            let bytes = entry.manifest.as_ref().map_or(0, |m: &Manifest| m.files.iter().map(own).sum());
            let gone = disk::put_away(&self.own_partial_dir()?, &entry.dir)?.remove()?;
            return Ok(Removed { name: entry.name, bytes, in_use: !gone });
        }
        match self.partials().into_iter().find(|partial| partial.name == name) {
            Some(partial) => {
                drop(Staging::fresh(self, name)?);
                Ok(Removed { name: partial.name, bytes: partial.bytes, in_use: false })
            }
            None => self.get(name).and_then(|entry| Err(Error::failed(entry.name, "it was not there a moment ago"))),
        }
    }

    /// Removes what a process left that was killed while it removed, imported or rearranged a model, or that could not be removed
    /// before since a program had it open, and tells of which names.
    pub fn sweep(&self) -> Vec<String> {
        let mut swept = Vec::new();
        for entry in self.in_partial_dir() {
            let (name, dir) = (entry.file_name(), entry.path());
            if let Some(models) = disk::models_away(&dir) {
                if disk::remove(&dir).is_ok() {
                    swept.extend(models.into_iter().map(|(name, _)| name));
                }
            } else if let Some(name) = name.to_str().filter(|_| is_left_over(&dir))
                && Staging::fresh(self, name).is_ok()
            {
                swept.push(name.to_owned());
            }
        }
        swept
    }

    /// Models that were removed, but for the files: a program still has them open, or the removal was killed. What comes next to remove
    /// or fetch a model clears them away.
    pub fn removed(&self) -> Vec<Partial> {
        let away = self.in_partial_dir().filter_map(|entry| disk::models_away(&entry.path())).flatten();
        let left = |(name, dir): (String, PathBuf)| Partial { name, bytes: staging::allocated(&dir), order: None };
        away.map(left).collect()
    }

    /// Unfinished downloads by name: those that can be continued. One of which nothing has come is none.
    pub fn partials(&self) -> Vec<Partial> {
        let mut all = self.under_way(staging::can_be_continued);
        all.retain(|partial| partial.bytes > 0);
        all
    }

    /// What imports and arrangements left that were killed, by name: nothing goes on with it, and the next of the same name
    /// clears it away.
    pub fn leftovers(&self) -> Vec<Partial> {
        self.under_way(is_left_over)
    }

    fn under_way(&self, counts: impl Fn(&Path) -> bool) -> Vec<Partial> {
        let mut partials: Vec<Partial> = self
            .in_partial_dir()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
            .filter(|(name, dir)| name::check(name).is_ok() && counts(dir))
            .map(|(name, dir)| Partial { name, bytes: staging::allocated(&dir), order: staging::order(&dir) })
            .collect();
        partials.sort_by(|a, b| a.name.cmp(&b.name));
        partials
    }
}

/// Whether a folder holds what nothing goes on with, and no process works in it.
fn is_left_over(dir: &Path) -> bool {
    staging::is_own(dir) && !staging::can_be_continued(dir) && staging::is_abandoned(dir)
}

/// Compares the files in `dir` with their record, and completes it.
fn compare(manifest: &mut Manifest, dir: &Path, progress: &dyn StoreProgress) -> Result<Verdict> {
    let mut verdict = Verdict::Matches;
    for file in &mut manifest.files {
        let found = layout::stored_hash(dir, file, progress)?;
        match &file.sha256 {
            Some(wanted) if *wanted != found => {
                let path = dir.join(&file.name);
                let place = file.link.as_deref().unwrap_or(&path).display().to_string();
                let error = Error::failed(place, format!("sha256 is {found}, not {wanted}"));
                return Err(error.of(ErrorKind::Mismatch));
            }
            Some(_) => {}
            None => {
                file.sha256 = Some(found);
                verdict = Verdict::Recorded;
            }
        }
    }
    Ok(verdict)
}
