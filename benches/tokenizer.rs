//! How fast text becomes tokens, beside the `tokenizers` crate where it can do the same, and how fast a tokenizer is
//! built. `$TOKKI_TEST_MODELS` or `~/.cache/tokki-dev/models` may hold the models; those that are not there are left out.
#![allow(missing_docs, reason = "criterion's macros make functions without")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::PathBuf;
use tokki::internals::gguf::Gguf;
use tokki::internals::tokenizer::{Special, Tokenizer, Vocab};
use tokki::testing::Rng;

/// A generator of 31-bit numbers, the same in every run.
fn numbers() -> impl FnMut() -> usize {
    let mut random = Rng::new(1);
    move || (random.bits() >> 33) as usize
}

/// A megabyte of Korean and English, half of the words made up, so that few of them come again.
fn mixed() -> String {
    const ENGLISH: &[&str] =
        &["the", "model", "answers", "step", "by", "step", "Because", "memory", "is", "slow,", "12.5%", "x[i]"];
    const KOREAN: &[&str] =
        &["추론", "모델은", "문제를", "단계별로", "분석해", "정답을", "제시한다.", "안녕하세요,", "값은"];
    let mut next = numbers();
    let mut text = String::new();
    while text.len() < 1 << 20 {
        match next() % 4 {
            0 => text.push_str(ENGLISH[next() % ENGLISH.len()]),
            1 => text.push_str(KOREAN[next() % KOREAN.len()]),
            2 => text.extend((0..=next() % 8).map(|_| char::from(b'a' + (next() % 26) as u8))),
            _ => text.extend((0..=next() % 3).filter_map(|_| char::from_u32(0xAC00 + (next() % 2000 * 5) as u32))),
        }
        text.push(if next().is_multiple_of(16) { '\n' } else { ' ' });
    }
    text
}

fn models() -> Vec<(&'static str, Gguf)> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/tokki-dev/models"));
    let folder = std::env::var_os("TOKKI_TEST_MODELS").map(PathBuf::from).or_else(home).unwrap_or_default();
    ["qwen2.5-coder-0.5b", "smollm2-135m", "gemma3-270m"]
        .into_iter()
        .filter_map(|name| Some((name, Gguf::open(&folder.join(format!("{name}.gguf"))).ok()?)))
        .collect()
}

/// The crate's pipeline for the Qwen 2 regex on the same vocabulary.
fn crate_pipeline(vocab: &Vocab) -> Option<tokenizers::Tokenizer> {
    use tokenizers::pre_tokenizers::{byte_level::ByteLevel, sequence::Sequence, split::Split, split::SplitPattern};
    let regex = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let ids: ahash::AHashMap<String, u32> = vocab.tokens.iter().filter_map(text).zip(0..).collect();
    let merges = vocab.merges.iter().filter_map(|merge| {
        let (left, right) = std::str::from_utf8(merge).ok()?.split_once(' ')?;
        Some((left.to_owned(), right.to_owned()))
    });
    let model = tokenizers::models::bpe::BPE::builder().vocab_and_merges(ids, merges.collect()).build().ok()?;
    let mut pipeline = tokenizers::Tokenizer::new(model);
    let split =
        Split::new(SplitPattern::Regex(regex.into()), tokenizers::SplitDelimiterBehavior::Isolated, false).ok()?;
    let steps = Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]);
    pipeline.with_pre_tokenizer(Some(steps));
    Some(pipeline)
}

fn encoding(criterion: &mut Criterion) {
    let text = mixed();
    let texts = [
        ("mixed", text.clone()),
        ("one letter", "a".repeat(1 << 20)),
        ("spaces", " ".repeat(1 << 20)),
        ("newlines", "\n".repeat(1 << 20)),
    ];
    for (name, gguf) in models() {
        let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) else { continue };
        let mut group = criterion.benchmark_group(format!("encode/{name}"));
        group.sample_size(10);
        for (kind, text) in &texts {
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(*kind, |bench| bench.iter(|| tokenizer.encode(black_box(text), Special::Parse)));
        }
        let ids = tokenizer.encode(&text, Special::Plain);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("decode", |bench| bench.iter(|| tokenizer.decode(black_box(&ids), false)));
        if name.starts_with("qwen2")
            && let Some(pipeline) = Vocab::from_gguf(&gguf).ok().as_ref().and_then(crate_pipeline)
        {
            group.bench_function("mixed, the crate", |bench| bench.iter(|| pipeline.encode_fast(text.as_str(), false)));
        }
    }
}

fn building(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    group.sample_size(10);
    for (name, gguf) in models() {
        group.bench_function(name, |bench| bench.iter(|| Tokenizer::from_gguf(&gguf).is_ok()));
        if let Ok(vocab) = Vocab::from_gguf(&gguf) {
            let build = |vocab| Tokenizer::new(vocab).is_ok();
            group.bench_function(format!("{name}, without reading"), |bench| {
                bench.iter_batched(|| vocab.clone(), build, BatchSize::LargeInput);
            });
        }
    }
}

criterion_group!(benches, encoding, building);
criterion_main!(benches);
