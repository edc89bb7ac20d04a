//! The header of a shape's file: the keys of its architecture, and a vocabulary small enough to write and large enough
//! to be a valid model (a token per byte; the rest is marked unused).

use crate::gguf::ValueKind;

use super::planned::PlannedTensor;
use super::recipe::Recipe;
use super::shape::Shape;

/// Multiple that tensors are placed at.
pub(super) const ALIGNMENT: u64 = 32;

/// Keys in the making.
#[derive(Default)]
struct Keys {
    count: u64,
    bytes: Vec<u8>,
}

impl Keys {
    fn put(&mut self, name: &str, kind: ValueKind, value: &[u8]) {
        self.count += 1;
        put_text(&mut self.bytes, name);
        self.bytes.extend_from_slice(&(kind as u32).to_le_bytes());
        self.bytes.extend_from_slice(value);
    }

    fn u32(&mut self, name: &str, value: u32) {
        self.put(name, ValueKind::U32, &value.to_le_bytes());
    }

    fn f32(&mut self, name: &str, value: f32) {
        self.put(name, ValueKind::F32, &value.to_le_bytes());
    }

    fn bool(&mut self, name: &str, value: bool) {
        self.put(name, ValueKind::Bool, &[value.into()]);
    }

    fn text(&mut self, name: &str, value: &str) {
        let mut bytes = Vec::new();
        put_text(&mut bytes, value);
        self.put(name, ValueKind::Text, &bytes);
    }

    fn array(&mut self, name: &str, of: ValueKind, count: usize, elements: &[u8]) {
        let mut value = (of as u32).to_le_bytes().to_vec();
        value.extend_from_slice(&(count as u64).to_le_bytes());
        value.extend_from_slice(elements);
        self.put(name, ValueKind::Array, &value);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The whole header of the file of a plan of this name, padded to where the tensors begin.
pub(super) fn header(name: &str, shape: &Shape, recipe: Recipe, tensors: &[PlannedTensor]) -> Vec<u8> {
    let mut keys = Keys::default();
    keys.text("general.architecture", shape.arch);
    keys.text("general.name", &format!("{name} with random weights"));
    keys.u32("general.file_type", recipe.file_type());
    keys.u32("general.quantization_version", 2);
    architecture(&mut keys, shape);
    vocabulary(&mut keys, shape);
    whole(keys, tensors)
}

/// A file of a shape's dimensions and of these tensors, all zeros: enough to know what it computes.
pub(super) fn without_vocabulary(shape: &Shape, tensors: &[PlannedTensor]) -> Vec<u8> {
    let mut keys = Keys::default();
    keys.text("general.architecture", shape.arch);
    architecture(&mut keys, shape);
    let mut file = whole(keys, tensors);
    let data: u64 = tensors.iter().map(|tensor| tensor.bytes().next_multiple_of(ALIGNMENT)).sum();
    file.resize(file.len() + data as usize, 0);
    file
}

/// A header of keys and tensors.
fn whole(mut keys: Keys, tensors: &[PlannedTensor]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend_from_slice(&3u32.to_le_bytes());
    out.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
    out.extend_from_slice(&keys.count.to_le_bytes());
    out.append(&mut keys.bytes);
    let mut offset = 0u64;
    for tensor in tensors {
        tensor_info(&mut out, tensor, offset);
        offset = (offset + tensor.bytes()).next_multiple_of(ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
    out
}

fn tensor_info(out: &mut Vec<u8>, tensor: &PlannedTensor, offset: u64) {
    put_text(out, &tensor.name);
    out.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
    for &dim in &tensor.shape {
        out.extend_from_slice(&(dim as u64).to_le_bytes());
    }
    out.extend_from_slice(&tensor.dtype.gguf_id().to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
}

fn architecture(keys: &mut Keys, shape: &Shape) {
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
    for (name, value) in numbers {
        keys.u32(&key(name), value as u32);
    }
    keys.f32(&key("attention.layer_norm_rms_epsilon"), shape.eps);
    keys.f32(&key("rope.freq_base"), shape.rope_base);
    for &(name, value) in shape.extra {
        keys.f32(&key(name), value);
    }
    if let Some((window, period)) = shape.window {
        keys.u32(&key("attention.sliding_window"), window);
        keys.u32(&key("attention.sliding_window_pattern"), period);
    }
    yarn(keys, shape);
    latent(keys, shape);
    experts(keys, shape);
}

fn yarn(keys: &mut Keys, shape: &Shape) {
    let Some(yarn) = shape.yarn else { return };
    let key = |name: &str| format!("{}.rope.scaling.{name}", shape.arch);
    keys.text(&key("type"), "yarn");
    keys.f32(&key("factor"), yarn.factor);
    keys.u32(&key("original_context_length"), yarn.original);
    if let Some(multiplier) = yarn.log_multiplier {
        keys.f32(&key("yarn_log_multiplier"), multiplier);
    }
}

fn latent(keys: &mut Keys, shape: &Shape) {
    let Some(latent) = shape.latent else { return };
    let key = |name: &str| format!("{}.attention.{name}", shape.arch);
    keys.u32(&key("q_lora_rank"), latent.q_rank as u32);
    keys.u32(&key("kv_lora_rank"), latent.kv_rank as u32);
    keys.u32(&key("key_length_mla"), (latent.nope + latent.rope) as u32);
    keys.u32(&key("value_length_mla"), latent.v_dim as u32);
}

fn experts(keys: &mut Keys, shape: &Shape) {
    let Some(experts) = shape.experts else { return };
    let key = |name: &str| format!("{}.{name}", shape.arch);
    keys.u32(&key("expert_count"), experts.count as u32);
    keys.u32(&key("expert_used_count"), experts.used as u32);
    keys.u32(&key("expert_feed_forward_length"), experts.width as u32);
    keys.u32(&key("expert_shared_count"), experts.shared as u32);
    keys.u32(&key("expert_gating_func"), experts.gating);
    keys.bool(&key("expert_weights_norm"), experts.gating == 2);
    keys.f32(&key("expert_weights_scale"), experts.scale);
    keys.u32(&key("leading_dense_block_count"), experts.dense_layers as u32);
    if let Some((groups, kept)) = experts.groups {
        keys.u32(&key("expert_group_count"), groups);
        keys.u32(&key("expert_group_used_count"), kept);
    }
}

/// Token numbers after the 256 bytes: one merged pair, the end of text, then unused ones.
const END_OF_TEXT: usize = 257;

fn vocabulary(keys: &mut Keys, shape: &Shape) {
    let (mut tokens, mut types) = (Vec::new(), Vec::new());
    for id in 0..shape.vocab {
        let (text, kind) = match id {
            0..256 => (byte_symbol(id as u8).to_string(), 1),
            256 => ("th".into(), 1),
            END_OF_TEXT => ("<|endoftext|>".into(), 3),
            _ => (format!("<|unused_{id}|>"), 5),
        };
        put_text(&mut tokens, &text);
        types.extend_from_slice(&i32::to_le_bytes(kind));
    }
    let mut merges = Vec::new();
    put_text(&mut merges, "t h");
    keys.text("tokenizer.ggml.model", "gpt2");
    keys.text("tokenizer.ggml.pre", shape.pre);
    keys.array("tokenizer.ggml.tokens", ValueKind::Text, shape.vocab, &tokens);
    keys.array("tokenizer.ggml.token_type", ValueKind::I32, shape.vocab, &types);
    keys.array("tokenizer.ggml.merges", ValueKind::Text, 1, &merges);
    keys.u32("tokenizer.ggml.bos_token_id", END_OF_TEXT as u32);
    keys.u32("tokenizer.ggml.eos_token_id", END_OF_TEXT as u32);
    keys.bool("tokenizer.ggml.add_bos_token", false);
}

/// The printable character that stands for a byte in byte-level vocabularies: itself where it is printable, else the
/// next free one from U+0100 on.
fn byte_symbol(byte: u8) -> char {
    let kept = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if kept(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !kept(b)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or('\u{FFFD}')
}
