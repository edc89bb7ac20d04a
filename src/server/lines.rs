//! Lines of OpenAI's batch format: read, answered through the handlers of the route table, and written.

use super::journal::AnswerFiles;
use super::log::{Asker, Note};
use super::state::{Call, State};
use crate::platform::input;
use crate::{Error, Result};
use axum::body::to_bytes;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::channel;

/// Longest line of a batch.
const MAX_LINE: usize = 16 << 20;

/// One line of a batch.
#[derive(Debug)]
pub struct Line {
    pub(super) custom_id: String,
    pub(super) path: String,
    pub(super) body: Value,
}

impl Line {
    /// The model that it names.
    pub fn model(&self) -> Option<&str> {
        self.body["model"].as_str().filter(|name| !name.is_empty())
    }
}

/// Answers `left` for `owner`, as many at once as the models can; each answer is written and synced, then told to `each`.
///
/// # Errors
/// A file that cannot be written, [`Error::Interrupted`] soon after `stop` is set.
pub(super) async fn answer_all(
    state: &Arc<State>,
    owner: u64,
    mut left: Vec<Line>,
    journal: &mut AnswerFiles,
    stop: &AtomicBool,
    each: &mut (dyn FnMut(&Value) + Send),
) -> Result<()> {
    // A run that goes on with an earlier one gives its answers other numbers.
    let run = crate::sample::random_seed() as u32;
    // Neighbours share the beginnings of their prompts.
    left.sort_by_cached_key(|line| line.body.to_string());
    let parallel = state.models.open_ones().iter().map(|model| model.engine.options().parallel).max().unwrap_or(1);
    let (sender, mut answers) = channel::<Value>(parallel);
    let mut open = left.len();
    let mut waiting = left.into_iter().enumerate();
    let start = |(number, line): (usize, Line)| {
        let (state, sender) = (Arc::clone(state), sender.clone());
        tokio::spawn(async move {
            let id = format!("batch_req_{run:08x}{number:05}");
            let _ = sender.send(answer(state, owner, id, line).await).await;
        });
    };
    waiting.by_ref().take(parallel).for_each(start);
    while open > 0 {
        let line = loop {
            if stop.load(Ordering::Relaxed) || state.is_draining() {
                return Err(Error::Interrupted);
            }
            let tick = std::time::Duration::from_millis(100);
            if let Ok(Some(line)) = tokio::time::timeout(tick, answers.recv()).await {
                break line;
            }
        };
        unavailable(&line)?;
        journal.write(&line)?;
        open -= 1;
        each(&line);
        waiting.next().map(start);
    }
    Ok(())
}

/// A model that cannot be used any more is no fault of a request: those that are left are answered when it can.
fn unavailable(answer: &Value) -> Result<()> {
    let response = &answer["response"];
    if response["status_code"] != StatusCode::SERVICE_UNAVAILABLE.as_u16() {
        return Ok(());
    }
    let error = &response["body"]["error"];
    let why = error["message"].as_str().or_else(|| error.as_str()).unwrap_or("its model cannot be used");
    Err(Error::failed("the batch", why)
        .hint("start it again when that is mended: it goes on with what has no answer yet"))
}

/// The answer to a line, as a line.
async fn answer(state: Arc<State>, owner: u64, id: String, line: Line) -> Value {
    let route = state.route(&line.path);
    let (status, body) = match route {
        None => (404, json!({ "error": { "message": format!("there is no POST {}", line.path) } })),
        Some(route) => {
            let uri = axum::http::Uri::try_from(route.path).unwrap_or_default();
            let body = line.body.to_string().into();
            let note = Note::new(&state.log, &id, Some((route.method, route.path)));
            let asker = Asker { client: 0, owner, note: Arc::clone(&note) };
            let id_of_call = id.clone();
            let call = Call { body, uri, id: id_of_call, wants_page: false, asker, content_type: String::new() };
            let outcome = route.call(state, call).await;
            note.status(outcome.as_ref().map_or_else(|error| error.status, Response::status).as_u16());
            match outcome {
                Err(error) => (error.status.as_u16(), (route.dialect.error)(&error, &id)),
                Ok(response) => {
                    let status = response.status().as_u16();
                    let bytes = to_bytes(response.into_body(), MAX_LINE).await.unwrap_or_default();
                    (status, serde_json::from_slice(&bytes).unwrap_or_default())
                }
            }
        }
    };
    json!({ "id": id, "custom_id": line.custom_id, "error": null,
            "response": { "status_code": status, "request_id": id, "body": body } })
}

/// The requests of a file; every line is checked before anything is computed.
///
/// # Errors
/// A file that cannot be read, a line that is no request.
pub fn read_lines(path: &Path) -> Result<Vec<Line>> {
    read_requests(&mut BufReader::new(input::open_regular(path)?), &path.display().to_string())
}

/// The requests that `reader` gives, which is called `name` in errors.
///
/// # Errors
/// As [`read_lines`].
pub fn read_requests(mut reader: &mut dyn BufRead, name: &str) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut known = HashSet::new();
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let place = format!("{name}, line {number}");
        if input::line(&mut reader, &place, MAX_LINE as u64, &mut text)? == 0 {
            break;
        }
        let text = text.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&text);
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let wrong = |wanted: &str, found: String| Error::input(&place, wanted, found);
        let mut value: Value = serde_json::from_slice(text).map_err(|why| wrong("a JSON object", why.to_string()))?;
        let Some(custom_id) = value["custom_id"].as_str().map(str::to_owned) else {
            return Err(wrong("a text as custom_id", "none".into()));
        };
        if !known.insert(custom_id.clone()) {
            return Err(wrong("a custom_id of its own", format!("{custom_id}, which another line has")));
        }
        if !value["body"].is_object() {
            return Err(wrong("an object as body", "none".into()));
        }
        if let Some(method) = value["method"].as_str().filter(|method| *method != "POST") {
            return Err(wrong("POST as method", format!("{method:?}")));
        }
        let path = value["url"].as_str().unwrap_or("/v1/chat/completions").to_owned();
        let mut body = value["body"].take();
        // Each answer is one line, and waited for.
        body["stream"] = false.into();
        if let Some(body) = body.as_object_mut() {
            body.remove("background");
        }
        lines.push(Line { custom_id, path, body });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn lines_are_checked_before_anything_is_computed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.jsonl");
        for (bad, says) in [
            ("{", "line 1"),
            ("{\"body\":{}}", "custom_id"),
            ("{\"custom_id\":\"a\"}", "body"),
            ("{\"custom_id\":\"a\",\"method\":\"GET\",\"body\":{}}", "POST"),
            ("{\"custom_id\":\"a\",\"body\":{}}\n\n{\"custom_id\":\"a\",\"body\":{}}", "line 3"),
        ] {
            std::fs::write(&path, bad).unwrap();
            let error = read_lines(&path).err().unwrap().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
