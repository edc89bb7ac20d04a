//! Heads of answers, and answers that are one piece of JSON.

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use percent_encoding::{CONTROLS, utf8_percent_encode};

/// A JSON answer; `ignored` names fields of the request that were not read.
pub(super) fn json(value: &serde_json::Value, ignored: &[String]) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    note_ignored(&mut response, ignored);
    response
}

/// Lists fields of the request that were not read in the answer's head.
pub(super) fn note_ignored(response: &mut Response<Body>, ignored: &[String]) {
    note(response, "x-ignored-fields", ignored);
}

/// Lists what of the request is not kept to in the answer's head.
pub(super) fn note_warnings(response: &mut Response<Body>, warnings: &[String]) {
    note(response, "x-warnings", warnings);
}

fn note(response: &mut Response<Body>, name: &'static str, texts: &[String]) {
    const MAX_NOTED: usize = 20;
    if texts.is_empty() {
        return;
    }
    let texts: Vec<&str> = texts.iter().take(MAX_NOTED).map(String::as_str).collect();
    // A head holds ASCII: other letters stand there by their numbers, as in addresses.
    let texts = utf8_percent_encode(&texts.join(", "), CONTROLS).to_string();
    let texts: String = texts.chars().take(500).collect();
    if let Ok(value) = HeaderValue::from_str(&texts) {
        response.headers_mut().insert(name, value);
    }
}
