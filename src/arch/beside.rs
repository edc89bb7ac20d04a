//! Families with a dense feed-forward beside their experts, or layer norms around them: Grok, Arctic (Snowflake), DBRX.

use super::experts::{ExpertFacts, SharedWidth};
use super::keys::Keys;
use super::{Activation, Feed, Ffn, NormKind, Pairing, Spec, Stream};
use crate::Result;
use crate::gguf::Gguf;

/// Grok 1 and 2: norms around both branches, soft caps, experts of GELU.
pub(super) fn grok(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.embedding.scale = keys.set_f32("embedding_scale")?.unwrap_or(78.383_67);
    spec.scale_logits(keys.set_f32("logit_scale")?.unwrap_or(0.577_350_26));
    spec.cap_logits(keys.set_f32("final_logit_softcapping")?);
    let named = keys.has(0, "layer_output_norm.weight");
    spec.post_norms("attn_output_norm", if named { "layer_output_norm" } else { "post_ffw_norm" });
    let scale = keys.set_f32("attention.output_scale")?.unwrap_or(0.088_388_35);
    let cap = keys.set_f32("attn_logit_softcapping")?.unwrap_or(30.0);
    spec.attentions().for_each(|attn| (attn.scale, attn.softcap) = (scale, Some(cap)));
    spec.activate(Activation::GeluTanh);
    let dense = spec.clone();
    let facts = ExpertFacts { act: Activation::GeluTanh, shared: SharedWidth::None, ..ExpertFacts::SOFTMAX };
    keys.set_experts(&mut spec, &ExpertFacts { scaled: false, ..facts })?;
    let beside = spec.layers.iter_mut().zip(dense.layers).filter(|(layer, _)| keys.has(layer.block, "ffn_up.weight"));
    for (layer, dense) in beside {
        layer.feeds.extend(dense.feeds);
        layer.feeds.iter_mut().for_each(|feed| feed.scale = std::f32::consts::FRAC_1_SQRT_2);
    }
    Ok(spec)
}

/// Arctic: a dense feed-forward as wide as the stream; the experts read what enters the layer.
pub(super) fn arctic(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    let norm = spec.norm();
    let mut experts = spec.clone();
    keys.set_experts(&mut experts, &ExpertFacts { dense_width: true, ..ExpertFacts::SOFTMAX })?;
    let embd = spec.embd;
    spec.denses().for_each(|dense| dense.width = embd);
    for (layer, experts) in spec.layers.iter_mut().zip(experts.layers) {
        let chosen = experts.feeds.into_iter().filter(|feed| matches!(feed.ffn, Ffn::Experts(_)));
        let norm = Some(norm.of("ffn_norm_exps"));
        layer.feeds.extend(chosen.map(|feed| Feed { of: Stream::Entering, norm, ..feed }));
    }
    Ok(spec)
}

/// DBRX: queries, keys and values clamped.
pub(super) fn dbrx(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder_with(Pairing::Halves, NormKind::Layer)?;
    // The name says otherwise, but this is the norm before the feed-forward.
    spec.name_ffn_norm("attn_output_norm");
    let clamp = keys.set_f32("attention.clamp_kqv")?.filter(|&c| c > 0.0);
    spec.attentions().for_each(|attn| attn.clamp = clamp);
    keys.set_experts(&mut spec, &ExpertFacts { dense_width: true, scaled: false, ..ExpertFacts::SOFTMAX })?;
    Ok(spec)
}
