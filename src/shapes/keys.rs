//! The header of a shape's file: the keys of its architecture, and a vocabulary small enough to write and large enough
//! to be a valid model (a token per byte; the rest is marked unused).

use crate::gguf::write::Writer;
use crate::tokenizer::byte_char;

use super::planned_tensor::PlannedTensor;
use super::recipe::Recipe;
use super::shape::Shape;

/// The file of a plan of this name, up to its tensors' data.
pub(super) fn file(name: &str, shape: &Shape, recipe: Recipe, tensors: &[PlannedTensor]) -> Writer {
    let keys = Writer::new(shape.arch)
        .text("general.name", &format!("{name} with random weights"))
        .u32("general.file_type", recipe.file_type())
        .u32("general.quantization_version", 2);
    with_tensors(vocabulary(architecture(keys, shape), shape), tensors)
}

/// A file of a shape's dimensions and of these tensors, all zeros: enough to know what it computes.
pub(super) fn without_vocabulary(shape: &Shape, tensors: &[PlannedTensor]) -> Vec<u8> {
    with_tensors(architecture(Writer::new(shape.arch), shape), tensors).bytes()
}

fn with_tensors(keys: Writer, tensors: &[PlannedTensor]) -> Writer {
    tensors.iter().fold(keys, |file, tensor| {
        let shape: Vec<u64> = tensor.shape.iter().map(|&dim| dim as u64).collect();
        file.zeros(&tensor.name, &shape, tensor.dtype.gguf_id(), tensor.bytes())
    })
}

fn architecture(keys: Writer, shape: &Shape) -> Writer {
    let key = |name: &str| format!("{}.{name}", shape.arch);
    let numbers = [
        ("block_count", shape.layers),
        ("context_length", shape.context),
        ("embedding_length", shape.embd),
        ("feed_forward_length", shape.ffn),
        ("vocab_size", shape.vocab),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("attention.key_length", shape.head_dim),
        ("attention.value_length", shape.latent.map_or(shape.head_dim, |latent| latent.kv_rank)),
        ("rope.dimension_count", shape.latent.map_or(shape.head_dim, |latent| latent.rope)),
    ];
    let keys = numbers.iter().fold(keys, |keys, (name, value)| keys.u32(&key(name), *value as u32));
    let keys =
        keys.f32(&key("attention.layer_norm_rms_epsilon"), shape.eps).f32(&key("rope.freq_base"), shape.rope_base);
    let keys = shape.extra.iter().fold(keys, |keys, (name, value)| keys.f32(&key(name), *value));
    let keys = match shape.window {
        Some((window, period)) => {
            keys.u32(&key("attention.sliding_window"), window).u32(&key("attention.sliding_window_pattern"), period)
        }
        None => keys,
    };
    experts(latent(yarn(keys, shape), shape), shape)
}

fn yarn(keys: Writer, shape: &Shape) -> Writer {
    let Some(yarn) = shape.yarn else { return keys };
    let key = |name: &str| format!("{}.rope.scaling.{name}", shape.arch);
    let keys = keys
        .text(&key("type"), "yarn")
        .f32(&key("factor"), yarn.factor)
        .u32(&key("original_context_length"), yarn.original);
    match yarn.log_multiplier {
        Some(multiplier) => keys.f32(&key("yarn_log_multiplier"), multiplier),
        None => keys,
    }
}

fn latent(keys: Writer, shape: &Shape) -> Writer {
    let Some(latent) = shape.latent else { return keys };
    let key = |name: &str| format!("{}.attention.{name}", shape.arch);
    keys.u32(&key("q_lora_rank"), latent.q_rank as u32)
        .u32(&key("kv_lora_rank"), latent.kv_rank as u32)
        .u32(&key("key_length_mla"), (latent.nope + latent.rope) as u32)
        .u32(&key("value_length_mla"), latent.v_dim as u32)
}

fn experts(keys: Writer, shape: &Shape) -> Writer {
    let Some(experts) = shape.experts else { return keys };
    let key = |name: &str| format!("{}.{name}", shape.arch);
    let keys = keys
        .u32(&key("expert_count"), experts.count as u32)
        .u32(&key("expert_used_count"), experts.used as u32)
        .u32(&key("expert_feed_forward_length"), experts.width as u32)
        .u32(&key("expert_shared_count"), experts.shared as u32)
        .u32(&key("expert_gating_func"), experts.gating)
        .bool(&key("expert_weights_norm"), experts.gating == 2)
        .f32(&key("expert_weights_scale"), experts.scale)
        .u32(&key("leading_dense_block_count"), experts.dense_layers as u32);
    match experts.groups {
        Some((groups, kept)) => keys.u32(&key("expert_group_count"), groups).u32(&key("expert_group_used_count"), kept),
        None => keys,
    }
}

/// Token numbers after the 256 bytes: one merged pair, the end of text, then unused ones.
const END_OF_TEXT: usize = 257;

fn vocabulary(keys: Writer, shape: &Shape) -> Writer {
    let token = |id| match id {
        0..256 => (byte_char(id as u8).to_string(), 1),
        256 => ("th".into(), 1),
        END_OF_TEXT => ("<|endoftext|>".into(), 3),
        _ => (format!("<|unused_{id}|>"), 5),
    };
    let (tokens, types): (Vec<String>, Vec<i32>) = (0..shape.vocab).map(token).unzip();
    keys.text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", shape.pre)
        .texts("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &types)
        .texts("tokenizer.ggml.merges", &["t h"])
        .u32("tokenizer.ggml.bos_token_id", END_OF_TEXT as u32)
        .u32("tokenizer.ggml.eos_token_id", END_OF_TEXT as u32)
        .bool("tokenizer.ggml.add_bos_token", false)
}
