//! Command R (Cohere) and Command A: layer norms with weights only, both branches on the same one.

use super::experts::ExpertFacts;
use super::keys::Keys;
use super::{Ffn, HeadWeights, NormKind, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

/// From 64 layers on, heads are normed with weights of their own.
pub(super) fn command_r(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = parallel(&keys, NormKind::Layer)?;
    let norm = spec.norm();
    if keys.has(0, "attn_q_norm.weight") {
        spec.attentions().for_each(|attn| attn.norm_heads(norm, HeadWeights::Each));
    }
    Ok(spec)
}

/// Positions in layers with a window, which are three of four.
pub(super) fn cohere2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = parallel(&keys, NormKind::Layer)?;
    windows(&keys, &mut spec, false)?;
    spec.rotated_in_windows_only();
    Ok(spec)
}

/// The same with experts after the leading dense layers, which have positions whatever they see.
pub(super) fn cohere2moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let rms = keys.set_f32("attention.layer_norm_rms_epsilon")?.is_some();
    let mut spec = parallel(&keys, if rms { NormKind::Rms } else { NormKind::Layer })?;
    // The first of four layers sees everything.
    windows(&keys, &mut spec, true)?;
    let lead = keys.usize("leading_dense_block_count")?.unwrap_or(0);
    let global: Vec<bool> =
        spec.layers.iter().map(|layer| layer.attention().is_none_or(|attn| attn.window.is_none())).collect();
    spec.unrotated(|layer| layer >= lead && global[layer]);
    keys.set_experts(&mut spec, &ExpertFacts::SIGMOID)?;
    for feed in spec.layers.iter_mut().flat_map(|layer| &mut layer.feeds) {
        if matches!(&feed.ffn, Ffn::Experts(experts) if experts.shared.is_some()) {
            feed.scale = 0.5;
        }
    }
    Ok(spec)
}

fn parallel(keys: &Keys<'_>, kind: NormKind) -> Result<Spec> {
    let mut spec = keys.decoder_with(Pairing::Adjacent, kind)?;
    spec.parallel("attn_norm");
    spec.scale_logits(keys.set_f32("logit_scale")?.unwrap_or(1.0));
    Ok(spec)
}

fn windows(keys: &Keys<'_>, spec: &mut Spec, global_first: bool) -> Result<()> {
    let pattern = keys.windowed(spec.layers.len(), 4, global_first)?;
    keys.set_windows(spec, &pattern, 4096)
}
