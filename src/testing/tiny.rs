//! Tiny models of any architecture, with seeded weights.

use std::path::Path;

use super::{Rng, Writer};
use crate::Result;
use crate::arch;
use crate::gguf::Gguf;

/// A tiny model of `arch` (any row of the architecture table) with seeded F32 weights and a vocabulary of bytes: 64
/// values, 4 heads of 16 sharing 2 of keys and values, 2 layers, a context of 512; 4 experts where the family has them.
///
/// # Errors
/// None for the architectures of the table.
pub fn tiny(arch: &str, seed: u64) -> Result<Writer> {
    let writer = vocabulary(dimensions(arch));
    // The first reading knows no tensors; those whose presence matters are all optional.
    let gguf = Gguf::from_bytes(Path::new(arch), &writer.bytes())?;
    let mut rng = Rng::new(seed);
    Ok(arch::spec(&gguf)?.tensors().into_iter().fold(writer, |writer, (name, shape)| {
        let count: u64 = shape.iter().product();
        let norm = name.ends_with("norm.weight");
        let gain = 1.7 / (shape[0] as f32).sqrt();
        let values: Vec<f32> =
            (0..count).map(|_| if norm { 1.0 + 0.3 * rng.signed() } else { gain * rng.signed() }).collect();
        writer.tensor_f32(&name, &shape, &values)
    }))
}

fn dimensions(arch: &str) -> Writer {
    let key = |name: &str| format!("{arch}.{name}");
    let mut writer = Writer::new(arch)
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
        .f32(&key("rope.freq_base"), 10_000.0);
    if matches!(arch, "deepseek2" | "deepseek32" | "glm-dsa") {
        writer = writer
            .u32(&key("attention.q_lora_rank"), 32)
            .u32(&key("attention.kv_lora_rank"), 32)
            .u32(&key("rope.dimension_count"), 8);
    }
    if matches!(
        arch,
        "deepseek2"
            | "deepseek32"
            | "exaone-moe"
            | "glm-dsa"
            | "minimax-m3"
            | "glm4moe"
            | "gpt-oss"
            | "granitemoe"
            | "qwen3moe"
    ) {
        writer = writer
            .u32(&key("expert_count"), 4)
            .u32(&key("expert_used_count"), 2)
            .u32(&key("expert_feed_forward_length"), 32)
            .u32(&key("leading_dense_block_count"), u32::from(arch == "exaone-moe"));
    }
    if matches!(arch, "gemma3" | "exaone-moe" | "gpt-oss") {
        writer = writer.u32(&key("attention.sliding_window"), 8);
    }
    writer
}

/// With a vocabulary of 260: 256 byte tokens in GPT-2's alphabet, two merges, a beginning and an end.
pub fn vocabulary(writer: Writer) -> Writer {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    let symbol = |b: u8| {
        let code = if printable(b) {
            u32::from(b)
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).map(String::from).unwrap_or_default()
    };
    let mut tokens: Vec<String> = (0..=255).map(symbol).collect();
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
