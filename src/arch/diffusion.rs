//! Models that fill in masked tokens, each position seeing the whole text: LLaDA (arXiv 2502.09992), Dream (arXiv
//! 2508.15487), RND1. Their logits can be had; writing text with them is another kind of loop, which there is not.

use super::experts::{ExpertFacts, SharedWidth};
use super::keys::Keys;
use super::{Pairing, Spec, llama, qwen};
use crate::Result;
use crate::gguf::Gguf;

/// Whether models of this name do so.
pub(super) fn fills_in(arch: &str) -> bool {
    ["dream", "llada", "llada-moe", "rnd1"].contains(&arch)
}

fn whole(spec: Spec) -> Spec {
    Spec { causal: false, ..spec }
}

pub(super) fn llada(gguf: &Gguf) -> Result<Spec> {
    llama::adjacent(gguf).map(whole)
}

pub(super) fn dream(gguf: &Gguf) -> Result<Spec> {
    qwen::qwen2(gguf).map(whole)
}

pub(super) fn rnd1(gguf: &Gguf) -> Result<Spec> {
    qwen::qwen3moe(gguf).map(whole)
}

pub(super) fn llada_moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.norm_heads();
    let facts = ExpertFacts { normalize: false, shared: SharedWidth::None, ..ExpertFacts::SOFTMAX };
    keys.set_experts(&mut spec, &facts)?;
    Ok(whole(spec))
}
