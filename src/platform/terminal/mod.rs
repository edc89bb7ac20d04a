//! The terminal, as each system has it: single keys while something runs, and its end.

mod typed;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub use typed::Typed;
#[cfg(unix)]
pub use unix::{Hangup, Keyboard, set_stdout_aside, width};
#[cfg(windows)]
pub use windows::{Hangup, Keyboard, set_stdout_aside, width};
