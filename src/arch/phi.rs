//! Phi-3 and Phi-4 (arXiv 2404.14219, 2412.08905): gate and up in one matrix, part of each head rotated.

use super::keys::Keys;
use super::{Ffn, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

pub(super) fn phi3(gguf: &Gguf) -> Result<Spec> {
    let mut spec = Keys::new(gguf)?.decoder(Pairing::Halves)?;
    for layer in &mut spec.layers {
        if let Ffn::Dense { fused, .. } = &mut layer.ffn {
            *fused = true;
        }
    }
    Ok(spec)
}
