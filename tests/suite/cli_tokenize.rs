//! `tokki tokenize` on files made for it.

use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;
use tokki::internals::gguf::ValueKind;
use tokki::testing::Writer;

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn integers(value: &Value) -> Vec<i32> {
    value.as_array().unwrap().iter().map(|n| n.as_i64().unwrap() as i32).collect()
}

/// The token that ends a text: the last one but one, before `<|start|>`.
fn eos() -> u32 {
    fixture("own-bytes.json")["eos_token_id"].as_u64().unwrap() as u32
}

/// A file with the vocabulary of these tests, cut as Qwen 2 cuts.
fn qwen2() -> Writer {
    let vocab = fixture("own-bytes.json");
    let (mut tokens, mut kinds) = (texts(&vocab["tokens"]), integers(&vocab["token_type"]));
    tokens.push("<|start|>");
    kinds.push(3);
    Writer::new("qwen2")
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "qwen2")
        .texts("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &kinds)
        .texts("tokenizer.ggml.merges", &texts(&vocab["merges"]))
        .u32("tokenizer.ggml.eos_token_id", eos())
}

/// Stdout, stderr and exit code of `tokki tokenize FILE ARGS`.
fn tokenize(writer: &Writer, args: &[&str], stdin: &[u8]) -> (Vec<u8>, String, i32) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    writer.write(&path).unwrap();
    let mut command = Command::from_std(crate::launch::tokki());
    command.env("TOKKI_HOME", folder.path()).env_remove("TOKKI_CONFIG").arg("tokenize").arg(&path).args(args);
    let output = command.write_stdin(stdin).output().unwrap();
    (output.stdout, String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
}

#[test]
fn many_texts_to_ids_and_back() {
    let oracle = fixture("names.json");
    let groups = oracle["groups"].as_array().unwrap();
    let expected = &groups.iter().find(|group| texts(&group["names"]).contains(&"qwen2")).unwrap()["ids"];
    let joined = texts(&oracle["texts"]).join("\0");
    let (out, err, code) = tokenize(&qwen2(), &["--nul"], joined.as_bytes());
    assert_eq!((err.as_str(), code), ("", 0));
    let lines = String::from_utf8(out).unwrap();
    for (line, expected) in lines.lines().zip(expected.as_array().unwrap()) {
        assert_eq!(integers(&serde_json::from_str(line).unwrap()), integers(expected));
    }
    assert_eq!(lines.lines().count(), texts(&oracle["texts"]).len());
    let (out, _, code) = tokenize(&qwen2(), &["--nul", "--decode"], lines.as_bytes());
    assert_eq!((String::from_utf8(out).unwrap(), code), (joined, 0));
}

#[test]
fn special_tokens_and_bos() {
    let eos = eos();
    let writer = qwen2().u32("tokenizer.ggml.bos_token_id", eos + 1).bool("tokenizer.ggml.add_bos_token", true);
    let ids = |args: &[&str], text: &str| {
        let (out, _, code) = tokenize(&writer, args, text.as_bytes());
        assert_eq!(code, 0);
        serde_json::from_slice::<Vec<u32>>(&out).unwrap()
    };
    assert_eq!(ids(&["--special"], "<|end|>"), [eos + 1, eos]);
    assert_eq!(ids(&["--special"], "<|start|>"), [eos + 1]);
    assert!(ids(&[], "<|end|>").iter().all(|&id| id < eos));
    let (out, _, _) = tokenize(&writer, &["--decode", "--special"], format!("[{eos}]").as_bytes());
    assert_eq!(out, b"<|end|>");
    let (out, _, _) = tokenize(&writer, &["--pieces", "--special"], b"1 2");
    assert_eq!(out, b"[\"<|start|>\",\"1\",\" \",\"2\"]\n");
}

#[test]
fn bad_input_exits_with_2_and_says_where() {
    for (args, stdin, words) in [
        (&["--nul"][..], &b"good\0ba\xEA\xB0"[..], "offset 7"),
        (&[], b"\xFF", "offset 0"),
        (&["--decode"], b"1 2 3", "a JSON array of token ids"),
        (&["--decode"], b"[999999]", "found 999999"),
        (&["--decode", "--pieces"], b"", "--pieces"),
    ] {
        let (out, err, code) = tokenize(&qwen2(), args, stdin);
        assert_eq!((out.as_slice(), code), (&b""[..], 2), "{err}");
        assert!(err.contains(words), "no {words:?} in {err}");
    }
}

#[test]
fn bad_vocabularies_exit_with_2_and_name_the_key() {
    let base = || Writer::new("qwen2").text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "qwen2");
    let tokens = || base().texts("tokenizer.ggml.tokens", &["a", "b"]);
    let numbers = [1_u32.to_le_bytes().to_vec(), 2_u32.to_le_bytes().to_vec()];
    for (writer, words) in [
        (Writer::new("qwen2"), "key `tokenizer.ggml.model`: wanted a text, found no such key"),
        (Writer::new("qwen2").text("tokenizer.ggml.model", "runes").texts("tokenizer.ggml.tokens", &["a"]), "`runes`"),
        (base(), "key `tokenizer.ggml.tokens`"),
        (
            base().array("tokenizer.ggml.tokens", ValueKind::U32, &numbers),
            "key `tokenizer.ggml.tokens`: wanted an array of texts",
        ),
        (tokens().text("tokenizer.ggml.merges", "a b"), "key `tokenizer.ggml.merges`"),
        (tokens().i32s("tokenizer.ggml.token_type", &[1]), "key `tokenizer.ggml.token_type`"),
        (tokens().texts("tokenizer.ggml.merges", &["ab"]), "key `tokenizer.ggml.merges`"),
        (tokens().u32("tokenizer.ggml.eos_token_id", 2), "key `tokenizer.ggml.eos_token_id`"),
        (tokens().text("tokenizer.ggml.eos_token_id", "b"), "key `tokenizer.ggml.eos_token_id`"),
        (
            base().texts("tokenizer.ggml.tokens", &["a", "the"]).i32s("tokenizer.ggml.token_type", &[1, 1]),
            "key `tokenizer.ggml.merges`",
        ),
        (tokens().text("tokenizer.ggml.add_bos_token", "yes"), "key `tokenizer.ggml.add_bos_token`"),
    ] {
        let (_, err, code) = tokenize(&writer, &[], b"a");
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(words) && err.contains("m.gguf"), "no {words:?} in {err}");
    }
}

#[test]
fn odd_vocabularies_work() {
    // "none" is written as -1, signed or not, and old files hold whole scores
    let bytes = (0..=255_u8).map(|byte| format!("<0x{byte:02X}>")).chain(["a", "b", "ab"].map(str::to_owned));
    let scores: Vec<Vec<u8>> = (0..259_i32).map(|score| score.to_le_bytes().to_vec()).collect();
    let writer = Writer::new("llama")
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &bytes.collect::<Vec<_>>())
        .array("tokenizer.ggml.scores", ValueKind::I32, &scores)
        .u32("tokenizer.ggml.bos_token_id", u32::MAX)
        .raw("tokenizer.ggml.eos_token_id", 5, (-1_i32).to_le_bytes().to_vec())
        .bool("tokenizer.ggml.add_space_prefix", false);
    let (out, err, code) = tokenize(&writer, &["--special"], b"ab");
    assert_eq!((out.as_slice(), err.as_str(), code), (&b"[258]\n"[..], "", 0));
    // a file that does not name its pre-tokenizer gets the common one, and a word about it
    let writer = Writer::new("gpt2").text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.tokens", &["a", "b"]);
    let (out, err, code) = tokenize(&writer, &[], b"ab");
    assert_eq!((out.as_slice(), code), (&b"[0,1]\n"[..], 0));
    assert!(err.contains("tokenizer.ggml.pre"), "{err}");
}
