//! The terminal, as each system has it: single keys while something runs, and its end.

mod typed;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub use typed::Typed;
#[cfg(unix)]
pub use unix::{Hangup, Keyboard, is_closed, reads_escape_codes, set_stdout_aside, width};
#[cfg(windows)]
pub use windows::{Hangup, Keyboard, is_closed, reads_escape_codes, set_stdout_aside, width};
