//! Keys while an answer runs: Esc ends the thought, Ctrl-C (a signal) stops the answer, other text waits for the next
//! prompt.

use crate::interrupt;
use crate::platform::terminal::{Keyboard, Typed};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Watches the keyboard until it is finished or dropped.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<u8>>>,
}

impl Watch {
    /// Starts watching, where stdin is a terminal. Esc sets `end_thought`.
    pub(super) fn start(end_thought: &Arc<AtomicBool>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let Some(keyboard) = Keyboard::open() else { return Self { stop, thread: None } };
        let (stopped, end_thought) = (Arc::clone(&stop), Arc::clone(end_thought));
        // Where there are no threads, keys that are pressed meanwhile are read by the next prompt.
        let thread = std::thread::Builder::new().spawn(move || keys(&keyboard, &stopped, &end_thought));
        Self { stop, thread: thread.ok() }
    }

    /// Stops watching and returns what was typed, after what was `begun` before.
    pub(super) fn finish(mut self, begun: String) -> Meanwhile {
        let typed = self.end();
        Meanwhile::read(begun, &String::from_utf8_lossy(&typed))
    }

    fn end(&mut self) -> Vec<u8> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

/// What was typed while an answer ran.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Meanwhile {
    /// Lines that were sent.
    pub(super) sent: Vec<String>,
    /// One that was only begun.
    pub(super) begun: String,
    /// Ctrl-D on an empty line: the chat is left after all that.
    pub(super) left: bool,
}

impl Meanwhile {
    /// As the terminal itself reads lines: what was typed wrong can be taken back. `begun` was typed before.
    fn read(begun: String, typed: &str) -> Self {
        let mut all = Self { begun, ..Self::default() };
        for c in typed.replace("\r\n", "\n").chars() {
            let line = &mut all.begun;
            match c {
                '\n' | '\r' => all.sent.push(std::mem::take(line)),
                '\u{7f}' | '\u{8}' => drop(line.pop()),
                // Ctrl-U, Ctrl-W.
                '\u{15}' => line.clear(),
                '\u{17}' => line.truncate(line.trim_end().rfind(char::is_whitespace).map_or(0, |blank| blank + 1)),
                '\u{4}' if line.is_empty() => {
                    all.left = true;
                    break;
                }
                c if c.is_control() => {}
                c => line.push(c),
            }
        }
        all
    }
}

fn keys(keyboard: &Keyboard, stop: &AtomicBool, end_thought: &AtomicBool) -> Vec<u8> {
    /// How often it is looked whether the answer has ended.
    const POLL_STEP: Duration = Duration::from_millis(50);
    let mut typed = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        match keyboard.next(POLL_STEP) {
            Typed::Nothing => {}
            Typed::Escape => end_thought.store(true, Ordering::SeqCst),
            Typed::Interrupt => interrupt::by_key(),
            Typed::Text(text) => typed.extend_from_slice(&text),
            Typed::End => break,
        }
    }
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sent_lines_and_one_that_is_begun() {
        let is = |typed: &str, sent: &[&str], begun: &str, left: bool| {
            let sent = sent.iter().map(|&line| line.to_owned()).collect();
            assert_eq!(
                Meanwhile::read(String::new(), typed),
                Meanwhile { sent, begun: begun.to_owned(), left },
                "{typed:?}"
            );
        };
        is("and then what?\rthird", &["and then what?"], "third", false);
        is("a\r\nb\n", &["a", "b"], "", false);
        is("\u{1}half", &[], "half", false);
        is("teh\u{7f}\u{7f}he\r", &["the"], "", false);
        is("가나\u{7f}\r\u{7f}b", &["가"], "b", false);
        is("one two\u{17}2\rno\u{15}yes", &["one 2"], "yes", false);
        is("bye\r\u{4}never\r", &["bye"], "", true);
        is("not\u{4} yet", &[], "not yet", false);
        // While a second answer runs, a line goes on that was begun in the first.
        let both = Meanwhile::read("third half".to_owned(), " typed\rfour");
        assert_eq!((both.sent, both.begun), (vec!["third half typed".to_owned()], "four".to_owned()));
    }
}
