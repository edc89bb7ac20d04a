//! The bar that shows downloads and checks, on a terminal only.

use super::output::say;
use crate::store::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::{Mutex, PoisonError};

/// Draws a bar on stderr; when stderr is no terminal, only news lines appear.
#[derive(Debug, Default)]
pub(super) struct Bar {
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    fn with(&self, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            act(bar);
        }
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, total: u64, done: u64) {
        // ProgressBar::new draws nothing where stderr is no terminal.
        let bar = ProgressBar::new(total).with_message(what.to_owned()).with_position(done);
        if let Ok(style) = ProgressStyle::with_template(DISK) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.reset_eta();
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }

    fn advance(&self, bytes: u64) {
        self.with(|bar| bar.inc(bytes));
    }

    fn end(&self) {
        self.with(ProgressBar::finish_and_clear);
    }

    fn note(&self, line: &str) {
        self.with(ProgressBar::finish_and_clear);
        say(line);
    }
}

/// The bar of a prompt that takes a while to read.
#[derive(Default)]
pub(super) struct Prompt {
    bar: Option<ProgressBar>,
}

impl Prompt {
    /// Shows that `done` of `total` tokens are read.
    pub(super) fn show(&mut self, done: usize, total: usize) {
        /// Prompts below this are read in no time.
        const LONG: usize = 512;
        if total < LONG {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| tokens("reading the prompt", total));
        bar.set_position(done as u64);
        if done == total {
            bar.finish_and_clear();
        }
    }
}

/// A bar that counts tokens.
pub(super) fn tokens(what: &'static str, total: usize) -> ProgressBar {
    styled(what, total as u64, "{msg}  {percent:>3}% [{bar:30}] {pos} of {len} tokens, {per_sec}, {eta} left")
}

/// A bar that counts bytes.
pub(super) fn bytes(what: &'static str, total: u64) -> ProgressBar {
    styled(what, total, "{msg}  {percent:>3}% [{bar:30}] {decimal_bytes} of {decimal_total_bytes}, {eta} left")
}

/// A bar that counts bytes that come from a disk.
pub(super) fn reading(what: &'static str, total: u64) -> ProgressBar {
    styled(what, total, DISK)
}

/// Bytes with their speed.
const DISK: &str =
    "{msg}  {percent:>3}% [{bar:30}] {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";

fn styled(what: &'static str, total: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(what);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
