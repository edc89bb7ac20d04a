//! Keys while an answer runs: Esc ends the thought, Ctrl-C (a signal) stops the answer, other text waits for the next
//! prompt.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

const ESCAPE: u8 = 0x1b;

/// Watches the keyboard until it is finished or dropped.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<u8>>>,
    before: Option<Termios>,
}

impl Watch {
    /// Starts watching, where stdin is a terminal. Esc sets `end_thought`.
    pub(super) fn start(end_thought: &Arc<AtomicBool>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stdin = rustix::stdio::stdin();
        let Ok(before) = tcgetattr(stdin) else { return Self { stop, thread: None, before: None } };
        let mut raw = before.clone();
        // Single keys, not echoed; signals and the output's newlines stay as they are.
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        if tcsetattr(stdin, OptionalActions::Now, &raw).is_err() {
            return Self { stop, thread: None, before: None };
        }
        let (stopped, end_thought) = (Arc::clone(&stop), Arc::clone(end_thought));
        let thread = std::thread::spawn(move || keys(&stopped, &end_thought));
        Self { stop, thread: Some(thread), before: Some(before) }
    }

    /// Stops watching and returns what was typed: lines that were sent, and one that was only begun.
    pub(super) fn finish(mut self) -> (Vec<String>, String) {
        let typed = self.end();
        lines(&String::from_utf8_lossy(&typed))
    }

    fn end(&mut self) -> Vec<u8> {
        self.stop.store(true, Ordering::SeqCst);
        let typed = self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if let Some(before) = self.before.take() {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before);
        }
        typed
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

fn keys(stop: &AtomicBool, end_thought: &AtomicBool) -> Vec<u8> {
    /// How often it is looked whether the answer has ended.
    const STEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let mut typed = Vec::new();
    let mut buffer = [0; 256];
    let stdin = rustix::stdio::stdin();
    while !stop.load(Ordering::SeqCst) {
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        if !matches!(poll(&mut fds, Some(&STEP)), Ok(n) if n > 0) {
            continue;
        }
        match rustix::io::read(stdin, &mut buffer) {
            // Esc alone; an arrow or function key is an Esc with more behind it.
            Ok(1) if buffer[0] == ESCAPE => end_thought.store(true, Ordering::SeqCst),
            Ok(0) | Err(_) => break,
            Ok(_) if buffer[0] == ESCAPE => {}
            Ok(n) => typed.extend_from_slice(&buffer[..n]),
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
