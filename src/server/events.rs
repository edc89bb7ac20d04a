//! Events of a stream, as texts.

use serde_json::Value;

/// A server-sent event without a name.
pub(super) fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// A server-sent event with a name.
pub(super) fn named(event: &str, value: &Value) -> String {
    format!("event: {event}\ndata: {value}\n\n")
}
