//! gpt-oss (arXiv 2508.10925): attention sinks, alternating windows, experts with a clamped activation.

use super::experts::Experts;
use super::keys::Keys;
use super::{Activation, Gating, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

pub(super) fn gpt_oss(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    for layer in &mut spec.layers {
        // The name says otherwise, but this is the norm before the feed-forward.
        layer.ffn_norm = Some("post_attention_norm");
        layer.attn.sinks = true;
    }
    let pattern = keys.windowed(spec.layers.len(), 2, false)?;
    keys.set_windows(&mut spec, &pattern, 128)?;
    let act = Activation::ClampedSwiglu { alpha: 1.702, limit: 7.0 };
    let gating = Gating::SoftmaxOfChosen;
    keys.set_experts(&mut spec, &Experts { act, gating, fixed: true, normalize: false })?;
    Ok(spec)
}
