//! The terminal, as each system has it: single keys while something runs, and its end.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::{Hangup, Keyboard, set_stdout_aside, width};
#[cfg(windows)]
pub use windows::{Hangup, Keyboard, set_stdout_aside, width};

/// What came from the keyboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// Nothing, or a key that means nothing here.
    Nothing,
    /// Esc alone.
    Escape,
    /// Ctrl-C, where it comes as a key and not as a signal.
    Interrupt,
    /// Text.
    Text(Vec<u8>),
    /// The terminal is gone.
    End,
}
