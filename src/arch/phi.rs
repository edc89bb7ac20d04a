//! Phi-1 to Phi-2 (arXiv 2306.11644), Phi-3 and Phi-4 (arXiv 2404.14219, 2412.08905): part of each head rotated.

use super::experts::ExpertFacts;
use super::keys::Keys;
use super::{Activation, NormKind, Pairing, Spec};
use crate::Result;
use crate::gguf::Gguf;

/// Layer norms; both branches read the same one.
pub(super) fn phi2(gguf: &Gguf) -> Result<Spec> {
    let mut spec = Keys::new(gguf)?.decoder_with(Pairing::Halves, NormKind::Layer)?;
    spec.parallel("attn_norm");
    spec.ungated(Activation::GeluTanh);
    Ok(spec)
}

/// Gate and up in one matrix.
pub(super) fn phi3(gguf: &Gguf) -> Result<Spec> {
    let mut spec = Keys::new(gguf)?.decoder(Pairing::Halves)?;
    spec.fuse_gates();
    Ok(spec)
}

/// Experts, and norms with a bias.
pub(super) fn phimoe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.norm_biases = true;
    keys.set_experts(&mut spec, &ExpertFacts { dense_width: true, ..ExpertFacts::SOFTMAX })?;
    Ok(spec)
}
