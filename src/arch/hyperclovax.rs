//! HyperCLOVA X SEED Think (arXiv 2506.22403): the Llama graph with multipliers and, in larger models, norms after each
//! branch. Four architecture names are in use for it.

use super::keys::Keys;
use super::{Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

pub(super) fn hyperclovax(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    spec.embed_scale = keys.set_f32("embedding_scale")?.unwrap_or(1.0);
    spec.logit_scale = keys.set_f32("logit_scale")?.unwrap_or(1.0);
    let residual = keys.set_f32("residual_scale")?.unwrap_or(1.0);
    for layer in &mut spec.layers {
        layer.residual_scale = residual;
        layer.attn_post_norm = keys.has(layer.block, "post_attention_norm.weight").then_some("post_attention_norm");
        layer.ffn_post_norm = keys.has(layer.block, "post_ffw_norm.weight").then_some("post_ffw_norm");
    }
    Ok(spec)
}
