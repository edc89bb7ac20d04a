//! What outlives a chat that ends in the middle of an answer: the terminal is closed, the process is told to end, or killed.

use crate::daily::{leave, model, say};
use crate::home::{Home, told};
use crate::terminal::{LONG, Terminal};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command of the chat in this home.
fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = crate::launch::tokki();
    command.arg("run").args(args).args(["--temperature", "0"]);
    command.env("TOKKI_HOME", home).env("XDG_CONFIG_HOME", home).env("TOKKI_OFFLINE", "1");
    command.env("NO_COLOR", "1").env("TERM", "xterm").current_dir(home);
    command
}

/// Such a command in a terminal of its own, which `script` holds.
fn in_another_terminal(inner: &Command) -> Command {
    let words = std::iter::once(inner.get_program()).chain(inner.get_args()).map(|word| word.to_str().unwrap());
    let mut outer = Command::new("script");
    outer.args(["-q", "-f", "-c", &format!("exec {}", words.collect::<Vec<_>>().join(" ")), "/dev/null"]);
    inner.get_envs().for_each(|(key, value)| _ = outer.env(key, value.unwrap()));
    outer.current_dir(inner.get_current_dir().unwrap());
    outer
}

/// Where a chat is kept.
#[derive(Clone, Copy, PartialEq)]
enum In {
    History,
    Session,
}

impl In {
    fn args(self) -> &'static [&'static str] {
        if self == Self::Session { &["--session", "kept.session"] } else { &[] }
    }

    /// How the chat goes on: neither way names the model.
    fn again(self) -> &'static [&'static str] {
        if self == Self::Session { self.args() } else { &["--continue"] }
    }

    /// How often `text` is in what is kept now.
    fn count(self, home: &Path, text: &str) -> usize {
        let files: Vec<_> = match self {
            Self::Session => vec![home.join("kept.session")],
            Self::History => {
                fs::read_dir(home.join("chats")).into_iter().flatten().map(|f| f.unwrap().path()).collect()
            }
        };
        let bytes: Vec<u8> = files.iter().filter_map(|file| fs::read(file).ok()).flatten().collect();
        String::from_utf8_lossy(&bytes).matches(text).count()
    }
}

/// Asks something whose answer does not end by itself, and waits until it is under way.
fn ask(terminal: &mut Terminal, question: &str) {
    let before = terminal.text.len();
    terminal.send(&format!("{question}\r"));
    terminal.until("answer", |t| t.text[before..].len() > question.len() + 60);
}

/// An answer that is still under way when the test comes to its end: what the model would say by itself may be short.
const ENDLESS: &[&str] = &["--ctx", "60000", "--grammar", "endless.gbnf"];

/// A home with that grammar.
fn home() -> Home {
    let home = Home::new();
    let grammar = "root ::= hundreds{10}\nhundreds ::= words{100}\nwords ::= \"again \"{100}\n";
    fs::write(home.path().join("endless.gbnf"), grammar).unwrap();
    home
}

#[test]
fn a_terminal_that_goes_away_in_an_answer_keeps_the_chat() {
    let llama = model("llama.gguf");
    let script = Command::new("script").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !script {
        eprintln!("skipped in part: there is no `script` to hold a second terminal");
    }
    for kept in [In::History, In::Session] {
        for closed in [false, true].into_iter().filter(|closed| script || !closed) {
            let home = home();
            let args = [&[llama.to_str().unwrap()], kept.args(), ENDLESS].concat();
            let inner = command(home.path(), &args);
            let mut terminal = Terminal::start(if closed { in_another_terminal(&inner) } else { inner }, 80);
            terminal.prompt();
            ask(&mut terminal, "ab");
            // A window that is closed takes the master of its terminal with it.
            terminal.signal(if closed { "-KILL" } else { "-HUP" }, terminal.pid());
            if !closed {
                assert_eq!(terminal.end(), 129);
            }
            let start = Instant::now();
            while kept.count(home.path(), "\"role\":\"assistant\"") == 0 {
                assert!(start.elapsed() < LONG, "the answer so far is not kept");
                std::thread::sleep(Duration::from_millis(20));
            }
            // The lock goes with the process, which may be about to end.
            let start = Instant::now();
            let again = loop {
                let args = [kept.again(), &["--ctx", "60000"]].concat();
                let mut again = Terminal::start(command(home.path(), &args), 80);
                if again.prompt_or_end().is_none() {
                    break again;
                }
                assert!(start.elapsed() < LONG, "it cannot be continued:\n{}", again.text);
            };
            assert!(again.text.contains("continued: 1 earlier question"), "{}", again.text);
            assert!(!again.text.contains("no answer yet"), "{}", again.text);
            leave(again);
        }
    }
}

#[test]
fn a_question_outlives_a_kill_in_its_answer() {
    let llama = model("llama.gguf");
    for kept in [In::History, In::Session] {
        let home = home();
        let args = [&[llama.to_str().unwrap()], kept.args(), &["--ctx", "2000", "--max-tokens", "6"]].concat();
        let mut terminal = Terminal::start(command(home.path(), &args), 80);
        terminal.prompt();
        say(&mut terminal, "first");
        leave(terminal);
        let mut terminal = Terminal::start(command(home.path(), &[kept.again(), ENDLESS].concat()), 80);
        terminal.prompt();
        ask(&mut terminal, "and then");
        terminal.kill();
        assert!(kept.count(home.path(), "and then") > 0, "the question is lost");
        let args = [kept.again(), &["--ctx", "2000", "--max-tokens", "6"]].concat();
        let mut again = Terminal::start(command(home.path(), &args), 80);
        again.until("question", |t| t.screen.current() == ">>> and then");
        again.settle();
        assert!(again.text.contains("no answer yet"), "{}", again.text);
        say(&mut again, "");
        say(&mut again, "/save so-far.json");
        leave(again);
        let saved = fs::read(home.path().join("so-far.json")).unwrap();
        let saved: serde_json::Value = serde_json::from_slice(&saved).unwrap();
        let roles: Vec<_> = saved.as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    }
}

/// A question that another takes the place of, or that is given up, is no longer there.
#[test]
fn an_unanswered_question_gives_way() {
    let home = Home::new();
    let kept =
        r#"[{"role":"user","content":"one"},{"role":"assistant","content":"1"},{"role":"user","content":"two"}]"#;
    fs::write(home.path().join("kept.json"), kept).unwrap();
    let llama = model("llama.gguf");
    let mut terminal = Terminal::start(command(home.path(), &[llama.to_str().unwrap(), "--max-tokens", "6"]), 80);
    terminal.prompt();
    terminal.send("/load kept.json\r");
    terminal.until("question", |t| t.screen.current() == ">>> two");
    terminal.settle();
    terminal.send("\x03");
    terminal.until("word", |t| t.text.contains("taken back"));
    terminal.prompt();
    say(&mut terminal, "three");
    say(&mut terminal, "/save so-far.json");
    leave(terminal);
    let saved = fs::read_to_string(home.path().join("so-far.json")).unwrap();
    assert!(saved.contains("three") && !saved.contains("two"), "{saved}");
}

/// An error in the place of an answer leaves nothing of its question, and no file that was not there.
#[test]
fn what_cannot_be_asked_is_not_kept() {
    let home = Home::new();
    let llama = model("llama.gguf");
    let long = "word ".repeat(400);
    let run = |args: &[&str]| told(&home.command(args).current_dir(home.path()).output().unwrap());
    let ask = |prompt: &str| {
        run(&["run", llama.to_str().unwrap(), prompt, "--session", "s", "--ctx", "200", "--max-tokens", "4"])
    };
    assert!(ask(&long).0 == Some(2) && !home.path().join("s").exists());
    assert_eq!(ask("hello").0, Some(0));
    let whole = fs::read(home.path().join("s")).unwrap();
    assert_eq!(ask(&long).0, Some(2));
    assert_eq!(fs::read(home.path().join("s")).unwrap(), whole);
}

/// What was held in a larger context than usual goes on in it.
#[test]
fn a_session_goes_on_in_its_own_context() {
    let home = Home::new();
    let llama = model("llama.gguf");
    let context = |more: &[&str]| {
        let args = [&["run", llama.to_str().unwrap(), "Hello", "--session", "s", "--json", "--max-tokens", "4"], more];
        let (code, out, err) = told(&home.command(&args.concat()).current_dir(home.path()).output().unwrap());
        assert_eq!(code, Some(0), "{err}");
        let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
        answer["options"]["context"].as_u64().unwrap()
    };
    assert_eq!((context(&["--ctx", "9000"]), context(&[]), context(&["--ctx", "1000"])), (9000, 9000, 1000));
}

/// A session names its model: whoever goes on with it need not, whatever folder or store it is in by now.
#[test]
fn a_session_goes_on_with_its_own_model() {
    let home = Home::new();
    let at = |name: &str| home.path().join(name);
    fs::copy(model("llama.gguf"), at("tiny.gguf")).unwrap();
    let run = |args: &[&str]| {
        let args = [&["run"], args, &["--session", "s", "--ctx", "512", "--max-tokens", "4", "--seed", "3"]].concat();
        told(&home.command(&args).env("TOKKI_OFFLINE", "1").current_dir(home.path()).output().unwrap())
    };
    assert_eq!(run(&["./tiny.gguf", "Hello"]).0, Some(0));
    let (code, out, err) = run(&["Hello again, you?"]);
    assert!(code == Some(0) && !out.is_empty() && !err.contains("default model"), "{err}");
    fs::rename(at("tiny.gguf"), at("moved.gguf")).unwrap();
    let (code, _, err) = run(&["Hello again, you?"]);
    assert!(code == Some(2) && err.contains("tiny.gguf") && err.contains("tokki run MODEL --session s"), "{err}");
    assert_eq!(run(&["moved.gguf", "Hello"]).0, Some(0), "it is the same model");
    // One of that name in the store.
    fs::rename(at("moved.gguf"), at("elsewhere.gguf")).unwrap();
    let import = home.command(&["import", at("elsewhere.gguf").to_str().unwrap(), "--name", "moved"]).output().unwrap();
    assert_eq!(told(&import).0, Some(0));
    let (code, _, err) = run(&["Hello again, you?"]);
    assert_eq!(code, Some(0), "{err}");
}
