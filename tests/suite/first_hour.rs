//! What went wrong in the first hour of somebody who knew only the README and the help.

use crate::daily::{chat, leave, model, say};
use crate::home::{Home, told};
use crate::server::{Reply, Server, model as model_bytes};
use std::fs;

fn path(name: &str) -> String {
    model(name).to_str().unwrap().to_owned()
}

/// Runs a command in the home's own folder.
fn typed(home: &Home, args: &[&str]) -> (Option<i32>, String, String) {
    told(&home.command(args).current_dir(home.path()).env("TOKKI_OFFLINE", "1").output().unwrap())
}

#[test]
fn a_chat_has_one_number_however_it_is_found() {
    let home = Home::new();
    for question in ["Why is the sea salty?", "What are lakes?"] {
        let mut terminal = chat(home.path(), &["--max-tokens", "4"], 80);
        say(&mut terminal, question);
        leave(terminal);
    }
    let (_, all, _) = typed(&home, &["history"]);
    let (_, found, _) = typed(&home, &["history", "salty"]);
    let line = found.lines().find(|line| line.contains("salty")).unwrap();
    assert!(all.lines().any(|other| other == line) && line.starts_with("2 "), "{all}\n{found}");
    assert!(typed(&home, &["history", "--show", "2"]).1.contains("salty"));
    let (code, out, err) = typed(&home, &["history", "mountains"]);
    assert!(code == Some(0) && out.is_empty() && err.contains("none of 2 chats"), "{err}");
    // One can be forgotten, with what was typed in it.
    let (code, _, err) = typed(&home, &["history", "--forget", "1"]);
    let lines = fs::read_to_string(home.path().join("history")).unwrap();
    assert!(code == Some(0) && lines.contains("salty") && !lines.contains("lakes"), "{err}\n{lines}");
    assert!(!typed(&home, &["history"]).1.contains("lakes") && typed(&home, &["history"]).1.contains("salty"));
    // A model that was not chatted with is told from no chats at all.
    let other = path("llama-mixed.gguf");
    let (code, _, err) = typed(&home, &["run", &other, "--continue"]);
    assert!(code == Some(2) && err.contains("No chat was held with llama-mixed"), "{err}");
}

#[test]
fn a_full_context_names_only_ways_that_are_left() {
    let home = Home::new();
    let words = format!("root ::= \"{}\"", "word ".repeat(200));
    let mut terminal = chat(home.path(), &["--ctx", "200", "--overflow", "tail", "--grammar", &words], 80);
    let said = say(&mut terminal, "Go on").replace(['\r', '\n'], " ").replace("  ", " ");
    assert!(said.contains("leaves out the oldest") && !said.contains("/set overflow"), "{said}");
    leave(terminal);
}

#[test]
fn what_cannot_be_loaded_costs_nothing() {
    let home = Home::new();
    let mut terminal = chat(home.path(), &["--max-tokens", "4"], 80);
    say(&mut terminal, "Hello");
    say(&mut terminal, "/save chat.md");
    say(&mut terminal, "More");
    let said = say(&mut terminal, "/load chat.md").replace(['\r', '\n'], " ");
    assert!(said.contains("chat.md is text") && !said.contains("[y/N]"), "{said}");
    assert!(say(&mut terminal, "/load .").contains("a folder"));
    // Settings are shown as what they are.
    say(&mut terminal, "/set temperature 0.5");
    let shown = say(&mut terminal, "/show");
    assert!(shown.contains("temperature        0.5") && shown.contains("llama ("), "{shown}");
    assert!(say(&mut terminal, "/set temperature").contains("now it is 0.5"));
    assert!(say(&mut terminal, "/set foo 3").contains("repeat_penalty"));
    let said = say(&mut terminal, "/think on");
    assert!(said.contains("does not think") && !said.contains("--thinking"), "{said}");
    leave(terminal);
}

#[test]
fn alt_enter_begins_a_new_line() {
    let home = Home::new();
    let mut terminal = chat(home.path(), &["--max-tokens", "4"], 80);
    say(&mut terminal, "first\u{1b}\rsecond");
    say(&mut terminal, "/save chat.json");
    leave(terminal);
    let saved = fs::read_to_string(home.path().join("chat.json")).unwrap();
    assert!(saved.contains(r"first\nsecond"), "{saved}");
}

#[test]
fn one_answer_is_laid_out_as_a_chats_are() {
    let home = Home::new();
    let words = r#"root ::= "alphabet butterfly chocolate dragonfly elephants flamingos giraffes" "#;
    let (model, args) = (path("llama.gguf"), ["--grammar", words, "--temperature", "0", "--ctx", "512"]);
    let mut command = crate::launch::tokki();
    command.args(["run", &model, "x"]).args(args).env("TOKKI_HOME", home.path()).env("TERM", "xterm");
    let mut terminal = crate::terminal::Terminal::start(command, 30);
    terminal.until("the end", |terminal| terminal.text.contains("giraffes"));
    terminal.settle();
    let rows = terminal.screen.rows();
    for word in words.split(['"', ' ']).filter(|word| word.len() > 6) {
        assert!(rows.iter().any(|row| row.contains(word)), "{word} is broken:\n{}", rows.join("\n"));
    }
}

#[test]
fn what_people_mistype_is_told() {
    let home = Home::new();
    let llama = path("llama.gguf");
    fs::write(home.path().join("note.txt"), "a note").unwrap();
    fs::create_dir(home.path().join("models")).unwrap();
    fs::copy(model("llama.gguf"), home.path().join("models/a.gguf")).unwrap();
    fs::write(home.path().join("in.jsonl"), "").unwrap();
    // The most likely token: what a model of random weights draws may also end the answer, or begin a thought.
    let run = |more: &[&str]| typed(&home, &[&["run", &llama], more, &["--ctx", "512", "--temperature", "0"]].concat());
    for (flag, value, words) in [
        ("--dry-base", "2", "--dry-base changes nothing: dry_multiplier is 0"),
        ("--xtc-threshold", "0.2", "--xtc-threshold changes nothing: xtc_probability is 0"),
        ("--repeat-last-n", "5", "--repeat-last-n changes nothing: no penalty is on"),
    ] {
        let (code, _, said) = run(&["hi", "--max-tokens", "1", flag, value]);
        assert!(code == Some(0) && said.contains(words), "{said}");
    }
    for (said, words) in [
        (run(&[""]), "The prompt is empty"),
        (run(&["  "]), "The prompt is empty"),
        (typed(&home, &["run", "", "hi"]), "name is empty"),
        (typed(&home, &["run", "models", "hi"]), "is a folder"),
        (typed(&home, &["rm", "qwen3-8c"]), "No model named \"qwen3-8c\" in"),
        (typed(&home, &["rm"]), "tokki rm needs NAME"),
        (typed(&home, &["logits", &llama, "--tokens", "1"]), "needs --output"),
        (typed(&home, &["run", &llama, "hi", "--temperature"]), "--temperature needs a value"),
        (typed(&home, &["completions", "tcsh"]), "takes bash"),
        (run(&["hi", "--thinking", "on"]), "This model does not think"),
        (typed(&home, &["import", &llama, "--name", "my model"]), "cannot be a model's name"),
        (run(&["hi", "--session", "models"]), "models is a folder, not a file"),
        (run(&["hi", "--session", "note.txt"]), "note.txt is not a session of tokki"),
        (run(&["hi", "--special"]), "--special goes with --raw"),
        (run(&["hi", "--seed", "-1"]), "leave the flag out"),
        (run(&["hi", "--grammar", "root ::= foo"]), "there is no rule 'foo'"),
        (run(&["hi", "--grammar", "root ::= root \"a\""]), "begin with itself"),
        (run(&["hi", "--json-schema", "{\"$ref\":\"http://x/y\"}"]), "leads out of it"),
        (typed(&home, &["run", "ftp://x/y.gguf", "hi"]), "is an address"),
        (typed(&home, &["show", "http://x/y.gguf"]), "tokki pull http://x/y.gguf"),
        (typed(&home, &["pull", "ftp://x/y.gguf"]), "begins with ftp://"),
        (typed(&home, &["pull", "models/a.gguf"]), "tokki import models/a.gguf"),
        (typed(&home, &["config", "set", "ctx", "5"]), "tokki config init"),
        (typed(&home, &["serve", "--port", "99999"]), "from 0 to 65535"),
        (typed(&home, &["help", "rnu"]), "There is no command \"rnu\". Did you mean run"),
        (typed(&home, &["hi"]), "-instruct \"hi\""),
        (typed(&home, &["batch", "--model", &llama, "in.jsonl", "-"]), "has to be a file"),
        (typed(&home, &["batch", "--model", &llama, "none.jsonl", "o"]), "none.jsonl"),
        (typed(&home, &["history", "--clear"]), "Give --yes"),
        (typed(&home, &["verify", "none"]), "tokki list shows what there is"),
    ] {
        let (code, _, err) = said;
        assert!(code == Some(2) && err.contains(words) && err.starts_with("tokki: "), "{words}: {code:?} {err}");
        assert!(!err.contains("wanted"), "{err}");
    }
    // A text that ends the answer at once is no fault of the model.
    let (_, _, err) = run(&["hi", "--grammar", "root ::= \"yes\"", "--stop", "yes"]);
    assert!(err.contains("a text that ends it came first"), "{err}");
    let (code, _, err) = run(&["what is in @note.txt?", "--max-tokens", "2"]);
    assert!(code == Some(0) && err.contains("@note.txt is sent as text"), "{err}");
}

#[test]
fn a_file_that_came_short_is_told_by_its_address() {
    let bytes = model_bytes(300_000, 5);
    let cut = bytes[..200_000].to_vec();
    let server = Server::start(move |request| Reply::file(request, &cut));
    let home = Home::new();
    let (code, _, err) = told(&home.run(&["pull", &server.url("/m.gguf")]));
    assert!(code == Some(2) && err.contains(&server.url("/m.gguf")), "{err}");
    assert!(!err.contains("partial") && err.contains("thrown away"), "{err}");
    // A file on the disk says how much of it is there.
    fs::write(home.path().join("cut.gguf"), &bytes[..200_000]).unwrap();
    let (code, _, err) = typed(&home, &["show", "cut.gguf"]);
    assert!(code == Some(2) && err.contains("cut short, 200.0 kB of"), "{err}");
}

#[test]
fn a_narrow_terminal_shows_tables_with_whole_words() {
    let home = Home::new();
    let mut command = crate::launch::tokki();
    command.args(["list", "--catalogue"]).env("TOKKI_HOME", home.path()).env("TERM", "xterm").env("NO_COLOR", "1");
    let mut terminal = crate::terminal::Terminal::start(command, 70);
    terminal.until("the end", |terminal| terminal.text.contains("asks the hub"));
    terminal.settle();
    let rows = terminal.screen.rows();
    assert!(rows.iter().any(|row| row.starts_with("gemma-3-1b ")), "{}", rows.join("\n"));
    for words in ["Qwen3 Coder with experts:", "(Gemma terms of", "estimate;"] {
        assert!(rows.iter().any(|row| row.contains(words)), "{words}: {}", rows.join("\n"));
    }
}

#[test]
fn a_session_of_another_model_is_told_with_both() {
    let home = Home::new();
    let (llama, other) = (path("llama.gguf"), path("llama-mixed.gguf"));
    let ask = |model: &str| typed(&home, &["run", model, "Hello", "--max-tokens", "2", "--session", "s.bin"]);
    assert_eq!(ask(&llama).0, Some(0));
    let (code, _, err) = ask(&other);
    let told = format!("was held with {llama}, not with {other}");
    assert!(code == Some(2) && err.contains(&told) && !err.contains("wanted"), "{err}");
}

#[test]
fn a_home_is_a_home_behind_an_equals_sign() {
    let home = Home::new();
    let mut command = home.command(&["run", &path("llama.gguf"), "Hello", "--max-tokens", "2", "--session=~/s.bin"]);
    let (code, _, err) = told(&command.env("HOME", home.path()).output().unwrap());
    assert!(code == Some(0) && home.path().join("s.bin").exists(), "{err}");
}

#[test]
fn names_of_other_programs_lead_to_those_of_the_catalogue() {
    let home = Home::new();
    for (name, known) in [("deepseek-r1:8b", "r1-distill-llama-8b"), ("exaone-deep:32b", "exaone-deep-32b")] {
        for command in ["pull", "run"] {
            let (code, _, err) = typed(&home, &[command, name]);
            assert!(code == Some(2) && err.contains(&format!("Did you mean {known:?}?")), "{command} {name}: {err}");
        }
    }
    // Where each is from stands beside it.
    assert!(typed(&home, &["list", "--catalogue"]).1.contains("hf:LGAI-EXAONE/EXAONE-Deep-32B-GGUF:Q4_K_M"));
}

#[test]
fn a_mistyped_path_with_blanks_is_no_question() {
    let home = Home::new();
    for path in ["./my model", "/no/such model", "~/none of these"] {
        let (code, out, err) = typed(&home, &["run", path]);
        let told = err.contains("No such file") && err.contains("As a question: tokki run smollm2-135m-instruct");
        assert!(code == Some(2) && out.is_empty() && told, "{path}: {err}");
    }
}

#[test]
fn texts_that_begin_with_a_hyphen_are_texts() {
    let home = Home::new();
    let llama = path("llama.gguf");
    let (code, out, err) = typed(&home, &["tokenize", &llama, "-5"]);
    assert!(code == Some(0) && out.contains("45"), "{out}{err}");
    assert_eq!(typed(&home, &["history", "-x y"]).0, Some(0));
    let (code, _, err) = typed(&home, &["run", &llama, "Hi", "--max-tokens", "2", "--system", "- be kind"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(typed(&home, &["tokenize", &llama, "--nosuch"]).0, Some(2));
}
