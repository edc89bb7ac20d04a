//! EXAONE 3, 3.5 and Deep (arXiv 2412.04862), EXAONE 4 (arXiv 2507.11407), K-EXAONE with experts.

use super::experts::Experts;
use super::keys::Keys;
use super::{Activation, Gating, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

/// Context over which the models are trained with scaled frequencies.
const SCALED_BEYOND: usize = 8192;

pub(super) fn exaone(gguf: &Gguf) -> Result<Spec> {
    let mut spec = Keys::new(gguf)?.decoder(Pairing::Halves)?;
    let scaled = spec.context_train > SCALED_BEYOND;
    if let Some(rope) = spec.main_rope().filter(|_| scaled) {
        rope.restore_llama3_factors(8.0);
    }
    Ok(spec)
}

/// Norms after each branch and none before, norms of heads. With 64 layers, three of four see a window of 4096 and only
/// they have positions.
pub(super) fn exaone4(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let scaled = spec.context_train > SCALED_BEYOND;
    if let Some(rope) = spec.main_rope().filter(|_| scaled) {
        rope.restore_llama3_factors(16.0);
    }
    for layer in &mut spec.layers {
        layer.attn_norm = None;
        layer.ffn_norm = None;
        layer.attn_post_norm = Some("post_attention_norm");
        layer.ffn_post_norm = Some("post_ffw_norm");
        layer.attn.qk_norm = true;
    }
    if spec.layers.len() == 64 {
        positions_in_windows_only(&keys, &mut spec, 4096)?;
    }
    Ok(spec)
}

/// Norms before each branch again, windows of 128, experts after the first layer.
pub(super) fn exaone_moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    for layer in &mut spec.layers {
        layer.attn.qk_norm = true;
    }
    positions_in_windows_only(&keys, &mut spec, 128)?;
    let gating = Gating::Sigmoid;
    keys.set_experts(&mut spec, &Experts { act: Activation::Silu, gating, fixed: false, normalize: false })?;
    Ok(spec)
}

fn positions_in_windows_only(keys: &Keys<'_>, spec: &mut Spec, window: usize) -> Result<()> {
    let pattern = keys.windowed(spec.layers.len(), 4, false)?;
    keys.set_windows(spec, &pattern, window)?;
    for layer in &mut spec.layers {
        layer.attn.rope = layer.attn.rope.filter(|_| layer.attn.window.is_some());
    }
    Ok(())
}
