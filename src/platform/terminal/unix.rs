//! Terminals of Unix.

use super::typed::Typed;
use crate::error::FileAction;
use crate::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use rustyline::error::ReadlineError;
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::time::Duration;

const ESCAPE: u8 = 0x1b;

/// Columns of the terminal that stdout, or else stderr, is; `None` where neither is one.
pub fn width() -> Option<usize> {
    let size = tcgetwinsize(rustix::stdio::stdout()).or_else(|_| tcgetwinsize(rustix::stdio::stderr())).ok()?;
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

/// Terminals do.
pub fn reads_escape_codes() -> bool {
    true
}

/// Whether a line could not be read since its terminal was closed.
pub fn is_closed(why: &ReadlineError) -> bool {
    matches!(why, ReadlineError::Io(_) | ReadlineError::Errno(_))
}

/// Puts the terminal in the place of stdout, and gives back where that led.
pub fn set_stdout_aside() -> Result<File> {
    let failed = |why: rustix::io::Errno| Error::failed("stdout", why.to_string());
    let aside = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3).map_err(failed)?;
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let terminal = terminal.map_err(|why| Error::io("/dev/tty", FileAction::Open, why))?;
    rustix::stdio::dup2_stdout(&terminal).map_err(failed)?;
    Ok(aside.into())
}

/// The keyboard in single keys that are not echoed, until it is dropped.
pub struct Keyboard {
    before: Termios,
}

impl Keyboard {
    /// Where stdin is a terminal. Signals and the output's newlines stay as they are.
    pub fn open() -> Option<Self> {
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin).ok()?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }

    /// What comes within `wait` (less than a second).
    pub fn next(&self, wait: Duration) -> Typed {
        let stdin = rustix::stdio::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        if !matches!(poll(&mut fds, Some(&wait)), Ok(n) if n > 0) {
            return Typed::Nothing;
        }
        let mut buffer = [0; 256];
        match rustix::io::read(stdin, &mut buffer) {
            // An arrow or function key is an Esc with more after it.
            Ok(1) if buffer[0] == ESCAPE => Typed::Escape,
            Ok(0) | Err(_) => Typed::End,
            Ok(_) if buffer[0] == ESCAPE => Typed::Nothing,
            Ok(n) => Typed::Text(buffer[..n].to_vec()),
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Watches for a terminal that is closed and for a polite kill, from when it is made.
pub struct Hangup {
    /// The terminal and its state before anything changed it.
    terminal: Option<(OwnedFd, Termios)>,
}

impl Hangup {
    /// Calls `asked` with the signal, then ends the input, so that who waits for a line is woken. Where the system refuses,
    /// the signals' default action stays.
    pub fn watch(asked: impl Fn(i32) + Send + 'static) -> Self {
        let stdin = rustix::stdio::stdin();
        let terminal =
            tcgetattr(stdin).ok().and_then(|state| Some((rustix::io::fcntl_dupfd_cloexec(stdin, 3).ok()?, state)));
        if let Ok(mut signals) = Signals::new([SIGHUP, SIGTERM]) {
            let watch = std::thread::Builder::new().spawn(move || {
                for signal in signals.forever() {
                    asked(signal);
                    end_input();
                }
            });
            // Without it the hangup is an end of input all the same.
            drop(watch);
        }
        Self { terminal }
    }

    /// Puts the terminal back as it was: a line editor restores what it finds as its input, which is not the terminal any
    /// more.
    pub fn restore(&self) {
        if let Some((terminal, state)) = &self.terminal {
            let _ = tcsetattr(terminal, OptionalActions::Now, state);
        }
    }
}

/// Puts the end of input where the terminal was, and wakes the editor, which waits for a key: a change of the window's
/// size is what it wakes up for.
fn end_input() {
    let Ok(nothing) = File::open("/dev/null") else { return };
    if rustix::stdio::dup2_stdin(&nothing).is_ok() {
        let _ = kill_process(getpid(), Signal::WINCH);
    }
}

crate::text::opaque!(Keyboard, Hangup);
