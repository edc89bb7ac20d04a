//! Files and batches, in one folder.

use super::super::error::ApiError;
use super::super::journal::{self, Was};
use crate::error::{ErrorKind, FileAction};
use crate::platform::files::{lock, private_file, private_folder};
use crate::platform::{input, output};
use crate::units::unix_seconds;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

type Result<T> = std::result::Result<T, ApiError>;

/// Most files and batches that are kept.
pub(super) const MAX_OBJECTS: usize = 10_000;

/// What is read of what the disk has of one.
const MAX_OBJECT_BYTES: u64 = 4 << 20;

/// The object of a file or a batch, and whose it is: those of others are as if they were not there.
pub(super) struct KeptObject {
    owner: u64,
    pub(super) object: Value,
}

/// The member that says so on disk.
const OWNER: &str = "tokki_owner";

impl KeptObject {
    /// What the disk has.
    fn read(mut object: Value) -> Self {
        let owner = object.as_object_mut().and_then(|object| object.remove(OWNER));
        Self { owner: owner.and_then(|owner| owner.as_u64()).unwrap_or_default(), object }
    }

    fn written(&self) -> String {
        let mut object = self.object.clone();
        object[OWNER] = self.owner.into();
        object.to_string()
    }
}

/// The files and batches of a server.
pub(in super::super) struct Files {
    folder: PathBuf,
    /// Two servers would both go on with the same batches.
    _lock: File,
    /// The folder, where it goes with the server.
    _temporary: Option<tempfile::TempDir>,
    objects: Mutex<BTreeMap<String, KeptObject>>,
    /// Flags of batches that are to stop.
    stops: Mutex<BTreeMap<String, Arc<AtomicBool>>>,
    next: AtomicU64,
}

pub(super) fn now() -> u64 {
    unix_seconds(SystemTime::now())
}

impl Files {
    /// The files in `folder`, which is made if it is not there; without one those of this process only.
    ///
    /// # Errors
    /// A folder that cannot be made or read.
    pub(in super::super) fn open(folder: Option<&Path>) -> crate::Result<Self> {
        let failed = |path: &Path, action| {
            let path = path.to_owned();
            move |why| crate::Error::io(&path, action, why)
        };
        let need = "files and batches need one that can be written to: name it (`data`), or make /tmp such a place";
        let temporary = match folder {
            Some(_) => None,
            None => Some(
                tempfile::tempdir()
                    .map_err(failed(Path::new("a temporary folder"), FileAction::Create))
                    .map_err(|error| error.hint(need))?,
            ),
        };
        let folder = folder.or(temporary.as_ref().map(tempfile::TempDir::path)).unwrap_or(Path::new(".")).to_owned();
        // What is in it is what people wrote.
        private_folder(&folder).map_err(failed(&folder, FileAction::Create))?;
        let place = folder.join("lock");
        let Some(lock) = lock(&place).map_err(failed(&place, FileAction::Lock))? else {
            let what = folder.display().to_string();
            return Err(crate::Error::failed(what, "another tokki serve keeps its files and batches here")
                .of(ErrorKind::InUse)
                .hint("end that one, or give each its own folder (`data`)"));
        };
        let mut objects = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).map_err(failed(&folder, FileAction::Read))?.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "json")
                && let Ok(bytes) = input::read_regular(&path, MAX_OBJECT_BYTES)
                && let Ok(object) = serde_json::from_slice::<Value>(&bytes)
                && let Some(id) = object["id"].as_str().filter(|id| path.file_stem().is_some_and(|stem| stem == *id))
            {
                objects.insert(id.to_owned(), KeptObject::read(object.clone()));
            }
        }
        let (objects, stops) = (Mutex::new(objects), Mutex::default());
        Ok(Self { folder, _temporary: temporary, _lock: lock, objects, stops, next: AtomicU64::new(0) })
    }

    pub(super) fn objects(&self) -> MutexGuard<'_, BTreeMap<String, KeptObject>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stops(&self) -> MutexGuard<'_, BTreeMap<String, Arc<AtomicBool>>> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new_id(&self, prefix: &str) -> String {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
        format!("{prefix}{micros:x}{:04x}", self.next.fetch_add(1, Ordering::Relaxed) & 0xffff)
    }

    pub(super) fn path(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// An object of this kind, by its id.
    pub(super) fn get(&self, owner: u64, kind: &str, id: &str) -> Result<Value> {
        let objects = self.objects();
        let found = objects.get(id).filter(|kept| kept.owner == owner && kept.object["object"] == kind);
        found.map(|kept| kept.object.clone()).ok_or_else(|| ApiError::not_found(format!("there is no {kind} '{id}'")))
    }

    /// All objects of this kind, the latest last.
    pub(super) fn list(&self, owner: u64, kind: &str) -> Vec<Value> {
        let objects = self.objects();
        let own = objects.values().filter(|kept| kept.owner == owner && kept.object["object"] == kind);
        let mut list: Vec<Value> = own.map(|kept| kept.object.clone()).collect();
        list.sort_by_key(|object| object["created_at"].as_u64());
        list
    }

    /// The batches that are not over, and whose they are.
    pub(super) fn open_batches(&self) -> Vec<(u64, String)> {
        let objects = self.objects();
        let open = objects.iter().filter(|(_, kept)| kept.object["object"] == "batch" && !is_over(&kept.object));
        open.map(|(id, kept)| (kept.owner, id.clone())).collect()
    }

    /// Writes an object, so that it is there after a crash as well.
    pub(super) fn put(&self, owner: u64, object: Value) -> Result<()> {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        if !self.objects().contains_key(&id) && self.objects().len() >= MAX_OBJECTS {
            return Err(ApiError::conflict("too many files and batches are kept: delete some"));
        }
        let kept = KeptObject { owner, object };
        output::write_private(&self.path(&format!("{id}.json")), kept.written().as_bytes())?;
        self.objects().insert(id, kept);
        Ok(())
    }

    /// Keeps an object, in memory at least where the disk takes nothing.
    pub(super) fn put_or_remember(&self, owner: u64, object: Value) {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        if self.put(owner, object.clone()).is_err() {
            self.objects().insert(id, KeptObject { owner, object });
        }
    }

    /// A file of answers, to go on with, and what it answers.
    pub(super) fn open_answers(&self, id: &str) -> crate::Result<(File, HashMap<String, Was>)> {
        let path = self.path(id);
        if !path.exists() {
            private_file(&path).map_err(|why| crate::Error::io(&path, FileAction::Create, why))?;
        }
        journal::open_output(&path)
    }

    pub(super) fn remove(&self, id: &str) {
        self.objects().remove(id);
        for path in [self.path(id), self.path(&format!("{id}.json"))] {
            let _ = std::fs::remove_file(path);
        }
    }

    pub(super) fn file_object(&self, id: &str, name: &str, purpose: &str) -> Value {
        let bytes = std::fs::metadata(self.path(id)).map_or(0, |meta| meta.len());
        json!({ "id": id, "object": "file", "bytes": bytes, "created_at": now(), "filename": name, "purpose": purpose,
                "status": "processed", "status_details": null, "expires_at": null })
    }
}

pub(super) fn is_over(batch: &Value) -> bool {
    matches!(batch["status"].as_str(), Some("completed" | "failed" | "cancelled"))
}
