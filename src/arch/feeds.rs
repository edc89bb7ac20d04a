//! The words for feed-forwards: one for all tokens, or experts that a router picks.

use super::norm::Norm;
use super::role::GatedRoles;

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

impl Ffn {
    /// What it is, if it is one for all tokens.
    pub fn dense(&self) -> Option<&Dense> {
        if let Self::Dense(dense) = self { Some(dense) } else { None }
    }

    /// The same, to be changed.
    pub(super) fn dense_mut(&mut self) -> Option<&mut Dense> {
        if let Self::Dense(dense) = self { Some(dense) } else { None }
    }

    /// What it is, if a router picks among many.
    pub fn experts(&self) -> Option<&Experts> {
        if let Self::Experts(experts) = self { Some(experts) } else { None }
    }

    /// The same, to be changed.
    pub(super) fn experts_mut(&mut self) -> Option<&mut Experts> {
        if let Self::Experts(experts) = self { Some(experts) } else { None }
    }
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
    /// Their matrices.
    pub roles: GatedRoles,
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
