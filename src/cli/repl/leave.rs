//! A terminal that is closed, or a polite kill: the chat ends as if the user had left, with everything kept.

use crate::interrupt;
use crate::platform::terminal::Hangup;

/// Watches for the signals that mean "leave", from when it is made.
pub(super) struct Leave {
    hangup: Hangup,
}

impl Leave {
    /// Starts to watch.
    pub(super) fn watch() -> Self {
        Self { hangup: Hangup::watch(interrupt::leave) }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if interrupt::leaving() {
            self.hangup.restore();
        }
    }
}
