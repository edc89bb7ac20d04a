//! What goes wrong, in each dialect's shape.

use crate::Error;
use crate::error::ErrorKind;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

/// In whose shape a route speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Anthropic,
    Ollama,
}

impl Dialect {
    /// Whose errors a client expects at a path that leads nowhere.
    pub(super) fn of_path(path: &str) -> Self {
        match path {
            _ if path.starts_with("/api/") => Self::Ollama,
            _ if path.starts_with("/v1/messages") => Self::Anthropic,
            _ => Self::OpenAi,
        }
    }
}

/// An error that a client gets.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    /// The type in OpenAI's shape.
    kind: &'static str,
    pub(super) message: String,
    /// The field that is at fault.
    param: Option<String>,
    code: Option<&'static str>,
    /// Seconds until another try makes sense.
    retry_after: Option<u32>,
    /// Further members of the error.
    extra: Vec<(&'static str, Value)>,
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
    fn is_overload(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE && self.retry_after.is_some()
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The error's JSON in a dialect.
    pub(super) fn body(&self, dialect: Dialect, request_id: &str) -> Value {
        match dialect {
            Dialect::OpenAi => {
                let code = self.code.map_or_else(|| json!(self.status.as_u16()), |code| json!(code));
                let mut error = Map::new();
                error.insert("message".into(), json!(self.message));
                error.insert("type".into(), json!(self.kind));
                error.insert("param".into(), json!(self.param));
                error.insert("code".into(), code);
                self.extra.iter().for_each(|(name, value)| drop(error.insert((*name).into(), value.clone())));
                json!({ "error": error })
            }
            Dialect::Anthropic => {
                let kind = match self.status.as_u16() {
                    400 | 405 | 408 | 501 => "invalid_request_error",
                    401 => "authentication_error",
                    403 => "permission_error",
                    404 => "not_found_error",
                    413 | 431 => "request_too_large",
                    429 => "rate_limit_error",
                    _ if self.is_overload() => "overloaded_error",
                    _ => "api_error",
                };
                let mut error = json!({ "type": kind, "message": self.message });
                if let Some((name, details)) = self.extra.iter().find(|(name, _)| *name == "details") {
                    error[*name] = details.clone();
                }
                json!({ "type": "error", "error": error, "request_id": request_id })
            }
            Dialect::Ollama => json!({ "error": self.message }),
        }
    }

    /// The whole answer.
    pub(super) fn response(&self, dialect: Dialect, request_id: &str) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body(dialect, request_id).to_string()));
        *response.status_mut() = match dialect {
            // What Anthropic's clients know as "overloaded".
            Dialect::Anthropic if self.is_overload() => StatusCode::from_u16(529).unwrap_or(self.status),
            _ => self.status,
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let is_broken = self.status == StatusCode::SERVICE_UNAVAILABLE && self.retry_after.is_none();
        if is_broken || matches!(self.status.as_u16(), 500 | 501 | 507) {
            // The same request fails again.
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        // Whoever asks is not to know where files lie.
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
