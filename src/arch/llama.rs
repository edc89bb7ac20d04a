//! Llama (arXiv 2302.13971) and everything published in its shape: Llama 3, distilled reasoners, SOLAR, Mixtral.

use super::experts::Experts;
use super::keys::Keys;
use super::{Activation, Gating, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

pub(super) fn llama(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    spec.ffn_scales = true;
    let llama_3_1 = spec.vocab == 128_256 && spec.context_train == 131_072;
    // Models of 1B and 3B (E 2048 and 3072) are scaled by 32, larger ones by 8.
    let factor = if spec.embd <= 3072 { 32.0 } else { 8.0 };
    if let Some(rope) = spec.main_rope().filter(|rope| llama_3_1 && rope.base == 500_000.0) {
        rope.restore_llama3_factors(factor);
    }
    if keys.set_usize("expert_count")?.is_some() {
        let gating = Gating::Softmax;
        keys.set_experts(&mut spec, &Experts { act: Activation::Silu, gating, fixed: true, normalize: true })?;
    }
    Ok(spec)
}
