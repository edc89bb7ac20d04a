//! The chat, driven in a pseudo-terminal as a user would.

use rexpect::session::{PtySession, spawn_command};
use std::path::Path;
use std::process::Command;

const PROMPT: &str = ">>> ";

struct Chat {
    pty: PtySession,
    home: tempfile::TempDir,
}

fn chat(args: &[&str]) -> Chat {
    let home = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf");
    let mut command = crate::launch::tokki();
    command.arg("run").arg(model).args(["--temperature", "0", "--ctx", "256"]).args(args);
    if !args.contains(&"--max-tokens") {
        command.args(["--max-tokens", "6"]);
    }
    command.env("TOKKI_HOME", home.path()).env("XDG_CONFIG_HOME", home.path()).env("TOKKI_OFFLINE", "1");
    command.env("NO_COLOR", "1").env("TERM", "xterm").env("HOME", home.path()).current_dir(home.path());
    let mut pty = spawn_command(command, Some(30_000)).unwrap();
    pty.exp_string(PROMPT).unwrap();
    Chat { pty, home }
}

impl Chat {
    /// Sends a line and returns what is shown until the next prompt.
    fn ask(&mut self, line: &str) -> String {
        self.pty.send_line(line).unwrap();
        self.pty.exp_string("\n").unwrap();
        self.pty.exp_string(PROMPT).unwrap()
    }

    /// Sends a line that is asked back about, and the answer to that.
    fn confirm(&mut self, line: &str, answer: &str) -> String {
        self.pty.send_line(line).unwrap();
        let question = self.pty.exp_string("[y/N] ").unwrap();
        self.pty.send_line(answer).unwrap();
        self.pty.exp_string("\n").unwrap();
        question + &self.pty.exp_string(PROMPT).unwrap()
    }

    /// The messages so far, by way of a file.
    fn confirm_saved(&mut self) -> Vec<serde_json::Value> {
        let path = self.home.path().join("so-far.json");
        self.pty.send_line(&format!("/save {}", path.display())).unwrap();
        self.pty.exp_string("saved to").unwrap();
        self.pty.exp_string(PROMPT).unwrap();
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn leave(mut self) {
        self.pty.send_control('d').unwrap();
        let status = self.pty.process().wait().unwrap();
        assert!(matches!(status, rexpect::process::WaitStatus::Exited(_, 0)), "{status:?}");
    }
}

#[test]
fn commands_answer_and_unknown_ones_suggest() {
    let mut chat = chat(&[]);
    let help = chat.ask("/help");
    for name in ["/set", "/regen", "/undo", "/edit", "/save", "/load", "/file", "/think", "/stats", "/system", "/clear"]
    {
        assert!(help.contains(name), "{name} in {help}");
    }
    assert!(chat.ask("/reegn").contains("/regen"));
    assert!(chat.ask("/set temperature 0.5").contains("0.5"));
    assert!(chat.ask("/set temprature 0.5").contains("temperature"));
    assert!(chat.ask("/show").contains("temperature"));
    chat.leave();
}

/// As in every other shell.
#[test]
fn exit_alone_leaves() {
    for word in ["exit", "quit", "/bye"] {
        let mut chat = chat(&[]);
        chat.pty.send_line(word).unwrap();
        let status = chat.pty.process().wait().unwrap();
        assert!(matches!(status, rexpect::process::WaitStatus::Exited(_, 0)), "{word}: {status:?}");
    }
}

#[test]
fn answers_come_and_can_be_undone_and_asked_again() {
    let mut chat = chat(&[]);
    chat.ask("ab");
    let stats = chat.ask("/stats");
    assert!(stats.contains("tok/s") && stats.contains("of 256 tokens of context"), "{stats}");
    chat.ask("/regen");
    assert!(chat.ask("/undo").contains("taken back"));
    assert!(chat.ask("/undo").contains("Nothing was asked"), "nothing is left to take back");
    chat.leave();
}

#[test]
fn korean_and_emoji_can_be_typed_and_deleted() {
    let mut chat = chat(&[]);
    // Deletion takes whole characters, and cursor movement jumps over them.
    chat.pty.send("/system 안녕하세욧🐇").unwrap();
    chat.pty.send("\x7f\x7f요 🐇").unwrap();
    chat.ask("");
    let path = chat.home.path().join("chat.json");
    chat.ask(&format!("/save {}", path.display()));
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(saved[0]["content"], "안녕하세요 🐇");
    chat.leave();
}

#[test]
fn several_lines_between_fences_are_one_message() {
    let mut chat = chat(&[]);
    chat.pty.send_line("\"\"\"first").unwrap();
    chat.ask("second\"\"\"");
    let path = chat.home.path().join("chat.json");
    chat.ask(&format!("/save {}", path.display()));
    assert!(chat.confirm(&format!("/save {}", path.display()), "y").contains("saved to"));
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(saved[0]["content"], "first\nsecond");
    assert_eq!(saved[1]["role"], "assistant");
    assert!(chat.ask("/clear").contains("started over"));
    assert!(chat.ask(&format!("/load {}", path.display())).contains("2 messages"));
    chat.leave();
}

#[test]
fn files_go_with_a_message_and_their_tokens_are_shown() {
    let mut chat = chat(&[]);
    std::fs::write(chat.home.path().join("note.txt"), "abc").unwrap();
    let shown = chat.ask("what is @note.txt");
    assert!(shown.contains("note.txt") && shown.contains("tokens"), "{shown}");
    assert!(chat.ask("/file missing.txt").contains("missing.txt"));
    std::fs::write(chat.home.path().join("picture.png"), b"\x89PNG\r\n\x1a\n\0\0").unwrap();
    for line in ["/file picture.png", "what is @picture.png"] {
        let shown = chat.ask(line);
        assert!(shown.contains("picture.png is not a text file") && !shown.contains("iconv"), "{shown}");
    }
    std::fs::write(chat.home.path().join("old.txt"), b"\xb0\xa1\xb3\xaa\n").unwrap();
    assert!(chat.ask("/file old.txt").contains("iconv -f CP949"));
    assert!(chat.ask("/save chat.pdf").contains("as a session"));
    chat.leave();
}

#[test]
fn tab_finds_files_in_the_home() {
    let mut chat = chat(&[]);
    std::fs::write(chat.home.path().join("note.txt"), "abc").unwrap();
    chat.pty.send("what is @~/not\t").unwrap();
    chat.pty.flush().unwrap();
    chat.pty.exp_string("/note.txt").unwrap();
    chat.pty.send_control('c').unwrap();
    chat.pty.exp_string(PROMPT).unwrap();
    chat.leave();
}

#[test]
fn a_session_is_kept_and_continued() {
    let mut first = chat(&["--session", "kept.session"]);
    first.ask("ab");
    let home = first.home.path().join("kept.session");
    first.pty.send_control('d').unwrap();
    first.pty.exp_string("saved to").unwrap();
    first.pty.process().wait().unwrap();
    assert!(home.exists());
    let again = chat(&["--session", home.to_str().unwrap()]);
    again.leave();
}

#[test]
fn control_c_at_the_prompt_clears_the_line_and_in_an_answer_keeps_the_chat() {
    let mut chat = chat(&["--max-tokens", "100000"]);
    chat.pty.send("half a li").unwrap();
    chat.pty.send_control('c').unwrap();
    chat.pty.exp_string(PROMPT).unwrap();
    chat.pty.send_line("ab").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(30));
    chat.pty.send_control('c').unwrap();
    chat.pty.exp_string(PROMPT).unwrap();
    assert!(chat.ask("/help").contains("/set"));
    chat.leave();
}

#[test]
fn nothing_is_overwritten_or_given_up_unasked() {
    let mut chat = chat(&[]);
    chat.ask("hello");
    let at = |name: &str| chat.home.path().join(name);
    let (precious, text, page, other) = (at("precious.txt"), at("chat.txt"), at("chat.md"), at("other.json"));
    std::fs::write(&precious, "mine").unwrap();
    std::fs::write(&other, r#"{"messages":[{"role":"user","content":[{"type":"text","text":"other"}]}]}"#).unwrap();
    chat.confirm("/save precious.txt", "n");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "mine");
    chat.ask("/save chat.txt");
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("user:\n\nhello\n\nassistant:\n\n"));
    chat.ask("/save chat.md");
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("## user\n\nhello\n\n## assistant\n\n"));
    chat.ask("/save kept.session");
    // What is saved may go.
    assert!(chat.ask("/load other.json").contains("1 message\r\n"));
    chat.ask("more");
    chat.confirm("/load kept.session", "n");
    assert!(chat.confirm("/load kept.session", "yes").contains("2 messages"));
    chat.leave();
}

#[test]
fn what_cannot_be_loaded_leaves_the_conversation_as_it_was() {
    let mut chat = chat(&[]);
    chat.ask("hello");
    chat.ask("/save kept.session");
    let at = |name: &str| chat.home.path().join(name);
    std::fs::write(at("wizard.json"), r#"[{"role":"wizard","content":"x"}]"#).unwrap();
    std::fs::write(at("image.json"), r#"[{"role":"user","content":[{"type":"image"}]}]"#).unwrap();
    std::fs::write(at("text.txt"), "no messages").unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    for (name, why) in [
        ("wizard.json", "wizard"),
        ("image.json", "image"),
        ("text.txt", "is text"),
        ("fifo", "a FIFO"),
        ("/dev/zero", "a device"),
        ("none", "No such file"),
    ] {
        let shown = chat.ask(&format!("/load {name}"));
        assert!(shown.contains(why), "{name}: {shown}");
    }
    for (name, why) in [("fifo", "a FIFO"), ("/dev/zero", "a device")] {
        assert!(chat.ask(&format!("/file {name}")).contains(why));
        assert!(chat.ask(&format!("/save {name}")).contains(why));
    }
    assert!(chat.ask("/undo").contains("taken back"), "the question is still there");
    chat.leave();
}

#[test]
fn giving_up_an_edit_changes_nothing() {
    let mut chat = chat(&[]);
    chat.ask("first");
    chat.pty.send_line("/edit").unwrap();
    chat.pty.exp_string(">>> ").unwrap();
    chat.pty.send_control('c').unwrap();
    chat.pty.exp_string("nothing was changed").unwrap();
    chat.pty.exp_string(PROMPT).unwrap();
    chat.ask("/save x.json");
    let saved: serde_json::Value =
        serde_json::from_slice(&std::fs::read(chat.home.path().join("x.json")).unwrap()).unwrap();
    assert_eq!((saved[0]["content"].as_str(), saved.as_array().unwrap().len()), (Some("first"), 2));
    chat.leave();
}

#[test]
fn a_session_is_kept_after_every_answer() {
    let mut chat = chat(&["--session", "s.session"]);
    chat.ask("first");
    let home = chat.home.path().to_path_buf();
    let kept = std::fs::read(home.join("s.session")).unwrap();
    assert!(kept.starts_with(b"TOKKISES"));
    chat.ask("second");
    assert!(std::fs::read(home.join("s.session")).unwrap() != kept);
    // Another process would overwrite it.
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf");
    let mut other = crate::launch::tokki();
    other.arg("run").arg(model).args(["hi", "--session", "s.session"]).current_dir(&home).env("TOKKI_HOME", &home);
    let output = other.stdin(std::process::Stdio::null()).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && err.contains("another tokki") && output.stdout.is_empty(), "{err}");
    chat.pty.process_mut().kill(rexpect::process::Signal::SIGKILL).unwrap();
    assert!(std::fs::read(home.join("s.session")).unwrap().starts_with(b"TOKKISES"));
}

/// What cannot be answered anew, here for lack of room, has its answer still.
#[test]
fn a_failed_answer_leaves_the_one_before() {
    let mut chat = chat(&["--session", "s.session"]);
    std::fs::write(chat.home.path().join("long.txt"), "word ".repeat(32)).unwrap();
    chat.ask("/file long.txt");
    chat.ask("first");
    chat.ask(&format!("/set system {}", "word ".repeat(12)));
    let shown = chat.ask("/regen");
    assert!(shown.contains("tokens needed") && shown.contains("stands again"), "{shown}");
    assert!(chat.ask("/undo").contains("was taken back"));
}

#[test]
fn every_key_of_set_is_applied_or_refused_with_the_way() {
    let mut chat = chat(&[]);
    assert!(chat.ask("/set system Be brief").contains("system message set"));
    assert!(chat.ask("/show").contains("Be brief"));
    assert!(chat.ask("/set thoughts hide").contains("thoughts: hide"));
    // This model cannot think.
    assert!(chat.ask("/set thinking on").contains("does not think"));
    for (key, value) in
        [("ctx", "512"), ("kv_type", "q8_0"), ("threads", "1"), ("read_ahead", "off"), ("latent_prefill", "expanded")]
    {
        let flag = format!("--{} {value}", key.replace('_', "-"));
        let shown = chat.ask(&format!("/set {key} {value}"));
        assert!(shown.contains(&flag) && !shown.contains(&format!("{key} = ")), "{shown}");
    }
    // The way as it has to be typed, and none where a chat has no such flag.
    assert!(chat.ask("/set interleave true").contains("--interleave=true"));
    for key in ["billing_line keep", "log text"] {
        let shown = chat.ask(&format!("/set {key}"));
        assert!(shown.contains("a setting of tokki serve") && !shown.contains("start it with"), "{shown}");
    }
    assert!(
        chat.ask("/set thoughts default").contains("thoughts: ")
            && chat.ask("/set thinking default").contains("by itself")
    );
    for key in ["home /x", "offline true", "hub https://x.y", "mirror https://x.y", "connections 8", "part_size 1M"] {
        let shown = chat.ask(&format!("/set {key}"));
        assert!(shown.contains("fetching models") && !shown.contains(" = "), "{shown}");
    }
    assert!(chat.ask("/set stop zebra").contains("zebra"));
    assert!(chat.ask("/set stop lion").contains("zebra, lion"));
    // To look at a setting does not change it.
    assert!(chat.ask("/set stop").contains("zebra, lion"));
    assert!(chat.ask("/set stop default").contains("no stop texts"));
    assert!(chat.ask("/system -").contains("no system message"));
    assert!(chat.ask("/system").contains("/system TEXT sets one"));
    assert!(chat.ask("/system be kind").contains("system message"));
    assert!(chat.ask("/system").contains("be kind") && chat.ask("/show").contains("be kind"));
    assert!(chat.ask("/system -").contains("no system message") && !chat.ask("/show").contains("be kind"));
    assert!(chat.ask("/stats on").contains("after each answer") && chat.ask("/stats off").contains("when asked for"));
    assert!(chat.ask("/stats maybe").contains("on or off"));
    assert!(chat.ask("/set top_k 3").contains("top_k = 3"));
    assert!(chat.ask("/set max_tokens 1k").contains("max_tokens = 1k"));
    chat.leave();
}

#[test]
fn lines_that_are_pasted_or_typed_ahead_are_all_answered() {
    for text in ["one\rtwo\rthree\r", "one\ntwo\nthree\n"] {
        let mut chat = chat(&[]);
        chat.pty.send(text).unwrap();
        chat.pty.flush().unwrap();
        for _ in 0..3 {
            chat.pty.exp_string(PROMPT).unwrap();
        }
        // The prompt of what comes next, after the last answer.
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(chat.confirm_saved().len() >= 6, "{text:?}");
        chat.leave();
    }
}

#[test]
fn the_context_that_is_used_follows_clear_and_undo() {
    let mut chat = chat(&[]);
    chat.ask("hello there");
    let used = |shown: &str| {
        let at = shown.find(" of 256 tokens").unwrap();
        shown[..at].rsplit(|c: char| !c.is_ascii_digit()).next().unwrap().parse::<usize>().unwrap()
    };
    assert!(used(&chat.ask("/stats")) > 5);
    chat.ask("/clear");
    assert_eq!(used(&chat.ask("/stats")), 0);
    chat.leave();
}

#[test]
fn a_form_holds_in_a_chat_too() {
    let home = tempfile::tempdir().unwrap();
    let grammar = home.path().join("yn.lark");
    std::fs::write(&grammar, "start: \"yes\" | \"no\"").unwrap();
    let mut chat = chat(&["--grammar", grammar.to_str().unwrap()]);
    for _ in 0..2 {
        let shown = chat.ask("hello");
        assert!(shown.contains("yes") || shown.contains("no"), "{shown}");
    }
    chat.leave();
}
