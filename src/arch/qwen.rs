//! Qwen2 (arXiv 2407.10671), Qwen3 dense and with experts (arXiv 2505.09388).

use super::experts::Experts;
use super::keys::Keys;
use super::{Activation, Ffn, Gating, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

/// Biases on queries, keys and values.
pub(super) fn qwen2(gguf: &Gguf) -> Result<Spec> {
    Keys::new(gguf)?.decoder(Pairing::Halves)
}

/// Norms of query and key heads instead of biases; heads need not divide the embedding.
pub(super) fn qwen3(gguf: &Gguf) -> Result<Spec> {
    let mut spec = qwen2(gguf)?;
    spec.ffn_scales = true;
    for layer in &mut spec.layers {
        layer.attn.qk_norm = true;
    }
    Ok(spec)
}

/// Experts in every layer.
pub(super) fn qwen3moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = qwen3(gguf)?;
    if keys.set_usize("expert_feed_forward_length")?.is_none() {
        // Old files give the width of all active experts together.
        let used = keys.need_usize("expert_used_count")?;
        for layer in &mut spec.layers {
            if let Ffn::Dense { width, .. } = &mut layer.ffn {
                *width = width.checked_div(used).unwrap_or(0);
            }
        }
    }
    let gating = Gating::Softmax;
    keys.set_experts(&mut spec, &Experts { act: Activation::Silu, gating, fixed: true, normalize: true })?;
    Ok(spec)
}
