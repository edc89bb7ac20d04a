//! What long work tells its observer, and how the observer ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says that work is to end at its next clean point.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// [`crate::Error::Interrupted`] once it was raised.
    pub(in crate::store) fn check(&self) -> crate::Result<()> {
        if self.is_raised() { Err(crate::Error::Interrupted) } else { Ok(()) }
    }
}

impl From<&Arc<AtomicBool>> for StopFlag {
    fn from(flag: &Arc<AtomicBool>) -> Self {
        Self(Arc::clone(flag))
    }
}

/// Receives the progress of a download or a check. The command line draws a bar on a terminal and keeps quiet elsewhere.
pub trait StoreProgress: Sync {
    /// Work on `total` bytes begins, of which `done` are there already.
    fn begin(&self, what: &str, total: u64, done: u64);
    /// `bytes` more are done.
    fn advance(&self, bytes: u64);
    /// The work that began last has ended, well or badly.
    fn end(&self);
    /// One line of news, such as a source that failed.
    fn note(&self, line: &str);
    /// A download of `total` bytes (as far as they are known) from `source` is about to begin; an error prevents it.
    ///
    /// # Errors
    /// Whatever is to end the work.
    fn found(&self, _name: &str, _source: &str, _total: Option<u64>) -> crate::Result<()> {
        Ok(())
    }
    /// What ends the work early; never, unless the observer has a flag.
    fn stop(&self) -> StopFlag {
        StopFlag::default()
    }
}

#[cfg(test)]
/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

#[cfg(test)]
impl StoreProgress for Silent {
    fn begin(&self, _: &str, _: u64, _: u64) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
    fn note(&self, _: &str) {}
}
