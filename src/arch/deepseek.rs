//! DeepSeek and the families with latent attention: DeepSeek V2, V3 and R1 (arXiv 2405.04434, 2412.19437), GLM-5, Mistral 4,
//! MiniCPM 3, PLM. And the first DeepSeek (arXiv 2401.06066), which has experts only.

use super::experts::{ExpertFacts, SharedWidth};
use super::keys::Keys;
use super::rope::yarn_gain;
use super::{Activation, Gating, Latent, NormKind, Pairing, Projection, RopeScaling, Spec, Temperature};
use crate::Result;
use crate::gguf::Gguf;

pub(super) fn deepseek2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = latent_decoder(&keys, Pairing::Adjacent)?;
    // Lite models of 47 or 48 layers (GLM-4.7-Flash) were written without their gating.
    let flash = spec.vocab == 154_880;
    let gating = if flash { Gating::Sigmoid } else { Gating::Softmax };
    if keys.set_usize("expert_count")?.is_some() {
        keys.set_experts(&mut spec, &ExpertFacts { gating, ..ExpertFacts::SIGMOID })?;
    }
    if let Some(scale) = keys.set_f32("attention.temperature_scale")? {
        let length = match keys.set_usize("attention.temperature_length")? {
            Some(length) => length,
            None => keys.original_context()?,
        };
        let temperature = Some(Temperature { scale, length, offset: 0 });
        spec.attentions().for_each(|attn| attn.temperature = temperature);
    }
    Ok(spec)
}

/// DeepSeek V3.2 and GLM-5: an indexer chooses the positions that are attended to. Up to as many as it keeps, those are
/// all.
pub(super) fn indexed(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = latent_decoder(&keys, Pairing::Adjacent)?;
    keys.set_experts(&mut spec, &ExpertFacts::SIGMOID)?;
    keys.within_index(&mut spec)?;
    Ok(spec)
}

impl Keys<'_> {
    /// Limits the context to what an indexer keeps: there it chooses all positions.
    pub(super) fn within_index(&self, spec: &mut Spec) -> Result<()> {
        let kept = self.set_usize("attention.indexer.top_k")?;
        let blocks = self.set_usize("attention.indexer.block_size")?.unwrap_or(1);
        if let Some(kept) = kept {
            let most = kept.saturating_mul(blocks);
            spec.context_most = Some(most);
            spec.context_train = spec.context_train.min(most);
        }
        Ok(())
    }
}

/// The plain decoder with latent attention.
pub(super) fn latent_decoder(keys: &Keys<'_>, pairing: Pairing) -> Result<Spec> {
    let mut spec = keys.decoder(pairing)?;
    let latent = latent(keys)?;
    let scale = positions(keys, &mut spec, &latent)?;
    for layer in &mut spec.layers {
        let joint_kv_b = !keys.has(layer.block, "attn_k_b.weight");
        let Some(attn) = layer.attention_mut() else { continue };
        attn.kv_heads = 1;
        attn.k_dim = latent.kv_rank + latent.rope;
        attn.v_dim = latent.kv_rank;
        attn.scale = scale;
        attn.proj = Projection::Latent(Latent { joint_kv_b, ..latent.clone() });
    }
    Ok(spec)
}

/// Old files write the expanded head lengths where new ones write those of the latent, and the expanded ones apart.
fn latent(keys: &Keys<'_>) -> Result<Latent> {
    let rope = keys.need_usize("rope.dimension_count")?;
    let (k_dim, v_dim) = keys.lengths_of_heads()?;
    let k_dim = keys.set_usize("attention.key_length_mla")?.unwrap_or(k_dim);
    let v_dim = keys.set_usize("attention.value_length_mla")?.unwrap_or(v_dim);
    let nope = k_dim.checked_sub(rope);
    let nope = nope.ok_or_else(|| keys.wrong("rope.dimension_count", format!("at most the head's {k_dim} values")))?;
    let layers = keys.layers()?;
    let any = |name: &str| (0..layers).any(|layer| keys.has(layer, name));
    // Models with plain queries may carry the key all the same.
    let plain = any("attn_q.weight") && !any("attn_q_a.weight");
    let q_rank = keys.set_usize("attention.q_lora_rank")?.filter(|_| !plain);
    let kv_rank = keys.need_usize("attention.kv_lora_rank")?;
    let eps = keys.norm_eps(NormKind::Rms)?;
    Ok(Latent { q_rank, kv_rank, nope, rope, v_dim, joint_kv_b: false, eps })
}

/// The published models correct YaRN's gain in the scale of the scores instead of in the rotation. Returns that scale.
fn positions(keys: &Keys<'_>, spec: &mut Spec, latent: &Latent) -> Result<f32> {
    let plain = 1.0 / ((latent.nope + latent.rope) as f32).sqrt();
    // Files hold a tenth of the multiplier. Early ones lack it: it is 1 in the models that they were made of.
    let tenth = keys.f32("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.1);
    let Some(rope) = spec.main_rope().filter(|_| tenth != 0.0) else { return Ok(plain) };
    let RopeScaling::Yarn { factor, .. } = rope.scaling else { return Ok(plain) };
    rope.magnitude = keys.set_f32("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let gain = yarn_gain(factor, tenth / 0.1);
    Ok(gain * gain * plain)
}

/// MiniCPM 3: the multipliers of MiniCPM, frequencies by context.
pub(super) fn minicpm3(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = latent_decoder(&keys, Pairing::Halves)?;
    super::granite::multipliers(&keys, &mut spec)?;
    Ok(spec)
}

/// PLM (arXiv 2503.12167): a feed-forward without a gate.
pub(super) fn plm(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = latent_decoder(&keys, Pairing::Adjacent)?;
    spec.ungated(Activation::ReluSquared);
    Ok(spec)
}

/// The first one, and Ling 1: the Llama graph with experts.
pub(super) fn deepseek(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    let facts = ExpertFacts { normalize: false, shared: SharedWidth::Count, ..ExpertFacts::SOFTMAX };
    keys.set_experts(&mut spec, &facts)?;
    Ok(spec)
}

/// The language model of DeepSeek-OCR (arXiv 2510.18234).
pub(super) fn ocr(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let facts = ExpertFacts { gating: Gating::Softmax, shared: SharedWidth::Count, ..ExpertFacts::SIGMOID };
    keys.set_experts(&mut spec, &facts)?;
    Ok(spec)
}
