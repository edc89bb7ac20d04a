//! Streams that outlive their connection: a request that names its conversation in the head `X-Conversation-Id` goes on
//! when the client is gone, and what it has written can be read again from any byte on, as in llama-server. Only deleting
//! the stream ends the work. Answers in the background (`/v1/responses`) are kept in the same way.

mod streams;

pub(super) use streams::Streams;

use super::body::Fields;
use super::error::ApiError;
use super::paging::{number, query};
use super::reply::json as respond_json;
use super::state::{Call, State};
use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use streams::{gone, respond, unknown};

type Result<T> = std::result::Result<T, ApiError>;

/// Longest name of a conversation.
const MAX_CONVERSATION_NAME: usize = 512;

/// The conversation that a request names.
///
/// # Errors
/// 400 for a name that is none.
pub(super) fn conversation(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(name) = headers.get("x-conversation-id") else { return Ok(None) };
    let name = name.to_str().ok().filter(|name| (1..=MAX_CONVERSATION_NAME).contains(&name.len()));
    let wanted =
        || ApiError::field("X-Conversation-Id", format!("1 to {MAX_CONVERSATION_NAME} plain characters are wanted"));
    Ok(Some(name.ok_or_else(wanted)?.to_owned()))
}

fn name_of(query: &mut HashMap<String, String>) -> Result<String> {
    query.remove("conv_id").filter(|name| !name.is_empty()).ok_or_else(|| ApiError::field("conv_id", "is missing"))
}

/// `GET /v1/stream?conv_id=NAME&from=N`
pub(super) async fn follow(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut query = query(&call.uri)?;
    let from = number(&query, "from")?.unwrap_or(0);
    let name = name_of(&mut query)?;
    let kept = state.streams.find(call.asker.owner, &name).ok_or_else(|| unknown(&name))?;
    if from < kept.written().dropped {
        return Err(gone());
    }
    if from > kept.written().end() {
        return Err(ApiError::field("from", "so much has not been written yet"));
    }
    Ok(respond(kept, from))
}

/// `DELETE /v1/stream?conv_id=NAME`
pub(super) async fn stop(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let name = name_of(&mut query(&call.uri)?)?;
    if let Some(kept) = state.streams.find(call.asker.owner, &name) {
        kept.refuse("this answer was ended by a request to delete its stream");
    }
    state.streams.all().remove(&(call.asker.owner, name));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// `POST /v1/streams/lookup`
pub(super) async fn lookup(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let names = fields.strings("conversation_ids")?;
    let names = names.ok_or_else(|| ApiError::field("conversation_ids", "is missing"))?;
    let entry = |name: &String| {
        let kept = state.streams.find(call.asker.owner, name)?;
        let written = kept.written();
        Some(json!({ "conversation_id": name, "is_done": written.ended.is_some(), "total_bytes": written.end(),
                     "started_at": kept.started, "completed_at": written.ended.map(|(_, when)| when) }))
    };
    Ok(respond_json(&names.iter().filter_map(entry).collect(), &fields.rest()))
}
