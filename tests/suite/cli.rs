//! The real binary: answers, pipes, exit codes, bad input.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tokki_quant::isa::Isa;

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch").join(name)
}

/// The command in a home of its own, without the user's settings, never on the network.
fn tokki(home: &Path) -> Command {
    let mut command = crate::launch::tokki();
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TOKKI_")) {
        command.env_remove(name);
    }
    command.env("TOKKI_HOME", home).env("XDG_CONFIG_HOME", home).env("TOKKI_OFFLINE", "1").stdin(Stdio::null());
    command
}

fn run(args: &[&str], stdin: &[u8]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = tokki(home.path());
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that ends before it has read all is what some of these tests want.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Asserts a clean refusal: the code, one message that says all of `parts`, nothing on stdout.
fn refused(output: &Output, code: i32, parts: &[&str]) {
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{err}");
    assert!(output.stdout.is_empty(), "stdout: {}", text(&output.stdout));
    assert_eq!(err.trim_end().lines().count(), 1, "{err}");
    for part in parts {
        assert!(err.contains(part), "{part:?} is not in {err:?}");
    }
}

#[test]
fn raw_text_is_continued_the_same_way_each_time() {
    let path = model("llama.gguf");
    let path = path.to_str().unwrap();
    let args = ["run", path, "ab", "--raw", "--temperature", "0", "--max-tokens", "8"];
    let first = run(&args, b"");
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    assert!(!first.stdout.is_empty());
    assert_eq!(run(&args, b"").stdout, first.stdout);
    let piped = run(&["run", path, "--raw", "--temperature", "0", "--max-tokens", "8"], b"ab");
    assert_eq!(piped.stdout, first.stdout);
    let seeded = ["run", path, "ab", "--raw", "--temperature", "2", "--max-tokens", "16", "--seed"];
    let of = |seed: &str| run(&[&seeded[..], &[seed]].concat(), b"").stdout;
    assert_eq!(of("7"), of("7"));
    assert_ne!(of("7"), of("8"));
}

#[test]
fn json_tells_what_a_script_needs() {
    let path = model("llama.gguf");
    let output = run(&["run", path.to_str().unwrap(), "ab", "--raw", "--json", "--max-tokens", "5"], b"");
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(value["answer"].is_string() && value["reasoning"].is_string() && value["seed"].is_u64());
    assert!(matches!(value["finish_reason"].as_str(), Some("length" | "stop")));
    assert!(value["usage"]["prompt_tokens"].as_u64().unwrap() > 0);
    assert!(value["usage"]["tokens"].as_u64().unwrap() <= 5);
}

#[test]
fn stop_texts_end_the_answer_before_them() {
    let path = model("llama.gguf");
    let path = path.to_str().unwrap();
    let args = ["run", path, "ab", "--raw", "--temperature", "0", "--max-tokens", "12"];
    let whole = text(&run(&args, b"").stdout).trim_end_matches('\n').to_owned();
    let mut chars = whole.char_indices().skip(2);
    let (start, _) = chars.next().unwrap();
    let stop: String = whole[start..].chars().take(2).collect();
    let cut = text(&run(&[&args[..], &["--stop", &stop]].concat(), b"").stdout);
    assert_eq!(cut.trim_end_matches('\n'), &whole[..whole.find(&stop).unwrap()]);
}

/// What a program reads is what the model wrote, control characters and all; a terminal gets signs of them
/// (`names_of_others_steer_no_terminal`).
#[test]
fn a_piped_answer_is_the_answer() {
    let path = model("llama.gguf");
    let args =
        ["run", path.to_str().unwrap(), "ab", "--raw", "--temperature", "3", "--max-tokens", "200", "--seed", "1"];
    let piped = String::from_utf8(run(&args, b"").stdout).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&run(&[&args[..], &["--json"]].concat(), b"").stdout).unwrap();
    assert_eq!(piped.strip_suffix('\n'), told["answer"].as_str());
    assert!(piped.contains(|c: char| c.is_control() && c != '\n'), "{piped:?}");
}

#[test]
fn bad_input_is_named_with_exit_code_2() {
    let path = model("llama.gguf");
    let path = path.to_str().unwrap();
    refused(&run(&["run", "no-such-model", "hi"], b""), 2, &["no-such-model"]);
    refused(&run(&["run", "/no/such/file.gguf", "hi"], b""), 2, &["/no/such/file.gguf"]);
    refused(&run(&["run", path, "--raw"], b"ab\xffcd"), 2, &["stdin", "UTF-8", "2"]);
    refused(&run(&["run", path, "x1?y2!z3 Q4", "--raw", "--ctx", "3"], b""), 2, &["context", "3 available"]);
    refused(&run(&["logits", path, "--tokens", "1,99999", "--output", "never-written"], b""), 2, &["99999"]);
    for usage in
        [&["run", "--no-such-flag"][..], &["run", path, "a", "--raw", "--temperature", "nan"], &["run", path, "-c"]]
    {
        assert_eq!(run(usage, b"").status.code(), Some(2), "{usage:?}");
    }
}

#[test]
fn a_forced_instruction_set_that_is_not_there_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let path = model("llama.gguf");
    let run = |isa: &str| {
        let mut command = tokki(home.path());
        command.args(["run", path.to_str().unwrap(), "a", "--raw"]).env("TOKKI_ISA", isa).output().unwrap()
    };
    refused(&run("abacus"), 2, &["TOKKI_ISA", "abacus", "scalar"]);
    if Isa::by_name("amx").is_none() {
        refused(&run("amx"), 2, &["TOKKI_ISA=amx", Isa::why_off("amx").unwrap_or("no instruction set"), "scalar"]);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let home = tempfile::tempdir().unwrap();
    let path = model("llama.gguf");
    let mut child = tokki(home.path())
        .args([
            "run",
            path.to_str().unwrap(),
            "ab",
            "--raw",
            "--temperature",
            "1",
            "--max-tokens",
            "2000",
            "--ctx",
            "4096",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let err = text(&output.stderr);
    assert!(!err.contains("panicked"), "{err}");
    assert!(output.status.code().is_some_and(|code| code == 0 || code == 130), "{:?}: {err}", output.status);
}

#[test]
fn a_session_is_continued_by_the_next_run() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("chat.session");
    let path = model("llama.gguf");
    let args = ["run", path.to_str().unwrap(), "ab", "--raw", "--temperature", "0", "--max-tokens", "4", "--json"];
    let ask = || {
        let output = tokki(home.path()).args(args).arg("--session").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    assert_eq!(ask()["usage"]["cached_tokens"], 0);
    assert!(ask()["usage"]["cached_tokens"].as_u64().unwrap() > 0);
}

#[test]
fn answers_keep_the_form_of_a_schema_and_of_a_grammar() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let schema = write(
        "schema.json",
        r#"{"type": "object", "properties": {"n": {"enum": [1, 22]}}, "required": ["n"], "additionalProperties": false}"#,
    );
    let grammar = write("list.lark", "start: \"a\" | \"bc\"");
    let path = model("llama.gguf");
    let args =
        ["run", path.to_str().unwrap(), "ab", "--raw", "--temperature", "1", "--max-tokens", "200", "--seed", "3"];
    let answer = text(&run(&[&args[..], &["--json-schema", &schema]].concat(), b"").stdout);
    let value: serde_json::Value = serde_json::from_str(&answer).unwrap_or_else(|why| panic!("{why}: {answer:?}"));
    assert!(value["n"] == 1 || value["n"] == 22, "{answer}");
    let answer = text(&run(&[&args[..], &["--grammar", &grammar]].concat(), b"").stdout);
    assert!(matches!(answer.trim_end(), "a" | "bc"), "{answer:?}");
    let broken = write("broken.json", "{");
    refused(&run(&[&args[..], &["--json-schema", &broken]].concat(), b""), 2, &["broken.json", "JSON"]);
}

#[test]
fn the_plan_of_a_file_and_of_a_shape() {
    let path = model("llama-q4k.gguf");
    for name in [path.to_str().unwrap(), "exaone-deep-2.4b:q4_k_m"] {
        let output = run(&["plan", name, "--json"], b"");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(value["prefill_tok_s"].as_f64().unwrap() > 0.0);
        assert!(value["rows"].as_array().unwrap().iter().all(|row| row["decode_tok_s"].as_f64().unwrap() > 0.0));
    }
    refused(&run(&["plan", "exaone-deep-99b:q4_k_m"], b""), 2, &["exaone-deep-99b"]);
}

#[test]
fn a_bench_gives_the_keys_of_the_contract() {
    let path = model("llama-q4k.gguf");
    let args =
        ["bench", path.to_str().unwrap(), "-p", "32", "-n", "4", "-r", "1", "--depth", "20", "--json", "--ctx", "128"];
    let output = run(&args, b"");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in [
        "model",
        "threads",
        "isa",
        "pp_tokens",
        "pp_tok_s",
        "tg_tokens",
        "tg_tok_s",
        "depth",
        "read_gb_s",
        "bandwidth_gb_s",
        "load_s",
        "peak_rss_mb",
    ] {
        assert!(!value[key].is_null(), "{key}");
    }
}
