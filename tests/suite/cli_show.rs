//! `tokki show` on files made for it.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use tokki::testing::{Writer, tiny};

fn tokki(home: &Path) -> Command {
    let mut command = Command::from_std(crate::launch::tokki());
    command.env("TOKKI_HOME", home).env_remove("TOKKI_CONFIG").env("NO_COLOR", "1");
    command
}

/// What `tokki show FILE ARGS` prints, its errors, and its exit code.
fn show(writer: &Writer, args: &[&str]) -> (String, String, i32) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    writer.write(&path).unwrap();
    let output = tokki(folder.path()).arg("show").arg(&path).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

#[test]
fn page_for_people() {
    let writer = tiny("gemma3", 3).unwrap().f32("general.sampling.temp", 0.6);
    let (out, err, code) = show(&writer, &[]);
    assert_eq!((err.as_str(), code), ("", 0));
    for words in [
        "tiny gemma3",
        "512 tokens",
        "2 of them see the last 8 tokens",
        "temperature 0.6 (the model's file)",
        "F32",
        "can be run with --raw; it cannot chat",
    ] {
        assert!(out.contains(words), "no {words:?} in:\n{out}");
    }
    assert!(!out.contains("cannot be run") && !out.contains("problem"), "{out}");
}

#[test]
fn json_for_programs() {
    let (out, _, code) = show(&tiny("qwen3moe", 3).unwrap(), &["--json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    assert_eq!((&found["architecture"], &found["runnable"]), (&"qwen3moe".into(), &true.into()));
    assert_eq!(found["dimensions"]["experts"]["count"], 4);
    assert_eq!(found["memory"].as_array().unwrap().len(), 3);
    assert!(found["parameters"].as_u64() > found["active_parameters"].as_u64());
}

#[test]
fn keys_tensors_and_template() {
    let writer = tiny("llama", 3).unwrap().text("tokenizer.chat_template", "{{ messages[0].content }}\n");
    let (out, _, _) = show(&writer, &["--keys"]);
    assert!(out.contains("llama.block_count") && out.contains("an array of 260 text"), "{out}");
    let (out, _, _) = show(&writer, &["--tensors"]);
    assert!(out.contains("blk.1.ffn_down.weight") && out.contains("96 x 64"), "{out}");
    let (out, _, _) = show(&writer, &["--tensors", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap().as_array().unwrap().len(), 20);
    assert_eq!(show(&writer, &["--template"]).0, "{{ messages[0].content }}\n\n");
    let (_, err, code) = show(&tiny("llama", 3).unwrap(), &["--template"]);
    assert!(code == 2 && err.contains("has no chat template"), "{err}");
}

#[test]
fn a_split_model_is_shown_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let name = |n: u32| folder.path().join(format!("m-{n:05}-of-00002.gguf"));
    let split = |writer: Writer, no: u32| writer.u32("split.no", no).u32("split.count", 2);
    let mut first = split(tiny("llama", 3).unwrap(), 0);
    let mut second = split(Writer::new("llama"), 1);
    second.tensors = first.tensors.split_off(5);
    first.write(&name(1)).unwrap();
    second.write(&name(2)).unwrap();
    let shown = |n: u32| tokki(folder.path()).arg("show").arg(name(n)).output().unwrap();
    let out = String::from_utf8(shown(1).stdout).unwrap();
    assert!(out.contains("in 2 files") && out.contains("can be run"), "{out}");
    let not_first = shown(2);
    assert!(not_first.status.code() == Some(2) && String::from_utf8_lossy(&not_first.stderr).contains("-00001-of-"));
    std::fs::remove_file(name(2)).unwrap();
    assert_eq!(shown(1).status.code(), Some(2));
}

#[test]
fn what_cannot_be_run_is_named() {
    let mut writer = tiny("qwen2", 3).unwrap();
    let tensor = writer.tensors.iter_mut().find(|tensor| tensor.name == b"blk.0.ffn_up.weight").unwrap();
    (tensor.kind, tensor.shape) = (9, vec![256, 24]);
    let (out, _, code) = show(&writer, &[]);
    assert_eq!(code, 0);
    for words in ["Q8_1 (type 9)", "not supported", "blk.0.ffn_up.weight", "cannot be run"] {
        assert!(out.contains(words), "no {words:?} in:\n{out}");
    }
}

#[test]
fn bad_files_and_terminal_tricks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.gguf");
    let whole = tiny("llama", 3).unwrap().bytes();
    for bytes in [&whole[..100], &whole[..whole.len() - 1], b"not a model at all", b""] {
        std::fs::write(&path, bytes).unwrap();
        let output = tokki(folder.path()).arg("show").arg(&path).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains("bad.gguf") && output.stdout.is_empty(), "{err}");
    }
    let (out, _, code) = show(&Writer::new("a\x1b]0;b\x07").text("general.name", "\x1b[2Jclear"), &[]);
    assert!(code == 0 && !out.contains('\x1b') && !out.contains('\x07'), "{out:?}");
    let (out, _, _) = show(&Writer::new("llama").text("\x1b[31m", "\x1b[2J"), &["--keys"]);
    assert!(!out.contains('\x1b'), "{out:?}");
    // A name of a megabyte is neither shown whole nor compared with every name that is known.
    let long = "l".repeat(1 << 20);
    let start = std::time::Instant::now();
    let (out, _, _) = show(&Writer::new(&long).text("general.name", &long).text("general.license", "a\nb"), &[]);
    assert!(out.len() < 8000 && !out.contains("a\nb"), "{} bytes", out.len());
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
}
