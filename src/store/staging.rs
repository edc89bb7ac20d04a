//! The place where a model is put together before it appears under its name.

use super::manifest::{Manifest, StoredFile};
use super::net::journal;
use super::{Store, disk, name};
use crate::error::FileAction;
use crate::platform::files::{self, is_same};
use crate::platform::input;
use crate::platform::output::{self, sync_dir};
use crate::text::shell_word;
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A model under way: `partial/NAME`, locked against other processes for as long as this value lives. When it goes and
/// nothing is in it that a later try could continue, the folder goes too.
#[derive(Debug)]
pub struct Staging {
    name: String,
    dir: PathBuf,
    target: PathBuf,
    /// Nothing of it is to stay, whatever happens.
    throw_away: bool,
    /// Always there, until it is dropped.
    lock: Option<File>,
}

/// What an unfinished download is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What was asked for, as `pull` takes it.
    pub what: String,
    /// Bytes in all, as far as they are known.
    pub total: Option<u64>,
}

impl Order {
    /// The command that goes on with the download of the model `name`.
    pub(super) fn command(&self, name: &str) -> String {
        let file =
            self.what.split(['?', '#']).next().and_then(|path| path.rsplit(['/', ':']).next()).unwrap_or_default();
        let what = shell_word(&self.what);
        // Where it is called otherwise than its file, that was asked for.
        match file.strip_suffix(".gguf").unwrap_or(file) == name {
            true => format!("tokki pull {what}"),
            false => format!("tokki pull {what} --name {name}"),
        }
    }
}

const ORDER: &str = "order.json";
/// Locked by the process that works in the folder.
const LOCK: &str = "lock";
/// How long another process that has it is waited for.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const MAX_ORDER: u64 = 1 << 16;

impl Staging {
    /// Opens (and creates) the staging directory of `name`; what an earlier try left there stays.
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        name::check(name)?;
        let dir = store.own_partial_dir()?.join(name);
        let is_folder = std::fs::symlink_metadata(&dir).is_ok_and(|meta| meta.is_dir());
        if is_folder && !is_own(&dir) && entries(&dir).next().is_some() {
            return Err(not_ours(&dir));
        }
        let lock = lock(&dir, name)?;
        let target = store.models_dir().join(name);
        let staging = Self { name: name.to_owned(), dir, target, throw_away: false, lock: Some(lock) };
        disk::own_folder(&staging.dir.join("ready"))?;
        Ok(staging)
    }

    /// As [`Self::open`], for work that is done at once or not at all: nothing that was there stays, nor anything that a
    /// failure leaves.
    pub(super) fn fresh(store: &Store, name: &str) -> Result<Self> {
        let mut staging = Self::open(store, name)?;
        staging.throw_away = true;
        staging.clear()?;
        Ok(staging)
    }

    /// Where unfinished files lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Records what is being fetched, for `list`.
    pub(super) fn order(&self, order: &Order) -> Result<()> {
        let text = serde_json::to_string(order).map_err(|e| Error::failed(ORDER, e.to_string()))?;
        output::write(&self.dir.join(ORDER), text.as_bytes())
    }

    /// Bytes on disk that count towards the download.
    pub(super) fn allocated(&self) -> u64 {
        allocated(&self.dir)
    }

    /// Removes what an earlier try left.
    pub(super) fn clear(&self) -> Result<()> {
        self.entries_beside_lock().try_for_each(|path| disk::remove(&path))?;
        disk::own_folder(&self.dir.join("ready"))
    }

    fn entries_beside_lock(&self) -> impl Iterator<Item = PathBuf> {
        entries(&self.dir).filter(|path| !path.ends_with(LOCK))
    }

    /// Where a finished file goes.
    pub fn ready(&self, file: &str) -> PathBuf {
        self.dir.join("ready").join(file)
    }

    /// Moves a finished, synced file to its place among the ready ones.
    pub fn promote(&self, from: &Path, file: &str) -> Result<()> {
        let to = self.ready(file);
        disk::remove(&to)?;
        std::fs::rename(from, &to).map_err(|e| Error::io(&to, FileAction::Rename, e))?;
        let dir = self.dir.join("ready");
        sync_dir(&dir).map_err(|e| Error::io(&dir, FileAction::Sync, e))
    }

    /// Publishes the ready files under the model's name, in one rename, and clears the rest. A model of that name gives
    /// way if it is to be `replaced`.
    pub fn publish(mut self, source: &str, files: Vec<StoredFile>, replaced: bool) -> Result<PathBuf> {
        let ready = self.dir.join("ready");
        for path in entries(&ready) {
            // What was not asked for doesn't come along.
            if !files.iter().any(|file| path.ends_with(&file.name)) {
                disk::remove(&path)?;
            }
        }
        Manifest { version: 1, name: self.name.clone(), source: source.to_owned(), files, damaged: None }
            .write(&ready)?;
        let models = self.target.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(models).map_err(|e| Error::io(models, FileAction::Create, e))?;
        let there = std::fs::symlink_metadata(&self.target).is_ok();
        if there && !replaced {
            return Err(Error::failed(&self.name, "a model of this name is already there")
                .hint(format!("remove it first: tokki rm {}", self.name)));
        }
        if there && !Manifest::is_in(&self.target) && entries(&self.target).next().is_some() {
            return Err(not_ours(&self.target));
        }
        let partial_dir = self.dir.parent().unwrap_or(Path::new("."));
        let old = there.then(|| disk::put_away(partial_dir, &self.target)).transpose()?;
        std::fs::rename(&ready, &self.target).map_err(|e| Error::io(&self.target, FileAction::Rename, e))?;
        sync_dir(models).map_err(|e| Error::io(models, FileAction::Sync, e))?;
        self.throw_away = true;
        // Left-overs cost space, not correctness.
        drop(old.map(disk::PutAway::remove));
        Ok(self.target.clone())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.throw_away || !can_be_continued(&self.dir) {
            // Left-overs cost space, not correctness.
            self.entries_beside_lock().for_each(|path| drop(disk::remove(&path)));
            // Last, and with the folder alone after it: the next process locks a file of its own there.
            drop(disk::remove(&self.dir.join(LOCK)));
            // Not every system lets a folder go for as long as a file in it is open.
            self.lock = None;
            drop(std::fs::remove_dir(&self.dir));
        }
    }
}

/// Creates the folder of a model under way and locks it. One that only looks at it, or clears it away, is waited for.
fn lock(dir: &Path, name: &str) -> Result<File> {
    let begun = Instant::now();
    loop {
        match lock_now(dir, name) {
            Err(why) if passes(&why) && begun.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_PATIENCE / 25),
            Ok(None) => {}
            Ok(Some(lock)) => return Ok(lock),
            Err(why) => return Err(why),
        }
    }
}

/// The same, once; `None` where another process removed the folder meanwhile.
fn lock_now(dir: &Path, name: &str) -> Result<Option<File>> {
    let path = dir.join(LOCK);
    disk::own_folder(dir)?;
    let lock = match disk::open_own(&path) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !files::take_lock(&lock).map_err(|e| Error::io(&path, FileAction::Lock, e))? {
        let fetched = Error::failed(name, "another tokki is fetching it");
        return Err(fetched.of(ErrorKind::InUse).hint("wait for it, or stop it"));
    }
    Ok(is_same(&lock, &path).then_some(lock))
}

/// Whether a reason not to have a lock may be gone in a moment: another process has it, or is removing the folder and its system keeps
/// the names of what is open.
fn passes(why: &Error) -> bool {
    let removed = matches!(why, Error::Io { source, .. } if files::is_in_use(source));
    removed || why.kind() == ErrorKind::InUse
}

/// Whether a folder holds what [`Staging::open`] puts there: others' folders are not touched, whatever they are called.
pub(super) fn is_own(dir: &Path) -> bool {
    let is = |name: &str, kind: fn(&std::fs::Metadata) -> bool| {
        std::fs::symlink_metadata(dir.join(name)).is_ok_and(|meta| kind(&meta))
    };
    let whole = is("ready", std::fs::Metadata::is_dir) || can_be_continued(dir);
    // Killed in between, it has the lock alone.
    is(LOCK, std::fs::Metadata::is_file) && (whole || entries(dir).count() == 1)
}

/// That a folder stands where one of the store's own would be.
pub(super) fn not_ours(dir: &Path) -> Error {
    Error::input(dir.display().to_string(), "a folder of the store", "one with other files in it")
        .hint("move it out of the store")
}

/// Whether no process works in this folder.
pub(super) fn is_abandoned(dir: &Path) -> bool {
    match File::open(dir.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(why) => why.kind() == std::io::ErrorKind::NotFound,
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Bytes that the files of an unfinished download take on disk.
pub(super) fn allocated(dir: &Path) -> u64 {
    let counts = |path: &PathBuf| path.extension().is_none_or(|e| e != "json" && e != "journal" && e != "done");
    let ready = dir.join("ready");
    let files = entries(dir).chain(entries(&ready)).filter(counts);
    // The file of a download has its whole length from the beginning.
    let told = |path: &Path| {
        let part = !files::TELLS_HOLES && path.extension().is_some_and(|extension| extension == "part");
        part.then(|| journal::read(&path.with_extension("journal"))).flatten()
    };
    let bytes = |path: PathBuf| told(&path).map_or_else(|| disk::allocated(&path), |told| told.bytes());
    files.filter(|path| !path.is_dir()).map(bytes).fold(0, u64::saturating_add)
}

/// What an unfinished download is of, if it says so.
pub(super) fn order(dir: &Path) -> Option<Order> {
    let order: Order = serde_json::from_slice(&input::read_regular(&dir.join(ORDER), MAX_ORDER).ok()?).ok()?;
    let files = || entries(dir).filter(|path| path.extension().is_some_and(|e| e == "journal" || e == "done"));
    let alone = name::ShardName::parse(order.what.rsplit('/').next().unwrap_or_default()).is_none();
    // A server tells how long a file is only when it is asked for it.
    let told = || files().next().and_then(|path| journal::read(&path)).map(|told| told.head.size).filter(|_| alone);
    Some(Order { total: order.total.or_else(told), ..order })
}

/// Whether the folder of an unfinished download holds anything that a later try can go on from.
pub(super) fn can_be_continued(dir: &Path) -> bool {
    let begun = |path: PathBuf| path.extension().is_some_and(|e| e == "journal" || e == "done");
    entries(dir).any(begun)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_command_that_goes_on_gives_the_model_its_name() {
        let command = |what: &str, name: &str| Order { what: what.to_owned(), total: None }.command(name);
        assert_eq!(command("http://x/g.gguf", "g"), "tokki pull http://x/g.gguf");
        assert_eq!(
            command("http://x/g.gguf?download=true", "part1"),
            "tokki pull \"http://x/g.gguf?download=true\" --name part1"
        );
        assert_eq!(command("qwen3-0.6b", "qwen3-0.6b"), "tokki pull qwen3-0.6b");
        assert_eq!(command("hf:a/b-GGUF:Q4_K_M", "b-q4_k_m"), "tokki pull hf:a/b-GGUF:Q4_K_M --name b-q4_k_m");
    }

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
        let file = StoredFile { name: "m.gguf".into(), size: 4, sha256: None, original: None, link: None };
        std::fs::write(staging.ready("junk"), "x").unwrap();
        staging.publish("s", vec![file], false).unwrap();
        assert_eq!(store.resolve("m").unwrap(), store.models_dir().join("m/m.gguf"));
        assert!(!store.partial_dir().join("m").exists() && !store.models_dir().join("m/junk").exists());
        drop(Staging::open(&store, "m").unwrap());
        assert!(!store.partial_dir().join("m").exists(), "nothing came");
        let again = Staging::open(&store, "m").unwrap();
        std::fs::write(again.ready("m.gguf"), "GGUG").unwrap();
        let file = |size| vec![StoredFile { name: "m.gguf".into(), size, sha256: None, original: None, link: None }];
        assert!(again.publish("s", file(4), false).is_err());
        let again = Staging::open(&store, "m").unwrap();
        std::fs::write(again.ready("m.gguf"), "GGUG").unwrap();
        again.publish("s", file(4), true).unwrap();
        assert_eq!(std::fs::read(store.models_dir().join("m/m.gguf")).unwrap(), b"GGUG");
        assert!(!store.partial_dir().join("m").exists());
        assert!(Staging::open(&store, "../m").is_err());
    }

    #[test]
    fn known_hash() {
        let hash = super::super::hash::sha256(&b"abc"[..], |_| Ok(())).unwrap().unwrap();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
