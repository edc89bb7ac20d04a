//! A terminal that is closed, or a polite kill: the chat ends as if the user had left, with everything kept.

use crate::interrupt;
use rustix::fd::OwnedFd;
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Watches for the signals that mean "leave", from when it is made.
pub(super) struct Leave {
    asked: Arc<AtomicBool>,
    /// The terminal and its state before anything changed it.
    terminal: Option<(OwnedFd, Termios)>,
}

impl Leave {
    /// Starts to watch. Where the system refuses, the signals' default action stays.
    pub(super) fn watch() -> Self {
        let stdin = rustix::stdio::stdin();
        let terminal =
            tcgetattr(stdin).ok().and_then(|state| Some((rustix::io::fcntl_dupfd_cloexec(stdin, 3).ok()?, state)));
        let asked = Arc::new(AtomicBool::new(false));
        if let Ok(mut signals) = Signals::new([SIGHUP, SIGTERM]) {
            let asked = Arc::clone(&asked);
            std::thread::spawn(move || {
                for signal in signals.forever() {
                    asked.store(true, Ordering::SeqCst);
                    interrupt::leave(signal);
                    end_input();
                }
            });
        }
        Self { asked, terminal }
    }

    /// Whether such a signal came.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        // The editor restores what it finds as its input, which is not the terminal any more.
        if let (true, Some((terminal, state))) = (self.asked(), &self.terminal) {
            let _ = tcsetattr(terminal, OptionalActions::Now, state);
        }
    }
}

/// Puts the end of input where the terminal was, and wakes the editor, which waits for a key: a change of the window's
/// size is what it wakes up for.
fn end_input() {
    let Ok(nothing) = std::fs::File::open("/dev/null") else { return };
    if rustix::stdio::dup2_stdin(&nothing).is_ok() {
        let _ = kill_process(getpid(), Signal::WINCH);
    }
}
