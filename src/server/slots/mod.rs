//! Slots: the conversations that a model has last had, by number, to be saved to files and restored from them.
//!
//! Their tokens are all that is kept here. What was computed for them lies in the engine's cache, where every request
//! finds it, whichever slot it names.

mod contents;

pub(super) use contents::Slots;

use super::body::Fields;
use super::error::ApiError;
use super::paging;
use super::reply::json as respond_json;
use super::state::{Call, State};
use crate::engine::Engine;
use crate::error::FileAction;
use crate::platform::files::{make_private, private_folder};
use axum::body::Body;
use axum::http::Response;
use contents::Slot;
use serde_json::{Value, json};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

type Result<T> = std::result::Result<T, ApiError>;

/// Longest name of a file that a slot is saved in.
const MAX_SLOT_FILE_NAME: usize = 200;

/// `GET /slots`: one entry per answer that can be written at the same time.
pub(super) async fn list(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    if !state.options.slots {
        return Err(ApiError::unsupported("this server was started with --no-slots"));
    }
    let name = paging::query(&call.uri)?.remove("model");
    // Asking does not open a model: one that is closed has no slots.
    let served = state.models.find(name.as_deref())?.served();
    let Some(model) = served else { return Ok(respond_json(&json!([]), &[])) };
    let running = model.engine.gauges().load().running;
    let context = model.engine.options().session.context;
    let entry = |(id, slot): (usize, &Slot)| json!({ "id": id, "n_ctx": context, "is_processing": id < running, "n_tokens": slot.tokens.len() });
    let slots: Vec<Value> = model.slots.with(call.asker.owner, |slots| slots.iter().enumerate().map(entry).collect());
    Ok(respond_json(&slots.into(), &[]))
}

/// `POST /slots/N?action=save|restore|erase`
pub(super) async fn act(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut query = paging::query(&call.uri)?;
    let mut fields = Fields::parse(&call.body)?;
    let named = fields.str("model")?.or(query.remove("model"));
    let model = state.models.get(named.as_deref()).await?;
    let owner = call.asker.owner;
    let id: Option<usize> = call.uri.path().rsplit('/').next().and_then(|id| id.parse().ok());
    let found = id.and_then(|id| Some((id, model.slots.tokens(owner, id)?)));
    let (id, tokens) = found.ok_or_else(|| ApiError::bad("Invalid slot ID"))?;
    let action = query.remove("action");
    let name = fields.str("filename")?;
    let start = Instant::now();
    let answer = match action.as_deref() {
        Some("save") => {
            let (name, path) = file(&state, owner, name)?;
            let served = Arc::clone(&model);
            let saved = in_background(move || {
                let saved = served.engine.save(&tokens, &path)?;
                // It holds what was said.
                let private = File::open(&path).and_then(|file| make_private(&file));
                private.map_err(|why| crate::Error::io(&path, FileAction::Write, why)).map(|()| saved)
            });
            let saved = saved.await?;
            json!({ "id_slot": id, "filename": name, "n_saved": saved, "timings": { "save_ms": ms(start) } })
        }
        Some("restore") => {
            let (name, path) = file(&state, owner, name)?;
            if !path.is_file() {
                return Err(ApiError::field("filename", format!("no slot was saved as {name}")));
            }
            let served = Arc::clone(&model);
            let tokens = in_background(move || served.engine.restore(&path)).await?;
            let restored = tokens.len();
            model.slots.keep(owner, id, tokens);
            json!({ "id_slot": id, "filename": name, "n_restored": restored, "timings": { "restore_ms": ms(start) } })
        }
        Some("erase") => {
            let erased = tokens.len();
            let served = Arc::clone(&model);
            if erased > 0 {
                in_background(move || Engine::forget_sequence(&served.engine, &tokens)).await?;
                model.slots.keep(owner, id, Vec::new());
            }
            json!({ "id_slot": id, "n_erased": erased })
        }
        _ => return Err(ApiError::bad("Invalid action: save, restore or erase is wanted")),
    };
    Ok(respond_json(&answer, &fields.rest()))
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

async fn in_background<T: Send + 'static>(work: impl FnOnce() -> crate::Result<T> + Send + 'static) -> Result<T> {
    let work = tokio::task::spawn_blocking(work).await;
    work.map_err(|_| ApiError::internal("the work on this slot failed"))?.map_err(ApiError::from)
}

/// The file that a request names, within the folder for them, where each key has one of its own.
fn file(state: &State, owner: u64, name: Option<String>) -> Result<(String, PathBuf)> {
    let Some(folder) = &state.options.slot_dir else {
        return Err(ApiError::unsupported("this server was started without --slot-save-path"));
    };
    let name = name.ok_or_else(|| ApiError::field("filename", "is missing"))?;
    let harmless = |c: char| c.is_alphanumeric() || "-_. ".contains(c);
    if name.is_empty() || name.len() > MAX_SLOT_FILE_NAME || name.starts_with('.') || !name.chars().all(harmless) {
        return Err(ApiError::field(
            "filename",
            "Invalid filename: letters, digits, '-', '_', '.' and blanks are allowed",
        ));
    }
    let folder = if owner == 0 { folder.clone() } else { folder.join(format!("key-{owner:016x}")) };
    private_folder(&folder).map_err(|why| crate::Error::io(&folder, FileAction::Create, why))?;
    Ok((name.clone(), folder.join(name)))
}
