//! The threads that answer requests; those that compute are the engine's.

use crate::platform::process;
use crate::{Error, Result};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Threads that read and write.
const WORKERS: usize = 2;
/// One that prepares requests, and the log's.
const OTHERS: usize = 2;
/// What the runtime opens for itself, and a few connections.
const RUNTIME_FILES: usize = 16;
/// How long a thread that prepares requests stays without work. The runtime gets on without new ones as long as it has one.
const STAY: Duration = Duration::from_secs(86_400);

/// # Errors
/// Threads or files that the system refuses, on behalf of `what`.
pub(super) fn start(what: &str) -> Result<Runtime> {
    let failed = |why: std::io::Error| Error::failed(what, why.to_string());
    // The runtime ends the process, or waits for ever, where it cannot have them.
    process::spare(WORKERS + OTHERS, RUNTIME_FILES)?;
    let mut threads = Builder::new_multi_thread();
    let runtime = threads.worker_threads(WORKERS).thread_keep_alive(STAY).enable_all().build().map_err(failed)?;
    drop(runtime.spawn_blocking(|| ()));
    Ok(runtime)
}
