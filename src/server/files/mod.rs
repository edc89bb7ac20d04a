//! `/v1/files` and `/v1/batches`: many requests that are answered in the background.
//!
//! Everything lies in one folder, so that a server that is started again knows its files and goes on with its batches:
//! `ID` is a file's content, `ID.json` its object. A batch's output is written line by line, and is its journal.

mod folder;

pub(super) use folder::Files;

use super::body::Fields;
use super::error::ApiError;
use super::journal::{AnswerFiles, Was};
use super::lines::{self, Line};
use super::paging::{self, Limits};
use super::reply::json as respond_json;
use super::state::{Call, State};
use crate::error::FileAction;
use crate::platform::{input, output};
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, header};
use folder::{MAX_OBJECTS, is_over, now};
use serde_json::{Value, json};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type Result<T> = std::result::Result<T, ApiError>;

/// Largest file that is taken.
pub(super) const MAX_FILE: usize = 100 << 20;
/// How long a batch may take, as all clients say; here it takes as long as it takes.
const COMPLETION_WINDOW: &str = "24h";

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
        &paging::page(state.files.list(call.asker.owner, "file"), &paging::query(&call.uri)?, limits)?,
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
        let mut bytes = Vec::new();
        let read = input::open_regular(&path)?.read_to_end(&mut bytes);
        read.map_err(|why| crate::Error::io(&path, FileAction::Read, why)).map(|_| bytes)
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

/// `POST /v1/batches`
pub(super) async fn create(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let input = fields.str("input_file_id")?.ok_or_else(|| ApiError::field("input_file_id", "is missing"))?;
    let endpoint = fields.str("endpoint")?.ok_or_else(|| ApiError::field("endpoint", "is missing"))?;
    if state.route(&endpoint).is_none() {
        return Err(ApiError::field("endpoint", format!("'{endpoint}' is none; /v1/chat/completions is one")));
    }
    let window = fields.str("completion_window")?.unwrap_or_else(|| COMPLETION_WINDOW.to_owned());
    if window != COMPLETION_WINDOW {
        return Err(ApiError::field(
            "completion_window",
            format!("only '{COMPLETION_WINDOW}' is known, not '{window}'; no batch expires"),
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
        &paging::page(state.files.list(call.asker.owner, "batch"), &paging::query(&call.uri)?, limits)?,
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
            && !state.is_draining()
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
    let lines = lines::read_lines(&state.files.path(&text(&object, "input_file_id")))?;
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
    let mut journal = AnswerFiles { answers, errors: Some(refused), path: state.files.path(&output) };
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
    let outcome = lines::answer_all(state, owner, left, &mut journal, stop, &mut told).await;
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
    if state.is_draining() && status == "cancelled" {
        return Ok(());
    }
    object["status"] = status.into();
    object[format!("{status}_at")] = now().into();
    state.files.put(owner, object)
}
