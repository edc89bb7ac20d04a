//! `tokki template` as scripts use it: the prompt on stdout and nothing else, errors on stderr, exit codes.

use assert_cmd::Command;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokki::testing::Writer;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/templates").join(name)
}

fn file(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn tokki() -> Command {
    let mut command = Command::from_std(crate::launch::tokki());
    command.arg("template");
    command
}

/// Exit code, stdout, stderr.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn prompts_of_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    let oracle: Value = serde_json::from_str(&std::fs::read_to_string(fixture("expected.json")).unwrap()).unwrap();
    let cases = oracle["expected"].as_array().unwrap();
    // A role that no model knows earns a remark.
    let cases = cases.iter().filter(|case| case["conversation"] != "other_role").enumerate();
    for (i, case) in cases.filter(|(i, case)| i % 16 == 0 || case["error"].is_string() && i % 3 == 0) {
        let conversation = &oracle["conversations"][case["conversation"].as_str().unwrap()];
        let messages = file(dir.path(), &format!("{i}.json"), conversation.to_string());
        let (code, stdout, stderr) = run(tokki()
            .arg("--template")
            .arg(fixture(&format!("{}.jinja", case["template"].as_str().unwrap())))
            .arg("--messages")
            .arg(messages)
            .args(["--var", "bos_token=<s>", "--var", "eos_token=</s>", "--now", oracle["now"].as_str().unwrap()]));
        match case["rendered"].as_str() {
            Some(wanted) => assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, wanted, ""), "{case}"),
            None => {
                assert_eq!((code, stdout.as_str()), (2, ""), "{case}");
                assert!(stderr.contains(".jinja, line "), "{stderr}");
            }
        }
    }
}

#[test]
fn a_model_s_own_template() {
    let dir = tempfile::tempdir().unwrap();
    let messages = file(dir.path(), "m.json", json!({"messages": [{"role": "user", "content": "안녕"}]}).to_string());
    let base =
        || Writer::new("llama").text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.tokens", &["<s>", "a"]);
    let source = "{{ bos_token }}{{ messages[0].content }}{% if add_generation_prompt %}>{% endif %}{{ level }}";
    let model = dir.path().join("model.gguf");
    base().text("tokenizer.chat_template", source).u32("tokenizer.ggml.bos_token_id", 0).write(&model).unwrap();
    let with = |args: &[&str]| run(tokki().arg(&model).arg("--messages").arg(&messages).args(args));
    assert_eq!(with(&[]), (0, "<s>안녕>".into(), String::new()));
    assert_eq!(
        with(&["--var", "add_generation_prompt=false", "--var", "level=high"]),
        (0, "<s>안녕high".into(), String::new())
    );
    let (code, stdout, _) = run(tokki().arg(&model).args(["--messages", "-"]).write_stdin("[{\"content\": \"<&>\"}]"));
    assert_eq!((code, stdout.as_str()), (0, "<s><&>>"));

    let plain = dir.path().join("plain.gguf");
    base().write(&plain).unwrap();
    let (code, stdout, stderr) = run(tokki().arg(&plain).arg("--messages").arg(&messages));
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("tokenizer.chat_template") && stderr.contains("--raw"), "{stderr}");
}

#[test]
fn bad_usage() {
    let dir = tempfile::tempdir().unwrap();
    let template = file(dir.path(), "t.jinja", "{{ messages[0].content }}");
    let messages = file(dir.path(), "m.json", "{\"messages\": [{\"content\": \"x\"}]}");
    let broken = file(dir.path(), "b.json", "{\"messages\": [");
    let number = file(dir.path(), "n.json", "7");
    let with = |messages: &Path, args: &[&str]| {
        run(tokki().arg("--template").arg(&template).arg("--messages").arg(messages).args(args))
    };
    assert_eq!(with(&messages, &[]), (0, "x".into(), String::new()));
    for (messages, args, says) in [
        (broken.as_path(), &[][..], "b.json"),
        (&number, &[], "object"),
        (&dir.path().join("none.json"), &[], "none.json"),
        (&messages, &["--now", "yesterday"], "--now"),
        (&messages, &["--var", "novalue"], "--var"),
        (&messages, &["somemodel"], "do not go together"),
    ] {
        let (code, stdout, stderr) = with(messages, args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}");
        assert!(stderr.contains(says), "{stderr}");
    }
    assert_eq!(run(tokki().arg("--messages").arg(&messages)).0, 2);
}

#[test]
fn messages_that_are_none_are_told_by_their_places() {
    let dir = tempfile::tempdir().unwrap();
    let template = file(dir.path(), "t.jinja", "{% for m in messages %}{{ m.role + m.content }}{% endfor %}");
    for (messages, place) in [
        (json!([{ "foo": 1 }]), "messages[0] is wrong"),
        (json!([5]), "messages[0] is wrong"),
        (json!([{ "role": "user", "content": "a" }, { "role": "user", "content": 5 }]), "messages[1].content"),
        (json!([{ "role": 5, "content": "a" }]), "messages[0].role"),
        (json!({ "messages": 5 }), "a list of messages"),
    ] {
        let path = file(dir.path(), "m.json", messages.to_string());
        let (code, stdout, stderr) = run(tokki().arg("--template").arg(&template).arg("--messages").arg(path));
        assert!(code == 2 && stdout.is_empty() && stderr.contains(place), "{messages}: {stderr}");
    }
}
