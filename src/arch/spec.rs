//! The words of a specification.

use super::feeds::{Experts, Feed};
use super::mixers::{Attention, Mixer};
use super::norm::Norm;

/// A whole model: what to compute from token ids to logits or vectors.
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
    /// Longest context in which the layers compute what they should: beyond it, a part of the model that is not known here
    /// would choose among positions.
    pub context_most: Option<usize>,
    /// What is added to a token's embedding, and how it is scaled and normed.
    pub embedding: Embedding,
    /// Norm after the last layer.
    pub output_norm: Option<Norm>,
    /// What comes out.
    pub output: Output,
    /// Whether a position sees only those before it, or the whole sequence.
    pub causal: bool,
    /// How the vectors of all positions become one.
    pub pooling: Pooling,
    /// Whether RMS norms may have a bias, too.
    pub norm_biases: bool,
    /// The residual stream is the first of several.
    pub streams: Option<StreamSpec>,
    /// The distinct rotary embeddings; layers point in here.
    pub ropes: Vec<Rope>,
    /// What the names of a layer's tensors begin with, before its number: `blk`.
    pub blocks: &'static str,
    /// The layers in order.
    pub layers: Vec<Layer>,
}

impl Spec {
    /// The length after which a conversation rotates by other divisors, where the model has two sets of them.
    pub fn turn(&self) -> Option<usize> {
        let turns = self.ropes.iter().filter_map(|rope| match rope.factors {
            Some(RopeFactors::ByContext { original }) => Some(original),
            Some(RopeFactors::Fixed(_) | RopeFactors::Given(_)) | None => None,
        });
        turns.min()
    }

    /// The longest sequence that the model can compute, whatever it was trained for.
    pub fn longest(&self) -> Option<usize> {
        [self.context_most, self.embedding.positions].into_iter().flatten().min()
    }

    /// Whether vectors come out, and no logits.
    pub fn gives_vectors(&self) -> bool {
        self.output == Output::Vectors
    }
}

/// What the residual stream begins as.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// The token's row is multiplied by this.
    pub scale: f32,
    /// A row of `position_embd` is added; the number of its rows.
    pub positions: Option<usize>,
    /// A row of `token_types`, of so many, is added: the first, and to the second of two texts the second.
    pub types: Option<usize>,
    /// Norm of the sum.
    pub norm: Option<Norm>,
    /// What a second stream begins as, the same for all positions (`hrm.z_l_init`).
    pub second: bool,
    /// Each layer gets values of its own for each token (`per_layer_token_embd`): how many.
    pub per_layer: Option<usize>,
}

impl Default for Embedding {
    fn default() -> Self {
        Self { scale: 1.0, positions: None, types: None, norm: None, second: false, per_layer: None }
    }
}

/// Several residual streams (AltUp, arXiv 2301.13310), with a low-rank path beside attention (LAuReL, arXiv 2411.07501).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSpec {
    /// How many.
    pub count: usize,
    /// Rank of the path.
    pub rank: usize,
}

/// What the last layer's stream becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Output {
    /// Logits of the next token: `cap * tanh(scale * (W x + b) / cap)`.
    Logits {
        /// The logits are multiplied by this (a file that says "divide" is inverted where it is read).
        scale: f32,
        /// The soft cap.
        softcap: Option<f32>,
        /// The head is the embedding, whatever else the file holds.
        tied: bool,
    },
    /// The stream itself: a model of text vectors.
    Vectors,
}

impl Output {
    /// Plain logits.
    pub const LOGITS: Self = Self::Logits { scale: 1.0, softcap: None, tied: false };
}

/// How the vectors of a sequence become one, and what is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// One vector per position.
    None,
    /// That of the whole sequence.
    One(Pooled),
    /// Scores of a classification head on one of the above.
    Rank(Classifier),
}

impl Pooling {
    /// The poolings that can be asked for by a name.
    pub const NAMES: &[(&str, Self)] = &[
        ("none", Self::None),
        ("mean", Self::One(Pooled::Mean)),
        ("cls", Self::One(Pooled::First)),
        ("last", Self::One(Pooled::Last)),
    ];

    /// The pooling of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, pooling)| pooling)
    }
}

/// Head of a reranker: `output(norm(act(dense(x))))`, of which a file may hold only the last product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classifier {
    /// The vector that it reads.
    pub from: Pooled,
    /// Labels, each with a score.
    pub labels: usize,
    /// The activated rows of the first layer are the scores: no second one follows.
    pub single: bool,
    /// The activation between is GELU instead of tanh.
    pub gelu: bool,
    /// The scores are the softmax over the labels.
    pub softmax: bool,
}

/// Which vector of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooled {
    /// The mean of all.
    Mean,
    /// The first.
    First,
    /// The last.
    Last,
}

/// One layer: mixers of positions read the normed stream, feed-forwards follow (or read the same stream).
///
/// `y = x + scale * post(sum of mixers(pre(x)))`, then `y + scale * post(sum of feeds)`; a norm of the sum may follow each.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The `N` of `blk.N.`
    pub block: usize,
    /// Norm of the mixers' input.
    pub attn_norm: Option<Norm>,
    /// What mixes positions; their results are added.
    pub mixers: Vec<Mixer>,
    /// Norm of the mixers' result, before it is added.
    pub attn_post_norm: Option<Norm>,
    /// Norm of the stream after the mixers' result was added.
    pub attn_sum_norm: Option<Norm>,
    /// A further norm, of the sum of that and the layer's input.
    pub attn_again_norm: Option<Norm>,
    /// The feed-forwards; their results are added.
    pub feeds: Vec<Feed>,
    /// Norm of the feed-forwards' result, before it is added.
    pub ffn_post_norm: Option<Norm>,
    /// Norm of the stream after the feed-forwards' result was added.
    pub ffn_sum_norm: Option<Norm>,
    /// The branches' results are multiplied by this before they are added.
    pub residual_scale: f32,
    /// What the branches' results are added to.
    pub residual: Residual,
    /// What happens to the residual stream before the layer.
    pub skips: Vec<Skip>,
    /// What is done at the layer's end.
    pub ends: Vec<End>,
}

impl Layer {
    /// The layer's attention, if it has one.
    pub fn attention(&self) -> Option<&Attention> {
        self.mixers.iter().find_map(|mixer| match mixer {
            Mixer::Attention(attn) => Some(attn),
            _ => None,
        })
    }

    /// Whether keys and values are kept as latents.
    pub fn is_latent(&self) -> bool {
        self.attention().is_some_and(|attention| matches!(attention.proj, super::Projection::Latent(_)))
    }

    /// The layer's attention, to be changed.
    pub(super) fn attention_mut(&mut self) -> Option<&mut Attention> {
        self.mixers.iter_mut().find_map(|mixer| match mixer {
            Mixer::Attention(attn) => Some(attn),
            _ => None,
        })
    }

    /// The layer's experts, to be changed.
    pub(super) fn experts_mut(&mut self) -> impl Iterator<Item = &mut Experts> {
        self.feeds.iter_mut().filter_map(|feed| feed.ffn.experts_mut())
    }

    /// The layer's experts, if it has some.
    pub fn experts(&self) -> Option<&Experts> {
        self.feeds.iter().find_map(|feed| feed.ffn.experts())
    }

    /// Whether a part of the layer reads the stream as it was at its beginning.
    pub fn keeps_entering(&self) -> bool {
        self.attn_again_norm.is_some()
            || self.feeds.iter().any(|feed| feed.of == super::Stream::Entering)
            || self.experts().is_some_and(|experts| experts.router.input == super::RouterInput::Entering)
    }
}

/// What a branch's result is added to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Residual {
    /// The stream before the branch's norm.
    Stream,
    /// The normed stream, times this.
    Normed(f32),
}

/// What is done at a layer's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `x += N(proj(gelu(inp_gate x) * p))`, where `p` are the layer's own values for the token; the norm is `post_norm`.
    PerLayer,
    /// `x *= layer_output_scale`.
    Scale,
    /// `x += layer_output_scale * x0`, where `x0` is what the stream began as.
    AddEmbedding,
}

/// Block skip connections: the stream is kept at one layer and blended in again at a later one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Skip {
    /// Keep the stream in slot `0`.
    Save(usize),
    /// `x += slot`.
    Add(usize),
    /// Fill slot `0` with what the file has for it (`hrm.z_l_init`), the same for all positions.
    Fill(usize),
    /// `x = weight * slot + (1 - weight) * x`.
    Blend {
        /// Which kept stream.
        slot: usize,
        /// Weight of the kept stream.
        weight: f32,
    },
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
