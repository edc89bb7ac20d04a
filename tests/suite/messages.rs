//! What the program says to common mistakes, side by side in `tests/fixtures/messages.txt`, so that a change of words shows
//! up in review (`docs/words.md` has the conventions). `TOKKI_TEST_WRITE_MESSAGES=1` writes the file anew.

use crate::home::{Home, text};
use std::fs;
use std::path::Path;

/// What is typed. `MODEL` is a model that chats, `BASE` one that does not.
const TYPED: &[&str] = &[
    "",
    "chat",
    "search qwen",
    "delete x",
    "version",
    "frobnicate",
    "run -m x",
    "run x -n 5",
    "run modell.gguf hi",
    "run ./folder/none.gguf hi",
    "run hello",
    "run qwen3-8c hi",
    "run ORG/REPO hi",
    "run MODEL",
    "run MODEL hi --temprature 1",
    "run MODEL hi --temperature hot",
    "run MODEL hi --temperature 101",
    "run MODEL hi --ctx much",
    "run MODEL hi --kv-type q9",
    "run MODEL hi --threads 0",
    "run MODEL hi --thinking on",
    "run MODEL hi --thinking off --max-tokens 1 --temperature 0",
    "run MODEL hi --raw --system x",
    "run MODEL hi --raw --overflow tail",
    "run MODEL hi --json --thoughts hide",
    "run MODEL --json",
    "run MODEL hi --stop ",
    "run MODEL hi --json-schema none.json",
    "run MODEL hi --json-schema {",
    "run MODEL hi --json-schema {\"properties\":{\"a\":{\"not\":{}}}}",
    "run MODEL hi --json-schema {\"type\":\"objekt\"}",
    "run MODEL hi --json-schema {\"items\":{\"format\":\"regex\"}}",
    "run MODEL hi --json-schema {\"const\":\"\\u0001\"}",
    "run MODEL hi --json-schema {\"type\":\"array\",\"uniqueItems\":true}",
    "run MODEL hi --json-schema {\"type\":\"string\",\"maxlength\":3} --max-tokens 3 --temperature 0",
    "run MODEL hi --json-schema {\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}",
    "run MODEL hi --grammar none.lark",
    "run MODEL hi --grammar root::=?",
    "run MODEL hi --session none/s",
    "run --continue",
    "run BASE hi",
    "run MODEL hi --latent-prefill expanded --max-tokens 1 --temperature 0",
    "show none.gguf",
    "show text.gguf",
    "plan exaone:q4_k_m",
    "plan MODEL --read-ahead on",
    "bench",
    "bench MODEL -p 0 -n 0",
    "bench MODEL -p 99999",
    "pull nonsense",
    "pull hf:ORG/REPO",
    "pull smollm2-135m-instruct --mirror nonsense",
    "import note.txt",
    "import text.gguf",
    "import MODEL --name my model",
    "import --from ollama",
    "rm none",
    "rm",
    "run . hi",
    "run MODEL hi --session .",
    "completions tcsh",
    "verify none",
    "history --show 3",
    "logits MODEL --tokens 1,x -o l",
    "logits MODEL --tokens 1,999999 -o l",
    "perplexity MODEL --file note.txt",
    "perplexity MODEL --file note.txt --windows 0",
    "tokenize none",
    "template MODEL --messages note.txt",
    "template MODEL --messages m.json --var nonsense=1",
    "doctor --threads many",
    "config",
    "list --jsn",
];

fn said() -> String {
    let home = Home::new();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch");
    for (name, from) in [("model.gguf", "llama.gguf"), ("base.gguf", "gemma2.gguf")] {
        fs::copy(models.join(from), home.path().join(name)).unwrap();
    }
    fs::write(home.path().join("note.txt"), "a note").unwrap();
    fs::write(home.path().join("text.gguf"), "no model").unwrap();
    fs::write(home.path().join("m.json"), r#"{"messages":[{"role":"wizard","content":"x"}]}"#).unwrap();
    let mut all = String::new();
    for typed in TYPED {
        let args: Vec<String> = typed
            .split(' ')
            .map(|arg| arg.replace("MODEL", "model.gguf").replace("BASE", "base.gguf").replace("my", "my name"))
            .collect();
        let args: Vec<&str> =
            args.iter().map(String::as_str).filter(|arg| !typed.is_empty() || !arg.is_empty()).collect();
        let mut command = home.command(&args);
        command.current_dir(home.path()).env("TOKKI_OFFLINE", "1").env("TOKKI_CTX", "512");
        let output = command.output().unwrap();
        let place = home.path().canonicalize().unwrap();
        let err = text(&output.stderr).replace(place.to_str().unwrap(), "HOME");
        let err = err.replace(home.path().to_str().unwrap(), "HOME");
        all.push_str(&format!("$ tokki {typed}\n"));
        // What the argument parser lists behind its first lines is its own.
        for line in err.lines().filter(|line| !line.trim().is_empty()).take(4) {
            all.push_str(&format!("  {}\n", line.trim_end()));
        }
        all.push_str(&format!("  -> {}\n\n", output.status.code().unwrap_or(-1)));
    }
    all
}

#[test]
fn the_words_of_common_mistakes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/messages.txt");
    let now = said();
    if std::env::var_os("TOKKI_TEST_WRITE_MESSAGES").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let before = fs::read_to_string(&path).unwrap_or_default();
    let place = now.lines().zip(before.lines()).position(|(now, before)| now != before);
    let place = place
        .or((now.lines().count() != before.lines().count()).then_some(now.lines().count().min(before.lines().count())));
    if let Some(at) = place {
        let lines = |text: &str| text.lines().skip(at.saturating_sub(3)).take(6).collect::<Vec<_>>().join("\n");
        panic!(
            "the words have changed. They were\n{}\nand are\n{}\nIf that is meant: TOKKI_TEST_WRITE_MESSAGES=1",
            lines(&before),
            lines(&now)
        );
    }
}

#[test]
fn no_message_speaks_to_programmers() {
    let all = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/messages.txt")).unwrap();
    for word in
        ["entity not found", "os error", "Option", "unwrap", "panicked", "Some(", "None", "Unimplemented", "coerce"]
    {
        assert!(!all.contains(word), "{word:?} is said");
    }
}

/// The commands of the blocks of a page, without remarks.
fn commands(page: &str) -> Vec<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let bare = |line: &str| line.split(" # ").next().unwrap_or_default().trim().to_owned();
    blocks.flat_map(str::lines).map(bare).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_korean_page_has_the_same_commands() {
    let (english, korean) = (commands("README.md"), commands("README.ko.md"));
    assert!(english.len() > 15, "{english:?}");
    for command in &korean {
        assert!(english.contains(command), "only in README.ko.md: {command}");
    }
    for command in &english {
        assert!(korean.contains(command), "only in README.md: {command}");
    }
}

#[test]
fn commands_of_the_pages_are_commands() {
    let home = Home::new();
    let help = text(&home.run(&["--help"]).stdout);
    for command in commands("README.md").iter().chain(&commands("README.ko.md")) {
        let mut words = command.split_whitespace();
        if words.next() != Some("tokki") {
            continue;
        }
        let name = words.next().unwrap();
        assert!(name.starts_with('-') || help.contains(&format!("\n  {name} ")), "{command}: no such command");
        let own = text(&home.run(&[name, "--help"]).stdout);
        for flag in words.filter(|word| word.starts_with("--") && word.len() > 2) {
            assert!(own.contains(flag) || help.contains(flag), "{command}: no flag {flag}");
        }
    }
}
