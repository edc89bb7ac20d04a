//! gpt-oss (arXiv 2508.10925): attention sinks, alternating windows, experts with a clamped activation.

use super::experts::ExpertFacts;
use super::keys::Keys;
use super::{Activation, Gating, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

pub(super) fn gpt_oss(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    // The name says otherwise, but this is the norm before the feed-forward.
    spec.name_ffn_norm("post_attention_norm");
    spec.attentions().for_each(|attn| attn.sinks = true);
    let pattern = keys.windowed(spec.layers.len(), 2, false)?;
    keys.set_windows(&mut spec, &pattern, 128)?;
    let act = Activation::ClampedSwiglu { alpha: 1.702, limit: 7.0 };
    let facts = ExpertFacts { act, gating: Gating::SoftmaxOfChosen, normalize: false, ..ExpertFacts::SOFTMAX };
    keys.set_experts(&mut spec, &facts)?;
    Ok(spec)
}
