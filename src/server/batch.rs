//! Many requests from a file: lines of OpenAI's batch format, each answered once, through the same handlers as the
//! server's.
//!
//! The output is its own journal: a line is written and synced as soon as its answer is there. Started again after
//! whatever happened, the work goes on with the lines that have no answer yet; a line that was being written is cut off.

use super::ServerOptions;
use super::listen::new_state;
use super::log::{Asker, Log, Note};
use super::models::Models;
use super::request::random_seed;
use super::routes::{Call, ROUTES, Route, State};
use crate::engine::Llm;
use crate::error::FileAction;
use crate::platform::input;
use crate::tokenizer::Special;
use crate::{Error, ErrorKind, Result};
use axum::body::to_bytes;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
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
    body: Value,
}

impl Line {
    /// The model that it names.
    pub fn model(&self) -> Option<&str> {
        self.body["model"].as_str().filter(|name| !name.is_empty())
    }
}

/// How a batch went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Lines of the input.
    pub lines: usize,
    /// Lines that an earlier run answered.
    pub before: usize,
    /// Lines answered now.
    pub answered: usize,
    /// Lines whose answer, of now or of an earlier run, is an error.
    pub failed: usize,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    Answered,
    /// Its answer is an error.
    Refused,
}

impl Was {
    /// What a line of the output says.
    pub(super) fn of(answer: &Value) -> Self {
        if answer["response"]["status_code"] == 200 { Self::Answered } else { Self::Refused }
    }
}

/// What a batch has ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Requests that have no answer yet.
    pub requests: usize,
    /// Tokens of their texts, as the first model counts them, without what a template adds.
    pub prompt: usize,
    /// Tokens of their answers at most; `None` where one of them has no limit.
    pub answers: Option<usize>,
}

/// What is ahead, where these lines have no answer yet.
fn ahead(llm: &Llm, left: &[Line]) -> Estimate {
    let limits = ["max_completion_tokens", "max_tokens", "max_output_tokens", "n_predict"];
    let answer = |line: &Line| -> Option<usize> {
        let limit = limits.iter().find_map(|name| line.body[*name].as_u64()).or_else(|| {
            // Vectors and scores are no tokens.
            ["embed", "rerank", "decisions"].iter().any(|kind| line.path.contains(kind)).then_some(0)
        })?;
        usize::try_from(limit.saturating_mul(line.body["n"].as_u64().unwrap_or(1))).ok()
    };
    Estimate {
        requests: left.len(),
        prompt: left.iter().map(|line| tokens_in(llm, &line.body)).sum(),
        answers: left.iter().map(answer).try_fold(0usize, |sum, answer| sum.checked_add(answer?)),
    }
}

/// Tokens of the texts of a request.
fn tokens_in(llm: &Llm, value: &Value) -> usize {
    match value {
        Value::String(text) => llm.tokenizer().encode(text, Special::Plain).len(),
        Value::Array(items) => items.iter().map(|item| tokens_in(llm, item)).sum(),
        Value::Object(map) => {
            let said = map.iter().filter(|(name, _)| SAID.contains(&name.as_str()));
            said.map(|(_, value)| tokens_in(llm, value)).sum()
        }
        // The id of a token.
        Value::Number(_) => 1,
        _ => 0,
    }
}

/// The fields of a request that hold what a model reads, and those within them.
const SAID: &[&str] =
    &["messages", "prompt", "input", "instructions", "system", "query", "documents", "content", "text", "tools"];

/// Answers the lines of `lines` that `output` does not answer yet; `estimate` hears first what is ahead, `progress` is told how many are done and how many
/// there are. `stop` ends the work between answers.
///
/// # Errors
/// An output that cannot be read or written, [`Error::Interrupted`].
pub fn batch(
    models: Models,
    lines: Vec<Line>,
    output: &Path,
    stop: &AtomicBool,
    estimate: &mut dyn FnMut(&Llm, &Estimate) -> Result<()>,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Outcome> {
    let (file, done) = open_output(output)?;
    let mut journal = AnswerFiles { answers: file, errors: None, path: output.to_owned() };
    let mut outcome = Outcome { lines: lines.len(), ..Outcome::default() };
    let (before, left): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(|line| done.contains_key(&line.custom_id));
    outcome.before = before.len();
    outcome.failed = before.iter().filter(|line| done.get(&line.custom_id) == Some(&Was::Refused)).count();
    if let Some(llm) = models.first() {
        estimate(&llm, &ahead(&llm, &left))?;
    }
    let failed = |why: std::io::Error| Error::failed("the batch", why.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(failed)?;
    let state = new_state(models, ServerOptions::default(), Log::default())?;
    let result = runtime.block_on(async {
        progress(outcome.before, outcome.lines);
        answer_all(&state, 0, left, &mut journal, stop, &mut |answer| {
            outcome.answered += 1;
            outcome.failed += usize::from(Was::of(answer) == Was::Refused);
            progress(outcome.before + outcome.answered, outcome.lines);
        })
        .await
    });
    runtime.shutdown_background();
    result.map(|()| outcome)
}

/// Where answers go.
pub(super) struct AnswerFiles {
    pub(super) answers: File,
    /// Those that are errors, where they have a file of their own.
    pub(super) errors: Option<File>,
    /// The first file, for people.
    pub(super) path: PathBuf,
}

impl AnswerFiles {
    /// Writes an answer, so that it is there after a crash as well.
    fn write(&mut self, answer: &Value) -> Result<()> {
        let file = match (&mut self.errors, Was::of(answer)) {
            (Some(errors), Was::Refused) => errors,
            _ => &mut self.answers,
        };
        let whole = file.metadata().map(|meta| meta.len());
        let written = file.write_all(format!("{answer}\n").as_bytes()).and_then(|()| file.sync_data());
        written.map_err(|why| {
            // Half a line is none.
            let _ = whole.and_then(|whole| file.set_len(whole));
            Error::io(&self.path, FileAction::Write, why)
        })
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
    let run = random_seed() as u32;
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
            if stop.load(Ordering::Relaxed) || state.draining.load(Ordering::Relaxed) {
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

/// What answers requests at this path.
pub(super) fn route(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.method == "POST" && route.path == path)
}

/// The answer to a line, as a line.
async fn answer(state: Arc<State>, owner: u64, id: String, line: Line) -> Value {
    let route = route(&line.path);
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
                Err(error) => (error.status.as_u16(), error.body(route.dialect, &id)),
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

/// The output, to be appended to, and the ids that it answers, each with how. A line without its end is cut off.
pub(super) fn open_output(path: &Path) -> Result<(File, HashMap<String, Was>)> {
    let failed = |action| move |why| Error::io(path, action, why);
    if path.exists() {
        drop(input::open_regular(path)?);
    }
    let open = OpenOptions::new().read(true).append(true).create(true).open(path);
    let mut file = open.map_err(failed(FileAction::Open))?;
    // Before anything is cut off: two would answer the same requests. Where there are no locks, nobody knows.
    if matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
        let why = "another tokki batch is at it: wait for that one, or end it";
        return Err(Error::failed(path.display().to_string(), why).of(ErrorKind::InUse));
    }
    let mut done = HashMap::new();
    let mut whole = 0;
    let mut reader = BufReader::new(&file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = input::line(&mut reader, &path.display().to_string(), input::MAX_TEXT_BYTES, &mut line)?;
        if length == 0 || !line.ends_with(b"\n") {
            break;
        }
        let value: Value = serde_json::from_slice(&line).map_err(|why| {
            let found = format!("at byte {whole}: {why}");
            Error::input(path.display().to_string(), "an output of an earlier run, or a new file", found)
        })?;
        done.extend(value["custom_id"].as_str().map(|id| (id.to_owned(), Was::of(&value))));
        whole += length as u64;
    }
    file.set_len(whole).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed(FileAction::Write))?;
    Ok((file, done))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_torn_line_is_cut_off_and_whole_ones_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let answered = r#"{"custom_id":"a","response":{"status_code":200}}"#;
        std::fs::write(&path, format!("{answered}\n{{\"custom_id\":\"b\"}}\n{{\"custom_")).unwrap();
        let (mut file, done) = open_output(&path).unwrap();
        assert_eq!(done, [("a".to_owned(), Was::Answered), ("b".to_owned(), Was::Refused)].into());
        file.write_all(b"{\"custom_id\":\"c\"}\n").unwrap();
        assert_eq!(open_output(&path).err().map(|why| why.kind()), Some(ErrorKind::InUse));
        drop(file);
        let (_, done) = open_output(&path).unwrap();
        assert_eq!(done.len(), 3);
        std::fs::write(&path, "something else\n").unwrap();
        assert!(open_output(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "something else\n");
    }

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
