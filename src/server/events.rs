//! Events of a stream, as texts.

use super::error::{ApiError, Dialect};
use serde_json::Value;

/// A server-sent event without a name.
pub(super) fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// An error as the last event of an answer in this dialect.
pub(super) fn error_event(dialect: Dialect, request_id: &str, error: &ApiError) -> String {
    let body = error.body(dialect, request_id);
    match dialect {
        Dialect::OpenAi => data(&body),
        Dialect::Anthropic => named("error", &body),
        Dialect::Ollama => format!("{body}\n"),
    }
}

/// A server-sent event with a name.
pub(super) fn named(event: &str, value: &Value) -> String {
    format!("event: {event}\ndata: {value}\n\n")
}
