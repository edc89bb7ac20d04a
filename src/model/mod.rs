//! A model: its [`Spec`] and its weights, bound by name and checked for shape. Immutable, shared by all sessions.

mod bind;
mod cost;
mod linear;

pub use cost::{Cost, macs};
pub use linear::Stack;

use crate::Result;
use crate::arch::{self, Spec};
use crate::gguf::Gguf;
use std::path::Path;

/// Everything that `forward` reads.
pub struct Model {
    /// What is computed.
    pub spec: Spec,
    /// The file, for the keys that others read (tokenizer, template).
    pub gguf: Gguf,
    /// Token embedding, `vocab x E`.
    pub embed: Stack,
    /// Weights of each layer of `spec.layers`.
    pub layers: Vec<LayerWeights>,
    /// Weight of the last norm, `E`.
    pub output_norm: Vec<f32>,
    /// The head, `vocab x E`; the embedding itself where the file has no head.
    pub output: Stack,
    /// Frequency divisors of each of `spec.ropes`.
    pub rope_factors: Vec<FrequencyDivisors>,
}

/// Frequency divisors of a rotary embedding; `None` = all 1.
#[derive(Debug, Clone, Default)]
pub struct FrequencyDivisors {
    /// For contexts up to `original`.
    pub short: Option<Vec<f32>>,
    /// For longer contexts.
    pub long: Option<Vec<f32>>,
    /// Where `long` begins.
    pub original: usize,
}

/// Weights of one layer.
#[derive(Clone)]
pub struct LayerWeights {
    /// Norm before attention, `E`.
    pub attn_norm: Option<Vec<f32>>,
    /// Queries, keys, values.
    pub qkv: Qkv,
    /// Norm of each query and key head, `d`.
    pub qk_norm: Option<(Vec<f32>, Vec<f32>)>,
    /// One logit per head.
    pub sinks: Option<Vec<f32>>,
    /// `E x (H * v_dim)`.
    pub attn_output: Stack,
    /// Norm of attention's output, `E`.
    pub attn_post_norm: Option<Vec<f32>>,
    /// Norm before the feed-forward, `E`.
    pub ffn_norm: Option<Vec<f32>>,
    /// The feed-forward.
    pub ffn: FfnWeights,
    /// Norm of the feed-forward's output, `E`.
    pub ffn_post_norm: Option<Vec<f32>>,
}

/// Weights that make queries, keys and values.
#[expect(clippy::large_enum_variant, reason = "one per layer: a box would save nothing")]
#[derive(Clone)]
pub enum Qkv {
    /// One product each.
    Heads {
        /// `(H * d) x E`.
        q: Stack,
        /// `(KV * d) x E`.
        k: Stack,
        /// `(KV * v_dim) x E`.
        v: Stack,
    },
    /// Multi-head latent attention.
    Latent(Box<LatentWeights>),
}

/// Weights of multi-head latent attention in its absorbed form.
#[derive(Clone)]
pub struct LatentWeights {
    /// `q_rank x E` and the norm of its result.
    pub q_a: Option<(Stack, Vec<f32>)>,
    /// `(H * (nope + rope)) x (q_rank or E)`.
    pub q_b: Stack,
    /// `(kv_rank + rope) x E`.
    pub kv_a: Stack,
    /// Norm of the latent, `kv_rank`.
    pub kv_a_norm: Vec<f32>,
    /// Per head `kv_rank x nope`: takes a query into the latent.
    pub k_b: Stack,
    /// Per head `v_dim x kv_rank`: takes a mix of latents to values.
    pub v_b: Stack,
}

/// Weights of a feed-forward.
#[expect(clippy::large_enum_variant, reason = "one per layer: a box would save nothing")]
#[derive(Clone)]
pub enum FfnWeights {
    /// One gated product.
    Dense(Gated),
    /// Many, chosen by a router.
    Experts(Box<ExpertWeights>),
}

/// `down(act(gate x) * up x)`; a stack of them for experts.
#[derive(Clone)]
pub struct Gated {
    /// `F x E`.
    pub gate: Stack,
    /// `F x E`.
    pub up: Stack,
    /// `E x F`.
    pub down: Stack,
}

/// Weights of a mixture of experts.
#[derive(Clone)]
pub struct ExpertWeights {
    /// `count x E`.
    pub router: Stack,
    /// Added to the scores for the choice only, `count`.
    pub selection_bias: Option<Vec<f32>>,
    /// The experts.
    pub experts: Gated,
    /// The expert of every token.
    pub shared: Option<Gated>,
}

impl Model {
    /// Opens a GGUF file (the first of a split one) and binds its weights; nothing is copied but norms and biases.
    ///
    /// # Errors
    /// [`crate::Error::Input`] naming the file, key or tensor that is missing or of another shape.
    pub fn open(path: &Path) -> Result<Self> {
        let gguf = Gguf::open(path)?;
        gguf.need_weights()?;
        let spec = arch::spec(&gguf)?;
        bind::bind(gguf, spec)
    }
}
