//! Granite 3, dense and with experts: the Llama graph with four multipliers.

use super::experts::Experts;
use super::keys::Keys;
use super::{Activation, Gating, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

pub(super) fn granite(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    spec.embed_scale = keys.set_f32("embedding_scale")?.unwrap_or(1.0);
    spec.logit_scale = keys.set_f32("logit_scale")?.map_or(1.0, |divisor| 1.0 / divisor);
    let residual = keys.set_f32("residual_scale")?.unwrap_or(1.0);
    let positions = keys.bool("rope.scaling.finetuned")?.unwrap_or(true);
    for layer in &mut spec.layers {
        layer.residual_scale = residual;
        layer.attn.rope = positions.then_some(0);
    }
    if keys.set_usize("expert_count")?.is_some() {
        let gating = Gating::Softmax;
        keys.set_experts(&mut spec, &Experts { act: Activation::Silu, gating, fixed: true, normalize: true })?;
    }
    Ok(spec)
}
