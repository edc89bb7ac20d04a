//! A terminal that is closed, or a polite kill: the chat ends as if the user had left, with everything kept.

use crate::interrupt;
use crate::platform::terminal::Hangup;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Watches for the signals that mean "leave", from when it is made.
pub(super) struct Leave {
    asked: Arc<AtomicBool>,
    hangup: Hangup,
}

impl Leave {
    /// Starts to watch.
    pub(super) fn watch() -> Self {
        let asked = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&asked);
        let hangup = Hangup::watch(move |signal| {
            told.store(true, Ordering::SeqCst);
            interrupt::leave(signal);
        });
        Self { asked, hangup }
    }

    /// Whether such a signal came.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.asked() {
            self.hangup.restore();
        }
    }
}
