//! What a model computes, as data. A [`Spec`] is read from the metadata of a file by one fact file per architecture
//! family; every variant here names *what is computed*, never *which model*, so that `forward` needs no model's name.
//!
//! Notation: `E` = embedding length, `H`/`KV` = query / key-value heads, `d` = head dimension, `F` = feed-forward width.
//!
//! What a specification does not say, because it is the same everywhere: a matrix `NAME.weight` may come with a
//! `NAME.bias` that is added to its product; without an `output` matrix the head is the embedding.

mod check;
mod deepseek;
mod exaone;
mod experts;
mod gemma;
mod glm;
mod gpt_oss;
mod granite;
mod hyperclovax;
mod keys;
mod llama;
mod phi;
mod qwen;
mod rope;
mod solar;
mod tensors;

#[cfg(test)]
mod tests;

use crate::gguf::Gguf;
use crate::{Error, Result};

/// THE ARCHITECTURE TABLE: one row per `general.architecture`, one file of facts per family.
pub const ARCHITECTURES: &[(&str, Family)] = &[
    ("deepseek2", deepseek::deepseek2),
    ("exaone", exaone::exaone),
    ("exaone-moe", exaone::exaone_moe),
    ("exaone4", exaone::exaone4),
    ("gemma2", gemma::gemma2),
    ("gemma3", gemma::gemma3),
    ("glm4moe", glm::glm4moe),
    ("gpt-oss", gpt_oss::gpt_oss),
    ("granite", granite::granite),
    ("granitemoe", granite::granite),
    ("greenland", hyperclovax::hyperclovax),
    ("hcx-seed-think", hyperclovax::hyperclovax),
    ("hyperclovax", hyperclovax::hyperclovax),
    ("llama", llama::llama),
    ("malta", hyperclovax::hyperclovax),
    ("phi3", phi::phi3),
    ("qwen2", qwen::qwen2),
    ("qwen3", qwen::qwen3),
    ("qwen3moe", qwen::qwen3moe),
    ("solar", solar::solar),
];

/// Reads the facts of a family from a file's metadata.
pub type Family = fn(&Gguf) -> Result<Spec>;

/// What the model in `gguf` computes.
///
/// # Errors
/// [`Error::Input`] when the architecture is not in the table, or a key is missing, of a wrong type, or senseless.
pub fn spec(gguf: &Gguf) -> Result<Spec> {
    let arch = gguf.arch()?;
    let Some((_, family)) = ARCHITECTURES.iter().find(|(name, _)| *name == arch) else {
        let names: Vec<&str> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
        return Err(gguf.wrong("general.architecture", format!("one of {}", names.join(", "))));
    };
    let spec = family(gguf)?;
    check::check(&spec).map_err(|(what, found)| {
        let place = format!("{}: the model's dimensions", gguf.path().display());
        Error::input(place, what, found).hint("the metadata is damaged, or made by an incompatible converter")
    })?;
    Ok(spec)
}

/// A whole model: what to compute from token ids to logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// `general.architecture`.
    pub arch: String,
    /// Number of tokens (rows of the embedding and of the head).
    pub vocab: usize,
    /// Embedding length `E`.
    pub embd: usize,
    /// Context length that the model was trained for.
    pub context_train: usize,
    /// Epsilon of every RMS norm.
    pub norm_eps: f32,
    /// The embedding is multiplied by this.
    pub embed_scale: f32,
    /// The logits are multiplied by this (a file that says "divide" is inverted where it is read).
    pub logit_scale: f32,
    /// `cap * tanh(logit / cap)` after the scale.
    pub logit_softcap: Option<f32>,
    /// Whether `ffn_*.scale` tensors multiply the results of the feed-forward's products (attention's always do).
    pub ffn_scales: bool,
    /// The distinct rotary embeddings; layers point in here.
    pub ropes: Vec<Rope>,
    /// The layers in order.
    pub layers: Vec<Layer>,
}

/// One transformer layer: `x += scale * post(attn(pre(x)))`, then the same with the feed-forward.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The `N` of `blk.N.`
    pub block: usize,
    /// Tensor (`blk.N.<name>.weight`) of the norm before attention; `None` = no such norm.
    pub attn_norm: Option<&'static str>,
    /// The attention.
    pub attn: Attention,
    /// Tensor of the norm of attention's output, before it is added.
    pub attn_post_norm: Option<&'static str>,
    /// Tensor of the norm before the feed-forward.
    pub ffn_norm: Option<&'static str>,
    /// The feed-forward.
    pub ffn: Ffn,
    /// Tensor of the norm of the feed-forward's output, before it is added.
    pub ffn_post_norm: Option<&'static str>,
    /// Both branches are multiplied by this before they are added.
    pub residual_scale: f32,
    /// What happens to the residual stream before the layer.
    pub skips: Vec<Skip>,
}

/// Block skip connections: the stream is kept at one layer and blended in again at a later one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Skip {
    /// Keep the stream in slot `0`.
    Save(usize),
    /// `x = weight * slot + (1 - weight) * x`.
    Blend {
        /// Which kept stream.
        slot: usize,
        /// Weight of the kept stream.
        weight: f32,
    },
}

/// Attention of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Query heads `H`.
    pub heads: usize,
    /// Key-value heads `KV`; `H % KV == 0`. 1 for latent attention in its absorbed form.
    pub kv_heads: usize,
    /// Length of a query and a key head.
    pub k_dim: usize,
    /// Length of a value head.
    pub v_dim: usize,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// `cap * tanh(score / cap)` before the mask.
    pub softcap: Option<f32>,
    /// A key is visible while `query position - key position < window`; `None` = all of the past.
    pub window: Option<usize>,
    /// Index into [`Spec::ropes`]; `None` = no positions (NoPE).
    pub rope: Option<usize>,
    /// RMS norm of each query and key head before RoPE (`attn_q_norm`, `attn_k_norm`, each `{d}`).
    pub qk_norm: bool,
    /// One extra logit per head in the softmax, without a value (`attn_sinks`).
    pub sinks: bool,
    /// How queries, keys and values are made.
    pub proj: Projection,
}

impl Attention {
    /// Positions of the keys that a query at `position` sees.
    pub fn visible(&self, position: usize) -> std::ops::Range<usize> {
        let end = position + 1;
        end.saturating_sub(self.window.unwrap_or(end))..end
    }
}

/// How queries, keys and values come from the layer's input.
#[derive(Debug, Clone, PartialEq)]
pub enum Projection {
    /// `attn_q`, `attn_k`, `attn_v`.
    Split,
    /// `attn_qkv`, rows q | k | v.
    Fused,
    /// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): low-rank queries and one shared latent key-value.
    Latent(Latent),
}

/// Dimensions of multi-head latent attention.
#[derive(Debug, Clone, PartialEq)]
pub struct Latent {
    /// Rank of the query projection; `None` = a plain `attn_q`.
    pub q_rank: Option<usize>,
    /// Rank of the shared latent.
    pub kv_rank: usize,
    /// Query/key values per head without position.
    pub nope: usize,
    /// Query/key values per head with position (shared by all heads on the key's side).
    pub rope: usize,
    /// Values per head after expansion.
    pub v_dim: usize,
    /// Old files hold keys and values in one tensor, `attn_kv_b`.
    pub joint_kv_b: bool,
}

/// Which values of a head rotate together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// `(x[2i], x[2i+1])`.
    Adjacent,
    /// `(x[i], x[i + n/2])`.
    Halves,
}

/// One rotary embedding (arXiv 2104.09864).
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Pairing of values.
    pub pairing: Pairing,
    /// How many values of a head rotate; the rest passes through.
    pub dims: usize,
    /// Frequency base.
    pub base: f32,
    /// Scaling of the angles.
    pub scaling: RopeScaling,
    /// cos and sin are multiplied by this.
    pub magnitude: f32,
    /// Divisors of the frequencies: `dims / 2` values of the tensor with this name.
    pub factors: Option<RopeFactors>,
}

/// Where frequency divisors come from.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeFactors {
    /// One tensor for every context (`rope_freqs.weight`).
    Fixed(String),
    /// `rope_factors_short.weight` up to the original context, `rope_factors_long.weight` for sessions beyond it.
    ByContext {
        /// Context up to which the short factors hold.
        original: usize,
    },
    /// The divisors themselves, where a file lacks the tensor.
    Given(Vec<f32>),
}

/// Scaling of the rotary angles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Angles divided by `factor` (1 = none).
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// YaRN (arXiv 2309.00071): low frequencies divided, high ones kept, a ramp between.
    Yarn {
        /// The divisor.
        factor: f32,
        /// Context before scaling.
        original: usize,
        /// Rotations above which a frequency is kept.
        beta_fast: f32,
        /// Rotations below which a frequency is divided.
        beta_slow: f32,
    },
}

/// Elementwise function of a gated feed-forward, `act(gate) * up`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `g * sigmoid(g) * u`.
    Silu,
    /// Tanh approximation of GELU.
    GeluTanh,
    /// `g' = min(g, limit)`, `u' = clamp(u, -limit, limit)`, `g' * sigmoid(alpha g') * (u' + 1)`.
    ClampedSwiglu {
        /// Slope of the sigmoid.
        alpha: f32,
        /// The clamp.
        limit: f32,
    },
}

/// Feed-forward of one layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Ffn {
    /// `down(act(gate x) * up x)`.
    Dense {
        /// `F`.
        width: usize,
        /// The elementwise function.
        act: Activation,
        /// `ffn_up` holds gate and up, `{E, 2F}`, gate first.
        fused: bool,
    },
    /// A router picks `used` of `count` experts for each token.
    Experts {
        /// Number of experts.
        count: usize,
        /// Experts per token.
        used: usize,
        /// Width of one expert.
        width: usize,
        /// `ffn_gate_up_exps` holds gate and up of each expert, `{E, 2 width, count}`, gate first.
        fused: bool,
        /// The elementwise function.
        act: Activation,
        /// How experts are chosen and weighted.
        router: Router,
        /// Width of the expert that every token passes.
        shared: Option<usize>,
    },
}

/// Choice and weighting of experts.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    /// From router logits to scores.
    pub gating: Gating,
    /// `exp_probs_b.bias` is added for the choice, not for the weight.
    pub selection_bias: bool,
    /// `(groups, kept)`: only experts of the best `kept` groups are eligible (score of a group = sum of its two best).
    pub groups: Option<(usize, usize)>,
    /// The chosen weights are divided by their sum.
    pub normalize: bool,
    /// The weights are multiplied by this.
    pub scale: f32,
}

/// From router logits to scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gating {
    /// Softmax over all experts.
    Softmax,
    /// Sigmoid of each.
    Sigmoid,
    /// Softmax over the chosen experts only.
    SoftmaxOfChosen,
}
