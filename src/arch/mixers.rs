//! What mixes positions: attention over the cache, or a state that each position updates.

use super::norm::{Norm, NormKind};
use super::role::Role;

/// What mixes positions in a layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Mixer {
    /// Attention over cached keys and values.
    Attention(Attention),
    /// `attn_output x`: a layer that sees its own position only.
    Linear,
    /// A gated short convolution.
    ShortConv(ShortConv),
    /// A selective state space.
    StateSpace(StateSpace),
    /// A matrix that each position decays, corrects and reads.
    Delta(Delta),
    /// Linear attention with a fixed decay per head.
    Lightning(Lightning),
    /// The time mixing of RWKV.
    TimeMix(TimeMix),
    /// The channel mixing of RWKV.
    ChannelMix(ChannelMix),
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
    /// Which keys a query sees.
    pub window: Option<Window>,
    /// What is added to the scores by distance.
    pub bias: Option<ScoreBias>,
    /// Queries grow with their position.
    pub temperature: Option<Temperature>,
    /// Index into [`super::Spec::ropes`]; `None` = no positions (NoPE).
    pub rope: Option<usize>,
    /// Norm of queries.
    pub q_norm: Option<HeadNorm>,
    /// Norm of keys.
    pub k_norm: Option<HeadNorm>,
    /// Epsilon of the weightless RMS norm of each value head.
    pub v_norm: Option<f32>,
    /// The norms come after RoPE, not before.
    pub norm_after_rope: bool,
    /// Queries, keys and values are clamped to `-c..=c`.
    pub clamp: Option<f32>,
    /// One extra logit per head in the softmax, without a value (`attn_sinks`).
    pub sinks: bool,
    /// How queries, keys and values are made.
    pub proj: Projection,
    /// Tensor of the output product.
    pub output: Role,
    /// Where values come from.
    pub values: Values,
    /// The layer whose keys and values are attended to, where they are not the layer's own.
    pub kv_of: Option<usize>,
    /// What multiplies the heads' results.
    pub gate: Option<HeadGate>,
    /// Norm of the heads' results together.
    pub out_norm: Option<Norm>,
    /// The result is multiplied by this.
    pub out_scale: f32,
}

/// Where values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// A product of their own.
    Own,
    /// The keys as they were before norm and rotation.
    Keys,
}

/// Which keys a query sees, beside all of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The last so many, its own included.
    Last(usize),
    /// Those of its own run of so many positions, counted from 0.
    Chunk(usize),
    /// Those at most half of this away, on both sides.
    Around(usize),
}

/// What is added to the scores by distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScoreBias {
    /// ALiBi (arXiv 2108.12409): a slope per head times the distance; the largest slope follows from this.
    Alibi(f32),
    /// T5 (arXiv 1910.10683): `attn_rel_b`, a value per head and bucket of distances.
    Buckets {
        /// How many.
        buckets: usize,
        /// The layer whose table it is.
        block: usize,
    },
}

/// `q *= 1 + scale * ln(floor((position + offset) / length) + 1)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    /// The slope.
    pub scale: f32,
    /// Positions of one step.
    pub length: usize,
    /// Added to the position.
    pub offset: usize,
}

impl Temperature {
    /// The factor of a query at `position`.
    pub fn at(&self, position: usize) -> f32 {
        let step = (position + self.offset) / self.length.max(1);
        1.0 + self.scale * libm::logf((step + 1) as f32)
    }
}

/// Norm of query or key heads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadNorm {
    /// Tensor of the weights without its suffix; `None` = no weights.
    pub tensor: Option<&'static str>,
    /// Its formula.
    pub kind: NormKind,
    /// Its epsilon.
    pub eps: f32,
    /// What has a weight of its own.
    pub weights: HeadWeights,
}

/// How the weights of a norm of heads are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadWeights {
    /// `{d}`: each head is normed, all with the same weights.
    Shared,
    /// `{d, H}`: each head is normed with weights of its own.
    Each,
    /// `{H d}`: all heads are normed together.
    Whole,
    /// `{1, H}`: each head is normed and multiplied by one number.
    Gains,
}

/// What multiplies the heads' results, made of the layer's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadGate {
    /// Where it comes from.
    pub from: GateSource,
    /// `ln(1 + e^x)` instead of the sigmoid.
    pub softplus: bool,
}

/// Where a gate of heads comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateSource {
    /// `attn_q` has for each head its query, then its gate.
    Query,
    /// `attn_gate`, a number per value of each head.
    Values,
    /// `attn_gate`, a number per head.
    Heads,
}

impl Attention {
    /// Rows of the query's projection, with the gates that stand between them.
    pub fn q_rows(&self) -> usize {
        let per_query = if self.gate.is_some_and(|gate| gate.from == GateSource::Query) { 2 } else { 1 };
        self.heads * self.k_dim * per_query
    }

    /// Positions of the keys that a query at `position` sees in a sequence of `len`; `causal` hides those after it.
    pub fn visible(&self, position: usize, len: usize, causal: bool) -> std::ops::Range<usize> {
        let end = if causal { position + 1 } else { len };
        match self.window {
            None => 0..end,
            Some(Window::Last(window)) => (position + 1).saturating_sub(window)..end,
            Some(Window::Chunk(chunk)) => position / chunk * chunk..end,
            Some(Window::Around(window)) => position.saturating_sub(window / 2)..end.min(position + window / 2 + 1),
        }
    }

    /// Most positions that a query sees.
    pub fn reach(&self) -> Option<usize> {
        self.window.map(|window| match window {
            Window::Last(window) | Window::Chunk(window) => window,
            Window::Around(window) => window + 1,
        })
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
    /// Epsilon of the norms of both low ranks.
    pub eps: f32,
}

/// Gated short convolution: `out_proj (c . conv(b . u))` with `[b | c | u] = in_proj x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortConv {
    /// Channels.
    pub width: usize,
    /// Positions that a value depends on, its own included.
    pub taps: usize,
}

/// Selective state space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StateSpace {
    /// Channels `D`.
    pub inner: usize,
    /// Positions that the convolution before it sees.
    pub taps: usize,
    /// Values of state per channel `n`.
    pub state: usize,
    /// Which form.
    pub form: SsmForm,
}

/// Form of a selective state space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SsmForm {
    /// Mamba (arXiv 2312.00752): a decay per channel and state value; the time step has a low rank.
    Channels {
        /// The rank.
        rank: usize,
        /// RMS norms of time step, B and C: their epsilon, and whether they have weights.
        norms: Option<(f32, bool)>,
    },
    /// Mamba-2 (arXiv 2405.21060): a decay per head, B and C shared by groups of heads.
    Heads {
        /// Heads.
        heads: usize,
        /// Groups.
        groups: usize,
        /// Epsilon of the norm of each group of results, where the file has its weights.
        norm: Option<f32>,
    },
    /// The same with inputs laid out per head, B, C and time step made of the convolved input by a product, normed.
    Projected {
        /// Heads.
        heads: usize,
        /// Rank of the time step.
        rank: usize,
        /// Epsilon of the norms.
        eps: f32,
    },
}

/// Delta rule (arXiv 2412.06464): `S *= decay; S += k ((v - S^T k) beta)^T; o = S^T q / sqrt(d)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delta {
    /// Heads of queries and keys.
    pub k_heads: usize,
    /// Heads of values, each with a state.
    pub v_heads: usize,
    /// Length of a key head.
    pub k_dim: usize,
    /// Length of a value head.
    pub v_dim: usize,
    /// Positions that the convolution before it sees.
    pub taps: usize,
    /// Epsilon of the lengths of queries and keys, and of the result's norm.
    pub eps: f32,
    /// Which form.
    pub form: DeltaForm,
}

/// Form of a delta rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DeltaForm {
    /// One decay per head; one convolution of `attn_qkv`; the result is normed, then gated by SiLU.
    Gated {
        /// Value head `j` reads key head `j % k_heads` instead of `j / (v_heads / k_heads)`.
        tiled: bool,
        /// `ssm_ba` holds beta and alpha of each key head's value heads, instead of two tensors.
        joint: bool,
    },
    /// Kimi delta attention (arXiv 2510.26692): a decay per channel, convolutions of their own, gated by the sigmoid.
    PerChannel {
        /// `attn_qkv` holds queries, keys and values, instead of three tensors.
        fused: bool,
        /// Decay and gate come through low ranks (`ssm_f_b`, `ssm_g_b`).
        low_rank: Option<usize>,
        /// The decay's logarithm is `bound * sigmoid(a (f + bias))` instead of `a softplus(f + bias)`.
        bound: Option<f32>,
    },
}

/// Linear attention with a fixed decay per head (arXiv 2401.04658): `S = S decay + k v^T`, `o = S^T q`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lightning {
    /// Heads.
    pub heads: usize,
    /// Length of a head.
    pub dim: usize,
    /// Multiplies the decay's exponent.
    pub slope: f32,
    /// Epsilon of the result's norm.
    pub eps: f32,
}

/// Time mixing of RWKV: inputs blended with those of the position before, a matrix per head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeMix {
    /// `heads * dim`, which is `E`.
    pub width: usize,
    /// Heads.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Length of a head.
    pub dim: usize,
    /// Which form.
    pub form: TimeMixForm,
    /// Norm of each head's result.
    pub norm: Option<HeadNorm>,
}

/// Form of time mixing; the numbers are ranks of low-rank products.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TimeMixForm {
    /// RWKV-6 (arXiv 2404.05892).
    Six {
        /// Of the learned blends.
        lerp: usize,
        /// Of the decay.
        decay: usize,
        /// Without a bonus for the own position, keys weakened by the decay, the gate a sigmoid.
        linear: bool,
    },
    /// RWKV-7 (arXiv 2503.14456).
    Seven {
        /// Of the decay.
        decay: usize,
        /// Of the rate at which the state learns.
        rate: usize,
        /// Of the share of the first layer's values; `None` = none, as in the first layer itself.
        value: Option<usize>,
        /// Of the gate.
        gate: Option<usize>,
    },
}

/// Channel mixing of RWKV: `value relu(key x)^2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelMix {
    /// `E`.
    pub embd: usize,
    /// Values between.
    pub width: usize,
    /// The result is multiplied by `sigmoid(receptance x)`.
    pub receptance: bool,
}

impl Mixer {
    /// Values of state per sequence that the mixer keeps from one position to the next.
    pub fn state_len(&self) -> usize {
        match self {
            Self::Attention(_) | Self::Linear => 0,
            Self::ShortConv(conv) => (conv.taps - 1) * conv.width,
            Self::StateSpace(ssm) => (ssm.taps - 1) * ssm.conv_width() + ssm.inner * ssm.state,
            Self::Delta(delta) => (delta.taps - 1) * delta.conv_width() + delta.v_heads * delta.k_dim * delta.v_dim,
            Self::Lightning(l) => l.heads * l.dim * l.dim,
            Self::TimeMix(mix) => mix.width + mix.heads * mix.dim * mix.dim,
            Self::ChannelMix(mix) => mix.embd,
        }
    }
}

impl StateSpace {
    /// Channels of the convolution.
    pub fn conv_width(&self) -> usize {
        match self.form {
            SsmForm::Heads { groups, .. } => self.inner + 2 * groups * self.state,
            SsmForm::Channels { .. } | SsmForm::Projected { .. } => self.inner,
        }
    }
}

impl Delta {
    /// Channels of the convolution.
    pub fn conv_width(&self) -> usize {
        2 * self.k_heads * self.k_dim + self.v_heads * self.v_dim
    }
}
