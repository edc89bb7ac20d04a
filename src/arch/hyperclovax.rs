//! HyperCLOVA X SEED Think (arXiv 2506.22403): the Llama graph with multipliers and, in larger models, norms after each
//! branch. Four architecture names are in use for it.

use super::keys::Keys;
use super::{Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

pub(super) fn hyperclovax(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    spec.embedding.scale = keys.set_f32("embedding_scale")?.unwrap_or(1.0);
    spec.scale_logits(keys.set_f32("logit_scale")?.unwrap_or(1.0));
    spec.scale_residuals(keys.set_f32("residual_scale")?.unwrap_or(1.0));
    let norm = spec.norm();
    for layer in &mut spec.layers {
        let of = |tensor| keys.has(layer.block, &format!("{tensor}.weight")).then_some(norm.of(tensor));
        layer.attn_post_norm = of("post_attention_norm");
        layer.ffn_post_norm = of("post_ffw_norm");
    }
    Ok(spec)
}
