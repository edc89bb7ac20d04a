//! What becomes of an answer, with models that say what they are made to say: thoughts and their tokens, forms, where an
//! answer is cut, what the prompt holds.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tokki::testing::{Rng, Writer};

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;
const PLAIN: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
    <|im_start|>assistant\n{# keeps the line end #}";
const THINKS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                      <|im_start|>assistant\n{# <think> </think> #}";
const SPECIALS: [&str; 4] = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"];
const WIDTH: usize = 64;

/// Bytes in the alphabet of byte-level vocabularies.
fn spelled(bytes: &[u8]) -> String {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let hidden: Vec<u8> = (0..=255).filter(|&b| !printable(b)).collect();
    let symbol = |b: &u8| match hidden.iter().position(|h| h == b) {
        Some(at) => char::from_u32(0x100 + at as u32).unwrap(),
        None => char::from(*b),
    };
    bytes.iter().map(symbol).collect()
}

/// A vocabulary of bytes, special tokens and `extra` ones.
fn vocabulary(template: &str, extra: &[(String, i32)]) -> (Writer, Vec<String>) {
    let mut tokens: Vec<String> = (0..=255).map(|b| spelled(&[b])).collect();
    tokens.extend(SPECIALS.map(str::to_owned));
    let mut kinds = vec![NORMAL; 256];
    kinds.extend([CONTROL; SPECIALS.len()]);
    for (text, kind) in extra {
        tokens.push(text.clone());
        kinds.push(*kind);
    }
    let writer = Writer::new("llama")
        .text("general.name", "says what it is told")
        .u32("llama.context_length", 256)
        .u32("llama.embedding_length", WIDTH as u32)
        .u32("llama.block_count", 1)
        .u32("llama.feed_forward_length", 32)
        .u32("llama.attention.head_count", 2)
        .u32("llama.attention.head_count_kv", 2)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .f32("llama.rope.freq_base", 10_000.0)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &kinds)
        .u32("tokenizer.ggml.eos_token_id", 257)
        .bool("tokenizer.ggml.add_bos_token", false)
        .text("tokenizer.chat_template", template);
    (writer, tokens)
}

/// A model that, after a line end, says `pieces` and ends its turn.
fn says(template: &str, pieces: &[(&[u8], i32)]) -> Writer {
    let name = |(bytes, kind): &(&[u8], i32)| match *kind {
        NORMAL => spelled(bytes),
        _ => String::from_utf8(bytes.to_vec()).unwrap(),
    };
    let mut extra: Vec<(String, i32)> = Vec::new();
    for piece in pieces {
        let known = SPECIALS.contains(&name(piece).as_str()) || (piece.1 == NORMAL && piece.0.len() == 1);
        if !known && !extra.contains(&(name(piece), piece.1)) {
            extra.push((name(piece), piece.1));
        }
    }
    let (writer, tokens) = vocabulary(template, &extra);
    let writer = writer.texts("tokenizer.ggml.merges", &["t h"]);
    let id = |text: &str| tokens.iter().position(|token| token == text).unwrap();
    let mut path = vec![id(&spelled(b"\n"))];
    path.extend(pieces.iter().map(|piece| id(&name(piece))));
    path.push(id("<|im_end|>"));
    weights(writer, tokens.len(), &path)
}

/// Layers that add nothing, and a head that knows only what follows what.
fn weights(writer: Writer, tokens: usize, path: &[usize]) -> Writer {
    let mut rng = Rng::new(7);
    let rows: Vec<Vec<f32>> = (0..tokens).map(|_| (0..WIDTH).map(|_| rng.signed().signum()).collect()).collect();
    let mut head = vec![vec![0.0; WIDTH]; tokens];
    for pair in path.windows(2) {
        head[pair[1]].iter_mut().zip(&rows[pair[0]]).for_each(|(out, x)| *out += x);
    }
    let width = WIDTH as u64;
    let zeros = |n: u64| vec![0.0; (n * width) as usize];
    let mut writer = writer
        .tensor_f32("token_embd.weight", &[width, tokens as u64], &rows.concat())
        .tensor_f32("output.weight", &[width, tokens as u64], &head.concat())
        .tensor_f32("output_norm.weight", &[width], &[1.0; WIDTH])
        .tensor_f32("blk.0.attn_norm.weight", &[width], &[1.0; WIDTH])
        .tensor_f32("blk.0.ffn_norm.weight", &[width], &[1.0; WIDTH])
        .tensor_f32("blk.0.ffn_down.weight", &[32, width], &zeros(32));
    for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
        writer = writer.tensor_f32(&format!("blk.0.{part}.weight"), &[width, width], &zeros(width));
    }
    for part in ["ffn_gate", "ffn_up"] {
        writer = writer.tensor_f32(&format!("blk.0.{part}.weight"), &[width, 32], &zeros(32));
    }
    writer
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn tokki(&self, command: &str, model: &Path, args: &[&str]) -> Output {
        let mut tokki = crate::launch::tokki();
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TOKKI_")) {
            tokki.env_remove(name);
        }
        tokki.env("TOKKI_HOME", self.0.path()).env("XDG_CONFIG_HOME", self.0.path()).env("TOKKI_OFFLINE", "1");
        tokki.arg(command).arg(model).args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Exit code, answer with everything that `--json` tells, and messages.
    fn answer(&self, model: Writer, args: &[&str]) -> (i32, Value, String) {
        let model = self.file("m.gguf", model.bytes());
        let output = self.tokki("run", &model, &[&["hi", "--temperature", "0", "--json"], args].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), said)
    }
}

fn normal<const N: usize>(pieces: [&'static str; N]) -> Vec<(&'static [u8], i32)> {
    let kind = |piece: &str| if SPECIALS.contains(&piece) { CONTROL } else { NORMAL };
    pieces.iter().map(|piece| (piece.as_bytes(), kind(piece))).collect()
}

#[test]
fn only_tokens_switch_between_thought_and_answer() {
    let place = Place::new();
    let cases: [(&[&'static str], &str, &str); 5] = [
        (&["<think>", "a", "</", "think", ">", "b", "</think>", "c"], "a</think>b", "c"),
        (&["<think>", "a", "</think> x", "b", "</think>", "c"], "a</think> xb", "c"),
        (&["<", "think", ">", " is", " a", " tag"], "", "<think> is a tag"),
        (&["so", " it", " is", "</think>", "42"], "so it is", "42"),
        (&["Well,", "<think>", "hmm", "</think>", "42"], "hmm", "Well,42"),
    ];
    for (pieces, thought, answer) in cases {
        let pieces: Vec<(&[u8], i32)> = pieces.iter().flat_map(|piece| normal([*piece])).collect();
        let (code, said, messages) = place.answer(says(THINKS, &pieces), &[]);
        assert_eq!((code, &said["reasoning"], &said["answer"]), (0, &json!(thought), &json!(answer)), "{messages}");
    }
}

#[test]
fn an_end_inside_the_thought_is_a_failure_that_says_so() {
    let place = Place::new();
    for args in [&[][..], &["--max-tokens", "2"]] {
        let (code, _, messages) = place.answer(says(THINKS, &normal(["<think>", "a", "b"])), args);
        assert!(code == 1 && messages.contains("thought"), "{code}: {messages}");
    }
}

/// What is kept of a chat holds its thoughts, whether or not the template has a place for them.
#[test]
fn thoughts_stay_in_the_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thinks.gguf");
    for (pieces, answer) in [(&["<think>", "a", "</think>", "b"][..], "b"), (&["<think>", "a"], "")] {
        let pieces: Vec<(&[u8], i32)> = pieces.iter().flat_map(|piece| normal([*piece])).collect();
        says(THINKS, &pieces).write(&path).unwrap();
        let llm = std::sync::Arc::new(tokki::Llm::open(&path).unwrap());
        let mut conversation = tokki::Conversation::open(llm, tokki::Options::default()).unwrap();
        conversation.ask("Why?", &mut |_: &tokki::engine::Part| Ok(())).unwrap();
        let said = conversation.messages().last().unwrap();
        assert_eq!((said["content"].as_str(), said["reasoning_content"].as_str()), (Some(answer), Some("a")));
    }
}

#[test]
fn half_a_character_is_held_back() {
    let place = Place::new();
    let hangul: [(&[u8], i32); 3] = [(b"a", NORMAL), (b"\xed\x95", NORMAL), (b"\x9c", NORMAL)];
    let (code, said, _) = place.answer(says(PLAIN, &hangul), &["--max-tokens", "2"]);
    assert_eq!((code, said["answer"].as_str()), (0, Some("a")));
    let (_, said, _) = place.answer(says(PLAIN, &hangul), &[]);
    assert_eq!(said["answer"], "a한");
    let stopped: [(&[u8], i32); 4] = [(b"a", NORMAL), (b"\xed\x95", NORMAL), (b"E", NORMAL), (b"ND", NORMAL)];
    let (_, said, _) = place.answer(says(PLAIN, &stopped), &["--stop", "END"]);
    assert_eq!(said["answer"], "a");
}

#[test]
fn tokens_that_are_no_text_print_nothing_and_stop_by_their_names() {
    let place = Place::new();
    let pieces: [(&[u8], i32); 3] = [(b"a", NORMAL), (b"[PAD7]", UNUSED), (b"b", NORMAL)];
    assert_eq!(place.answer(says(PLAIN, &pieces), &[]).1["answer"], "ab");
    let pieces: [(&[u8], i32); 3] = [(b"ab", NORMAL), (b"<|tool|>", CONTROL), (b"cd", NORMAL)];
    let (_, said, _) = place.answer(says(PLAIN, &pieces), &["--stop", "<|tool|>"]);
    assert_eq!((said["answer"].as_str(), said["finish_reason"].as_str()), (Some("ab"), Some("stop")));
}

#[test]
fn a_form_that_was_cut_is_a_failure() {
    let place = Place::new();
    let schema = place.file("s.json", r#"{"type": "array", "items": {"type": "integer"}}"#);
    let schema = schema.to_str().unwrap();
    let model = || says(PLAIN, &normal(["[", "1", ",", "2", "]"]));
    let (code, said, _) = place.answer(model(), &["--json-schema", schema]);
    assert_eq!((code, said["answer"].as_str()), (0, Some("[1,2]")));
    let (code, said, messages) = place.answer(model(), &["--json-schema", schema, "--max-tokens", "3"]);
    assert!(code == 1 && said["answer"] == "[1," && messages.contains("cut"), "{code}: {messages}");
    // A thought that the model opens itself is free; the form binds what follows.
    let (code, said, messages) = place
        .answer(says(THINKS, &normal(["<think>", "let me", "</think>", "[", "1", "]"])), &["--json-schema", schema]);
    assert_eq!((code, &said["reasoning"], &said["answer"]), (0, &json!("let me"), &json!("[1]")), "{messages}");
}

#[test]
fn words_reach_the_prompt_or_it_is_said() {
    let place = Place::new();
    let parts = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content %}{{ p.text }}{% endfor %}<|im_end|>\n\
                 {% endfor %}<|im_start|>assistant\n{# keeps the line end #}";
    let tokens = |template: &str, prompt: &str| {
        let model = place.file("p.gguf", says(template, &normal(["ok"])).bytes());
        let output = place.tokki("run", &model, &[prompt, "--json", "--temperature", "0"]);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (
            output.status.code().unwrap(),
            said["usage"]["prompt_tokens"].as_u64(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (short, long) = (tokens(parts, "x"), tokens(parts, &"x".repeat(50)));
    assert_eq!((short.0, long.1), (0, short.1.map(|n| n + 49)));
    let (code, _, messages) = tokens("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", "x");
    assert!(code == 2 && messages.contains("template"), "{code}: {messages}");
    let deaf = PLAIN.replace("in messages", "in messages if m.role != 'system'");
    let (code, _, messages) = place.answer(says(&deaf, &normal(["ok"])), &["--system", "Speak French."]);
    assert!(code == 0 && messages.contains("system prompt"), "{code}: {messages}");
}

#[test]
fn plain_text_can_name_control_tokens() {
    let place = Place::new();
    let model = place.file("m.gguf", says(PLAIN, &normal(["ok"])).bytes());
    let tokens = |args: &[&str]| {
        let output = place.tokki("run", &model, &[&["<|im_start|>\n", "--raw", "--json"], args].concat());
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        said["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    assert_eq!((tokens(&["--special"]), tokens(&[])), (2, 13));
}

#[test]
fn vocabularies_without_merges_are_refused_and_twins_are_not() {
    let place = Place::new();
    let extra = [("the".to_owned(), NORMAL), ("<unused>".to_owned(), NORMAL), ("<unused>".to_owned(), NORMAL)];
    let without = place.file("w.gguf", vocabulary(PLAIN, &extra).0.bytes());
    let output = place.tokki("tokenize", &without, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("merges"));
    let with = vocabulary(PLAIN, &extra).0.texts("tokenizer.ggml.merges", &["t h", "th e"]);
    let output = place.tokki("tokenize", &place.file("t.gguf", with.bytes()), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
