//! Streams that outlive their connection: a request that names its conversation in the head `X-Conversation-Id` goes on
//! when the client is gone, and what it has written can be read again from any byte on, as in llama-server. Only deleting
//! the stream ends the work. Answers in the background (`/v1/responses`) are kept in the same way.

use super::body::Fields;
use super::error::{ApiError, Dialect};
use super::routes::{Call, State, json as respond_json, note_warnings};
use super::stream;
use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::channel;
use tokio::sync::watch;
use tokio::task::AbortHandle;

type Result<T> = std::result::Result<T, ApiError>;

/// Bytes of a stream that are kept; the oldest go first.
const MAX_BYTES: usize = 4 << 20;
/// Streams that are kept.
const MAX_STREAMS: usize = 64;
/// How long a stream that has ended is kept.
const KEPT: Duration = Duration::from_secs(600);
/// Longest name of a conversation.
const MAX_NAME: usize = 512;

/// Kept streams, by owner and name.
#[derive(Default)]
pub(super) struct Streams(Mutex<HashMap<(u64, String), Arc<Kept>>>);

struct Kept {
    dialect: Dialect,
    content_type: HeaderValue,
    started: u64,
    written: Mutex<Written>,
    /// Told whenever something was written.
    changed: watch::Sender<()>,
    work: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct Written {
    bytes: VecDeque<u8>,
    /// Bytes before those that are kept.
    dropped: u64,
    ended: Option<(Instant, u64)>,
}

impl Written {
    fn end(&self) -> u64 {
        self.dropped + self.bytes.len() as u64
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let over = self.bytes.len().saturating_sub(MAX_BYTES);
        self.bytes.drain(..over);
        self.dropped += over as u64;
    }

    /// The number of the event after those that are kept.
    fn next_number(&self) -> u64 {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        // In texts of a model, quotes are escaped.
        let last = text.rsplit_once("\"sequence_number\":").map(|(_, rest)| rest.trim_start());
        let digits = last.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        digits.and_then(|digits| digits.parse::<u64>().ok()).map_or(0, |last| last + 1)
    }
}

impl Kept {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, bytes: &[u8]) {
        let mut written = self.written();
        if written.ended.is_some() {
            return;
        }
        written.push(bytes);
        drop(written);
        self.changed.send_replace(());
    }

    fn end(&self) {
        self.written().ended.get_or_insert((Instant::now(), now()));
        self.changed.send_replace(());
    }

    /// Ends the work; what was written ends with what `last` makes of the next event's number. False when it has ended
    /// already.
    fn stop(&self, last: impl FnOnce(u64) -> String) -> bool {
        if let Some(work) = self.work.lock().unwrap_or_else(PoisonError::into_inner).take() {
            work.abort();
        }
        let mut written = self.written();
        if written.ended.is_some() {
            return false;
        }
        let next = written.next_number();
        written.push(last(next).as_bytes());
        written.ended = Some((Instant::now(), now()));
        drop(written);
        self.changed.send_replace(());
        true
    }

    /// Ends the work, and tells who reads it why: half an answer is not taken for a whole one.
    fn refuse(&self, why: &str) {
        self.stop(|_| stream::error_event(self.dialect, "", &ApiError::conflict(why)));
    }

    /// What was written from `from` on, and whether that is all that will be; `None` when it is no longer kept.
    fn read(&self, from: u64) -> Option<(Bytes, bool)> {
        let written = self.written();
        let skip = usize::try_from(from.checked_sub(written.dropped)?).ok()?;
        let bytes: Vec<u8> = written.bytes.iter().skip(skip).copied().collect();
        Some((bytes.into(), written.ended.is_some()))
    }
}

impl Streams {
    fn all(&self) -> MutexGuard<'_, HashMap<(u64, String), Arc<Kept>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, owner: u64, name: &str) -> Option<Arc<Kept>> {
        let mut all = self.all();
        all.retain(|_, kept| kept.written().ended.is_none_or(|(when, _)| when.elapsed() < KEPT));
        all.get(&(owner, name.to_owned())).cloned()
    }

    /// Whether none is being written.
    pub(super) fn are_over(&self) -> bool {
        self.all().values().all(|kept| kept.written().ended.is_some())
    }

    /// Keeps an answer, in pieces or whole, under this name, in the place of an earlier one; what the client gets follows it.
    /// Errors stay as they are.
    pub(super) fn keep(
        &self,
        owner: u64,
        name: String,
        dialect: Dialect,
        mut response: Response<Body>,
    ) -> Response<Body> {
        let kind = response.headers().get(header::CONTENT_TYPE).cloned();
        let kinds = [&b"text/event-stream"[..], b"application/x-ndjson", b"application/json"];
        let kept = kind.filter(|kind| kinds.contains(&kind.as_bytes()));
        let Some(content_type) = kept.filter(|_| response.status() == StatusCode::OK) else { return response };
        if let Some(old) = self.find(owner, &name) {
            old.refuse("a later request with the same X-Conversation-Id has taken the place of this one");
        }
        let mut all = self.all();
        all.remove(&(owner, name.clone()));
        if all.len() >= MAX_STREAMS {
            let ended = |kept: &Arc<Kept>| kept.written().ended.map(|(when, _)| when);
            let oldest = all.iter().filter_map(|(key, kept)| Some((ended(kept)?, key.clone()))).min();
            match oldest {
                Some((_, key)) => drop(all.remove(&key)),
                None => {
                    drop(all);
                    let why = format!("this stream cannot be gone on with: {MAX_STREAMS} others are kept");
                    note_warnings(&mut response, &[why]);
                    return response;
                }
            }
        }
        let kept = Arc::new(Kept {
            dialect,
            content_type,
            started: now(),
            written: Mutex::default(),
            changed: watch::channel(()).0,
            work: Mutex::default(),
        });
        all.insert((owner, name), Arc::clone(&kept));
        drop(all);
        let body = std::mem::take(response.body_mut());
        let writer = Arc::clone(&kept);
        let work = tokio::spawn(async move {
            let mut pieces = body.into_data_stream();
            while let Some(Ok(piece)) = pieces.next().await {
                writer.write(&piece);
            }
            writer.end();
        });
        *kept.work.lock().unwrap_or_else(PoisonError::into_inner) = Some(work.abort_handle());
        *response.body_mut() = body_from(kept, 0);
        response
    }

    /// Ends a stream and the work for it, with the event that `last` makes of its number; false when there is none that is
    /// being written.
    pub(super) fn stop(&self, owner: u64, name: &str, last: impl FnOnce(u64) -> String) -> bool {
        self.find(owner, name).is_some_and(|kept| kept.stop(last))
    }

    /// The events of a kept stream after the one with this number.
    ///
    /// # Errors
    /// 404 for a stream that is not kept, 400 where the place is no longer kept.
    pub(super) fn after(&self, owner: u64, name: &str, number: Option<u64>) -> Result<Response<Body>> {
        let kept = self.find(owner, name).ok_or_else(|| unknown(name))?;
        let (bytes, _) = kept.read(0).ok_or_else(gone)?;
        let mut from = 0;
        for event in String::from_utf8_lossy(&bytes).split_inclusive("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            let value: Value = data.and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
            match (value["sequence_number"].as_u64(), number) {
                (Some(at), Some(number)) if at > number => break,
                (_, None) => break,
                _ => from += event.len() as u64,
            }
        }
        Ok(respond(kept, from))
    }
}

fn unknown(name: &str) -> ApiError {
    ApiError::not_found(format!("no stream '{}' is kept", name.chars().take(100).collect::<String>()))
}

fn gone() -> ApiError {
    ApiError::field("from", format!("only the last {MAX_BYTES} bytes of a stream are kept"))
}

/// The answer that follows a stream.
fn respond(kept: Arc<Kept>, from: u64) -> Response<Body> {
    let content_type = kept.content_type.clone();
    let mut response = Response::new(body_from(kept, from));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// What is written from a byte on, until the end.
fn body_from(kept: Arc<Kept>, from: u64) -> Body {
    let (sender, mut receiver) = channel::<std::result::Result<Bytes, std::io::Error>>(4);
    tokio::spawn(async move {
        let (mut at, mut changed) = (from, kept.changed.subscribe());
        loop {
            changed.mark_unchanged();
            let Some((bytes, ended)) = kept.read(at) else {
                let _ = sender.send(Err(std::io::Error::other("the stream has moved on"))).await;
                return;
            };
            at += bytes.len() as u64;
            match bytes.is_empty() {
                true if ended => return,
                true => tokio::select! {
                    next = changed.changed() => if next.is_err() { return },
                    () = sender.closed() => return,
                },
                false => {
                    if sender.send(Ok(bytes)).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    Body::from_stream(futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// The conversation that a request names.
///
/// # Errors
/// 400 for a name that is none.
pub(super) fn conversation(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(name) = headers.get("x-conversation-id") else { return Ok(None) };
    let name = name.to_str().ok().filter(|name| (1..=MAX_NAME).contains(&name.len()));
    let wanted = || ApiError::field("X-Conversation-Id", format!("1 to {MAX_NAME} plain characters are wanted"));
    Ok(Some(name.ok_or_else(wanted)?.to_owned()))
}

/// What follows `?`, by name.
pub(super) fn query(uri: &Uri) -> Result<HashMap<String, String>> {
    match Query::try_from_uri(uri) {
        Ok(Query(query)) => Ok(query),
        Err(why) => Err(ApiError::bad(format!("the query cannot be read: {why}"))),
    }
}

/// A number after `?`.
pub(super) fn number(query: &HashMap<String, String>, name: &str) -> Result<Option<u64>> {
    let read = |text: &String| text.parse().map_err(|_| ApiError::field(name, "a whole number from 0 is wanted"));
    query.get(name).map(read).transpose()
}

/// How many entries a page of a list has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Where the request does not say.
    pub(super) usual: usize,
    pub(super) most: usize,
}

/// A page of a list that has the latest last.
///
/// # Errors
/// 400 for a place that is not in the list, or numbers that are none.
pub(super) fn page(mut items: Vec<Value>, query: &HashMap<String, String>, limits: Limits) -> Result<Value> {
    match query.get("order").map(String::as_str) {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(_) => return Err(ApiError::field("order", "asc or desc is wanted")),
    }
    let limit = match number(query, "limit")? {
        None => limits.usual,
        Some(limit) if (1..=limits.most as u64).contains(&limit) => limit as usize,
        Some(_) => return Err(ApiError::field("limit", format!("a number from 1 to {} is wanted", limits.most))),
    };
    if let Some(after) = query.get("after") {
        let at = items.iter().position(|item| item["id"] == after.as_str());
        let at = at.ok_or_else(|| ApiError::field("after", "nothing in this list has that id"))?;
        items.drain(..=at);
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let id = |item: Option<&Value>| item.map(|item| item["id"].clone());
    Ok(json!({ "object": "list", "first_id": id(items.first()), "last_id": id(items.last()), "has_more": more,
               "data": items }))
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
