//! The list of models.

use super::super::card::{self, Card};
use super::super::error::ApiError;
use super::super::models::{Entry, Models};
use super::super::reply::json as respond_json;
use super::super::state::{Call, State};
use axum::body::Body;
use axum::http::Response;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::sync::Arc;

type Result<T> = std::result::Result<T, ApiError>;

/// A model in the list.
fn model_object(entry: &Entry, card: Option<&Card>) -> Value {
    let mut object = json!({
        "id": entry.name(),
        "aliases": entry.offer.names,
        "tags": entry.offer.tags,
        "object": "model",
        "created": entry.created(),
        "owned_by": "tokki",
        "status": { "value": if entry.served().is_some() { "loaded" } else { "unloaded" } },
    });
    if let Some(card) = card {
        object["max_model_len"] = card.context.into();
        object["context_length"] = card.context.into();
        object["meta"] = card.meta.clone();
    }
    object
}

/// `GET /v1/models`
pub(in crate::server) async fn models(state: Arc<State>, _: Call) -> Result<Response<Body>> {
    let both = state
        .models
        .list(|entry, card| (model_object(entry, card), card::entry(entry.name(), entry.bytes, entry.modified, card)))
        .await;
    let (data, entries): (Vec<Value>, Vec<Value>) = both.into_iter().unzip();
    let first = state.models.all().first().map(|entry| entry.name());
    let last = state.models.all().last().map(|entry| entry.name());
    let list = json!({ "object": "list", "data": data, "models": entries,
                       "has_more": false, "first_id": first, "last_id": last });
    Ok(respond_json(&list, &[]))
}

/// `GET /v1/models/NAME`
pub(in crate::server) async fn model(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    // Clients write some characters of a name, such as / and :, by their numbers.
    let name = percent_decode_str(call.uri.path().trim_start_matches("/v1/models/")).decode_utf8_lossy();
    let mut all = state.models.all().iter();
    let found = all.find(|entry| entry.offer.names.iter().any(|own| *own == *name));
    let entry = found.ok_or_else(|| ApiError::no_model(&name))?;
    Ok(respond_json(&Models::describe(Arc::clone(entry), model_object).await?, &[]))
}
