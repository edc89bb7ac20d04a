//! The list of models.

use super::super::card;
use super::super::error::ApiError;
use super::super::models::Entry;
use super::super::routes::{Call, State, json as respond_json};
use super::Result;
use axum::body::Body;
use axum::http::Response;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::sync::Arc;

/// A model in the list. What only its weights' header tells is there once it is open.
fn model_object(entry: &Entry) -> Value {
    let served = entry.served();
    let mut object = json!({
        "id": entry.name(),
        "aliases": entry.offer.names,
        "tags": entry.offer.tags,
        "object": "model",
        "created": entry.created(),
        "owned_by": "tokki",
        "status": { "value": if served.is_some() { "loaded" } else { "unloaded" } },
    });
    if let Some(model) = served {
        let (llm, context) = (model.engine.llm(), model.engine.options().session.context);
        let spec = &llm.model().spec;
        object["max_model_len"] = context.into();
        object["context_length"] = context.into();
        object["meta"] = json!({
            "n_vocab": spec.vocab,
            "n_ctx": context,
            "n_ctx_train": spec.context_train,
            "n_embd": spec.embd,
            "size": llm.model().gguf.file_bytes(),
        });
    }
    object
}

/// `GET /v1/models`
pub(in crate::server) async fn models(state: Arc<State>, _: Call) -> Result<Response<Body>> {
    let data: Vec<Value> = state.models.all().iter().map(|model| model_object(model)).collect();
    let entries: Vec<Value> = state.models.all().iter().map(|model| card::entry(model)).collect();
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
    let found = state.models.all().iter().find(|entry| entry.offer.names.iter().any(|own| *own == *name));
    found.map(|model| respond_json(&model_object(model), &[])).ok_or_else(|| ApiError::no_model(&name))
}
