//! What goes wrong; a dialect gives it its shape.

use crate::Error;
use crate::error::ErrorKind;
use axum::http::StatusCode;
use serde_json::{Value, json};

/// An error that a client gets.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    /// The type in OpenAI's shape.
    pub(super) kind: &'static str,
    pub(super) message: String,
    /// The field that is at fault.
    pub(super) param: Option<String>,
    pub(super) code: Option<&'static str>,
    /// Seconds until another try makes sense.
    pub(super) retry_after: Option<u32>,
    /// Further members of the error.
    pub(super) extra: Vec<(&'static str, Value)>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let message = shortened(message.into());
        Self { status, kind, message, param: None, code: None, retry_after: None, extra: Vec::new() }
    }

    /// A request that cannot be served as it is.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A field whose value cannot be used.
    pub(super) fn field(name: &str, message: impl std::fmt::Display) -> Self {
        Self { param: Some(name.to_owned()), ..Self::bad(format!("'{name}': {message}")) }
    }

    /// A conversation that Anthropic's server would keep: their clients know by the code that the whole of it is to be sent.
    pub(super) fn no_threads() -> Self {
        let why = "conversations are not kept by this server: send all messages and tools with every request";
        let details = json!({ "error_code": "thread_unsupported_request", "unsupported": ["thread"] });
        Self { extra: vec![("details", details)], ..Self::field("thread", why) }
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than the {limit} bytes that are allowed");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    pub(super) fn head_too_large(limit: usize) -> Self {
        let message = format!("the head is larger than the {limit} bytes that are allowed");
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "request_too_large", message)
    }

    pub(super) fn timeout(message: &str) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", message)
    }

    pub(super) fn unauthorized() -> Self {
        let message = "Invalid API Key: send 'Authorization: Bearer KEY'";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", message)
    }

    pub(super) fn no_model(name: &str) -> Self {
        Self { code: Some("model_not_found"), ..Self::not_found(format!("model '{name}' not found")) }
    }

    /// An answer to go on from that is not kept, in the words by which OpenAI's clients know to send the whole conversation.
    pub(super) fn no_previous(id: &str) -> Self {
        let why = format!("response '{id}' not found (only the latest are kept): send the whole conversation");
        Self { code: Some("previous_response_not_found"), ..Self::field("previous_response_id", why) }
    }

    /// A prompt of more tokens than it may have, in the words by which clients of every dialect know that: some then
    /// shorten the conversation by themselves.
    pub(super) fn too_long(tokens: usize, most: usize, context: usize, advice: &str) -> Self {
        let message = format!(
            "prompt is too long: {tokens} tokens > {most} maximum. This model's maximum context length is {context} tokens, \
             and the request exceeds the available context size. {advice}"
        );
        Self {
            code: Some("context_length_exceeded"),
            extra: vec![("n_prompt_tokens", json!(tokens)), ("n_ctx", json!(context))],
            ..Self::new(StatusCode::BAD_REQUEST, "exceed_context_size_error", message)
        }
    }

    /// What cannot be done while something else goes on.
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict_error", message)
    }

    pub(super) fn method_not_allowed(allowed: &str) -> Self {
        let message = format!("this path takes another method: {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
    }

    /// What this server does not do.
    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "not_supported_error", message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        let this = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", message);
        Self { retry_after: Some(5), ..this }
    }

    /// The server ends before the request does.
    pub(super) fn stopping() -> Self {
        Self::unavailable("the server is stopping")
    }

    /// What fails now and will fail again: a model's file that is damaged, a thread that has ended.
    pub(super) fn broken(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", message)
    }

    /// Whether another try, in a moment, makes sense where this one was not served.
    pub(super) fn is_overload(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE && self.retry_after.is_some()
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        // A client is not to know where files lie.
        let mut error = error.without_folders();
        if error.kind() == ErrorKind::NoTemplate {
            error = error.hint("/v1/completions goes on with a text as it is");
        }
        if error.kind() == ErrorKind::NoRoom {
            return Self::new(StatusCode::INSUFFICIENT_STORAGE, "server_error", error.to_string());
        }
        match error {
            Error::ContextFull { needed, available } => {
                let advice = "Shorten the conversation, or serve the model with a larger context.";
                // One place is for the answer.
                Self::too_long(needed.saturating_sub(1), available.saturating_sub(1), available, advice)
            }
            Error::Busy { waiting } => Self {
                retry_after: Some(2),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "rate_limit_error",
                    format!("as many requests as may wait are waiting already ({waiting}); try again in a moment"),
                )
            },
            Error::Input { .. } | Error::Usage { .. } => Self::bad(error.to_string()),
            Error::Interrupted => Self::stopping(),
            Error::Failed { .. } | Error::Io { .. } => Self::broken(error.to_string()),
        }
    }
}

/// A message that a client can show.
fn shortened(mut message: String) -> String {
    const MAX_MESSAGE: usize = 2000;
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|&end| message.is_char_boundary(end)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}
