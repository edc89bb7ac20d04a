//! A file on a server, and how it is fetched.

use std::time::Duration;

/// What to fetch.
#[derive(Debug, Clone)]
pub(in crate::store) struct Remote {
    pub(in crate::store) url: String,
    /// A short name for messages.
    pub(in crate::store) name: String,
    /// Its length, if a listing told it.
    pub(in crate::store) size: Option<u64>,
    /// Its hash, if a listing told it.
    pub(in crate::store) sha256: Option<String>,
}

/// How to fetch.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Tuning {
    pub(in crate::store) connections: usize,
    /// Bytes that one request asks for.
    pub(in crate::store) part: u64,
    /// Failures in a row, without progress between, that end the attempt.
    pub(in crate::store) retries: u32,
    /// Pause after the first of these; it doubles each time.
    pub(in crate::store) pause: Duration,
}
