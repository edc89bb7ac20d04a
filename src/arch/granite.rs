//! Granite 3 and 4, dense, with experts, with state spaces or with windows; MiniCPM (arXiv 2404.06395): the Llama graph with
//! multipliers.

use super::experts::ExpertFacts;
use super::keys::Keys;
use super::{Gate, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

pub(super) fn granite(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    spec.embedding.scale = keys.set_f32("embedding_scale")?.unwrap_or(1.0);
    spec.scale_logits(keys.set_f32("logit_scale")?.map_or(1.0, |divisor| 1.0 / divisor));
    spec.scale_residuals(keys.set_f32("residual_scale")?.unwrap_or(1.0));
    let positions = keys.bool("rope.scaling.finetuned")?.unwrap_or(true);
    spec.unrotated(|_| !positions);
    if keys.set_usize("expert_count")?.is_some() {
        keys.set_experts(&mut spec, &ExpertFacts { dense_width: true, scaled: true, ..ExpertFacts::SOFTMAX })?;
    }
    Ok(spec)
}

/// Layers without keys and values are state spaces.
pub(super) fn hybrid(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = granite(gguf)?;
    for layer in spec.layers.iter_mut().filter(|layer| layer.attention().is_none_or(|attn| attn.kv_heads == 0)) {
        layer.mixers = vec![keys.state_space_per_head(layer.block)?];
    }
    Ok(spec)
}

/// Sinks, windows, and layers without positions.
pub(super) fn granite_swa(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = granite(gguf)?;
    let layers = spec.layers.len();
    let pattern = keys.windowed(layers, 4, false)?;
    keys.set_windows(&mut spec, &pattern, 4096)?;
    if let Some(rotated) = keys.marks("attention.rope_pattern", layers)? {
        spec.unrotated(|layer| !rotated[layer]);
    }
    spec.attentions().for_each(|attn| attn.sinks = true);
    for shared in spec.all_experts().filter_map(|experts| experts.shared.as_mut()) {
        shared.gate = Gate::Fused;
    }
    Ok(spec)
}

/// MiniCPM: the multipliers have defaults.
pub(super) fn minicpm(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = granite(gguf)?;
    multipliers(&keys, &mut spec)?;
    Ok(spec)
}

/// The multipliers of MiniCPM: those of the file, or those of the published models.
pub(super) fn multipliers(keys: &Keys<'_>, spec: &mut Spec) -> Result<()> {
    let depth = (spec.layers.len() as f32).sqrt();
    spec.embedding.scale = keys.set_f32("embedding_scale")?.unwrap_or(12.0);
    spec.scale_residuals(keys.set_f32("residual_scale")?.unwrap_or(1.4 / depth));
    let divisor = keys.set_f32("logit_scale")?.unwrap_or(spec.embd as f32 / 256.0);
    spec.scale_logits(1.0 / divisor);
    Ok(())
}
