//! Consoles of Windows.

use super::typed::Typed;
use crate::{Error, Result};
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use rustyline::error::ReadlineError;
use std::fs::File;
use std::io::IsTerminal;
use std::time::Duration;

/// Columns of the console that stdout or stderr is; `None` where neither is one.
pub fn width() -> Option<usize> {
    let console = std::io::stdout().is_terminal() || std::io::stderr().is_terminal();
    let (columns, _) = crossterm::terminal::size().ok().filter(|_| console)?;
    Some(usize::from(columns)).filter(|&columns| columns > 0)
}

/// Whether the console reads escape codes; where an older one has that off, it is turned on.
pub fn reads_escape_codes() -> bool {
    crossterm::ansi_support::supports_ansi()
}

/// Whether a line could not be read since its console was closed.
pub fn is_closed(why: &ReadlineError) -> bool {
    matches!(why, ReadlineError::Io(_))
}

/// Consoles cannot take the place of stdout here.
///
/// # Errors
/// Always: a chat without one would write its prompts between the answers.
pub fn set_stdout_aside() -> Result<File> {
    Err(Error::usage(
        "A chat needs the console for what it says, and stdout leads elsewhere. Give the question as an argument.",
    ))
}

/// The keyboard in single keys that are not echoed, until it is dropped.
pub struct Keyboard(());

impl Keyboard {
    /// Where stdin is a console. Ctrl-C comes as a key meanwhile.
    pub fn open() -> Option<Self> {
        (std::io::stdin().is_terminal() && enable_raw_mode().is_ok()).then_some(Self(()))
    }

    /// What comes within `wait`.
    pub fn next(&self, wait: Duration) -> Typed {
        match poll(wait) {
            Ok(true) => {}
            Ok(false) => return Typed::Nothing,
            Err(_) => return Typed::End,
        }
        let key = match read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => key,
            Ok(_) => return Typed::Nothing,
            Err(_) => return Typed::End,
        };
        match key.code {
            KeyCode::Esc => Typed::Escape,
            KeyCode::Enter => Typed::Text(b"\n".to_vec()),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Typed::Interrupt,
            KeyCode::Char(_) if key.modifiers.contains(KeyModifiers::CONTROL) => Typed::Nothing,
            KeyCode::Char(c) => Typed::Text(c.to_string().into_bytes()),
            _ => Typed::Nothing,
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // A console that is gone needs no restoring.
        let _ = disable_raw_mode();
    }
}

/// A console that is closed ends the process within seconds, whatever it does: there is nothing to watch for.
pub struct Hangup(());

impl Hangup {
    /// Calls nothing here.
    pub fn watch(_asked: impl Fn(i32) + Send + 'static) -> Self {
        Self(())
    }

    /// Nothing was changed.
    pub fn restore(&self) {}
}

crate::text::opaque!(Keyboard, Hangup);
