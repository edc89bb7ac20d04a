#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use super::*;
use crate::testing::Writer;

/// Writes a file into a fresh folder and opens it.
fn open(writer: &Writer) -> (tempfile::TempDir, Result<Gguf>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    writer.write(&path).unwrap();
    let opened = Gguf::open(&path);
    (folder, opened)
}

fn sample() -> Writer {
    Writer::new("llama")
        .u32("llama.block_count", 2)
        .f32("llama.rope.freq_base", 1e-5)
        .bool("tokenizer.ggml.add_bos_token", true)
        .raw("negative", ValueKind::I8 as u32, vec![0xfe])
        .raw("wide", ValueKind::U64 as u32, u64::MAX.to_le_bytes().to_vec())
        .f32("nan", f32::NAN)
        .raw("bad", ValueKind::Text as u32, crate::testing::text(b"\xff\xfe"))
        .texts("tokenizer.ggml.tokens", &[b"a".as_slice(), b"\xff\x80", b"", "토끼".as_bytes()])
        .i32s("tokenizer.ggml.token_type", &[1, -2, 3])
        .f32s("scores", &[0.1, -1000.0])
        .bools("pattern", &[true, false])
        .tensor_f32("token_embd.weight", &[4, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
        .tensor_q8_0("blk.0.attn_q.weight", &[32, 1], &[0.5; 32])
        .tensor("blk.0.ffn_up.weight", &[256, 1], 15, vec![0; 292])
        .tensor("odd", &[7], 41, vec![0; 9])
}

#[test]
fn reads_what_was_written() {
    for version in [2, 3] {
        let mut writer = sample();
        writer.version = version;
        let (_folder, gguf) = open(&writer);
        let gguf = gguf.unwrap();
        assert_eq!(gguf.version(), version);
        assert_eq!(gguf.arch().unwrap(), "llama");
        assert_eq!(gguf.u32("llama.block_count").unwrap(), Some(2));
        assert_eq!(gguf.f32("llama.rope.freq_base").unwrap(), Some(1e-5));
        assert_eq!(gguf.bool("tokenizer.ggml.add_bos_token").unwrap(), Some(true));
        assert_eq!(gguf.u64("wide").unwrap(), Some(u64::MAX));
        assert_eq!(gguf.str("absent").unwrap(), None);
        let tokens: Vec<_> = gguf.strings("tokenizer.ggml.tokens").unwrap().unwrap().collect();
        assert_eq!(tokens, [b"a".as_slice(), b"\xff\x80", b"", "토끼".as_bytes()]);
        assert_eq!(gguf.i32s("tokenizer.ggml.token_type", 9).unwrap().unwrap(), [1, -2, 3]);
        assert_eq!(gguf.i32s("tokenizer.ggml.token_type", 2).unwrap().unwrap(), [1, -2]);
        assert_eq!(gguf.f32s("scores", 9).unwrap().unwrap(), [0.1, -1000.0]);
        assert_eq!(gguf.bools("pattern", 9).unwrap().unwrap(), [true, false]);
        let order: Vec<_> = gguf.keys().map(|(name, _)| name).collect();
        assert_eq!(order[..2], ["general.architecture", "llama.block_count"]);
    }
}

#[test]
fn wrong_types_are_named() {
    let (_folder, gguf) = open(&sample());
    let gguf = gguf.unwrap();
    let cases = [
        (gguf.u32("negative").unwrap_err(), "negative", "the integer -2"),
        (gguf.u32("wide").unwrap_err(), "wide", "18446744073709551615"),
        (gguf.u32("llama.rope.freq_base").unwrap_err(), "freq_base", "the number"),
        (gguf.f32("nan").unwrap_err(), "nan", "NaN"),
        (gguf.str("bad").unwrap_err(), "bad", "not UTF-8"),
        (gguf.str("pattern").unwrap_err(), "pattern", "an array of 2 bool"),
        (gguf.u32s("tokenizer.ggml.token_type", 9).unwrap_err(), "token_type", "an array of 3 i32"),
        (gguf.f32s("tokenizer.ggml.token_type", 9).unwrap_err(), "token_type", "an array of 3 i32"),
        (gguf.need_u32("absent").unwrap_err(), "absent", "no such key"),
    ];
    for (error, key, found) in cases {
        let text = error.to_string();
        assert!(text.contains(key) && text.contains(found) && text.contains("model.gguf"), "{text}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn views_are_exact_and_outlive_the_file_handle() {
    let (_folder, gguf) = open(&sample());
    let gguf = gguf.unwrap();
    let view = gguf.view("token_embd.weight").unwrap();
    let odd = gguf.tensor("odd").unwrap();
    assert_eq!(
        (odd.format, odd.bytes, odd.format.name()),
        (TensorFormat::Unsupported(41), None, "Q1_0 (type 41)".into())
    );
    let foreign = gguf.tensor("blk.0.ffn_up.weight").unwrap();
    assert_eq!((foreign.format.name(), foreign.bytes), ("Q8_K (type 15)".into(), Some(292)));
    let refused = gguf.view("blk.0.ffn_up.weight").unwrap_err().to_string();
    assert!(refused.contains("Q8_K") && refused.contains("Q4_K"), "{refused}");
    assert!(gguf.view("absent").unwrap_err().to_string().contains("absent"));
    drop(gguf);
    assert_eq!(view.shape(), [4, 2]);
    assert_eq!(view.dtype(), DType::F32);
    let expected: Vec<u8> = (1..=8).flat_map(|n| (n as f32).to_le_bytes()).collect();
    assert_eq!(view.bytes(), expected);
}

#[test]
fn alignment_is_honoured() {
    let mut writer = sample().u32("general.alignment", 128);
    writer.alignment = 128;
    let (_folder, gguf) = open(&writer);
    let gguf = gguf.unwrap();
    assert_eq!(gguf.view("token_embd.weight").unwrap().bytes()[..4], 1f32.to_le_bytes());
    assert_eq!(gguf.view("blk.0.attn_q.weight").unwrap().bytes().len(), 34);
}

/// Writes a model split over `n` files, one tensor in each, and returns the first file's path.
fn split(folder: &Path, n: u16, change: impl Fn(usize, Writer) -> Writer) -> PathBuf {
    for i in 0..n {
        let writer = Writer::new("llama")
            .raw("split.no", ValueKind::U16 as u32, i.to_le_bytes().to_vec())
            .raw("split.count", ValueKind::U16 as u32, n.to_le_bytes().to_vec())
            .raw("split.tensors.count", ValueKind::I32 as u32, i32::from(n).to_le_bytes().to_vec())
            .tensor_f32(&format!("t{i}"), &[1], &[f32::from(i)]);
        let path = folder.join(format!("m-{:05}-of-{n:05}.gguf", i + 1));
        change(usize::from(i), writer).write(&path).unwrap();
    }
    folder.join(format!("m-00001-of-{n:05}.gguf"))
}

#[test]
fn split_models_look_like_one() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = Gguf::open(&split(folder.path(), 3, |_, writer| writer)).unwrap();
    assert_eq!((gguf.tensors().len(), gguf.paths().count()), (3, 3));
    for i in 0..3 {
        assert_eq!(gguf.view(&format!("t{i}")).unwrap().bytes(), (i as f32).to_le_bytes());
    }
}

#[test]
fn broken_splits_are_named() {
    type Change = fn(usize, Writer) -> Writer;
    let twice: Change = |i, writer| if i == 2 { writer.tensor_f32("t0", &[1], &[0.0]) } else { writer };
    let number: Change = |i, mut writer| {
        if i == 1 {
            writer.keys[1].2 = vec![7, 0];
        }
        writer
    };
    let total: Change = |_, mut writer| {
        writer.keys[3].2 = vec![9, 0, 0, 0];
        writer
    };
    for (change, word) in [(twice, "t0"), (number, "split.no"), (total, "9 tensors")] {
        let folder = tempfile::tempdir().unwrap();
        let error = Gguf::open(&split(folder.path(), 3, change)).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let folder = tempfile::tempdir().unwrap();
    let first = split(folder.path(), 2, |_, writer| writer);
    let second = folder.path().join("m-00002-of-00002.gguf");
    assert!(Gguf::open(&second).unwrap_err().to_string().contains("00001"));
    std::fs::remove_file(&second).unwrap();
    let missing = Gguf::open(&first).unwrap_err();
    assert!(missing.to_string().contains("00002") && missing.exit_code() == 2, "{missing}");
    let renamed = folder.path().join("other.gguf");
    std::fs::rename(&first, &renamed).unwrap();
    assert!(Gguf::open(&renamed).unwrap_err().to_string().contains("-00001-of-00002.gguf"));
}
