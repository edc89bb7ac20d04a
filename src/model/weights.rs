//! What the weights of a layer are, after they were bound.

use super::Stack;
use crate::arch::{Ffn, NormKind};

/// Frequency divisors of a rotary embedding; `None` = all 1.
#[derive(Debug, Clone, Default)]
pub struct FrequencyDivisors {
    /// For conversations up to [`Spec::turn`](crate::arch::Spec::turn).
    pub short: Option<Vec<f32>>,
    /// For longer ones; `None` = the same.
    pub long: Option<Vec<f32>>,
}

/// A norm of a vector.
#[derive(Debug, Clone)]
pub struct NormWeights {
    /// Its formula.
    pub kind: NormKind,
    /// Its epsilon.
    pub eps: f32,
    /// Factors; ones where the file has none.
    pub weight: Vec<f32>,
    /// Added at the end.
    pub bias: Option<Vec<f32>>,
}

/// A norm of query or key heads.
#[derive(Debug, Clone)]
pub struct HeadNormWeights {
    /// Applied to runs of as many values as it has weights for; if they are more than a head, to all heads together.
    pub norm: NormWeights,
    /// Weights of each head, where they differ: `norm` is then that of all heads in turn.
    pub each: bool,
}

/// Weights of one layer.
#[derive(Clone)]
pub struct LayerWeights {
    /// Norm of the mixers' input.
    pub attn_norm: Option<NormWeights>,
    /// One per mixer of the layer.
    pub mixers: Vec<MixerWeights>,
    /// Norm of the mixers' result.
    pub attn_post_norm: Option<NormWeights>,
    /// Norm of the stream after that was added.
    pub attn_sum_norm: Option<NormWeights>,
    /// A further norm, of the sum of that and the layer's input.
    pub attn_again_norm: Option<NormWeights>,
    /// One per feed-forward of the layer.
    pub feeds: Vec<FeedWeights>,
    /// Norm of the feed-forwards' result.
    pub ffn_post_norm: Option<NormWeights>,
    /// Norm of the stream after that was added.
    pub ffn_sum_norm: Option<NormWeights>,
    /// What takes in the layer's own values of a token.
    pub per_layer: Option<PerLayerGate>,
    /// What a layer does to the other residual streams.
    pub streams: Option<Box<AltUpWeights>>,
    /// The one number of `layer_output_scale`.
    pub output_scale: f32,
}

/// What a layer does to several residual streams; `count` of them.
#[derive(Clone)]
pub struct AltUpWeights {
    /// `count x E`.
    pub router: Stack,
    /// Norm of its input.
    pub router_norm: NormWeights,
    /// `[count][count][count]`.
    pub predict: Vec<f32>,
    /// `[count][count]`.
    pub correct: Vec<f32>,
    /// Factors of the first stream before it takes in the layer's own values.
    pub correct_scale: Vec<f32>,
    /// The low-rank path: into the rank and back.
    pub laurel: (Stack, Stack),
    /// Norm of its result.
    pub laurel_norm: NormWeights,
    /// What takes in the layer's own values.
    pub own: PerLayerGate,
}

/// What takes in a layer's own values of a token.
#[derive(Clone)]
pub struct PerLayerGate {
    /// `P x E`.
    pub gate: Stack,
    /// `E x P`.
    pub proj: Stack,
    /// Norm of the result.
    pub norm: NormWeights,
}

/// Values of each layer's own for each token: `(norm(proj x) + embedding) / sqrt(2)`.
#[derive(Clone)]
pub struct PerLayerWeights {
    /// `vocab x (layers P)`.
    pub embed: Stack,
    /// `(layers P) x E`.
    pub proj: Stack,
    /// Norm of each layer's part, `P`.
    pub norm: NormWeights,
    /// `P`.
    pub len: usize,
}

/// Weights of what mixes positions.
#[derive(Clone)]
pub enum MixerWeights {
    /// Attention.
    Attention(Box<AttentionWeights>),
    /// One product.
    Linear(Stack),
    /// A gated short convolution.
    ShortConv(Box<ShortConvWeights>),
    /// A selective state space.
    StateSpace(Box<StateSpaceWeights>),
    /// A delta rule.
    Delta(Box<DeltaWeights>),
    /// Linear attention.
    Lightning(Box<LightningWeights>),
    /// Time mixing of RWKV.
    TimeMix(Box<TimeMixWeights>),
    /// Channel mixing of RWKV.
    ChannelMix(Box<ChannelMixWeights>),
}

/// The products of what mixes positions, in the order of their use: passes, their buffers and their cost go by these.
impl MixerWeights {
    /// The products that read the layer's input.
    pub fn inputs(&self) -> Vec<&Stack> {
        match self {
            Self::Attention(w) => {
                let mut inputs: Vec<&Stack> = match &w.qkv {
                    Qkv::Heads { q, k, v } => [Some(q), k.as_ref(), v.as_ref()].into_iter().flatten().collect(),
                    Qkv::Latent(l) => vec![l.q_a.as_ref().map_or(&l.q_b, |(q_a, _)| q_a), &l.kv_a],
                };
                inputs.extend(&w.gate);
                inputs
            }
            Self::Linear(output) => vec![output],
            Self::ShortConv(w) => vec![&w.input],
            Self::StateSpace(w) => vec![&w.input],
            Self::Delta(w) => {
                let mut inputs: Vec<&Stack> = w.qkv.iter().collect();
                match &w.decay {
                    DeltaDecay::PerHead { gate, beta_alpha } => {
                        inputs.push(gate);
                        inputs.extend(beta_alpha);
                    }
                    DeltaDecay::PerChannel { beta, f, g } => {
                        inputs.push(beta);
                        inputs.extend(f.first().into_iter().chain(g.first()));
                    }
                }
                inputs
            }
            Self::Lightning(w) => vec![&w.qkv, &w.gate],
            // Their inputs are blended first.
            Self::TimeMix(_) | Self::ChannelMix(_) => Vec::new(),
        }
    }

    /// The products that read what the mixer made in between.
    pub fn between(&self) -> Vec<&Stack> {
        match self {
            Self::Attention(w) => {
                let mut between = Vec::new();
                if let Qkv::Latent(l) = &w.qkv {
                    between.extend(l.q_a.iter().map(|_| &l.q_b));
                    between.extend(l.k_b.iter().chain([&l.v_b]));
                }
                between.push(&w.output);
                between
            }
            Self::Linear(_) => Vec::new(),
            Self::ShortConv(w) => vec![&w.output],
            Self::StateSpace(w) => match &w.rest {
                StateSpaceInput::Joint => vec![&w.output],
                StateSpaceInput::Projected { x, dt, .. } => vec![x, dt, &w.output],
            },
            Self::Delta(w) => {
                let mut between = match &w.decay {
                    DeltaDecay::PerHead { .. } => Vec::new(),
                    DeltaDecay::PerChannel { f, g, .. } => f.get(1).into_iter().chain(g.get(1)).collect(),
                };
                between.push(&w.output);
                between
            }
            Self::Lightning(w) => vec![&w.output],
            Self::TimeMix(w) => {
                let mut between = vec![&w.receptance, &w.key, &w.value, &w.decay.0, &w.decay.1];
                between.extend(w.blend.iter().flat_map(|(first, second)| [first, second]));
                match &w.part {
                    TimeMixPart::Six { gate, .. } => between.push(gate),
                    TimeMixPart::Seven(part) => {
                        let pairs = [Some(&part.rate.0), part.value.as_ref().map(|value| &value.0), part.gate.as_ref()];
                        between.extend(pairs.into_iter().flatten().flat_map(|(first, second)| [first, second]));
                    }
                }
                between.push(&w.output);
                between
            }
            Self::ChannelMix(w) => {
                let receptance = w.receptance.iter().map(|(_, receptance)| receptance);
                [&w.key].into_iter().chain(receptance).chain([&w.value]).collect()
            }
        }
    }
}

/// Weights of attention.
#[derive(Clone)]
pub struct AttentionWeights {
    /// Queries, keys, values.
    pub qkv: Qkv,
    /// Norm of queries.
    pub q_norm: Option<HeadNormWeights>,
    /// Norm of keys.
    pub k_norm: Option<HeadNormWeights>,
    /// One logit per head.
    pub sinks: Option<Vec<f32>>,
    /// A bias of the scores per head and bucket of distances, `[buckets][H]`.
    pub distances: Option<Vec<f32>>,
    /// What gates the heads' results.
    pub gate: Option<Stack>,
    /// Norm of the heads' results.
    pub out_norm: Option<NormWeights>,
    /// `E x (H * v_dim)`.
    pub output: Stack,
}

/// Weights that make queries, keys and values.
#[expect(clippy::large_enum_variant, reason = "one per layer: a box would save nothing")]
#[derive(Clone)]
pub enum Qkv {
    /// One product each; no values where keys serve as such, neither where those of another layer do.
    Heads {
        /// `(H * d) x E`, twice as many rows with a gate in them.
        q: Stack,
        /// `(KV * d) x E`.
        k: Option<Stack>,
        /// `(KV * v_dim) x E`.
        v: Option<Stack>,
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
    /// Per head `kv_rank x nope`: takes a query into the latent; `None` where all of a key is positional.
    pub k_b: Option<Stack>,
    /// Per head `v_dim x kv_rank`: takes a mix of latents to values.
    pub v_b: Stack,
}

/// Weights of a short convolution, `[positions][channels]`, oldest position first.
#[derive(Clone)]
pub struct Taps {
    /// How many channels.
    pub channels: usize,
    /// The weights.
    pub weights: Vec<f32>,
    /// Added to the result.
    pub bias: Option<Vec<f32>>,
}

/// Weights of a gated short convolution.
#[derive(Clone)]
pub struct ShortConvWeights {
    /// `3 width x E`.
    pub input: Stack,
    /// The convolution.
    pub taps: Taps,
    /// `E x width`.
    pub output: Stack,
}

/// Weights of a selective state space.
#[derive(Clone)]
pub struct StateSpaceWeights {
    /// What makes gate, input and the rest.
    pub input: Stack,
    /// The convolution.
    pub taps: Taps,
    /// What makes B, C and the time step.
    pub rest: StateSpaceInput,
    /// Added to the time step.
    pub dt_bias: Vec<f32>,
    /// Logarithms of decays, per step of time.
    pub a: Vec<f32>,
    /// What passes by the state.
    pub d: Vec<f32>,
    /// Norm of each group of results, `[groups][inner / groups]`.
    pub norm: Option<Vec<f32>>,
    /// `E x inner`.
    pub output: Stack,
}

/// What makes B, C and the time step of a state space.
#[derive(Clone)]
pub enum StateSpaceInput {
    /// They are in the input product's result.
    Joint,
    /// Products of the convolved input.
    Projected {
        /// `(rank + 2 n) x inner`.
        x: Box<Stack>,
        /// From the time step's rank to channels or heads.
        dt: Box<Stack>,
        /// Norms of time step, B and C.
        norms: Option<Box<[NormWeights; 3]>>,
    },
}

/// Weights of a delta rule.
#[derive(Clone)]
pub struct DeltaWeights {
    /// Products that together make queries, keys and values, in this order.
    pub qkv: Vec<Stack>,
    /// The convolution of all of these.
    pub taps: Taps,
    /// How decay, beta and the gate are made.
    pub decay: DeltaDecay,
    /// Added to what makes the decay.
    pub dt_bias: Vec<f32>,
    /// Multiplies it, per head.
    pub a: Vec<f32>,
    /// Norm of each head's result.
    pub norm: Vec<f32>,
    /// `E x (heads * v_dim)`.
    pub output: Stack,
}

/// How decay, beta and the gate of a delta rule are made.
#[derive(Clone)]
pub enum DeltaDecay {
    /// A decay per head.
    PerHead {
        /// The gate.
        gate: Box<Stack>,
        /// Beta and alpha: one product each, or one for both with the heads' values side by side.
        beta_alpha: Vec<Stack>,
    },
    /// A decay per channel of keys.
    PerChannel {
        /// Beta per head.
        beta: Box<Stack>,
        /// One product, or two through a low rank.
        f: Vec<Stack>,
        /// The same for the gate.
        g: Vec<Stack>,
    },
}

/// Weights of linear attention.
#[derive(Clone)]
pub struct LightningWeights {
    /// Queries, keys and values of each head in turn.
    pub qkv: Stack,
    /// The gate.
    pub gate: Stack,
    /// Norm of all heads' results together.
    pub norm: NormWeights,
    /// `E x (heads * dim)`.
    pub output: Stack,
}

/// Weights of time mixing.
#[derive(Clone)]
pub struct TimeMixWeights {
    /// Products of blended inputs.
    pub receptance: Stack,
    /// The same.
    pub key: Stack,
    /// The same.
    pub value: Stack,
    /// `E x E`.
    pub output: Stack,
    /// Blends, `[blends][E]`.
    pub lerps: Vec<f32>,
    /// The blend from which RWKV-6 learns the others.
    pub lerp_x: Vec<f32>,
    /// What learns them: one product, and one per blend.
    pub blend: Option<(Stack, Stack)>,
    /// Into a low rank and back.
    pub decay: (Stack, Stack),
    /// Added to that.
    pub decay_bias: Vec<f32>,
    /// Norm of each head's result.
    pub norm: Option<HeadNormWeights>,
    /// What only one form has.
    pub part: TimeMixPart,
}

/// What only one form of time mixing has.
#[derive(Clone)]
pub enum TimeMixPart {
    /// RWKV-6.
    Six {
        /// The gate.
        gate: Box<Stack>,
        /// Factors of the own position.
        bonus: Option<Vec<f32>>,
    },
    /// RWKV-7.
    Seven(Box<SevenWeights>),
}

/// What only RWKV-7 has; pairs of products through low ranks, with what is added to them.
#[derive(Clone)]
pub struct SevenWeights {
    /// The rate at which the state learns.
    pub rate: ((Stack, Stack), Vec<f32>),
    /// The share of the first layer's values.
    pub value: Option<((Stack, Stack), Vec<f32>)>,
    /// The gate.
    pub gate: Option<(Stack, Stack)>,
    /// Factors of keys for removal.
    pub k_k: Vec<f32>,
    /// How much of a key follows the rate.
    pub k_a: Vec<f32>,
    /// Factors of the own position.
    pub r_k: Vec<f32>,
}

/// Weights of channel mixing.
#[derive(Clone)]
pub struct ChannelMixWeights {
    /// The blend of the key's input.
    pub lerp_k: Vec<f32>,
    /// `width x E`.
    pub key: Stack,
    /// `E x width`.
    pub value: Stack,
    /// The blend of its input, and `E x E`.
    pub receptance: Option<(Vec<f32>, Stack)>,
}

/// Weights of one of a layer's feed-forwards.
#[derive(Clone)]
pub struct FeedWeights {
    /// Norm of its input.
    pub norm: Option<NormWeights>,
    /// What it computes with.
    pub ffn: FfnWeights,
    /// Norm of its result.
    pub post_norm: Option<NormWeights>,
}

/// Weights of a feed-forward.
#[derive(Clone)]
pub enum FfnWeights {
    /// One for all tokens.
    Dense(Box<DenseWeights>),
    /// Many, chosen by a router.
    Experts(Box<ExpertWeights>),
}

/// A product of a feed-forward.
#[derive(Debug, Clone, Copy)]
pub struct FeedProduct<'a> {
    /// Its matrices.
    pub stack: &'a Stack,
    /// How many of them one token meets.
    pub used: usize,
    /// It reads what others made, not the stream.
    pub between: bool,
}

impl FfnWeights {
    /// Its products in the order of their use.
    pub fn products(&self, ffn: &Ffn) -> Vec<FeedProduct<'_>> {
        match self {
            Self::Dense(w) => w.gated.products(1),
            Self::Experts(w) => w.products(ffn.experts().map_or(1, |experts| experts.used)),
        }
    }
}

/// Weights of a feed-forward for all tokens.
#[derive(Clone)]
pub struct DenseWeights {
    /// Its products.
    pub gated: Gated,
    /// Norm of the values between.
    pub inner_norm: Option<NormWeights>,
    /// Factors of the values between.
    pub factors: Option<Vec<f32>>,
}

/// `down(act(gate x) * up x)`, or `down(act(up x))`; a stack of them for experts.
#[derive(Clone)]
pub struct Gated {
    /// `F x E`.
    pub gate: Option<Stack>,
    /// `F x E`.
    pub up: Stack,
    /// `E x F`.
    pub down: Stack,
}

impl Gated {
    /// The products that read the input.
    pub fn first(&self) -> impl Iterator<Item = &Stack> {
        self.gate.iter().chain([&self.up])
    }

    fn products(&self, used: usize) -> Vec<FeedProduct<'_>> {
        let first = self.first().map(|stack| FeedProduct { stack, used, between: false });
        first.chain([FeedProduct { stack: &self.down, used, between: true }]).collect()
    }
}

/// Weights of a mixture of experts.
#[derive(Clone)]
pub struct ExpertWeights {
    /// `count x E`.
    pub router: Stack,
    /// Factors of the router's input.
    pub router_scale: Option<Vec<f32>>,
    /// Added to the scores for the choice only, `count`.
    pub selection_bias: Option<Vec<f32>>,
    /// The experts.
    pub experts: Gated,
    /// Into the space of the experts and back.
    pub latent: Option<(Stack, Stack)>,
    /// The expert of every token.
    pub shared: Option<Gated>,
    /// What weighs that expert's result, `1 x E`.
    pub shared_gate: Option<Stack>,
}

impl ExpertWeights {
    fn products(&self, used: usize) -> Vec<FeedProduct<'_>> {
        let one = |between: bool| move |stack| FeedProduct { stack, used: 1, between };
        let mut products = vec![one(false)(&self.router)];
        products.extend(self.shared_gate.iter().map(one(false)));
        products.extend(self.shared.iter().flat_map(|shared| shared.products(1)));
        products.extend(self.latent.iter().map(|(down, _)| down).map(one(false)));
        products.extend(self.experts.products(used));
        products.extend(self.latent.iter().map(|(_, up)| up).map(one(true)));
        products
    }
}

/// Weights of a classification head.
#[derive(Clone)]
pub struct ClassifierWeights {
    /// `E x E`, or `labels x E` where it is the only one.
    pub dense: Option<Stack>,
    /// Norm after the activation.
    pub norm: Option<NormWeights>,
    /// `labels x E`.
    pub output: Option<Stack>,
}

crate::text::opaque!(
    LayerWeights,
    AltUpWeights,
    PerLayerGate,
    PerLayerWeights,
    MixerWeights,
    AttentionWeights,
    Qkv,
    LatentWeights,
    Taps,
    ShortConvWeights,
    StateSpaceWeights,
    StateSpaceInput,
    DeltaWeights,
    DeltaDecay,
    LightningWeights,
    TimeMixWeights,
    TimeMixPart,
    SevenWeights,
    ChannelMixWeights,
    FeedWeights,
    FfnWeights,
    DenseWeights,
    Gated,
    ExpertWeights,
    ClassifierWeights
);
