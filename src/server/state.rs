//! What all requests share, and what a request and a row of the route table are.

use super::auth::ApiKeys;
use super::dialect::Dialect;
use super::doc::Doc;
use super::error::ApiError;
use super::files::Files;
use super::log::{Asker, Log};
use super::metrics::Metrics;
use super::models::Models;
use super::openai::Thoughts;
use super::options::ServerOptions;
use super::responses::Stored;
use super::resume::Streams;
use crate::error::FileAction;
use crate::platform::files::private_folder;
use crate::units::unix_seconds;
use crate::{Error, Result};
use axum::body::{Body, Bytes};
use axum::http::{Response, Uri};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;
use tokio::sync::watch;

/// What all requests share.
pub(super) struct State {
    pub(super) models: Arc<Models>,
    pub(super) options: ServerOptions,
    pub(super) keys: ApiKeys,
    pub(super) log: Arc<Log>,
    /// Set when the time for running answers is over.
    pub(super) deadline: watch::Sender<bool>,
    pub(super) metrics: Metrics,
    pub(super) stored: Stored,
    pub(super) files: Files,
    pub(super) thoughts: Thoughts,
    pub(super) streams: Streams,
    /// Set when the server is asked to end: no new work is taken.
    pub(super) draining: watch::Sender<bool>,
    pub(super) requests: AtomicU64,
    /// Seconds since 1970 when the server started.
    pub(super) started: u64,
    /// What is answered.
    pub(super) routes: &'static [Route],
}

impl State {
    /// Of a server that has just begun.
    ///
    /// # Errors
    /// A key file that cannot be read, a folder that cannot be made.
    pub(super) fn new(models: Models, options: ServerOptions, log: Log, routes: &'static [Route]) -> Result<Arc<Self>> {
        if let Some(folder) = &options.slot_dir {
            private_folder(folder).map_err(|why| Error::io(folder, FileAction::Create, why))?;
        }
        Ok(Arc::new(Self {
            models: Arc::new(models),
            keys: ApiKeys::load(&options)?,
            log: Arc::new(log),
            deadline: watch::channel(false).0,
            metrics: Metrics::default(),
            stored: Stored::default(),
            thoughts: Thoughts::default(),
            streams: Streams::default(),
            files: Files::open(options.data.as_deref())?,
            draining: watch::channel(false).0,
            requests: AtomicU64::new(0),
            started: unix_seconds(SystemTime::now()),
            options,
            routes,
        }))
    }

    /// Whether the server is about to end.
    pub(super) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// What answers requests at this path.
    pub(super) fn route(&self, path: &str) -> Option<&'static Route> {
        self.routes.iter().find(|route| route.method == "POST" && route.path == path)
    }
}

/// A request as handlers get it.
pub(super) struct Call {
    pub(super) body: Bytes,
    pub(super) uri: Uri,
    /// Its number, which the answer's head repeats.
    pub(super) id: String,
    /// Whether a browser asks for something to show.
    pub(super) wants_page: bool,
    /// Of the body.
    pub(super) content_type: String,
    /// Who asks.
    pub(super) asker: Asker,
}

/// What comes of a request.
pub(super) type HandlerAnswer = std::result::Result<Response<Body>, ApiError>;
pub(super) type Handler = fn(Arc<State>, Call) -> Pin<Box<dyn Future<Output = HandlerAnswer> + Send>>;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everyone.
    Public,
    /// Who has a key, where keys are wanted.
    Keyed,
}

/// One row.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) dialect: &'static Dialect,
    pub(super) access: Access,
    /// The largest body, where it is not that of all requests.
    pub(super) max_body: Option<usize>,
    /// What the OpenAPI document says of it.
    pub(super) doc: Doc,
    pub(super) handler: Handler,
}

impl Route {
    /// Answers a request.
    pub(super) fn call(&self, state: Arc<State>, call: Call) -> Pin<Box<dyn Future<Output = HandlerAnswer> + Send>> {
        (self.handler)(state, call)
    }
}

/// Waits until the server ends (`draining`), or the time for running answers is over (`deadline`).
pub(super) async fn over(mut deadline: watch::Receiver<bool>) {
    if deadline.wait_for(|over| *over).await.is_err() {
        // The server is gone, and this with it.
        std::future::pending().await
    }
}
