//! What long work tells its observer.

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
