//! Qwen (arXiv 2309.16609), Qwen2 (arXiv 2407.10671), Qwen3 dense and with experts (arXiv 2505.09388), and the families
//! that are Qwen3 with other experts.

use super::experts::{ExpertFacts, SharedWidth};
use super::keys::Keys;
use super::{
    Activation, Experts, Feed, Ffn, Gate, GatedRoles, Gating, HeadWeights, Pairing, RouterInput, Spec, Stream,
};
use crate::Result;
use crate::gguf::Gguf;

/// The first one: `feed_forward_length` counts gate and up.
pub(super) fn qwen(gguf: &Gguf) -> Result<Spec> {
    let mut spec = qwen2(gguf)?;
    spec.denses().for_each(|dense| dense.width /= 2);
    Ok(spec)
}

/// Biases on queries, keys and values. The text parts of Qwen2-VL and Qwen2.5-VL, too: their three positions are one.
pub(super) fn qwen2(gguf: &Gguf) -> Result<Spec> {
    Keys::new(gguf)?.decoder(Pairing::Halves)
}

/// Experts beside a shared one that is weighted.
pub(super) fn qwen2moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let facts = ExpertFacts { normalize: false, shared_weighted: true, ..ExpertFacts::SOFTMAX };
    keys.set_experts(&mut spec, &facts)?;
    Ok(spec)
}

/// Norms of query and key heads instead of biases; heads need not divide the embedding. The text part of Qwen3-VL, too.
pub(super) fn qwen3(gguf: &Gguf) -> Result<Spec> {
    let mut spec = qwen2(gguf)?;
    spec.norm_heads();
    Ok(spec)
}

/// Experts in every layer.
pub(super) fn qwen3moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = qwen3(gguf)?;
    experts(&keys, &mut spec, &ExpertFacts { scaled: true, ..ExpertFacts::SOFTMAX })?;
    Ok(spec)
}

fn experts(keys: &Keys<'_>, spec: &mut Spec, facts: &ExpertFacts) -> Result<()> {
    if keys.set_usize("expert_feed_forward_length")?.is_none() {
        // Old files give the width of all active experts together.
        let used = keys.need_usize("expert_used_count")?;
        spec.denses().for_each(|dense| dense.width = dense.width.checked_div(used).unwrap_or(0));
    }
    keys.set_experts(spec, facts)
}

/// OLMoE (arXiv 2409.02060): norms of queries and keys over all heads, weights as they are.
pub(super) fn olmoe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let norm = spec.norm();
    spec.attentions().for_each(|attn| attn.norm_heads(norm, HeadWeights::Whole));
    let facts = ExpertFacts { normalize: false, dense_width: true, ..ExpertFacts::SOFTMAX };
    keys.set_experts(&mut spec, &facts)?;
    Ok(spec)
}

/// MiniMax M2: norms over all heads, experts chosen with a bias.
pub(super) fn minimax_m2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let norm = spec.norm();
    spec.attentions().for_each(|attn| attn.norm_heads(norm, HeadWeights::Whole));
    let facts = ExpertFacts { normalize: true, dense_width: true, scaled: false, ..ExpertFacts::SIGMOID };
    keys.set_experts(&mut spec, &facts)?;
    Ok(spec)
}

/// Mellum 2: three of four layers see a window and rotate without scaling.
pub(super) fn mellum(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = qwen3moe(gguf)?;
    if keys.set_usize("attention.sliding_window")?.is_some() {
        let pattern = keys.windowed(spec.layers.len(), 4, false)?;
        keys.set_windows(&mut spec, &pattern, 0)?;
        spec.unscaled_windows(&keys);
    }
    Ok(spec)
}

/// Maple: positions in layers with a window only, values of experts limited.
pub(super) fn maple(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = qwen3moe(gguf)?;
    let layers = spec.layers.len();
    if keys.set_usize("attention.sliding_window")?.is_some() {
        let pattern = keys.windowed(layers, 4, false)?;
        keys.set_windows(&mut spec, &pattern, 0)?;
    }
    spec.rotated_in_windows_only();
    let limits = keys.limits("swiglu_clamp_exp", layers)?;
    for (experts, limit) in spec.all_experts().zip(limits) {
        experts.act = limit.map_or(Activation::Silu, |limit| Activation::SiluOfLimited { limit });
    }
    Ok(spec)
}

/// Grove (arXiv 2508.07785): beside the experts, smaller ones that groups of them share.
pub(super) fn grovemoe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = qwen3moe(gguf)?;
    let per_group = keys.set_usize("experts_per_group")?.unwrap_or(1);
    let scale = keys.f32("expert_group_scale")?.unwrap_or(1.0);
    for layer in &mut spec.layers {
        let Some(Ffn::Experts(experts)) = layer.feeds.first().map(|feed| &feed.ffn) else { continue };
        let shape = gguf
            .tensor(&format!("blk.{}.{}", layer.block, GatedRoles::SMALL_EXPERTS.up.name()))
            .map(|tensor| &tensor.shape);
        let Some(&[_, width, count]) = shape.map(Vec::as_slice) else { continue };
        let mut small =
            Experts { width, count, roles: GatedRoles::SMALL_EXPERTS, gate: Gate::Split, ..experts.clone() };
        small.router.per_group = per_group;
        small.router.input = RouterInput::Before;
        let ffn = Ffn::Experts(small);
        layer.feeds.push(Feed { of: Stream::Fed, norm: None, ffn, post_norm: None, scale });
    }
    Ok(spec)
}

/// SmallThinker (arXiv 2507.20984): experts are chosen by what enters the layer; every fourth layer has neither a window
/// nor positions.
pub(super) fn smallthinker(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    if keys.set_usize("attention.sliding_window")?.is_some() {
        let pattern: Vec<bool> = (0..spec.layers.len()).map(|layer| layer % 4 != 0).collect();
        keys.set_windows(&mut spec, &pattern, 4096)?;
        spec.rotated_in_windows_only();
    }
    let act = Activation::Relu;
    let facts = ExpertFacts { act, gating: Gating::SoftmaxOfChosen, normalize: false, ..ExpertFacts::SIGMOID };
    keys.set_experts(&mut spec, &facts)?;
    for experts in spec.all_experts() {
        experts.router.input = RouterInput::Entering;
        if experts.router.gating == Gating::Softmax {
            experts.router.gating = Gating::SoftmaxOfChosen;
        }
        experts.router.normalize |= experts.router.gating == Gating::Sigmoid;
    }
    Ok(spec)
}

/// dots.llm1 (arXiv 2506.05767).
pub(super) fn dots1(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.norm_heads();
    keys.set_experts(&mut spec, &ExpertFacts { shared: SharedWidth::Count, ..ExpertFacts::SIGMOID })?;
    Ok(spec)
}
