//! In whose shape a route speaks: what its errors look like. A dialect is a constant in its own file, which its routes name.

use super::doc::object;
use super::error::ApiError;
use super::events::data;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

/// How a dialect tells errors.
pub(super) struct Dialect {
    /// What the document calls such an error.
    pub(super) error_name: &'static str,
    /// Paths that lead nowhere are answered in it where they begin so.
    pub(super) prefix: Option<&'static str>,
    /// The JSON of an error, of the request with this number.
    pub(super) error: fn(&ApiError, &str) -> Value,
    /// Its schema.
    pub(super) schema: fn() -> Value,
    /// That JSON as the last event of an answer.
    pub(super) event: fn(&Value) -> String,
    /// The status that its clients know for too much work at a time.
    pub(super) overloaded: Option<u16>,
}

impl Dialect {
    /// The whole answer.
    pub(super) fn response(&self, error: &ApiError, request_id: &str) -> Response<Body> {
        let mut response = Response::new(Body::from((self.error)(error, request_id).to_string()));
        let overloaded = self.overloaded.filter(|_| error.is_overload());
        *response.status_mut() = overloaded.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(error.status);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = error.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let is_broken = error.status == StatusCode::SERVICE_UNAVAILABLE && error.retry_after.is_none();
        if is_broken || matches!(error.status.as_u16(), 500 | 501 | 507) {
            // The same request fails again.
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }

    /// An error as the last event of an answer.
    pub(super) fn error_event(&self, request_id: &str, error: &ApiError) -> String {
        (self.event)(&(self.error)(error, request_id))
    }
}

/// OpenAI's, which most routes speak.
pub(super) const OPENAI: Dialect =
    Dialect { error_name: "OpenAiError", prefix: None, error, schema, event: data, overloaded: None };

fn error(error: &ApiError, _: &str) -> Value {
    let code = error.code.map_or_else(|| json!(error.status.as_u16()), |code| json!(code));
    let mut body = Map::new();
    body.insert("message".into(), json!(error.message));
    body.insert("type".into(), json!(error.kind));
    body.insert("param".into(), json!(error.param));
    body.insert("code".into(), code);
    error.extra.iter().for_each(|(name, value)| drop(body.insert((*name).into(), value.clone())));
    json!({ "error": body })
}

fn schema() -> Value {
    let error = json!({ "type": "object", "required": ["message", "type", "code"], "properties": {
        "message": { "type": "string" }, "type": { "type": "string" }, "param": { "type": ["string", "null"] },
        "code": { "type": ["integer", "string"] } } });
    object(&["error"], json!({ "error": error }))
}
