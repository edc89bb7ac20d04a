//! EXAONE 3, 3.5 and Deep (arXiv 2412.04862), EXAONE 4 (arXiv 2507.11407), K-EXAONE with experts.

use super::experts::ExpertFacts;
use super::keys::Keys;
use super::{Pairing, Spec};
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

/// Norms after each branch and none before, norms of heads. With 64 layers, or where the file names a window, three of
/// four see it (4096) and only they have positions.
pub(super) fn exaone4(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let scaled = spec.context_train > SCALED_BEYOND;
    if let Some(rope) = spec.main_rope().filter(|_| scaled) {
        rope.restore_llama3_factors(16.0);
    }
    spec.without_pre_norms();
    spec.post_norms("post_attention_norm", "post_ffw_norm");
    spec.norm_heads();
    if spec.layers.len() == 64 || keys.set_usize("attention.sliding_window")?.is_some() {
        positions_in_windows_only(&keys, &mut spec, 4096)?;
    }
    Ok(spec)
}

/// Norms before each branch again, windows of 128, experts after the first layer.
pub(super) fn exaone_moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.norm_heads();
    positions_in_windows_only(&keys, &mut spec, 128)?;
    keys.set_experts(&mut spec, &ExpertFacts::SIGMOID)?;
    Ok(spec)
}

fn positions_in_windows_only(keys: &Keys<'_>, spec: &mut Spec, window: usize) -> Result<()> {
    let pattern = keys.windowed(spec.layers.len(), 4, false)?;
    keys.set_windows(spec, &pattern, window)?;
    spec.rotated_in_windows_only();
    Ok(())
}
