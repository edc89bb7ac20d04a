//! Streams that are kept: what was written, and who is told of more.

use super::super::dialect::Dialect;
use super::super::error::ApiError;
use super::super::reply::note_warnings;
use crate::units::unix_seconds;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};
use futures_util::StreamExt;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc::channel;
use tokio::sync::watch;
use tokio::task::AbortHandle;

type Result<T> = std::result::Result<T, ApiError>;

/// Bytes of a stream that are kept; the oldest go first.
const MAX_BYTES: usize = 4 << 20;
/// Streams that are kept.
const MAX_STREAMS: usize = 64;
/// How long a stream that has ended is kept.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Kept streams, by owner and name.
#[derive(Default)]
pub(in super::super) struct Streams(Mutex<HashMap<(u64, String), Arc<KeptStream>>>);

pub(super) struct KeptStream {
    dialect: &'static Dialect,
    content_type: HeaderValue,
    pub(super) started: u64,
    written: Mutex<WrittenBytes>,
    /// Told whenever something was written.
    changed: watch::Sender<()>,
    work: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
pub(super) struct WrittenBytes {
    bytes: VecDeque<u8>,
    /// Bytes before those that are kept.
    pub(super) dropped: u64,
    pub(super) ended: Option<(Instant, u64)>,
}

impl WrittenBytes {
    pub(super) fn end(&self) -> u64 {
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

impl KeptStream {
    pub(super) fn written(&self) -> MutexGuard<'_, WrittenBytes> {
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
    pub(super) fn refuse(&self, why: &str) {
        self.stop(|_| self.dialect.error_event("", &ApiError::conflict(why)));
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
    pub(super) fn all(&self) -> MutexGuard<'_, HashMap<(u64, String), Arc<KeptStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, owner: u64, name: &str) -> Option<Arc<KeptStream>> {
        let mut all = self.all();
        all.retain(|_, kept| kept.written().ended.is_none_or(|(when, _)| when.elapsed() < KEPT_FOR));
        all.get(&(owner, name.to_owned())).cloned()
    }

    /// Whether none is being written.
    pub(in super::super) fn are_over(&self) -> bool {
        self.all().values().all(|kept| kept.written().ended.is_some())
    }

    /// Keeps an answer, in pieces or whole, under this name, in the place of an earlier one; what the client gets follows it.
    /// Errors stay as they are.
    pub(in super::super) fn keep(
        &self,
        owner: u64,
        name: String,
        dialect: &'static Dialect,
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
            let ended = |kept: &Arc<KeptStream>| kept.written().ended.map(|(when, _)| when);
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
        let kept = Arc::new(KeptStream {
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
    pub(in super::super) fn stop(&self, owner: u64, name: &str, last: impl FnOnce(u64) -> String) -> bool {
        self.find(owner, name).is_some_and(|kept| kept.stop(last))
    }

    /// The events of a kept stream after the one with this number.
    ///
    /// # Errors
    /// 404 for a stream that is not kept, 400 where the place is no longer kept.
    pub(in super::super) fn after(&self, owner: u64, name: &str, number: Option<u64>) -> Result<Response<Body>> {
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

pub(super) fn unknown(name: &str) -> ApiError {
    ApiError::not_found(format!("no stream '{}' is kept", name.chars().take(100).collect::<String>()))
}

pub(super) fn gone() -> ApiError {
    ApiError::field("from", format!("only the last {MAX_BYTES} bytes of a stream are kept"))
}

/// The answer that follows a stream.
pub(super) fn respond(kept: Arc<KeptStream>, from: u64) -> Response<Body> {
    let content_type = kept.content_type.clone();
    let mut response = Response::new(body_from(kept, from));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// What is written from a byte on, until the end.
fn body_from(kept: Arc<KeptStream>, from: u64) -> Body {
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
    unix_seconds(SystemTime::now())
}
