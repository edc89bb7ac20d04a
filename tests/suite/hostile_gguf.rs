//! Malformed files: each ends in an error that names what is wrong and exits with 2, none in a panic.

use std::path::Path;
use std::time::{Duration, Instant};

use tokki::internals::Description;
use tokki::internals::arch;
use tokki::internals::gguf::{Gguf, MetaValue, ValueKind};
use tokki::testing::{Rng, Writer, text};

fn open(bytes: &[u8]) -> tokki::error::Result<Gguf> {
    Gguf::from_bytes(Path::new("hostile.gguf"), bytes)
}

/// A valid file with a key of every kind and three tensors.
fn valid() -> Writer {
    let number = |kind: ValueKind, bytes: &[u8]| (format!("n.{}", kind.name()), kind as u32, bytes.to_vec());
    let mut writer = Writer::new("llama").u32("general.alignment", 32);
    for (name, kind, bytes) in [
        number(ValueKind::U8, &[1]),
        number(ValueKind::I8, &[0xff]),
        number(ValueKind::U16, &[1, 0]),
        number(ValueKind::I16, &[1, 0]),
        number(ValueKind::I32, &[1, 0, 0, 0]),
        number(ValueKind::F32, &1f32.to_le_bytes()),
        number(ValueKind::Bool, &[1]),
        number(ValueKind::U64, &[1; 8]),
        number(ValueKind::I64, &[0xff; 8]),
        number(ValueKind::F64, &1f64.to_le_bytes()),
    ] {
        writer = writer.raw(&name, kind, bytes);
    }
    writer
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", 32)
        .u32("llama.feed_forward_length", 32)
        .u32("llama.attention.head_count", 2)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .texts("tokenizer.ggml.tokens", &["a", "bc"])
        .i32s("tokenizer.ggml.token_type", &[1, 1])
        .f32s("tokenizer.ggml.scores", &[0.0, 1.0])
        .tensor_f32("token_embd.weight", &[32, 2], &[0.5; 64])
        .tensor_q8_0("blk.0.attn_q.weight", &[32, 2], &[0.25; 64])
        .tensor_f32("output_norm.weight", &[32], &[1.0; 32])
}

/// The error of a malformed file; panics when it opens.
fn refused(case: &str, bytes: &[u8], words: &[&str]) {
    let error = match open(bytes) {
        Ok(gguf) => panic!("{case}: opened as {gguf:?}"),
        Err(error) => error,
    };
    let message = error.to_string();
    assert!(matches!(error, tokki::Error::Input { .. }), "{case}: {message}");
    assert_eq!(error.exit_code(), 2, "{case}");
    assert!(message.contains("hostile.gguf"), "{case} does not name the file: {message}");
    assert!(message.len() < 1000, "{case}: a message of {} bytes", message.len());
    for word in words {
        assert!(message.contains(word), "{case} does not say {word:?}: {message}");
    }
}

/// A valid file with one key's value replaced.
fn with_value(key: &str, kind: u32, value: Vec<u8>) -> Vec<u8> {
    let mut writer = valid();
    let entry = writer.keys.iter_mut().find(|entry| entry.0 == key.as_bytes()).unwrap();
    (entry.1, entry.2) = (kind, value);
    writer.bytes()
}

/// A valid file with its second tensor changed.
fn with_tensor(change: impl FnOnce(&mut tokki::testing::FileTensor)) -> Vec<u8> {
    let mut writer = valid();
    change(&mut writer.tensors[1]);
    writer.bytes()
}

/// Overwrites `bytes` at `at`.
fn patched(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// Values that wrap, overflow or only just fit something.
const EXTREMES: [u64; 9] =
    [u64::MAX, u64::MAX - 7, u64::MAX - 31, 1 << 63, (1 << 63) - 1, 1 << 62, 1 << 61, 1 << 48, 1 << 32];

#[test]
fn the_valid_file_is_valid() {
    let gguf = open(&valid().bytes()).unwrap();
    assert_eq!(gguf.keys().count(), valid().keys.len());
    assert_eq!(gguf.view("output_norm.weight").unwrap().bytes().len(), 128);
}

#[test]
fn every_truncation() {
    let bytes = valid().bytes();
    for len in 0..bytes.len() {
        refused(&format!("cut at {len}"), &bytes[..len], &[]);
    }
}

#[test]
fn magic_version_and_byte_order() {
    let good = valid().bytes();
    for magic in [b"GGML", b"ggjt", b"GGUE", b"\0\0\0\0", b"PK\x03\x04", b"\x7fELF", b"{\"a\""] {
        refused("magic", &patched(good.clone(), 0, magic), &["GGUF"]);
    }
    refused("big-endian magic", &patched(good.clone(), 0, b"FUGG"), &["big-endian", "little-endian"]);
    for version in [2u32, 3] {
        let swapped = patched(good.clone(), 4, &version.to_be_bytes());
        refused("big-endian version", &swapped, &["big-endian"]);
    }
    for version in [0u32, 1, 4, 5, 100, u32::MAX] {
        refused("version", &patched(good.clone(), 4, &version.to_le_bytes()), &["version", &version.to_string()]);
    }
    refused("empty", &[], &["empty"]);
}

#[test]
fn counts_that_cannot_be() {
    let good = valid().bytes();
    for count in EXTREMES {
        refused("tensors", &patched(good.clone(), 8, &count.to_le_bytes()), &["tensors"]);
        refused("keys", &patched(good.clone(), 16, &count.to_le_bytes()), &["keys"]);
    }
    for count in [1u64 << 17, 100_000, 1000] {
        refused("tensors within the limit, not the file", &patched(good.clone(), 8, &count.to_le_bytes()), &[]);
        refused("keys within the limit, not the file", &patched(good.clone(), 16, &count.to_le_bytes()), &[]);
    }
    for less in [0u64, 1, 5] {
        refused("fewer keys than there are", &patched(good.clone(), 16, &less.to_le_bytes()), &[]);
    }
}

#[test]
fn lengths_of_names_and_texts() {
    let good = valid().bytes();
    for len in EXTREMES {
        refused("a key's name", &patched(good.clone(), 24, &len.to_le_bytes()), &["the name of a key"]);
        let key = with_value("general.architecture", 8, len.to_le_bytes().to_vec());
        refused("a text", &key, &["text"]);
        let array = [&8u32.to_le_bytes()[..], &1u64.to_le_bytes(), &len.to_le_bytes(), b"x"].concat();
        refused("an array's text", &with_value("tokenizer.ggml.tokens", 9, array), &["text"]);
    }
    refused("a long name", &valid().u32(&"k".repeat(5000), 1).bytes(), &["name of a key", "5000"]);
    refused("an empty name", &valid().u32("", 1).bytes(), &["empty"]);
    refused("a long text", &valid().text("t", &"x".repeat(9 << 20)).bytes(), &["a text of at most"]);
    for bad in [b"\xff".as_slice(), b"a\xc0\x80", b"\xed\xa0\x80", b"\xf8"] {
        let mut key = valid();
        key.keys[3].0 = bad.to_vec();
        refused("a key's name", &key.bytes(), &["UTF-8"]);
        refused("a tensor's name", &with_tensor(|tensor| tensor.name = bad.to_vec()), &["UTF-8"]);
    }
    refused("an empty tensor name", &with_tensor(|tensor| tensor.name.clear()), &["empty"]);
}

#[test]
fn types_of_values_and_elements() {
    for kind in [13u32, 14, 100, 255, 1 << 31, u32::MAX] {
        refused("a value's type", &with_value("n.u8", kind, vec![1]), &["n.u8", &kind.to_string()]);
        let array = [&kind.to_le_bytes()[..], &1u64.to_le_bytes(), &[0; 8]].concat();
        let array = with_value("tokenizer.ggml.scores", 9, array);
        refused("an element's type", &array, &["scores", &kind.to_string()]);
    }
    let nested = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes(), &4u32.to_le_bytes(), &0u64.to_le_bytes()].concat();
    refused("nested arrays", &with_value("tokenizer.ggml.scores", 9, nested), &["arrays within", "scores"]);
    let deep = [9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat().repeat(10_000);
    refused("deeply nested arrays", &with_value("tokenizer.ggml.scores", 9, deep), &["arrays within"]);
}

#[test]
fn array_lengths_that_wrap() {
    for kind in [ValueKind::U8, ValueKind::Bool, ValueKind::U16, ValueKind::F32, ValueKind::F64, ValueKind::Text] {
        for len in EXTREMES {
            let array = [&(kind as u32).to_le_bytes()[..], &len.to_le_bytes(), &[0; 16]].concat();
            let array = with_value("tokenizer.ggml.scores", 9, array);
            refused("an array's length", &array, &["array elements", "end of the file"]);
        }
    }
}

#[test]
fn duplicates() {
    for key in ["general.architecture", "n.u8", "tokenizer.ggml.tokens"] {
        refused("a key twice", &valid().u32(key, 1).bytes(), &["each key once", key]);
    }
    for name in ["token_embd.weight", "output_norm.weight"] {
        refused("a tensor twice", &valid().tensor_f32(name, &[1], &[0.0]).bytes(), &["each tensor once", name]);
    }
}

#[test]
fn alignments() {
    let at = "general.alignment";
    for value in [0u32, 1, 3, 4, 7, 12, 24, 33, 48, (1 << 20) + 1, 1 << 21, 1 << 31, u32::MAX] {
        let bytes = with_value(at, 4, value.to_le_bytes().to_vec());
        refused("an alignment", &bytes, &["general.alignment", &value.to_string()]);
    }
    for (kind, value) in [(0u32, vec![32]), (5, vec![32, 0, 0, 0]), (6, 32f32.to_le_bytes().to_vec()), (8, text(b"32"))]
    {
        refused("an alignment's type", &with_value(at, kind, value), &["general.alignment"]);
    }
}

#[test]
fn dimensions() {
    for dims in [0usize, 5, 6, 100] {
        refused(
            "a number of dimensions",
            &with_tensor(|tensor| tensor.shape = vec![1; dims]),
            &["dimensions", "attn_q"],
        );
    }
    for shape in [vec![0u64], vec![32, 0], vec![0, 2], vec![1, 1, 1, 0]] {
        refused("a dimension of 0", &with_tensor(|tensor| tensor.shape = shape), &["over 0", "attn_q"]);
    }
    for n in EXTREMES {
        refused("a dimension", &with_tensor(|tensor| tensor.shape = vec![n]), &["attn_q"]);
        refused("dimensions", &with_tensor(|tensor| tensor.shape = vec![32, n]), &["attn_q"]);
        refused("dimensions", &with_tensor(|tensor| tensor.shape = vec![n, n, n, n]), &["attn_q"]);
        refused("dimensions", &with_tensor(|tensor| tensor.shape = vec![n, 1 << 32]), &["attn_q"]);
    }
    // 2^16 to the fourth is 2^64: a product that wraps to 0.
    refused("a wrapping product", &with_tensor(|tensor| tensor.shape = vec![1 << 16; 4]), &["attn_q", "values"]);
    refused("a row of no whole blocks", &with_tensor(|tensor| tensor.shape = vec![31, 2]), &["multiple of 32", "31"]);
    refused("one value of a block", &with_tensor(|tensor| tensor.shape = vec![1]), &["multiple of 32"]);
    let long = with_tensor(|tensor| tensor.shape = vec![32, 1000]);
    refused("more rows than there are", &long, &["attn_q", "end of the file"]);
}

#[test]
fn offsets() {
    for offset in EXTREMES {
        refused("an offset", &with_tensor(|tensor| tensor.offset = Some(offset)), &["attn_q"]);
        refused("an aligned offset", &with_tensor(|tensor| tensor.offset = Some(offset & !31)), &["attn_q"]);
    }
    for offset in [1u64, 31, 33, 257] {
        let bytes = with_tensor(|tensor| tensor.offset = Some(offset));
        refused("an unaligned offset", &bytes, &["multiple of 32", &offset.to_string()]);
    }
    for offset in [0u64, 32, 224, 320] {
        let bytes = with_tensor(|tensor| tensor.offset = Some(offset));
        refused("an overlap", &bytes, &["overlap", "attn_q"]);
    }
    refused("data past the end", &with_tensor(|tensor| tensor.offset = Some(480)), &["attn_q", "end of the file"]);
}

#[test]
fn foreign_tensor_types_are_described_but_not_viewed() {
    for kind in [4u32, 5, 9, 15, 24, 27, 28, 31, 33, 36, 38, 40, 41, 42, 100, u32::MAX] {
        let bytes = with_tensor(|tensor| (tensor.kind, tensor.shape) = (kind, vec![256]));
        match open(&bytes) {
            // A format of known size is checked like any other, and this tensor is too small for some.
            Err(error) => assert!(error.exit_code() == 2 && error.to_string().contains("attn_q"), "{error}"),
            Ok(gguf) => {
                let info = gguf.tensor("blk.0.attn_q.weight").unwrap();
                assert!(info.dtype().is_none() && info.format.name().contains(&kind.to_string()));
                let error = gguf.view("blk.0.attn_q.weight").unwrap_err();
                assert!(error.exit_code() == 2 && error.to_string().contains("attn_q"), "{error}");
            }
        }
    }
}

#[test]
fn specifications_of_wrong_keys() {
    let keys = ["block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"];
    for key in keys {
        let key = format!("llama.{key}");
        for (kind, value) in [
            (ValueKind::F32, 1f32.to_le_bytes().to_vec()),
            (ValueKind::Text, text(b"1")),
            (ValueKind::Bool, vec![1]),
            (ValueKind::I32, (-1i32).to_le_bytes().to_vec()),
            (ValueKind::U64, (1u64 << 40).to_le_bytes().to_vec()),
            (ValueKind::Array, [8u32.to_le_bytes().as_slice(), &1u64.to_le_bytes(), &text(b"1")].concat()),
        ] {
            let gguf = open(&with_value(&key, kind as u32, value)).unwrap();
            let error = arch::spec(&gguf).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(&key), "{key} {kind:?}: {error}");
        }
        for value in [0u32, u32::MAX] {
            let gguf = open(&with_value(&key, 4, value.to_le_bytes().to_vec())).unwrap();
            assert_eq!(arch::spec(&gguf).unwrap_err().exit_code(), 2, "{key} {value}");
        }
    }
}

#[test]
fn dimensions_that_no_machine_holds() {
    let writer = |arch: &str, changes: &[(&str, u32)]| {
        let key = |name: &str| format!("{arch}.{name}");
        let base = [
            ("block_count", 2),
            ("context_length", 1 << 20),
            ("embedding_length", 64),
            ("feed_forward_length", 64),
            ("attention.head_count", 4),
            ("vocab_size", 100),
        ];
        let kept = base.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        kept.chain(changes).fold(Writer::new(arch), |writer, (name, n)| writer.u32(&key(name), *n))
    };
    // Divisors of frequencies are made up for this family: not two thousand million of them.
    let rotated = open(&writer("exaone", &[("rope.dimension_count", u32::MAX - 1)]).bytes()).unwrap();
    assert!(arch::spec(&rotated).unwrap_err().to_string().contains("rotated values"));
    let largest = [
        ("block_count", 1024),
        ("context_length", 1 << 30),
        ("embedding_length", 1 << 22),
        ("attention.head_count", 4096),
        ("attention.key_length", 4096),
        ("attention.value_length", 4096),
    ];
    let gguf = open(&writer("llama", &largest).bytes()).unwrap();
    assert!(arch::spec(&gguf).is_ok());
    let found = Description::of(&gguf).unwrap();
    assert!(!found.runnable && found.memory.iter().any(|row| row.cache_bytes == u64::MAX), "{:?}", found.memory);
}

/// Reads everything that can be read of an open file.
fn use_all(gguf: &Gguf) -> usize {
    let mut sum = 0;
    for (_, value) in gguf.keys() {
        sum += value.describe().len();
        if let MetaValue::Array(array) = value {
            sum += array.texts().map_or(0, |texts| texts.map(<[u8]>::len).sum());
            sum += array.integers().map_or(0, Iterator::count);
            sum += array.floats().map_or(0, Iterator::count);
        }
    }
    for tensor in gguf.tensors() {
        if let Ok(view) = gguf.view(&tensor.name) {
            sum += view.bytes().iter().map(|&byte| usize::from(byte)).sum::<usize>();
        }
    }
    sum
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len().max(1));
        match rng.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.bits() as u8),
            2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.below(8)),
            3 => {
                let value = EXTREMES[rng.below(EXTREMES.len())].to_le_bytes();
                bytes.iter_mut().skip(at).zip(value).for_each(|(byte, new)| *byte = new);
            }
            4 => {
                let piece: Vec<u8> = bytes.iter().skip(at).take(rng.below(64)).copied().collect();
                let to = rng.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            _ => {
                let end = (at + rng.below(32)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
        }
    }
}

/// A few seconds of random damage; `TOKKI_FUZZ_SECONDS` makes it longer.
#[test]
fn random_damage_never_panics() {
    let seconds = std::env::var("TOKKI_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let end = Instant::now() + Duration::from_secs(seconds);
    let seed = if seconds == 2 { 1 } else { seconds };
    let (mut rng, good) = (Rng::new(seed), valid().bytes());
    let (mut runs, mut opened, mut specified) = (0u64, 0u64, 0u64);
    while Instant::now() < end {
        runs += 1;
        let mut bytes = good.clone();
        mutate(&mut bytes, &mut rng);
        match open(&bytes) {
            Ok(gguf) => {
                opened += 1;
                std::hint::black_box(use_all(&gguf));
                std::hint::black_box(Description::of(&gguf).unwrap());
                match arch::spec(&gguf) {
                    Ok(_) => specified += 1,
                    Err(error) => assert_eq!(error.exit_code(), 2),
                }
            }
            Err(error) => assert_eq!(error.exit_code(), 2, "{error}"),
        }
    }
    eprintln!("{runs} damaged files: {opened} opened, {specified} of them with a specification");
    assert!(runs > 100 && opened > 0 && opened < runs);
}
