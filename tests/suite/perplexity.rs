//! `tokki perplexity` against numbers that `scripts/make_fixtures.py` computed with an independent implementation.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch")
}

/// The text, in a file, and the runs.
fn runs(folder: &Path) -> (PathBuf, Vec<Value>) {
    let all: Value = serde_json::from_slice(&std::fs::read(fixtures().join("perplexity.json")).unwrap()).unwrap();
    let text = folder.join("text.txt");
    std::fs::write(&text, all["text"].as_str().unwrap()).unwrap();
    (text, all["runs"].as_array().unwrap().clone())
}

fn perplexity(model: &str, text: &Path, run: &Value, more: &[&str]) -> Output {
    let mut command = crate::launch::tokki();
    command.arg("perplexity").arg(fixtures().join(model)).arg("--file").arg(text);
    command.args(["--kv-type", "f32", "--json", "--ctx", &run["ctx"].to_string()]).args(more);
    if let Some(stride) = run["stride"].as_u64() {
        command.args(["--stride", &stride.to_string()]);
    }
    command.output().unwrap()
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn close(got: &Value, want: &Value, limit: f64) {
    let (got, want) = (got.as_f64().unwrap(), want.as_f64().unwrap());
    assert!((got - want).abs() <= limit * want.abs().max(1.0), "{got}, wanted {want}");
}

#[test]
fn perplexity_is_what_an_independent_computation_gives() {
    let folder = tempfile::tempdir().unwrap();
    let (text, runs) = runs(folder.path());
    for run in &runs {
        let got = report(&perplexity(run["model"].as_str().unwrap(), &text, run, &[]));
        assert_eq!(got["predictions"], run["predictions"], "{run}");
        close(&got["perplexity"], &run["perplexity"], 1e-4);
        assert!(got.get("divergence").is_none());
    }
}

#[test]
fn divergence_is_what_an_independent_computation_gives() {
    let folder = tempfile::tempdir().unwrap();
    let (text, runs) = runs(folder.path());
    let run = runs.iter().find(|run| run["against"].is_string()).unwrap();
    let base = folder.path().join("base.lp");
    let base = base.to_str().unwrap();
    report(&perplexity(run["against"].as_str().unwrap(), &text, run, &["--save-logits", base]));
    let got = report(&perplexity(run["model"].as_str().unwrap(), &text, run, &["--kl-against", base]));
    for (name, want) in run["divergence"].as_object().unwrap() {
        // Saved log-probabilities are rounded to steps of up to 0.0005.
        close(&got["divergence"][name], want, 5e-4);
    }
    // Against itself there is nothing but that rounding.
    let same = report(&perplexity(run["against"].as_str().unwrap(), &text, run, &["--kl-against", base]));
    close(&same["divergence"]["mean"], &Value::from(0.0), 1e-6);
    assert_eq!(same["divergence"]["same_top"], 1.0);
}

#[test]
fn what_cannot_be_computed_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (text, runs) = runs(folder.path());
    let failed = |output: &Output, words: &[&str]| {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(output.stdout.is_empty());
    };
    let short = folder.path().join("short.txt");
    std::fs::write(&short, "ABC").unwrap();
    failed(
        &perplexity("llama.gguf", &short, &runs[0], &[]),
        &["short.txt has 3 tokens", "window of 64", "smaller context"],
    );
    let latin = folder.path().join("latin.txt");
    std::fs::write(&latin, b"caf\xe9").unwrap();
    failed(&perplexity("llama.gguf", &latin, &runs[0], &[]), &["latin.txt", "UTF-8"]);
    failed(&perplexity("llama.gguf", &folder.path().join("none.txt"), &runs[0], &[]), &["none.txt"]);
    failed(&perplexity("llama.gguf", &text, &runs[0], &["--stride", "64"]), &["--stride", "63"]);
    // Log-probabilities over other windows are of no use.
    let base = folder.path().join("base.lp");
    let base = base.to_str().unwrap();
    report(&perplexity("llama.gguf", &text, &runs[0], &["--save-logits", base]));
    failed(&perplexity("llama.gguf", &text, &runs[1], &["--kl-against", base]), &["base.lp", "window"]);
}
