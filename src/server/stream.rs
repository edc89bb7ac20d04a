//! Answers that come piece by piece: events of a running request, written as a dialect wants them.

use super::dialect::Dialect;
use super::error::ApiError;
use super::request::{self, Progress, Running};
use super::state::over;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, header};
use std::time::Duration;
use tokio::sync::mpsc::{Sender, channel};

/// Silence after which something is sent, so that no proxy between here and the client gives up.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Pieces that wait for a slow client; then the work's events wait instead.
const BUFFERED: usize = 256;

/// How a dialect writes a stream.
pub(super) trait EventWriter: Send + 'static {
    /// The dialect, for errors.
    const DIALECT: &'static Dialect;
    /// Of the answer's head.
    const CONTENT_TYPE: &'static str;

    /// What is sent at once, for each request that the stream answers.
    fn begin(&mut self, running: &Running) -> String;

    /// What an event becomes; may be empty.
    fn event(&mut self, progress: Progress) -> String;

    /// What is sent when all answers have ended.
    fn end(&mut self) -> String {
        String::new()
    }

    /// What is sent where nothing happens for a while.
    fn keep_alive(&mut self) -> String {
        ":\n\n".to_owned()
    }

    /// What tells of an error in the middle.
    fn error(&mut self, error: &ApiError) -> String {
        Self::DIALECT.error_event("", error)
    }
}

/// Writes the events of `running` until it ends or the client is gone.
pub(super) fn respond(running: Running, writer: impl EventWriter) -> Response<Body> {
    respond_all(vec![running], writer)
}

/// The same for several requests that are answered together.
pub(super) fn respond_all(mut running: Vec<Running>, mut writer: impl EventWriter) -> Response<Body> {
    let (sender, mut receiver) = channel::<Bytes>(BUFFERED);
    let content_type = content_type(&writer);
    tokio::spawn(async move {
        let begin = running.iter().map(|running| writer.begin(running)).collect();
        if send(&sender, begin).await {
            pump(&mut running, &mut writer, &sender).await;
        }
    });
    let chunks = futures_util::stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|chunk| chunk.map(Ok::<_, std::convert::Infallible>))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx would collect the stream otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn content_type<W: EventWriter>(_: &W) -> &'static str {
    W::CONTENT_TYPE
}

async fn pump<W: EventWriter>(running: &mut [Running], writer: &mut W, sender: &Sender<Bytes>) {
    let Some(deadline) = running.first().map(|first| first.deadline.clone()) else { return };
    let over = over(deadline);
    tokio::pin!(over);
    loop {
        let text = tokio::select! {
            next = request::next_of(running) => match next {
                Ok(Some(progress)) => writer.event(progress),
                Ok(None) => {
                    let end = writer.end();
                    send(sender, end).await;
                    return;
                }
                Err(error) => {
                    let text = writer.error(&error);
                    send(sender, text).await;
                    return;
                }
            },
            () = sender.closed() => return,
            () = &mut over => {
                let text = writer.error(&ApiError::stopping());
                send(sender, text).await;
                return;
            }
            () = tokio::time::sleep(KEEP_ALIVE) => writer.keep_alive(),
        };
        if !send(sender, text).await {
            return;
        }
    }
}

/// Whether the client is still there.
async fn send(sender: &Sender<Bytes>, text: String) -> bool {
    text.is_empty() || sender.send(text.into()).await.is_ok()
}
