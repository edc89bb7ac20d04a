//! Tiny models of any architecture, with seeded weights.

use std::path::Path;

use super::Writer;
use crate::Result;
use crate::arch::{self, Spec};
use crate::gguf::Gguf;
use crate::tokenizer::byte_char;
use tokki_quant::testing::Rng;

/// Keys of features: a family that asks for one of a row has the feature.
const FEATURES: &[&[(&str, u32)]] = &[
    &[("attention.kv_lora_rank", 32), ("attention.q_lora_rank", 32), ("rope.dimension_count", 8)],
    &[("expert_count", 4), ("expert_used_count", 2), ("expert_feed_forward_length", 32)],
];

/// The window of families that have one.
const WINDOW_KEY: (&str, u32) = ("attention.sliding_window", 8);

/// A tiny model of `arch` with seeded F32 weights and a vocabulary of bytes: 64 values, 4 heads of 16 sharing 2 of keys and
/// values, 2 layers, a context of 512; 4 experts, low ranks and a window of 8 where the family has them.
///
/// # Errors
/// A key that the family needs and tiny models do not have.
pub fn tiny(arch: &str, seed: u64) -> Result<Writer> {
    let (writer, spec) = with_window(arch, with_features(arch)?)?;
    let mut rng = Rng::new(seed);
    Ok(spec.tensors().into_iter().fold(writer, |writer, (name, shape)| {
        let count: u64 = shape.iter().product();
        let norm = name.ends_with("norm.weight");
        let gain = 1.7 / (shape[0] as f32).sqrt();
        let values: Vec<f32> =
            (0..count).map(|_| if norm { 1.0 + 0.3 * rng.signed() } else { gain * rng.signed() }).collect();
        writer.tensor_f32(&name, &shape, &values)
    }))
}

/// What the family makes of the keys. It knows no tensors yet; those whose presence matters are all optional.
fn spec_of(arch: &str, writer: &Writer) -> Result<Spec> {
    arch::spec(&Gguf::from_bytes(Path::new(arch), &writer.bytes())?)
}

fn with_keys(arch: &str, writer: Writer, keys: &[(&str, u32)]) -> Writer {
    keys.iter().fold(writer, |writer, (key, value)| writer.u32(&format!("{arch}.{key}"), *value))
}

/// The keys that every family has, and those of the features that this one asks for.
fn with_features(arch: &str) -> Result<Writer> {
    let mut writer = vocabulary(dimensions(arch));
    for _ in FEATURES {
        let Err(error) = spec_of(arch, &writer) else { break };
        let said = error.to_string();
        let asked = |keys: &&&[(&str, u32)]| keys.iter().any(|(key, _)| said.contains(&format!("`{arch}.{key}`")));
        let Some(keys) = FEATURES.iter().find(asked) else { return Err(error) };
        writer = with_keys(arch, writer, keys);
    }
    Ok(writer)
}

/// With a window, if that makes a difference.
fn with_window(arch: &str, writer: Writer) -> Result<(Writer, Spec)> {
    let spec = spec_of(arch, &writer)?;
    let windowed = with_keys(arch, writer.clone(), &[WINDOW_KEY]);
    Ok(match spec_of(arch, &windowed) {
        Ok(other) if other != spec => (windowed, other),
        _ => (writer, spec),
    })
}

fn dimensions(arch: &str) -> Writer {
    let key = |name: &str| format!("{arch}.{name}");
    Writer::new(arch)
        .text("general.name", &format!("tiny {arch}"))
        .u32(&key("context_length"), 512)
        .u32(&key("embedding_length"), 64)
        .u32(&key("block_count"), 2)
        .u32(&key("feed_forward_length"), 96)
        .u32(&key("attention.head_count"), 4)
        .u32(&key("attention.head_count_kv"), 2)
        .u32(&key("attention.key_length"), 16)
        .u32(&key("attention.value_length"), 16)
        .f32(&key("attention.layer_norm_rms_epsilon"), 1e-5)
        .f32(&key("rope.freq_base"), 10_000.0)
}

/// With a vocabulary of 260: 256 byte tokens in GPT-2's alphabet, two merges, a beginning and an end.
pub fn vocabulary(writer: Writer) -> Writer {
    let mut tokens: Vec<String> = (0..=255).map(|byte| byte_char(byte).into()).collect();
    tokens.extend(["th", "the", "<|begin|>", "<|end|>"].map(str::to_owned));
    let mut types = vec![1; tokens.len()];
    types[258..].fill(3);
    writer
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &types)
        .texts("tokenizer.ggml.merges", &["t h", "th e"])
        .u32("tokenizer.ggml.bos_token_id", 258)
        .u32("tokenizer.ggml.eos_token_id", 259)
        .bool("tokenizer.ggml.add_bos_token", false)
}
