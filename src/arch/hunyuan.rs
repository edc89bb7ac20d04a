//! Hunyuan (arXiv 2411.02265), dense and with experts, and Hunyuan 3; ERNIE 4.5 with experts; Ling 1 and 2.

use super::experts::{ExpertFacts, SharedWidth};
use super::keys::Keys;
use super::{Gating, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

/// Heads are rotated, then normed; the base of the rotation may be scaled.
pub(super) fn dense(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.norm_heads();
    spec.attentions().for_each(|attn| attn.norm_after_rope = true);
    if let (Some(alpha), Some(rope)) = (keys.set_f32("rope.scaling.alpha")?.filter(|&a| a > 0.0), spec.main_rope()) {
        let dims = rope.dims as f32;
        rope.base *= libm::powf(alpha, dims / (dims - 2.0));
    }
    Ok(spec)
}

/// The same with experts beside a shared one.
pub(super) fn moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = dense(gguf)?;
    keys.set_experts(&mut spec, &ExpertFacts { dense_width: true, scaled: false, ..ExpertFacts::SOFTMAX })?;
    Ok(spec)
}

/// Hunyuan 3: heads are normed, then rotated; experts where the layer has a router.
pub(super) fn hy_v3(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.norm_heads();
    keys.set_experts_where(&mut spec, &ExpertFacts::SIGMOID, |layer| keys.has(layer, "ffn_gate_inp.weight"))?;
    Ok(spec)
}

/// ERNIE 4.5: experts in every so many layers after the leading dense ones.
pub(super) fn ernie_moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    let lead = keys.usize("leading_dense_block_count")?.unwrap_or(0);
    let step = keys.set_usize("interleave_moe_layer_step")?.unwrap_or(1);
    let facts = ExpertFacts { scaled: false, ..ExpertFacts::SOFTMAX };
    keys.set_experts_where(&mut spec, &facts, |layer| layer >= lead && (layer + 1) % step == 0)?;
    Ok(spec)
}

/// Ling 1 (arXiv 2503.05139): the Llama graph with experts.
pub(super) fn ling(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    let facts = ExpertFacts { normalize: false, shared: SharedWidth::Count, ..ExpertFacts::SOFTMAX };
    keys.set_experts(&mut spec, &facts)?;
    Ok(spec)
}

/// Ling 2: norms of heads, groups of experts.
pub(super) fn ling2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.norm_heads();
    let facts = ExpertFacts { gating: Gating::Sigmoid, shared: SharedWidth::KeyTimesCount, ..ExpertFacts::SIGMOID };
    keys.set_experts(&mut spec, &facts)?;
    Ok(spec)
}
