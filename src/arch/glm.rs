//! GLM-4.5 (arXiv 2508.06471) and Solar Open: experts from the start or after a few dense layers.

use super::experts::Experts;
use super::keys::Keys;
use super::{Activation, Gating, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

pub(super) fn glm4moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    for layer in &mut spec.layers {
        // The name says otherwise, but this is the norm before the feed-forward.
        layer.ffn_norm = Some("post_attention_norm");
        layer.attn.qk_norm = keys.has(layer.block, "attn_q_norm.weight");
    }
    let gating = Gating::Sigmoid;
    keys.set_experts(&mut spec, &Experts { act: Activation::Silu, gating, fixed: false, normalize: false })?;
    Ok(spec)
}
