//! What a model computes, as data. A [`Spec`] is read from the metadata of a file by one fact file per architecture
//! family; every variant here names *what is computed*, never *which model*, so that `forward` needs no model's name.
//!
//! Notation: `E` = embedding length, `H`/`KV` = query / key-value heads, `d` = head dimension, `F` = feed-forward width.
//!
//! What a specification does not say, because it is the same everywhere: a matrix `NAME.weight` may come with a
//! `NAME.bias` that is added to its product; without an `output` matrix the head is the embedding.

mod beside;
mod bounds;
mod change;
mod check;
mod cohere;
mod deepseek;
mod diffusion;
mod encoders;
mod exaone;
mod experts;
mod feeds;
mod gated;
mod gemma;
mod glm;
mod gpt;
mod gpt_oss;
mod granite;
mod hunyuan;
mod hybrid;
mod hyperclovax;
mod keys;
mod leftovers;
mod list;
mod llama;
mod mixers;
mod norm;
mod phi;
mod pooling;
mod qwen;
mod role;
mod rope;
mod rwkv;
mod solar;
mod spec;
mod table;
mod tensors;
mod unsupported;

#[cfg(test)]
mod tests;

pub use feeds::{Activation, Dense, Experts, Feed, Ffn, Gate, Gating, Router, RouterInput, Shared, Stream};
pub use leftovers::{check_tensors, ignored_tensors, misshapen, unused_tensors};
pub use list::{Tensor, TensorPart};
pub use mixers::{
    Attention, ChannelMix, Delta, DeltaForm, GateSource, HeadGate, HeadNorm, HeadWeights, Latent, Lightning, Mixer,
    Projection, ScoreBias, ShortConv, SsmForm, StateSpace, Temperature, TimeMix, TimeMixForm, Values, Window,
};
pub use norm::{Norm, NormKind};
pub use role::{GatedRoles, Role};
pub use spec::{
    Classifier, Embedding, End, Layer, Output, Pairing, Pooled, Pooling, Residual, Rope, RopeFactors, RopeScaling,
    Skip, Spec, StreamSpec,
};
pub use table::ARCHITECTURES;

use crate::gguf::Gguf;
use crate::{Error, Result};

/// What the model in `gguf` computes.
///
/// # Errors
/// [`Error::Input`] when the architecture is not in the table, or a key is missing, of a wrong type, or senseless, or changes
/// what is computed in a way that is not supported.
pub fn spec(gguf: &Gguf) -> Result<Spec> {
    spec_and_rest(gguf).map(|(spec, _)| spec)
}

/// [`spec`], and the architecture's keys that are not known.
///
/// # Errors
/// As [`spec`].
pub fn spec_and_rest(gguf: &Gguf) -> Result<(Spec, Vec<String>)> {
    let arch = gguf.arch()?;
    let Some((_, family)) = ARCHITECTURES.iter().find(|(name, _)| *name == arch) else {
        return Err(unsupported::refuse(gguf, arch));
    };
    let gguf = &gguf.noting_keys();
    let mut spec = family(gguf)?;
    if !spec.causal && spec.output != Output::Vectors && spec.pooling == Pooling::None && !diffusion::fills_in(arch) {
        return Err(gguf
            .wrong(&format!("{arch}.attention.causal"), "true, or the pooling_type of a model of text vectors")
            .hint("a model whose positions see those after them continues no text"));
    }
    if spec.layers.iter().all(|layer| layer.attention().is_none_or(|attn| attn.rope.is_none())) {
        spec.ropes.clear();
    }
    check::check(&spec).map_err(|(what, found)| {
        let place = format!("{}: the model's dimensions", gguf.path().display());
        Error::input(place, what, found).hint("the metadata is damaged, or made by an incompatible converter")
    })?;
    let unknown = leftovers::check_keys(gguf, &spec)?;
    Ok((spec, unknown))
}
