//! The words for feed-forwards: one for all tokens, or experts that a router picks.

use super::bounds::{MAX_EXPERTS, MAX_WIDTH, Wrong, scale, that, within};
use super::list::List;
use super::norm::Norm;
use super::role::{GatedRoles, Role};

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

impl Feed {
    /// Its tensors.
    pub(super) fn list(&self, list: &mut List) {
        list.norm(self.norm, list.embd);
        self.ffn.list(list);
        list.norm(self.post_norm, list.embd);
    }
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
    /// Whether it can be computed.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        match self {
            Self::Dense(dense) => within("a feed-forward width", dense.width, MAX_WIDTH),
            Self::Experts(experts) => experts.check(),
        }
    }

    /// Its tensors.
    fn list(&self, list: &mut List) {
        match self {
            Self::Dense(dense) => dense.list(list),
            Self::Experts(experts) => experts.list(list),
        }
    }

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

/// The two or three matrices of a feed-forward of `width` that reads `len` values; `count` for experts.
fn gated(list: &mut List, roles: GatedRoles, gate: Gate, (len, width): (usize, usize), count: Option<usize>) {
    let shape = |a: usize, b: usize| [Some(a), Some(b), count].into_iter().flatten().collect::<Vec<_>>();
    match (gate, count) {
        (Gate::Fused, Some(_)) => list.add(roles.gate_up, &shape(len, 2 * width)),
        (Gate::Fused, None) => list.product(roles.gate_up, &shape(len, 2 * width)),
        (Gate::Split, _) => {
            list.product(roles.gate, &shape(len, width));
            list.product(roles.up, &shape(len, width));
        }
        (Gate::None, _) => list.product(roles.up, &shape(len, width)),
    }
    list.product(roles.down, &shape(width, len));
}

impl Dense {
    fn list(&self, list: &mut List) {
        gated(list, GatedRoles::DENSE, self.gate, (list.embd, self.width), None);
        list.norm(self.inner_norm, self.width);
        if self.divisors {
            list.add(Role::FfnActScales, &[self.width]);
        }
    }
}

impl Experts {
    fn check(&self) -> Result<(), Wrong> {
        within("a number of experts", self.count, MAX_EXPERTS)?;
        within("a number of experts per token, at most their number,", self.used, self.count)?;
        within("an expert width", self.width, MAX_WIDTH)?;
        scale("expert_weights_scale", self.router.scale)?;
        within("a shared expert's width", self.shared.map_or(1, |shared| shared.width), MAX_WIDTH)?;
        within("a width of the space of experts", self.latent.unwrap_or(1), MAX_WIDTH)?;
        within("a number of experts that share one", self.router.per_group, MAX_EXPERTS)?;
        let (groups, kept) = self.router.groups.unwrap_or((1, 1));
        let (count, used) = (self.count, self.used);
        let even = groups > 0 && count.is_multiple_of(groups) && kept <= groups && used <= count / groups * kept;
        that(even, "groups that divide the experts and hold enough of them", format!("{kept} of {groups}"))
    }

    fn list(&self, list: &mut List) {
        let e = list.embd;
        let routed = self.count * self.router.per_group.max(1);
        if matches!(self.router.input, RouterInput::Rescaled { .. }) {
            list.add(Role::FfnGateInp, &[e, routed]);
            list.add(Role::FfnGateInpScale, &[e]);
        } else {
            list.product(Role::FfnGateInp, &[e, routed]);
        }
        if self.router.selection_bias {
            list.add(Role::ExpProbsB, &[self.count]);
        }
        gated(list, self.roles, self.gate, (self.latent.unwrap_or(e), self.width), Some(self.count));
        if let Some(latent) = self.latent {
            list.product(Role::FfnLatentDown, &[e, latent]);
            list.product(Role::FfnLatentUp, &[latent, e]);
        }
        if let Some(shared) = self.shared {
            gated(list, GatedRoles::SHARED, shared.gate, (e, shared.width), None);
            if shared.weighted {
                list.add(Role::FfnGateInpShexp, &[e, 1]);
            }
        }
    }
}
