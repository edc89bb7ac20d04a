//! The words of a specification.

use super::mixers::{Attention, Mixer};

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
    pub streams: Option<Streams>,
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
}

/// What the residual stream begins as.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// The token's row is multiplied by this.
    pub scale: f32,
    /// A row of `position_embd` is added; the number of its rows.
    pub positions: Option<usize>,
    /// Row 0 of `token_types`, of so many, is added.
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
pub struct Streams {
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
    /// Their mean.
    Mean,
    /// The first.
    First,
    /// The last.
    Last,
    /// Scores of a classification head on one of the above.
    Rank(Classifier),
}

/// Head of a reranker: `output(norm(act(dense(x))))`, of which a file may hold only the last product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classifier {
    /// The vector that it reads.
    pub from: Pooled,
    /// Labels, each with a score.
    pub labels: usize,
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

/// A norm of a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Tensor of the weights without its suffix; `None` = no weights. A bias of the same name is added where there is one.
    pub tensor: Option<&'static str>,
    /// Its formula.
    pub kind: NormKind,
    /// Added to the mean square, or to the variance.
    pub eps: f32,
}

/// Formula of a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps)` (arXiv 1910.07467).
    Rms,
    /// `(x - mean(x)) / sqrt(variance(x) + eps)` (arXiv 1607.06450).
    Layer,
}

impl Norm {
    /// The same norm with other weights.
    #[must_use]
    pub const fn of(self, tensor: &'static str) -> Self {
        Self { tensor: Some(tensor), ..self }
    }

    /// The same norm without weights.
    #[must_use]
    pub const fn plain(self) -> Self {
        Self { tensor: None, ..self }
    }
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
        self.feeds.iter_mut().filter_map(|feed| match &mut feed.ffn {
            Ffn::Experts(experts) => Some(experts),
            Ffn::Dense(_) => None,
        })
    }

    /// The layer's experts, if it has some.
    pub fn experts(&self) -> Option<&Experts> {
        self.feeds.iter().find_map(|feed| match &feed.ffn {
            Ffn::Experts(experts) => Some(experts),
            Ffn::Dense(_) => None,
        })
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

/// Elementwise function of a feed-forward: of its gate, or of its only product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `g * sigmoid(g)`.
    Silu,
    /// Tanh approximation of GELU.
    GeluTanh,
    /// `max(g, 0)`.
    Relu,
    /// `max(g, 0)^2`.
    ReluSquared,
    /// xIELU (arXiv 2411.13010): `ap x^2 + beta x` over 0, else `an (expm1(min(x, eps)) - x) + beta x`.
    Xielu {
        /// `ap`.
        positive: f32,
        /// `an`.
        negative: f32,
        /// `beta`.
        beta: f32,
        /// `eps`.
        eps: f32,
    },
    /// `g' = min(g, limit)`, `u' = clamp(u, -limit, limit)`, `g' * sigmoid(alpha g') * (u' + 1)`.
    ClampedSwiglu {
        /// Slope of the sigmoid.
        alpha: f32,
        /// The clamp.
        limit: f32,
    },
    /// `min(silu(g), limit) * clamp(u, -limit, limit)`.
    LimitedSilu {
        /// The clamp.
        limit: f32,
    },
    /// `silu(min(g, limit)) * clamp(u, -limit, limit)`.
    SiluOfLimited {
        /// The clamp.
        limit: f32,
    },
}

/// How a feed-forward's first product looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// None: `act(up x)`.
    None,
    /// `act(gate x) * up x`, two matrices.
    Split,
    /// The same in one matrix `up`, the gate's rows first.
    Fused,
}

/// One feed-forward of a layer: `scale * post(ffn(norm(stream)))`.
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    /// What it reads.
    pub of: Stream,
    /// Norm of its input.
    pub norm: Option<Norm>,
    /// What it computes.
    pub ffn: Ffn,
    /// Norm of its result.
    pub post_norm: Option<Norm>,
    /// Its result is multiplied by this.
    pub scale: f32,
}

/// Which state of the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// At the layer's beginning.
    Entering,
    /// After the mixers.
    Mixed,
    /// What the feed-forward before made.
    Fed,
}

/// Feed-forward.
#[derive(Debug, Clone, PartialEq)]
pub enum Ffn {
    /// `down(act(gate x) * up x)`.
    Dense(Dense),
    /// A router picks experts for each token.
    Experts(Experts),
}

/// One feed-forward for all tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dense {
    /// `F`.
    pub width: usize,
    /// The elementwise function.
    pub act: Activation,
    /// Whether and where there is a gate.
    pub gate: Gate,
    /// Norm of the values between.
    pub inner_norm: Option<Norm>,
    /// `ffn.act.scales` divides the values between.
    pub divisors: bool,
    /// Values of the gate below so many standard deviations over their mean become 0, others less by that.
    pub sparsity: Option<f32>,
}

/// A router picks `used` of `count` experts for each token.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// Number of experts.
    pub count: usize,
    /// Experts per token.
    pub used: usize,
    /// Width of one expert.
    pub width: usize,
    /// Whether and where they have a gate.
    pub gate: Gate,
    /// What their tensors' names end in: `_exps`.
    pub suffix: &'static str,
    /// The elementwise function.
    pub act: Activation,
    /// How experts are chosen and weighted.
    pub router: Router,
    /// The expert that every token passes.
    pub shared: Option<Shared>,
    /// The experts read and write a space of this length (`ffn_latent_down`, `ffn_latent_up`).
    pub latent: Option<usize>,
    /// An expert's weight multiplies its input instead of its result.
    pub weigh_input: bool,
}

/// The expert that every token passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shared {
    /// Its width.
    pub width: usize,
    /// Whether and where it has a gate.
    pub gate: Gate,
    /// The elementwise function.
    pub act: Activation,
    /// Its result is multiplied by `sigmoid(ffn_gate_inp_shexp . x)`.
    pub weighted: bool,
}

/// Choice and weighting of experts.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    /// From router logits to scores.
    pub gating: Gating,
    /// What it reads.
    pub input: RouterInput,
    /// `exp_probs_b.bias` is added for the choice, not for the weight.
    pub selection_bias: bool,
    /// `(groups, kept)`: only experts of the best `kept` groups are eligible (score of a group = sum of its two best).
    pub groups: Option<(usize, usize)>,
    /// The chosen weights are divided by their sum.
    pub normalize: bool,
    /// The weights are multiplied by this.
    pub scale: f32,
    /// Experts that share one of a smaller set: chosen `e` stands for `e / per_group`.
    pub per_group: usize,
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
    /// `sqrt(softplus)` of each.
    SqrtSoftplus,
}

/// What a router reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RouterInput {
    /// The feed-forward's input.
    Input,
    /// The stream at the layer's beginning, without a norm.
    Entering,
    /// Nothing: the scores of the experts before it serve again.
    Before,
    /// The stream after the mixers, `rms(x) / sqrt(E) * ffn_gate_inp.scale`.
    Rescaled {
        /// Epsilon of that norm.
        eps: f32,
    },
}
