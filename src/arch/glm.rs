//! GLM-4 (arXiv 2406.12793), GLM-4.5 (arXiv 2508.06471) and Solar Open: experts from the start or after a few dense layers.

use super::experts::ExpertFacts;
use super::keys::Keys;
use super::{HeadWeights, Layer, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

impl Keys<'_> {
    /// With sections for the axes of an image, the values of a head are paired by halves.
    fn sectioned(&self, otherwise: Pairing) -> Result<Pairing> {
        let sections = self.u32s("rope.dimension_sections", 2)?.unwrap_or_default();
        let pairing = if sections.len() == 2 && sections.iter().all(|&n| n > 0) { Pairing::Halves } else { otherwise };
        Ok(pairing)
    }
}

/// ChatGLM: gate and up in one matrix.
pub(super) fn chatglm(gguf: &Gguf) -> Result<Spec> {
    let mut spec = Keys::new(gguf)?.decoder(Pairing::Adjacent)?;
    spec.fuse_gates();
    Ok(spec)
}

/// Norms around both branches.
pub(super) fn glm4(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(keys.sectioned(Pairing::Adjacent)?)?;
    spec.fuse_gates();
    spec.post_norms("post_attention_norm", "post_ffw_norm");
    Ok(spec)
}

pub(super) fn glm4moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    // The name says otherwise, but this is the norm before the feed-forward.
    spec.name_ffn_norm("post_attention_norm");
    let norm = spec.norm();
    for layer in spec.layers.iter_mut().filter(|layer| keys.has(layer.block, "attn_q_norm.weight")) {
        if let Some(attn) = Layer::attention_mut(layer) {
            attn.norm_heads(norm, HeadWeights::Shared);
        }
    }
    keys.set_experts(&mut spec, &ExpertFacts::SIGMOID)?;
    Ok(spec)
}
