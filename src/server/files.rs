//! `/v1/files` and `/v1/batches`: many requests that are answered in the background.
//!
//! Everything lies in one folder, so that a server that is started again knows its files and goes on with its batches:
//! `ID` is a file's content, `ID.json` its object. A batch's output is written line by line, and is its journal.

use super::batch::{self, Line, Was};
use super::body::Fields;
use super::error::ApiError;
use super::resume::{self, Limits};
use super::routes::{Call, State, json as respond_json};
use crate::error::{ErrorKind, FileAction};
use crate::platform::files::{lock, private_file, private_folder};
use crate::platform::output;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, header};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

type Result<T> = std::result::Result<T, ApiError>;

/// Largest file that is taken.
pub(super) const MAX_FILE: usize = 100 << 20;
/// Most files and batches that are kept.
const MAX_OBJECTS: usize = 10_000;

/// The object of a file or a batch, and whose it is: those of others are as if they were not there.
struct Kept {
    owner: u64,
    object: Value,
}

/// How long a batch may take, as all clients say; here it takes as long as it takes.
const WINDOW: &str = "24h";

/// The member that says so on disk.
const OWNER: &str = "tokki_owner";

impl Kept {
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
pub(super) struct Files {
    folder: PathBuf,
    /// Two servers would both go on with the same batches.
    _lock: File,
    /// The folder, where it goes with the server.
    _temporary: Option<tempfile::TempDir>,
    objects: Mutex<BTreeMap<String, Kept>>,
    /// Flags of batches that are to stop.
    stops: Mutex<BTreeMap<String, Arc<AtomicBool>>>,
    next: AtomicU64,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

impl Files {
    /// The files in `folder`, which is made if it is not there; without one those of this process only.
    ///
    /// # Errors
    /// A folder that cannot be made or read.
    pub(super) fn open(folder: Option<&Path>) -> crate::Result<Self> {
        let failed = |path: &Path, action| {
            let path = path.to_owned();
            move |why| crate::Error::io(&path, action, why)
        };
        let temporary = match folder {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(failed(Path::new("a temporary folder"), FileAction::Create))?),
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
                && let Ok(text) = std::fs::read_to_string(&path)
                && let Ok(object) = serde_json::from_str::<Value>(&text)
                && let Some(id) = object["id"].as_str().filter(|id| path.file_stem().is_some_and(|stem| stem == *id))
            {
                objects.insert(id.to_owned(), Kept::read(object.clone()));
            }
        }
        let (objects, stops) = (Mutex::new(objects), Mutex::default());
        Ok(Self { folder, _temporary: temporary, _lock: lock, objects, stops, next: AtomicU64::new(0) })
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stops(&self) -> MutexGuard<'_, BTreeMap<String, Arc<AtomicBool>>> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_id(&self, prefix: &str) -> String {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
        format!("{prefix}{micros:x}{:04x}", self.next.fetch_add(1, Ordering::Relaxed) & 0xffff)
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// An object of this kind, by its id.
    fn get(&self, owner: u64, kind: &str, id: &str) -> Result<Value> {
        let objects = self.objects();
        let found = objects.get(id).filter(|kept| kept.owner == owner && kept.object["object"] == kind);
        found.map(|kept| kept.object.clone()).ok_or_else(|| ApiError::not_found(format!("there is no {kind} '{id}'")))
    }

    /// All objects of this kind, the latest last.
    fn list(&self, owner: u64, kind: &str) -> Vec<Value> {
        let objects = self.objects();
        let own = objects.values().filter(|kept| kept.owner == owner && kept.object["object"] == kind);
        let mut list: Vec<Value> = own.map(|kept| kept.object.clone()).collect();
        list.sort_by_key(|object| object["created_at"].as_u64());
        list
    }

    /// The batches that are not over, and whose they are.
    fn open_batches(&self) -> Vec<(u64, String)> {
        let objects = self.objects();
        let open = objects.iter().filter(|(_, kept)| kept.object["object"] == "batch" && !is_over(&kept.object));
        open.map(|(id, kept)| (kept.owner, id.clone())).collect()
    }

    /// Writes an object, so that it is there after a crash as well.
    fn put(&self, owner: u64, object: Value) -> Result<()> {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        if !self.objects().contains_key(&id) && self.objects().len() >= MAX_OBJECTS {
            return Err(ApiError::conflict("too many files and batches are kept: delete some"));
        }
        let kept = Kept { owner, object };
        output::write_private(&self.path(&format!("{id}.json")), kept.written().as_bytes())?;
        self.objects().insert(id, kept);
        Ok(())
    }

    /// Keeps an object, in memory at least where the disk takes nothing.
    fn put_or_remember(&self, owner: u64, object: Value) {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        if self.put(owner, object.clone()).is_err() {
            self.objects().insert(id, Kept { owner, object });
        }
    }

    /// A file of answers, to go on with, and what it answers.
    fn open_answers(&self, id: &str) -> crate::Result<(File, HashMap<String, Was>)> {
        let path = self.path(id);
        if !path.exists() {
            private_file(&path).map_err(|why| crate::Error::io(&path, FileAction::Create, why))?;
        }
        batch::open_output(&path)
    }

    fn remove(&self, id: &str) {
        self.objects().remove(id);
        for path in [self.path(id), self.path(&format!("{id}.json"))] {
            let _ = std::fs::remove_file(path);
        }
    }

    fn file_object(&self, id: &str, name: &str, purpose: &str) -> Value {
        let bytes = std::fs::metadata(self.path(id)).map_or(0, |meta| meta.len());
        json!({ "id": id, "object": "file", "bytes": bytes, "created_at": now(), "filename": name, "purpose": purpose,
                "status": "processed", "status_details": null, "expires_at": null })
    }
}

/// The last part of a path, or the one before `suffix`.
fn id_of<'c>(call: &'c Call, suffix: &str) -> &'c str {
    call.uri.path().trim_end_matches('/').trim_end_matches(suffix).rsplit('/').next().unwrap_or_default()
}

/// The fields of a form with a file.
async fn form(call: &Call) -> Result<(String, String, Bytes)> {
    let bad = |why: multer::Error| ApiError::bad(format!("the form cannot be read: {why}"));
    let boundary = multer::parse_boundary(&call.content_type)
        .map_err(|_| ApiError::bad("multipart/form-data with 'purpose' and 'file' is wanted"))?;
    let body = call.body.clone();
    let stream = futures_util::stream::once(async move { Ok::<_, std::convert::Infallible>(body) });
    let mut form = multer::Multipart::new(stream, boundary);
    let (mut purpose, mut file) = (None, None);
    while let Some(field) = form.next_field().await.map_err(bad)? {
        match field.name() {
            Some("purpose") => purpose = Some(field.text().await.map_err(bad)?),
            Some("file") => {
                let name = field.file_name().unwrap_or("file").chars().take(200).collect::<String>();
                file = Some((name, field.bytes().await.map_err(bad)?));
            }
            _ => {}
        }
    }
    let purpose = purpose.ok_or_else(|| ApiError::field("purpose", "is missing"))?;
    let (name, bytes) = file.ok_or_else(|| ApiError::field("file", "is missing"))?;
    Ok((purpose, name, bytes))
}

/// `POST /v1/files`
pub(super) async fn upload(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let (purpose, name, bytes) = form(&call).await?;
    if purpose != "batch" {
        return Err(ApiError::field("purpose", format!("'batch' is wanted, not '{purpose}'")));
    }
    let files = &state.files;
    let id = files.new_id("file-");
    output::write_private(&files.path(&id), &bytes)?;
    let object = files.file_object(&id, &name, &purpose);
    files.put(call.asker.owner, object.clone()).inspect_err(|_| files.remove(&id))?;
    Ok(respond_json(&object, &[]))
}

/// `GET /v1/files`
pub(super) async fn files(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let limits = Limits { usual: MAX_OBJECTS, most: MAX_OBJECTS };
    Ok(respond_json(
        &resume::page(state.files.list(call.asker.owner, "file"), &resume::query(&call.uri)?, limits)?,
        &[],
    ))
}

/// `GET /v1/files/ID`
pub(super) async fn file(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    Ok(respond_json(&state.files.get(call.asker.owner, "file", id_of(&call, ""))?, &[]))
}

/// `GET /v1/files/ID/content`
pub(super) async fn content(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let object = state.files.get(call.asker.owner, "file", id_of(&call, "/content"))?;
    let path = state.files.path(object["id"].as_str().unwrap_or_default());
    let bytes = tokio::task::spawn_blocking(move || {
        std::fs::read(&path).map_err(|why| crate::Error::io(&path, FileAction::Read, why))
    });
    let bytes = bytes.await.map_err(|_| ApiError::internal("reading the file failed"))??;
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// `DELETE /v1/files/ID`
pub(super) async fn delete(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let id = id_of(&call, "").to_owned();
    state.files.get(call.asker.owner, "file", &id)?;
    let used = |batch: &Value| {
        let own = ["input_file_id", "output_file_id", "error_file_id"].map(|name| &batch[name]);
        !is_over(batch) && own.iter().any(|own| **own == id.as_str())
    };
    if state.files.list(call.asker.owner, "batch").iter().any(used) {
        return Err(ApiError::conflict("a batch that is not over uses this file"));
    }
    state.files.remove(&id);
    Ok(respond_json(&json!({ "id": id, "object": "file", "deleted": true }), &[]))
}

/// The file of the answers that are errors, beside that of the others.
fn errors_of(output: &str) -> String {
    format!("{output}-errors")
}

fn is_over(batch: &Value) -> bool {
    matches!(batch["status"].as_str(), Some("completed" | "failed" | "cancelled"))
}

/// `POST /v1/batches`
pub(super) async fn create(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let input = fields.str("input_file_id")?.ok_or_else(|| ApiError::field("input_file_id", "is missing"))?;
    let endpoint = fields.str("endpoint")?.ok_or_else(|| ApiError::field("endpoint", "is missing"))?;
    if batch::route(&endpoint).is_none() {
        return Err(ApiError::field("endpoint", format!("'{endpoint}' is none; /v1/chat/completions is one")));
    }
    let window = fields.str("completion_window")?.unwrap_or_else(|| WINDOW.to_owned());
    if window != WINDOW {
        return Err(ApiError::field(
            "completion_window",
            format!("only '{WINDOW}' is known, not '{window}'; no batch expires"),
        ));
    }
    let metadata = fields.take("metadata");
    state.files.get(call.asker.owner, "file", &input)?;
    let id = state.files.new_id("batch_");
    let none = Value::Null;
    let batch = json!({
        "id": id, "object": "batch", "endpoint": endpoint, "errors": none, "input_file_id": input,
        "completion_window": window, "status": "validating", "output_file_id": none, "error_file_id": none,
        "created_at": now(), "in_progress_at": none, "expires_at": none, "finalizing_at": none, "completed_at": none,
        "failed_at": none, "expired_at": none, "cancelling_at": none, "cancelled_at": none,
        "request_counts": { "total": 0, "completed": 0, "failed": 0 }, "metadata": metadata,
    });
    state.files.put(call.asker.owner, batch.clone())?;
    begin(&state, call.asker.owner, id);
    Ok(respond_json(&batch, &fields.rest()))
}

/// `GET /v1/batches`
pub(super) async fn batches(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let limits = Limits { usual: 20, most: 100 };
    Ok(respond_json(
        &resume::page(state.files.list(call.asker.owner, "batch"), &resume::query(&call.uri)?, limits)?,
        &[],
    ))
}

/// `GET /v1/batches/ID`
pub(super) async fn batch(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    Ok(respond_json(&state.files.get(call.asker.owner, "batch", id_of(&call, ""))?, &[]))
}

/// `POST /v1/batches/ID/cancel`
pub(super) async fn cancel(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let id = id_of(&call, "/cancel").to_owned();
    let mut object = state.files.get(call.asker.owner, "batch", &id)?;
    if is_over(&object) {
        return Err(ApiError::conflict(format!("this batch is {}", object["status"].as_str().unwrap_or("over"))));
    }
    if let Some(stop) = state.files.stops().get(&id) {
        stop.store(true, Ordering::Relaxed);
    }
    object["status"] = "cancelling".into();
    object["cancelling_at"] = now().into();
    state.files.put(call.asker.owner, object.clone())?;
    Ok(respond_json(&object, &[]))
}

/// Goes on with the batches that an earlier run of the server has left.
pub(super) fn resume(state: &Arc<State>) {
    for (owner, id) in state.files.open_batches() {
        begin(state, owner, id);
    }
}

/// Works on a batch in the background.
fn begin(state: &Arc<State>, owner: u64, id: String) {
    let stop: Arc<AtomicBool> = Arc::default();
    state.files.stops().insert(id.clone(), Arc::clone(&stop));
    let state = Arc::clone(state);
    tokio::spawn(async move {
        if let Err(why) = run(&state, owner, &id, &stop).await
            && let Ok(mut object) = state.files.get(owner, "batch", &id)
            && !state.draining.load(Ordering::Relaxed)
        {
            object["status"] = "failed".into();
            object["failed_at"] = now().into();
            object["errors"] = json!({ "object": "list", "data": [{ "message": why.message, "code": "failed" }] });
            state.files.put_or_remember(owner, object);
        }
        state.files.stops().remove(&id);
    });
}

async fn run(state: &Arc<State>, owner: u64, id: &str, stop: &AtomicBool) -> Result<()> {
    let mut object = state.files.get(owner, "batch", id)?;
    let text = |object: &Value, name: &str| object[name].as_str().unwrap_or_default().to_owned();
    let endpoint = text(&object, "endpoint");
    let lines = batch::read_lines(&state.files.path(&text(&object, "input_file_id")))?;
    if lines.is_empty() {
        return Err(ApiError::bad("the file has no requests: one is wanted on each line"));
    }
    if let Some(odd) = lines.iter().find(|line| line.path != endpoint) {
        let message = format!("'{}' asks for {}, not for {endpoint}", odd.custom_id, odd.path);
        return Err(ApiError::bad(message));
    }
    let output = match object["output_file_id"].as_str() {
        Some(output) => output.to_owned(),
        None => state.files.new_id("file-"),
    };
    let errors = errors_of(&output);
    let (answers, mut done) = state.files.open_answers(&output)?;
    let (refused, done_before) = state.files.open_answers(&errors)?;
    done.extend(done_before);
    let mut journal = batch::AnswerFiles { answers, errors: Some(refused), path: state.files.path(&output) };
    object["output_file_id"] = output.clone().into();
    object["in_progress_at"] = now().into();
    if object["status"] == "validating" {
        object["status"] = "in_progress".into();
    }
    object["request_counts"]["total"] = lines.len().into();
    let mut failed = done.values().filter(|was| **was == Was::Refused).count();
    let mut completed = done.len() - failed;
    object["request_counts"]["completed"] = completed.into();
    object["request_counts"]["failed"] = failed.into();
    let told_output = || state.files.file_object(&output, &format!("{id}_output.jsonl"), "batch_output");
    state.files.put(owner, told_output())?;
    state.files.put(owner, object.clone())?;
    let left: Vec<Line> = lines.into_iter().filter(|line| !done.contains_key(&line.custom_id)).collect();
    let cancelled = object["status"] == "cancelling";
    stop.fetch_or(cancelled, Ordering::Relaxed);
    let mut told = |answer: &Value| {
        match Was::of(answer) {
            Was::Answered => completed += 1,
            Was::Refused => failed += 1,
        }
        // Told to the client; the output itself is what survives a crash.
        if let Some(kept) = state.files.objects().get_mut(id) {
            kept.object["request_counts"]["completed"] = completed.into();
            kept.object["request_counts"]["failed"] = failed.into();
        }
    };
    let outcome = batch::answer_all(state, owner, left, &mut journal, stop, &mut told).await;
    state.files.put_or_remember(owner, told_output());
    let mut object = state.files.get(owner, "batch", id)?;
    if std::fs::metadata(state.files.path(&errors)).is_ok_and(|meta| meta.len() > 0) {
        let told_errors = state.files.file_object(&errors, &format!("{id}_error.jsonl"), "batch_output");
        state.files.put_or_remember(owner, told_errors);
        object["error_file_id"] = errors.into();
    } else {
        state.files.remove(&errors);
    }
    let status = match outcome {
        Ok(()) => "completed",
        Err(crate::Error::Interrupted) => "cancelled",
        Err(why) => {
            state.files.put_or_remember(owner, object);
            return Err(why.into());
        }
    };
    if state.draining.load(Ordering::Relaxed) && status == "cancelled" {
        return Ok(());
    }
    object["status"] = status.into();
    object[format!("{status}_at")] = now().into();
    state.files.put(owner, object)
}
