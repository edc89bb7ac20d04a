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
        let thread = std::thread::spawn(move || keys(&keyboard, &stopped, &end_thought));
        Self { stop, thread: Some(thread) }
    }

    /// Stops watching and returns what was typed: lines that were sent, and one that was only begun.
    pub(super) fn finish(mut self) -> (Vec<String>, String) {
        let typed = self.end();
        lines(&String::from_utf8_lossy(&typed))
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

/// Typed text as lines and the rest.
fn lines(typed: &str) -> (Vec<String>, String) {
    let plain = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    let typed = typed.replace("\r\n", "\n").replace('\r', "\n");
    let mut parts: Vec<String> = typed.split('\n').map(plain).collect();
    let rest = parts.pop().unwrap_or_default();
    (parts, rest)
}

fn keys(keyboard: &Keyboard, stop: &AtomicBool, end_thought: &AtomicBool) -> Vec<u8> {
    /// How often it is looked whether the answer has ended.
    const STEP: Duration = Duration::from_millis(50);
    let mut typed = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        match keyboard.next(STEP) {
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
        let lines = |text| lines(text);
        assert_eq!(lines("and then what?\rthird"), (vec!["and then what?".to_owned()], "third".to_owned()));
        assert_eq!(lines("a\r\nb\n"), (vec!["a".to_owned(), "b".to_owned()], String::new()));
        assert_eq!(lines("\u{1}half"), (Vec::new(), "half".to_owned()));
    }
}
