//! The chat of every day, in a real terminal: what is kept, continued, switched, made shorter, laid out, sent elsewhere.

use crate::home::{Home, text, told};
use crate::terminal::Terminal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch").join(name)
}

/// A chat with a context of its own.
pub fn chat(home: &Path, args: &[&str], cols: usize) -> Terminal {
    let model = model("llama.gguf");
    let own = ["run", model.to_str().unwrap(), "--temperature", "0"];
    let context: &[&str] = if args.contains(&"--ctx") { &[] } else { &["--ctx", "1024"] };
    continued(home, &[&own[..], context, args].concat(), cols)
}

/// Any command in a terminal.
pub fn continued(home: &Path, args: &[&str], cols: usize) -> Terminal {
    let mut command = crate::launch::tokki();
    command.args(args).env("TOKKI_HOME", home).env("XDG_CONFIG_HOME", home).env("TOKKI_OFFLINE", "1");
    command.env("NO_COLOR", "1").env("TERM", "xterm").current_dir(home);
    let mut terminal = Terminal::start(command, cols);
    terminal.prompt();
    terminal
}

/// Sends a line, and gives what was written up to the next prompt.
pub fn say(terminal: &mut Terminal, line: &str) -> String {
    let before = terminal.text.len();
    terminal.send(&format!("{line}\r"));
    let prompts = |text: &str| text.matches("\u{1b}[?2004h").count();
    let asked = prompts(&terminal.text);
    terminal.until("next prompt", |t| prompts(&t.text) > asked);
    terminal.settle();
    terminal.text[before..].to_owned()
}

pub fn leave(mut terminal: Terminal) {
    terminal.send("\x04");
    assert_eq!(terminal.end(), 0, "the exit code");
}

#[test]
fn chats_are_kept_listed_searched_and_continued() {
    let home = Home::new();
    let mut first = chat(home.path(), &["--max-tokens", "6"], 80);
    say(&mut first, "Why is the sea salty?");
    leave(first);
    let history = |args: &[&str]| told(&home.run(&[&["history"], args].concat()));
    let (code, out, _) = history(&[]);
    assert!(code == Some(0) && out.contains("llama") && out.contains("Why is the sea salty?"), "{out}");
    assert!(history(&["SALTY"]).1.contains("sea") && !history(&["lake"]).1.contains("sea"));
    assert!(history(&["--show", "1"]).1.starts_with("user:\n\nWhy is the sea salty?"));
    assert_eq!(history(&["--show", "2"]).0, Some(2));
    assert!(history(&["--show", "1"]).1.contains("assistant (cut off):"), "at the limit of tokens");
    let mut again = continued(home.path(), &["run", "--continue", "--max-tokens", "6"], 80);
    assert!(again.text.contains("continued: 1 earlier question"), "{}", again.text);
    say(&mut again, "And lakes?");
    leave(again);
    let kept: Vec<_> = fs::read_dir(home.path().join("chats")).unwrap().collect();
    assert_eq!(kept.len(), 1, "it goes on in its own file");
    assert!(history(&["--json"]).1.contains("And lakes?"));
    // What is not to be kept is not.
    let mut off = chat(home.path(), &["--history=false", "--max-tokens", "6"], 80);
    say(&mut off, "A secret");
    leave(off);
    let mut later = chat(home.path(), &["--max-tokens", "6"], 80);
    say(&mut later, "Another secret");
    say(&mut later, "/set history false");
    say(&mut later, "A third secret");
    leave(later);
    let lines = fs::read_to_string(home.path().join("history")).unwrap();
    assert!(lines.contains("And lakes?") && !lines.contains("secret"), "{lines}");
    assert!(!history(&["secret"]).1.contains("secret"));
    assert!(history(&["--clear"]).2.contains("--yes") && history(&["--json"]).1.contains("And lakes?"));
    assert!(history(&["--clear", "--yes"]).2.contains("forgotten: 1 chat"));
}

/// Starting over and summarizing begin another chat: what was said before stays in the history.
#[test]
fn starting_over_loses_no_chat() {
    let home = Home::new();
    let mut terminal = chat(home.path(), &["--max-tokens", "6"], 80);
    for line in ["Why is the sea salty?", "And lakes?", "/clear", "Something else", "Rivers?", "/compact", "After all"]
    {
        say(&mut terminal, line);
    }
    leave(terminal);
    let kept = fs::read_dir(home.path().join("chats")).unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<String> = kept.map(|path| fs::read_to_string(path).unwrap()).collect();
    let with = |texts: &[&str]| kept.iter().filter(|chat| texts.iter().all(|text| chat.contains(text))).count();
    let before = with(&["\"content\":\"Something else", "Rivers?"]);
    assert_eq!((with(&["salty", "And lakes?"]), before, with(&["After all"])), (1, 1, 1), "{kept:?}");
    assert_eq!((kept.len(), with(&["salty", "After all"])), (3, 0), "{kept:?}");
    // A summary is no question that somebody asked.
    let (_, listed, _) = told(&home.run(&["history"]));
    assert!(listed.matches("Something else").count() == 2 && !listed.contains("talked about"), "{listed}");
}

/// A setting goes back to what the model recommends; blanks before a command are none.
#[test]
fn settings_go_back_to_their_defaults() {
    let home = Home::new();
    let mut terminal = chat(home.path(), &["--max-tokens", "6"], 80);
    say(&mut terminal, "/set top_k 7");
    assert!(say(&mut terminal, "  /show").contains("top_k              7"));
    let back = say(&mut terminal, "/set top_k default");
    assert!(back.contains("top_k = ") && !back.contains("top_k = 7"), "{back}");
    assert!(!say(&mut terminal, "/show").contains("top_k              7"));
    assert!(say(&mut terminal, "/set nonsense default").contains("No setting nonsense"));
    leave(terminal);
}

#[test]
fn a_chat_goes_on_with_another_model() {
    let home = Home::new();
    let mut terminal = chat(home.path(), &["--max-tokens", "4"], 80);
    say(&mut terminal, "Hello");
    let other = model("llama-mixed.gguf");
    let said = say(&mut terminal, &format!("/model {}", other.display()));
    assert!(said.contains("context") && said.contains("continued: 1 earlier question"), "{said}");
    assert!(say(&mut terminal, "/show").contains("llama-mixed.gguf"));
    let refused = say(&mut terminal, "/model nosuch");
    assert!(refused.contains("No model named"), "{refused}");
    assert!(say(&mut terminal, "/show").contains("llama-mixed.gguf"), "the model stays");
    leave(terminal);
    // Nothing was asked of the other one: the chat goes on with it all the same.
    let mut again = continued(home.path(), &["run", "--continue", "--max-tokens", "4"], 80);
    assert!(say(&mut again, "/show").contains("llama-mixed.gguf"));
    say(&mut again, "/undo");
    leave(again);
    assert!(told(&home.run(&["history"])).2.contains("no chats"), "what was taken back is not kept");
}

/// A terminal of another encoding, or text of one that is pasted.
#[test]
fn bytes_that_are_no_text_end_no_chat() {
    let home = Home::new();
    let mut terminal = chat(home.path(), &["--max-tokens", "4"], 80);
    for bytes in [&b"caf\xe9 au lait\r"[..], b"\xc7\xd1\xb1\xdb\r", b"\x1b[200~caf\xe9 au lait\x1b[201~\r"] {
        let before = terminal.text.matches("is not UTF-8").count();
        terminal.send_bytes(bytes);
        terminal.until("a sentence", |terminal| terminal.text.matches("is not UTF-8").count() > before);
        terminal.settle();
        // What is left of the line can be edited; here it is thrown away.
        assert!(terminal.text.contains('\u{fffd}'), "{}", terminal.text);
        terminal.send("\x03");
        terminal.settle();
    }
    assert!(terminal.text.contains("caf\u{fffd}"), "{}", terminal.text);
    assert!(say(&mut terminal, "/stats").contains("context used"), "the chat goes on");
    leave(terminal);
}

/// Folders and files may be named by others: what a terminal obeys in their names is shown, not sent.
#[test]
fn names_of_others_steer_no_terminal() {
    let home = Home::new();
    let evil = "m\x1b]0;evil\x07\x1b[2J\u{9b}31m\r";
    let folder = home.path().join(evil);
    fs::create_dir(&folder).unwrap();
    let file = folder.join(format!("{evil}.gguf"));
    fs::copy(model("llama.gguf"), &file).unwrap();
    let file = file.to_str().unwrap();
    let commands: [&[&str]; 10] = [
        &["run", file, "ab", "--raw", "--temperature", "3", "--max-tokens", "200", "--seed", "1"],
        &["doctor", "--no-measure"],
        &["config", "path"],
        &["config", "show"],
        &["list"],
        &["import", file, "--name", "m"],
        &["bench", file, "-p", "4", "-n", "2", "-r", "1"],
        &["plan", file],
        &["show", file],
        &["export", "m", file],
    ];
    for args in commands {
        let mut command = home.command(args);
        command.env("TOKKI_HOME", &folder).env("TERM", "xterm").env("XDG_CONFIG_HOME", &folder);
        let mut terminal = Terminal::start(command, 80);
        terminal.end();
        terminal.settle();
        for odd in ["\x1b]", "\x07", "\x1b[2J", "\u{9b}", "\u{10}", "\u{17}", "\rm"] {
            assert!(!terminal.text.contains(odd), "{args:?}: {odd:?} in {:?}", terminal.text);
        }
    }
}

#[test]
fn a_chat_that_cannot_be_read_is_told_of() {
    let home = Home::new();
    let mut terminal = chat(home.path(), &["--max-tokens", "4"], 80);
    say(&mut terminal, "Hello");
    leave(terminal);
    fs::write(home.path().join("chats/2999-01-01T00-00-00Z-1.json"), "{").unwrap();
    let (code, out, err) = told(&home.run(&["history"]));
    assert!(code == Some(0) && out.contains("Hello") && err.contains("2999-01-01T00-00-00Z-1.json"), "{out}{err}");
    let again = continued(home.path(), &["run", "--continue", "--max-tokens", "4"], 80);
    assert!(again.text.contains("left out") && again.text.contains("continued: 1"), "{}", again.text);
    leave(again);
}

#[test]
fn a_full_context_has_ways_on() {
    let home = Home::new();
    let long = "word ".repeat(10);
    let args = ["--ctx", "260", "--max-tokens", "8"];
    let mut terminal = chat(home.path(), &args, 80);
    let mut said = String::new();
    for _ in 0..6 {
        said = say(&mut terminal, &long);
        if said.contains("full") {
            break;
        }
    }
    for way in ["/undo", "/compact", "/clear", "/set overflow tail"] {
        assert!(said.replace(['\r', '\n'], " ").contains(way), "{way}:\n{said}");
    }
    let said = say(&mut terminal, "/set overflow tail");
    assert!(said.contains("overflow = tail"), "{said}");
    let said = say(&mut terminal, &long);
    assert!(said.contains("oldest question"), "{said}");
    leave(terminal);
    // From the beginning, by its flag.
    let mut terminal = chat(home.path(), &[&args[..], &["--overflow", "tail"]].concat(), 80);
    let said: String = (0..5).map(|_| say(&mut terminal, &long)).collect();
    assert!(said.contains("oldest question") && !said.contains("is full"), "{said}");
    leave(terminal);
}

/// What is forgotten stays so, whatever chat is open meanwhile.
#[test]
fn forgotten_lines_do_not_come_back() {
    let home = Home::new();
    let mut before = chat(home.path(), &["--max-tokens", "2"], 80);
    say(&mut before, "A private line");
    leave(before);
    let mut open = chat(home.path(), &["--max-tokens", "2"], 80);
    told(&home.run(&["history", "--clear", "--yes"]));
    say(&mut open, "Another one");
    leave(open);
    let lines = fs::read_to_string(home.path().join("history")).unwrap();
    assert!(lines.contains("Another one") && !lines.contains("private"), "{lines}");
}

#[test]
fn stdin_and_stdout_may_be_a_terminal() {
    let home = Home::new();
    let llama = model("llama.gguf");
    let llama = llama.to_str().unwrap();
    let start = |args: &[&str]| {
        let mut command = home.command(args);
        command.stdin(std::process::Stdio::inherit());
        Terminal::start(command, 80)
    };
    let mut asked = start(&["run", llama, "-", "--max-tokens", "2", "--ctx", "64", "--raw"]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    asked.send("Hello\r\u{4}");
    assert_eq!(asked.end(), 0, "{}", asked.text);
    assert!(!asked.text.contains(">>>"), "no chat: {}", asked.text);
    let mut binary = start(&["logits", llama, "--tokens", "1", "--output", "-"]);
    assert_eq!(binary.end(), 2, "{}", binary.text);
    assert!(binary.text.contains("stdout is a terminal"), "{}", binary.text);
}

#[test]
fn a_forgotten_chat_that_is_open_stays_forgotten() {
    let home = Home::new();
    let mut open = chat(home.path(), &["--max-tokens", "2"], 100);
    let history = || told(&home.run(&["history", "--json"])).1;
    for forget in [&["history", "--clear", "--yes"][..], &["history", "--forget", "1"]] {
        say(&mut open, "A secret");
        assert!(history().contains("A secret"));
        assert_eq!(told(&home.run(forget)).0, Some(0));
        let said = say(&mut open, "Another one");
        assert!(said.contains("forgotten by another tokki"), "{said}");
        assert!(!history().contains("A secret") && !say(&mut open, "More").contains("forgotten"), "{}", history());
        say(&mut open, "/clear");
    }
    say(&mut open, "Anew");
    assert!(history().contains("Anew") && !history().contains("Another one"));
    let files = fs::read_dir(home.path().join("chats")).unwrap().map(|file| file.unwrap());
    let modes: Vec<u32> = files.map(|file| file.metadata().unwrap().permissions().mode() & 0o777).collect();
    assert_eq!(modes, [0o600]);
    leave(open);
}

#[test]
fn what_was_typed_in_an_answer_is_a_line_as_any_other() {
    let home = Home::new();
    let words = format!("root ::= \"{}\"", "word ".repeat(50));
    let mut terminal = chat(home.path(), &["--grammar", &words], 100);
    terminal.send("Go on\r");
    terminal.until("an answer", |t| t.text.contains("word word"));
    terminal.send("teh\u{7f}\u{7f}he end\r\u{4}");
    assert_eq!(terminal.end(), 0);
    assert!(terminal.text.contains(">>> the end"), "{}", terminal.text);
    let (_, out, _) = told(&home.run(&["history", "--json"]));
    assert!(out.contains("the end"), "{out}");
}

#[test]
fn a_file_can_be_dropped_and_a_question_that_never_fits_is_told() {
    let home = Home::new();
    fs::write(home.path().join("it's a note(1).txt"), "word ".repeat(400)).unwrap();
    let mut terminal = chat(home.path(), &["--ctx", "100", "--max-tokens", "2"], 100);
    assert!(say(&mut terminal, "/file it\\'s\\ a\\ note\\(1).txt").contains("goes with the next message"));
    assert!(say(&mut terminal, "/file -").contains("no file goes with"));
    let said = say(&mut terminal, "What is in @it\\'s\\ a\\ note\\(1).txt ?");
    assert!(said.contains("tokens needed, 100 available") && said.contains("question alone"), "{said}");
    assert!(!said.contains("/compact"), "{said}");
    // It is there to be changed.
    terminal.until("the question", |t| t.screen.current().ends_with("note\\(1).txt ?"));
    terminal.send("\u{15}Hello\r");
    terminal.prompt();
    leave(terminal);
}

#[test]
fn a_summary_takes_the_place_of_what_was_said() {
    let home = Home::new();
    let mut terminal = chat(home.path(), &["--ctx", "400", "--max-tokens", "8"], 80);
    assert!(say(&mut terminal, "/compact").contains("too little"));
    say(&mut terminal, "one");
    say(&mut terminal, "two");
    let said = say(&mut terminal, "/compact");
    assert!(said.contains("now stands for") || said.contains("nothing was changed"), "{said}");
    say(&mut terminal, "/save kept.json");
    let saved = fs::read_to_string(home.path().join("kept.json")).unwrap();
    if said.contains("now stands for") {
        assert!(!saved.contains("\"one\"") && saved.contains("\"two\"") && saved.contains("talked about"), "{saved}");
    } else {
        assert!(saved.contains("\"one\"") && saved.contains("\"two\""), "{saved}");
    }
    leave(terminal);
}

#[test]
fn answers_alone_go_where_stdout_leads() {
    let home = Home::new();
    let script = format!(
        "exec {} run {} --temperature 0 --max-tokens 6 --ctx 512 > answers.txt",
        crate::launch::BINARY,
        model("llama.gguf").display()
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(home.path()).env("TOKKI_HOME", home.path()).env("TERM", "xterm");
    let mut terminal = Terminal::start(command, 80);
    terminal.prompt();
    say(&mut terminal, "Hello");
    leave(terminal);
    let answers = fs::read_to_string(home.path().join("answers.txt")).unwrap();
    assert!(!answers.trim().is_empty() && !answers.contains("\x1b[") && !answers.contains(">>>"), "{answers:?}");
    assert!(!answers.contains("Hello\n"), "{answers:?}");
}

#[test]
fn words_are_whole_at_the_edge_of_the_screen() {
    let home = Home::new();
    // A grammar makes the tiny model say words.
    let words = r#"root ::= "alphabet butterfly chocolate dragonfly elephants flamingos giraffes" "#;
    let mut terminal = chat(home.path(), &["--grammar", words, "--max-tokens", "100"], 30);
    say(&mut terminal, "x");
    let rows = terminal.screen.rows();
    for word in ["alphabet", "butterfly", "chocolate", "dragonfly", "elephants", "flamingos", "giraffes"] {
        assert!(rows.iter().any(|row| row.contains(word)), "{word} is broken:\n{}", rows.join("\n"));
    }
    assert!(rows.iter().all(|row| row.chars().count() <= 30));
    leave(terminal);
}

#[test]
fn models_of_other_programs_are_taken_over() {
    let home = Home::new();
    let hex = "b".repeat(64);
    let place = home.path().join("theirs");
    let library = place.join("manifests/registry.ollama.ai/library/tiny");
    fs::create_dir_all(&library).unwrap();
    fs::create_dir_all(place.join("blobs")).unwrap();
    let layer = format!(r#"{{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:{hex}"}}"#);
    fs::write(library.join("latest"), format!(r#"{{"layers":[{layer}]}}"#)).unwrap();
    fs::copy(model("llama.gguf"), place.join("blobs").join(format!("sha256-{hex}"))).unwrap();
    let import = |args: &[&str]| {
        let args: Vec<&str> = ["import", "--from", "ollama"].iter().chain(args).copied().collect();
        told(&home.command(&args).env("OLLAMA_MODELS", &place).output().unwrap())
    };
    let (code, out, err) = import(&[]);
    assert!(code == Some(0) && out == "tiny\n" && err.contains("linked"), "{out}{err}");
    assert!(import(&[]).2.contains("there already"));
    assert_eq!(import(&["nosuch"]).0, Some(2));
    let answer = told(&home.run(&["run", "tiny", "hi", "--max-tokens", "3"]));
    assert_eq!(answer.0, Some(0), "{}", answer.2);
    // A cache of the hub, by its own variable.
    let snapshot = home.path().join("hub/models--o--r/snapshots/1");
    fs::create_dir_all(&snapshot).unwrap();
    fs::copy(model("llama-mixed.gguf"), snapshot.join("mixed-Q4_0.gguf")).unwrap();
    let mut command = home.command(&["import", "--from", "huggingface"]);
    let (code, out, err) = told(&command.env("HF_HUB_CACHE", home.path().join("hub")).output().unwrap());
    assert!(code == Some(0) && out == "mixed-Q4_0\n", "{out}{err}");
    assert_eq!(text(&home.run(&["list", "--names"]).stdout), "mixed-Q4_0\ntiny\n");
    // By the other program's own name; a second model of a name gets one of its own, and what is there stays.
    let other = home.path().join("hub/models--p--r/snapshots/1");
    fs::create_dir_all(&other).unwrap();
    fs::copy(model("qwen2.gguf"), other.join("mixed-Q4_0.gguf")).unwrap();
    let hub = |args: &[&str]| {
        let args: Vec<&str> = ["import", "--from", "huggingface"].iter().chain(args).copied().collect();
        told(&home.command(&args).env("HF_HUB_CACHE", home.path().join("hub")).output().unwrap())
    };
    let (code, out, err) = hub(&[]);
    assert!(code == Some(0) && out == "p-mixed-Q4_0\n" && err.contains("mixed-Q4_0: there already"), "{out}{err}");
    assert!(hub(&["o/r"]).2.contains("mixed-Q4_0: there already") && hub(&["hf:x/y"]).0 == Some(2));
    assert!(import(&["tiny:latest", "--interleave"]).2.contains("tokki rm tiny first"));
}

#[test]
fn presets_hold_for_their_model_alone() {
    let home = Home::new();
    let config = home.path().join("config.toml");
    fs::write(&config, "max_tokens = 9\n[models.llama]\nmax_tokens = 2\n").unwrap();
    let tokens = |name: &str, more: &[&str]| {
        let path = model(name);
        let args: Vec<&str> = ["run", path.to_str().unwrap(), "Hello there", "--json", "--temperature", "0"]
            .iter()
            .chain(more)
            .copied()
            .collect();
        let (code, out, err) = told(&home.command(&args).env("TOKKI_CONFIG", &config).output().unwrap());
        assert_eq!(code, Some(0), "{err}");
        let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
        answer["usage"]["tokens"].as_u64().unwrap()
    };
    assert_eq!(tokens("llama.gguf", &[]), 2);
    assert_eq!(tokens("llama.gguf", &["--max-tokens", "3"]), 3, "a flag beats it");
    assert!(tokens("llama-mixed.gguf", &[]) > 2);
    let holds = |args: &[&str]| {
        let mut show = home.command(&[&["config", "show"], args].concat());
        let (code, out, err) = told(&show.env("TOKKI_CONFIG", &config).output().unwrap());
        assert_eq!(code, Some(0), "{err}");
        out.lines().filter(|line| line.contains("max_tokens")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(holds(&[]).len(), 2, "that of all, and the model's");
    let (own, other) = (model("llama.gguf"), model("llama-mixed.gguf"));
    let (own, other) = (holds(&[own.to_str().unwrap()]), holds(&[other.to_str().unwrap()]));
    assert!(own.len() == 1 && own[0].contains(" 2 ") && own[0].ends_with("[models.llama]"), "{own:?}");
    assert!(other.len() == 1 && other[0].contains(" 9 ") && other[0].ends_with("config.toml"), "{other:?}");
    // What is set for all models is no order for one that cannot.
    fs::write(&config, "max_tokens = 2\nthinking = \"on\"\n").unwrap();
    assert_eq!(tokens("llama.gguf", &[]), 2);
    fs::write(&config, "[models.llama]\nhome = \"/x\"\n").unwrap();
    let refused = told(&home.command(&["config", "show"]).env("TOKKI_CONFIG", &config).output().unwrap());
    assert!(refused.0 == Some(2) && refused.2.contains("home"), "{}", refused.2);
    fs::write(&config, "[models.q]\ntemperature = 9999\n").unwrap();
    let refused = told(&home.command(&["config", "show"]).env("TOKKI_CONFIG", &config).output().unwrap());
    assert!(refused.0 == Some(2) && refused.2.contains("key models.q.temperature"), "{}", refused.2);
}

#[test]
fn another_model_of_a_chat_brings_its_own_settings() {
    let home = Home::new();
    let config = home.path().join("tokki");
    fs::create_dir_all(&config).unwrap();
    let text = "top_k = 9\n[models.llama]\nsystem = \"Say rabbit.\"\nmax_tokens = 6\nmin_p = 0.11\nseed = 5\n\
                [models.llama-mixed]\nsystem = \"Say goose.\"\nmin_p = 0.22\ntop_k = 7\n";
    fs::write(config.join("config.toml"), text).unwrap();
    let mut terminal = chat(home.path(), &[], 100);
    let shown = |terminal: &mut Terminal| say(terminal, "/show").split_whitespace().collect::<Vec<_>>().join(" ");
    let first = shown(&mut terminal);
    for line in ["seed 5 ", "max_tokens 6 ", "min_p 0.11 ", "top_k 9 ", "system Say rabbit."] {
        assert!(first.contains(line), "{line}: {first}");
    }
    let (other, own) = (model("llama-mixed.gguf"), model("llama.gguf"));
    say(&mut terminal, &format!("/model {}", other.display()));
    let second = shown(&mut terminal);
    for line in ["max_tokens none ", "min_p 0.22 ", "top_k 7 ", "system Say goose."] {
        assert!(second.contains(line), "{line}: {second}");
    }
    assert!(!second.contains("seed 5 "), "{second}");
    // What was said in the chat stays.
    say(&mut terminal, "/set min_p 0.33");
    say(&mut terminal, "/system Say horse.");
    say(&mut terminal, &format!("/model {}", own.display()));
    let third = shown(&mut terminal);
    for line in ["seed 5 ", "max_tokens 6 ", "min_p 0.33 ", "top_k 9 ", "system Say horse."] {
        assert!(third.contains(line), "{line}: {third}");
    }
    leave(terminal);
}

#[test]
fn a_configuration_is_written_once_and_all_of_it_can_be_used() {
    let home = Home::new();
    let init =
        || told(&home.command(&["config", "init"]).env("XDG_CONFIG_HOME", home.path().join("c")).output().unwrap());
    let (code, path, _) = init();
    assert_eq!(code, Some(0));
    assert_eq!(init().0, Some(2), "what is there stays");
    // With every line in use, a model answers.
    let all = fs::read_to_string(path.trim()).unwrap();
    let lines = all.lines().filter_map(|line| line.strip_prefix("# "));
    let used: Vec<&str> = lines.filter(|line| line.contains(" = ") || line.starts_with('[')).collect();
    assert!(used.len() > 20);
    let used: String = used.iter().filter(|line| !line.starts_with("home")).map(|line| format!("{line}\n")).collect();
    fs::write(home.path().join("all.toml"), used).unwrap();
    let path = model("llama.gguf");
    let mut command = home.command(&["run", path.to_str().unwrap(), "Hello", "--max-tokens", "3", "--ctx", "512"]);
    let (code, out, err) = told(&command.env("TOKKI_CONFIG", home.path().join("all.toml")).output().unwrap());
    assert!(code == Some(0) && !out.is_empty(), "{err}");
}

#[test]
fn what_was_measured_is_kept_and_can_be_measured_again() {
    let home = Home::new();
    let path = model("llama.gguf");
    let plan = |more: &[&str]| {
        let args: Vec<&str> = ["plan", path.to_str().unwrap(), "--json"].iter().chain(more).copied().collect();
        let (code, out, err) = told(&home.run(&args));
        assert_eq!(code, Some(0), "{err}");
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(report["decode_tok_s"].as_f64().unwrap() > 0.0);
        report["measured_before"].as_bool().unwrap()
    };
    assert!(!plan(&[]));
    // What was measured beside other programs holds as long as there are some, and no longer.
    let kept = home.path().join("probes.json");
    let probes = fs::read_to_string(&kept).unwrap();
    fs::write(&kept, probes.replace("\"busy\":true", "\"busy\":false")).unwrap();
    assert!(plan(&[]));
    assert!(!plan(&["--measure"]));
}

/// A single question adds to the chat that it goes on with, whose model may be named by another path; a question in the place
/// of a model is one.
#[test]
fn single_questions_are_kept_in_the_chat_they_go_on_with() {
    let home = Home::new();
    let mut terminal = chat(home.path(), &["--max-tokens", "6"], 80);
    say(&mut terminal, "Why is the sea salty?");
    leave(terminal);
    let link = home.path().join("linked.gguf");
    std::os::unix::fs::symlink(model("llama.gguf"), &link).unwrap();
    let path = link.to_str().unwrap();
    for question in [&["run", "--continue", "What of lakes then?"][..], &["run", "--continue", path, "And rivers?"]] {
        let (code, _, err) = told(&home.run(&[question, &["--max-tokens", "4", "--ctx", "1024"]].concat()));
        assert_eq!(code, Some(0), "{err}");
    }
    let (_, all, _) = told(&home.run(&["history", "--json"]));
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    assert_eq!((all.as_array().unwrap().len(), all[0]["messages"].as_array().unwrap().len()), (1, 6), "{all}");
    // One word may be a question too: it is told how.
    let (code, _, err) = told(&home.run(&["run", "--continue", "--ctx", "1024", "thanks"]));
    let typed = format!("As a question: tokki run --continue --ctx 1024 {} thanks", model("llama.gguf").display());
    assert!(code == Some(2) && err.contains(&typed), "{err}");
    // Lines that were typed go with the chats.
    assert!(home.path().join("history").exists());
    told(&home.run(&["history", "--clear", "--yes"]));
    assert!(!home.path().join("history").exists());
}
