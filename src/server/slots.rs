//! Slots: the conversations that a model has last had, by number, to be saved to files and restored from them.
//!
//! Their tokens are all that is kept here. What was computed for them lies in the engine's cache, where every request
//! finds it, whichever slot it names.

use super::body::Fields;
use super::error::ApiError;
use super::resume;
use super::routes::{Call, State, json as respond_json};
use crate::engine::Engine;
use crate::error::FileAction;
use crate::platform::files::{make_private, private_folder};
use axum::body::Body;
use axum::http::Response;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

type Result<T> = std::result::Result<T, ApiError>;

/// Longest name of a file that a slot is saved in.
const MAX_NAME: usize = 200;

/// What the slots of one model hold: those of each key by themselves.
pub(super) struct Slots {
    count: usize,
    of: Mutex<HashMap<u64, Vec<Slot>>>,
}

#[derive(Clone, Default)]
struct Slot {
    tokens: Vec<u32>,
    used: Option<Instant>,
}

impl Slots {
    /// `count` empty slots for each key.
    pub(super) fn new(count: usize) -> Self {
        Self { count: count.max(1), of: Mutex::default() }
    }

    /// Looks at or changes the slots of `owner`.
    fn with<T>(&self, owner: u64, act: impl FnOnce(&mut [Slot]) -> T) -> T {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        act(of.entry(owner).or_insert_with(|| vec![Slot::default(); self.count]))
    }

    /// The slot for a request: the one that it names, else the one with the most in common with its prompt, else the one
    /// unused for the longest time.
    pub(super) fn choose(&self, owner: u64, named: Option<usize>, prompt: &[u32]) -> usize {
        let common = |slot: &Slot| slot.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        self.with(owner, |slots| {
            let close = (0..slots.len()).max_by_key(|&i| (common(&slots[i]), std::cmp::Reverse(i)));
            let close = close.filter(|&i| 2 * common(&slots[i]) > slots[i].tokens.len());
            let oldest = (0..slots.len()).min_by_key(|&i| slots[i].used);
            named.filter(|&slot| slot < slots.len()).or(close).or(oldest).unwrap_or(0)
        })
    }

    /// A request of this slot has ended with these tokens.
    pub(super) fn keep(&self, owner: u64, slot: usize, tokens: Vec<u32>) {
        self.with(owner, |slots| {
            if let Some(slot) = slots.get_mut(slot) {
                *slot = Slot { tokens, used: Some(Instant::now()) };
            }
        });
    }

    /// The tokens of a slot.
    fn tokens(&self, owner: u64, slot: usize) -> Option<Vec<u32>> {
        self.with(owner, |slots| slots.get(slot).map(|slot| slot.tokens.clone()))
    }
}

/// `GET /slots`: one entry per answer that can be written at the same time.
pub(super) async fn list(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    if !state.options.slots {
        return Err(ApiError::unsupported("this server was started with --no-slots"));
    }
    let name = resume::query(&call.uri)?.remove("model");
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
    let mut query = resume::query(&call.uri)?;
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
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.chars().all(harmless) {
        return Err(ApiError::field(
            "filename",
            "Invalid filename: letters, digits, '-', '_', '.' and blanks are allowed",
        ));
    }
    let folder = if owner == 0 { folder.clone() } else { folder.join(format!("key-{owner:016x}")) };
    private_folder(&folder).map_err(|why| crate::Error::io(&folder, FileAction::Create, why))?;
    Ok((name.clone(), folder.join(name)))
}
