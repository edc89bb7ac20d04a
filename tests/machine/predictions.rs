//! What `plan` says against what then happens, on real models: memory within 10%, speed within 25%. Runs where the models
//! are, one after another, since both sides measure the machine; what else runs on it is made up for by trying again.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

const MODELS: [&str; 3] = ["smollm2-135m.gguf", "gemma3-270m.gguf", "qwen2.5-coder-0.5b.gguf"];

/// Times that a model is tried before it counts as wrongly predicted.
const TRIES: usize = 3;

const MEMORY: f64 = 0.10;
const SPEED: f64 = 0.25;

fn models() -> Option<PathBuf> {
    let folder = std::env::var_os("TOKKI_TEST_MODELS")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/tokki-dev/models")))?;
    folder.is_dir().then_some(folder)
}

fn tokki(args: &[&str], stdin: &str) -> Value {
    let home = tempfile::tempdir().unwrap();
    let mut command = crate::launch::tokki();
    command.env("TOKKI_HOME", home.path()).env("XDG_CONFIG_HOME", home.path()).env("TOKKI_OFFLINE", "1");
    let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The row of a plan.
fn row<'a>(plan: &'a Value, context: usize, kind: &str) -> &'a Value {
    let rows = plan["rows"].as_array().unwrap();
    rows.iter().find(|row| row["context"] == context && row["kv_type"] == kind).unwrap()
}

/// Compares, and says it; true if near enough.
fn near(what: &str, predicted: f64, found: f64, tolerance: f64) -> bool {
    let off = predicted / found - 1.0;
    eprintln!("  {what:34} {predicted:9.1} predicted, {found:9.1} found: {:+.0}%", 100.0 * off);
    off.abs() <= tolerance
}

/// Memory of an answer that fills its context.
fn memory(path: &str) -> bool {
    const ANSWER: usize = 8;
    let prompt = "The quick brown fox jumps over the lazy dog. ".repeat(80);
    let args = ["run", path, "--raw", "--json", "--temperature", "0", "--max-tokens", "8", "--ctx", "4096"];
    let run = tokki(&args, &prompt);
    let used = run["usage"]["prompt_tokens"].as_u64().unwrap() as usize + ANSWER;
    let plan = tokki(&["plan", path, "--json", "--ctx", &used.to_string()], "");
    let row = row(&plan, used, "f16");
    let of = |keys: &[&str]| keys.iter().map(|key| row[*key].as_f64().unwrap()).sum::<f64>() / 1e6;
    let found = |key: &str| run["memory"][key].as_f64().unwrap() / 1e6;
    // The code's share of `program` is pages of a file as well: both sides leave such pages out.
    let code = 10.5;
    let anonymous = of(&["cache", "scratch", "program"]) - code;
    near("MB that are no pages of files", anonymous, found("peak_anonymous_bytes"), MEMORY)
        & near("MB in all", of(&["total"]), found("peak_resident_bytes"), MEMORY)
}

/// A speed that a plan tells, and the bench that finds it.
struct Check {
    what: &'static str,
    /// Context and cache of the plan's row; none for the plan as a whole.
    row: Option<(usize, &'static str)>,
    key: &'static str,
    bench: &'static [&'static str],
}

const CHECKS: &[Check] = &[
    Check { what: "prefill of 512", row: None, key: "prefill_tok_s", bench: &["-p", "512", "-n", "0"] },
    Check { what: "decode after 512", row: None, key: "decode_tok_s", bench: &["-p", "0", "-n", "24", "-d", "500"] },
    Check {
        what: "prefill of 2048",
        row: Some((2048, "f16")),
        key: "prefill_tok_s",
        bench: &["-p", "2048", "-n", "0"],
    },
    Check {
        what: "decode after 2048",
        row: Some((2048, "f16")),
        key: "decode_tok_s",
        bench: &["-p", "0", "-n", "24", "-d", "2032"],
    },
    Check {
        what: "prefill of 2048, q8_0",
        row: Some((2048, "q8_0")),
        key: "prefill_tok_s",
        bench: &["-p", "2048", "-n", "0", "--kv-type", "q8_0"],
    },
    Check {
        what: "decode after 2048, q8_0",
        row: Some((2048, "q8_0")),
        key: "decode_tok_s",
        bench: &["-p", "0", "-n", "24", "-d", "2032", "--kv-type", "q8_0"],
    },
];

/// The checks that fail each time.
fn speed(path: &str) -> Vec<&'static str> {
    let mut open: Vec<&Check> = CHECKS.iter().collect();
    for _ in 0..TRIES {
        if open.is_empty() {
            break;
        }
        let plan = tokki(&["plan", path, "--json", "--ctx", "2048"], "");
        open.retain(|check| {
            let found = tokki(&[&["bench", path, "--json", "-r", "2"], check.bench].concat(), "");
            let row = check.row.map_or(&plan, |(context, kind)| row(&plan, context, kind));
            let found = found[if check.key.starts_with("prefill") { "pp_tok_s" } else { "tg_tok_s" }].as_f64();
            !near(check.what, row[check.key].as_f64().unwrap(), found.unwrap(), SPEED)
        });
    }
    open.iter().map(|check| check.what).collect()
}

#[test]
fn plans_come_true() {
    let Some(folder) = models() else {
        eprintln!("skipped: set TOKKI_TEST_MODELS to a folder with {}", MODELS.join(", "));
        return;
    };
    let mut wrong = Vec::new();
    for name in MODELS {
        let path = folder.join(name);
        if !Path::new(&path).is_file() {
            eprintln!("skipped: {} is not there", path.display());
            continue;
        }
        let path = path.to_str().unwrap();
        eprintln!("{name}");
        if !(0..TRIES).any(|_| memory(path)) {
            wrong.push(format!("{name}: memory"));
        }
        if cfg!(debug_assertions) {
            eprintln!("  skipped: speed is measured with cargo test --release --test predictions");
        } else {
            wrong.extend(speed(path).into_iter().map(|what| format!("{name}: {what}")));
        }
    }
    assert!(wrong.is_empty(), "wrongly predicted, {TRIES} times each: {}", wrong.join(", "));
}
