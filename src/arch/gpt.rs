//! GPT-2 and the families after it: layer norms, feed-forwards without a gate.

use super::keys::Keys;
use super::{Activation, NormKind, Pairing, ScoreBias, Spec};
use crate::Result;
use crate::gguf::Gguf;

/// Layer norms and a feed-forward of GELU without a gate: StarCoder 2 (arXiv 2402.19173), CodeShell.
pub(super) fn plain(gguf: &Gguf) -> Result<Spec> {
    let mut spec = Keys::new(gguf)?.decoder_with(Pairing::Halves, NormKind::Layer)?;
    spec.ungated(Activation::GeluTanh);
    Ok(spec)
}

/// Learned positions: GPT-2, StarCoder (arXiv 2305.06161).
pub(super) fn gpt2(gguf: &Gguf) -> Result<Spec> {
    let mut spec = plain(gguf)?;
    spec.unrotated(|_| true);
    spec.learned_positions(gguf);
    Ok(spec)
}

/// BLOOM (arXiv 2211.05100): ALiBi, and a norm of the embedding.
pub(super) fn bloom(gguf: &Gguf) -> Result<Spec> {
    let mut spec = plain(gguf)?;
    spec.unrotated(|_| true);
    spec.embedding.norm = Some(spec.norm().of("token_embd_norm"));
    spec.attentions().for_each(|attn| attn.bias = Some(ScoreBias::Alibi(8.0)));
    Ok(spec)
}

/// MPT: ALiBi, or learned positions; queries, keys and values clamped.
pub(super) fn mpt(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = plain(gguf)?;
    spec.unrotated(|_| true);
    spec.learned_positions(gguf);
    keys.alibi(&mut spec)?;
    let clamp = keys.set_f32("attention.clamp_kqv")?.filter(|&c| c > 0.0);
    spec.attentions().for_each(|attn| attn.clamp = clamp);
    let norm = spec.norm();
    for layer in &mut spec.layers {
        let (block, divisors) = (layer.block, keys.has(layer.block, "ffn.act.scales"));
        layer.denses().for_each(|dense| dense.divisors = divisors);
        if let Some(attn) = layer.attention_mut().filter(|_| keys.has(block, "attn_q_norm.weight")) {
            attn.norm_heads(norm, super::HeadWeights::Whole);
        }
    }
    Ok(spec)
}

/// Falcon (arXiv 2311.16867): both branches read the stream as it enters; the larger model with a norm each.
pub(super) fn falcon(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = plain(gguf)?;
    spec.parallel("attn_norm");
    for layer in spec.layers.iter_mut().filter(|layer| keys.has(layer.block, "attn_norm_2.weight")) {
        layer.attn_norm = layer.attn_norm.map(|norm| norm.of("attn_norm_2"));
    }
    Ok(spec)
}

/// GPT-NeoX (arXiv 2204.06745) and Pythia: by a flag, both branches read the stream as it enters, with a norm each.
pub(super) fn gptneox(gguf: &Gguf) -> Result<Spec> {
    let mut spec = plain(gguf)?;
    if Keys::new(gguf)?.bool("use_parallel_residual")?.unwrap_or(true) {
        spec.parallel("ffn_norm");
    }
    Ok(spec)
}

/// Nemotron (arXiv 2402.16819), Jais 2.
pub(super) fn nemotron(gguf: &Gguf) -> Result<Spec> {
    let mut spec = plain(gguf)?;
    spec.ungated(Activation::ReluSquared);
    Ok(spec)
}

/// Orion (arXiv 2401.12246): layer norms around the Llama graph.
pub(super) fn orion(gguf: &Gguf) -> Result<Spec> {
    Keys::new(gguf)?.decoder_with(Pairing::Halves, NormKind::Layer)
}

/// StableLM (arXiv 2402.17834): the larger model norms each head with weights of its own, and both its branches read the
/// same norm.
pub(super) fn stablelm(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = orion(gguf)?;
    let norm = spec.norm();
    for layer in &mut spec.layers {
        let block = layer.block;
        if let Some(attn) = layer.attention_mut().filter(|_| keys.has(block, "attn_q_norm.weight")) {
            attn.norm_heads(norm, super::HeadWeights::Each);
        }
    }
    if !keys.has(0, "ffn_norm.weight") && keys.has(0, "attn_norm.weight") {
        spec.parallel("attn_norm");
    }
    Ok(spec)
}

/// Jais (arXiv 2308.16149): ALiBi, scores divided by the head's length, a gate.
pub(super) fn jais(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = orion(gguf)?;
    spec.unrotated(|_| true);
    keys.alibi(&mut spec)?;
    spec.attentions().for_each(|attn| attn.scale = 1.0 / attn.k_dim as f32);
    Ok(spec)
}
