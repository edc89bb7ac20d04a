//! The chat in a terminal of a known size: what is on the screen while a long line is edited, and what is kept when the
//! terminal or the process ends.

use crate::screen;

use rexpect::process::{PtyProcess, WaitStatus};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use screen::Screen;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const LONG: Duration = Duration::from_secs(30);

/// The chat with a tiny model.
fn command(home: &Path, args: &[&str]) -> Command {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf");
    let mut command = crate::launch::tokki();
    command.arg("run").arg(model).args(["--temperature", "0", "--ctx", "2048"]).args(args);
    command.env("TOKKI_HOME", home).env("XDG_CONFIG_HOME", home).env("TOKKI_OFFLINE", "1");
    command.env("NO_COLOR", "1").env("TERM", "xterm").current_dir(home);
    command
}

pub struct Terminal {
    process: PtyProcess,
    pty: File,
    pub screen: Screen,
    /// All that was written.
    pub text: String,
}

impl Terminal {
    pub fn start(command: Command, cols: usize) -> Self {
        let process = PtyProcess::new(command).unwrap();
        let pty = process.get_file_handle().unwrap();
        let mut terminal = Self { process, pty, screen: Screen::new(cols), text: String::new() };
        terminal.size(cols);
        terminal
    }

    fn size(&mut self, cols: usize) {
        let size = Winsize { ws_row: 30, ws_col: cols as u16, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.pty, size).unwrap();
    }

    pub fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    /// What a terminal of another encoding sends.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.pty.write_all(bytes).unwrap();
    }

    /// Shows what is written until nothing was for a moment.
    pub fn settle(&mut self) {
        while self.show(Duration::from_millis(400)) {}
    }

    /// Shows what is written until `done`, looked at after each piece.
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            self.show(Duration::from_millis(50));
            assert!(start.elapsed() < LONG, "no {what}:\n{}", self.screen.rows().join("\n"));
        }
    }

    /// Waits for an empty prompt.
    pub fn prompt(&mut self) {
        self.until("prompt", |t| t.screen.current() == ">>>");
        self.settle();
    }

    fn show(&mut self, wait: Duration) -> bool {
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as i64 };
        let mut fds = [PollFd::new(&self.pty, PollFlags::IN)];
        if poll(&mut fds, Some(&wait)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        // The end of the other side is an error here.
        let Ok(n) = self.pty.read(&mut buffer) else { return false };
        self.screen.feed(&buffer[..n]);
        self.text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        n > 0
    }

    pub fn signal(&self, name: &str, pid: u32) {
        assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success(), "kill {name}");
    }

    /// Waits for the end, and gives the exit code.
    pub fn end(&mut self) -> i32 {
        let start = Instant::now();
        loop {
            match self.process.status() {
                Some(WaitStatus::Exited(_, code)) => return code,
                Some(WaitStatus::StillAlive) | None => {
                    self.show(Duration::from_millis(20));
                }
                Some(other) => panic!("{other:?}\n{}", self.text),
            }
            assert!(start.elapsed() < LONG, "it does not end:\n{}", self.text);
        }
    }

    /// Kills the process, which can do nothing about it, and waits until it is gone with all its locks.
    pub fn kill(&mut self) {
        self.signal("-KILL", self.pid());
        let start = Instant::now();
        while matches!(self.process.status(), Some(WaitStatus::StillAlive) | None) {
            assert!(start.elapsed() < LONG, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for an empty prompt, or for the end: `None`, or the exit code.
    pub fn prompt_or_end(&mut self) -> Option<i32> {
        let start = Instant::now();
        while self.screen.current() != ">>>" {
            if let Some(WaitStatus::Exited(_, code)) = self.process.status() {
                self.settle();
                return Some(code);
            }
            self.show(Duration::from_millis(20));
            assert!(start.elapsed() < LONG, "neither a prompt nor an end:\n{}", self.text);
        }
        self.settle();
        None
    }

    /// The process that the terminal belongs to.
    pub fn pid(&self) -> u32 {
        rustix::termios::tcgetpgrp(&self.pty).unwrap().as_raw_nonzero().get() as u32
    }
}

pub fn chat(home: &Path, args: &[&str], cols: usize) -> Terminal {
    let mut terminal = Terminal::start(command(home, args), cols);
    terminal.prompt();
    terminal
}

/// Longer than three rows of 40, of letters one and two cells wide.
const LINE: &str = "/system 이것은 아주 긴 한 줄입니다 and it goes on 🐇 over the edge of the screen 그리고 또 계속됩니다 \
    🐇🐇 until the third row is full 끝";

fn saved(terminal: &mut Terminal, home: &Path) -> String {
    let path = home.join("chat.json");
    terminal.send(&format!("/save {}\r", path.display()));
    terminal.until("saved chat", |_| path.exists());
    // A key that comes before the editor listens again is the terminal's, not the editor's.
    terminal.prompt();
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    saved[0]["content"].as_str().unwrap().to_owned()
}

#[test]
fn a_line_longer_than_the_screen_is_shown_as_it_is() {
    for cols in [40, 41, 80] {
        let home = tempfile::tempdir().unwrap();
        let mut terminal = chat(home.path(), &[], cols);
        terminal.send(LINE);
        terminal.settle();
        let spaceless = |text: &str| text.replace(' ', "");
        // Spaces at the ends of rows are not seen; a wide letter that does not fit leaves one.
        assert_eq!(spaceless(&terminal.screen.line_from(">>>")), spaceless(&format!(">>> {LINE}")), "{cols} columns");
        // Back over two wraps, and something new in the middle.
        let letters = LINE.chars().count();
        terminal.send(&"\x7f".repeat(letters - 30));
        terminal.send("새 🐇");
        terminal.settle();
        let kept: String = LINE.chars().take(30).collect();
        assert_eq!(spaceless(&terminal.screen.line_from(">>>")), spaceless(&format!(">>> {kept}새 🐇")), "{cols}");
        // To the front and back by the keys for it, deleting forward over a wrap.
        terminal.send("\x01\x1b[C\x05!");
        terminal.settle();
        let shown = terminal.screen.line_from(">>>");
        assert_eq!(spaceless(&shown), spaceless(&format!(">>> {kept}새 🐇!")), "{cols} columns");
        terminal.send("\r");
        terminal.prompt();
        let system = format!("{kept}새 🐇!");
        assert_eq!(saved(&mut terminal, home.path()), system.trim_start_matches("/system "), "{cols} columns");
        terminal.send("\x04");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn a_window_that_changes_its_size_keeps_the_line() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = chat(home.path(), &[], 40);
    terminal.send(LINE);
    terminal.settle();
    for cols in [100, 25, 60] {
        terminal.screen.resize(cols);
        terminal.size(cols);
        terminal.settle();
        terminal.send("x");
        terminal.settle();
        terminal.send("\x7f");
        terminal.settle();
    }
    terminal.send("\r");
    terminal.prompt();
    assert_eq!(saved(&mut terminal, home.path()), LINE.trim_start_matches("/system "));
    terminal.send("\x04");
    assert_eq!(terminal.end(), 0);
}

/// What is kept of a chat whose last line was `line`.
fn kept(home: &Path, line: &str) {
    let session = home.join("kept.session");
    assert!(session.exists(), "no session in {home:?}");
    let history = std::fs::read_to_string(home.join("history")).unwrap();
    assert!(history.lines().any(|found| found == line), "{history}");
    let names = std::fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let half: Vec<String> = names.filter(|name| name.starts_with('.')).collect();
    assert!(half.is_empty(), "half-written: {half:?}");
    // It can be continued.
    let mut again = chat(home, &["--session", "kept.session"], 80);
    assert!(again.text.contains("continued: 1 earlier question"), "{}", again.text);
    again.send("\x04");
    assert_eq!(again.end(), 0, "the exit code");
}

#[test]
fn a_polite_kill_or_a_hangup_at_the_prompt_keeps_everything() {
    for (name, code) in [("-TERM", 143), ("-HUP", 129)] {
        let home = tempfile::tempdir().unwrap();
        let mut terminal = chat(home.path(), &["--session", "kept.session", "--max-tokens", "4"], 80);
        terminal.send("ab\r");
        terminal.prompt();
        terminal.send("half a li");
        terminal.settle();
        let before = tcgetattr(&terminal.pty).unwrap().local_modes;
        terminal.signal(name, terminal.pid());
        assert_eq!(terminal.end(), code, "{name}");
        let after = tcgetattr(&terminal.pty).unwrap().local_modes;
        assert!(after != before && after.contains(rustix::termios::LocalModes::ICANON), "the terminal stays raw");
        kept(home.path(), "ab");
    }
}

#[test]
fn a_hangup_in_an_answer_keeps_everything() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = chat(home.path(), &["--session", "kept.session", "--max-tokens", "1000000"], 80);
    terminal.send("ab\r");
    terminal.until("answer", |t| t.text.matches('\n').count() > 2 || t.screen.rows().len() > 3);
    terminal.signal("-HUP", terminal.pid());
    assert_eq!(terminal.end(), 129);
    assert!(home.path().join("kept.session").exists());
    assert!(std::fs::read_to_string(home.path().join("history")).unwrap().contains("ab"));
}

/// Before, while and after a short answer comes, and told twice, by the system and by the shell.
#[test]
fn a_hangup_at_any_moment_is_one() {
    for pause in [0, 2, 5, 10, 20, 40] {
        let home = tempfile::tempdir().unwrap();
        let mut terminal = chat(home.path(), &["--session", "kept.session", "--max-tokens", "2"], 80);
        terminal.send("ab\r");
        std::thread::sleep(Duration::from_millis(pause));
        let pid = terminal.pid();
        terminal.signal("-HUP", pid);
        // The first may have ended it already.
        let _ = Command::new("kill").args(["-HUP", &pid.to_string()]).stderr(Stdio::null()).status();
        assert_eq!(terminal.end(), 129, "after {pause} ms:\n{}", terminal.text);
    }
}

#[test]
fn a_terminal_that_is_closed_keeps_everything() {
    let home = tempfile::tempdir().unwrap();
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no `script` to hold a second terminal");
        return;
    }
    // `script` holds the chat's terminal; killed, it closes it as a window does.
    let inner = command(home.path(), &["--session", "kept.session", "--max-tokens", "4"]);
    let words = std::iter::once(inner.get_program()).chain(inner.get_args()).map(|word| word.to_str().unwrap());
    let mut outer = Command::new("script");
    outer.args(["-q", "-f", "-c", &format!("exec {}", words.collect::<Vec<_>>().join(" ")), "/dev/null"]);
    for (key, value) in inner.get_envs() {
        outer.env(key, value.unwrap());
    }
    outer.current_dir(home.path());
    let mut terminal = Terminal::start(outer, 80);
    terminal.prompt();
    terminal.send("ab\r");
    terminal.settle();
    terminal.prompt();
    terminal.signal("-KILL", terminal.pid());
    let session: PathBuf = home.path().join("kept.session");
    let start = Instant::now();
    // It was kept after the answer already, and is kept once more when the chat ends.
    let under_way = || {
        let names = std::fs::read_dir(home.path()).unwrap().flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| name.to_string_lossy().starts_with(".kept.session."))
    };
    std::thread::sleep(Duration::from_millis(300));
    while !session.exists() || under_way() {
        assert!(start.elapsed() < LONG, "the session is not kept");
        std::thread::sleep(Duration::from_millis(20));
    }
    kept(home.path(), "ab");
}
