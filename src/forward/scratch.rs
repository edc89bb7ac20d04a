//! Every buffer of a pass, allocated once and reused. `n` = tokens of the pass.

use crate::arch::{Attention, Dense, Experts, Ffn, GateSource, Layer, Mixer, Projection, RouterInput, Skip, Spec};
use crate::model::{LayerWeights, MixerWeights, Model, Qkv, Stack, StateSpaceInput};
use std::sync::Mutex;
use tokki_quant::activation::{ActKind, Activations};
use tokki_quant::attention::{Partial, Queries, TILE};

/// Buffers of one session.
#[derive(Default)]
pub struct Scratch {
    /// The residual stream, `[n][E]`.
    pub(super) x: Vec<f32>,
    /// A branch's input after its norm, `[n][E]`.
    pub(super) h: Vec<f32>,
    /// A branch's output before it's added, `[n][E]`.
    pub(super) branch: Vec<f32>,
    /// Kept streams of block skips, `[n][E]` each.
    pub(super) kept: Vec<Vec<f32>>,
    /// Queries, `[n][H][k_dim]`.
    pub(super) q: Vec<f32>,
    /// Keys, `[n][KV][k_dim]`.
    pub(super) k: Vec<f32>,
    /// Values, `[n][KV][v_dim]`.
    pub(super) v: Vec<f32>,
    /// The stream at the layer's beginning, and at the pass's; the sum of several branches, and what a branch
    /// needs on the side; `[n][E]` each.
    pub(super) entering: Vec<f32>,
    pub(super) began: Vec<f32>,
    pub(super) sum: Vec<f32>,
    pub(super) side: Vec<f32>,
    /// Residual streams but the first, `[streams - 1][n][E]`.
    pub(super) streams: Vec<f32>,
    /// The input of the position before less the input, `[n][E]`; values of the first layer.
    pub(super) shifted: Vec<f32>,
    pub(super) first_values: Vec<f32>,
    /// Values that each layer has of its own for a token, `[n][layers][P]`.
    pub(super) per_layer: Vec<f32>,
    /// What multiplies the results of heads, `[n][H]` or `[n][H][v_dim]`.
    pub(super) gates: Vec<f32>,
    /// Attention's mix of values, `[n][H][v_dim]`.
    pub(super) mix: Vec<f32>,
    /// A second mix, for latent attention's expansion of it.
    pub(super) expanded: Vec<f32>,
    /// Cached entries that are being expanded, `[positions of a run][k_dim]`.
    pub(super) latents: Vec<f32>,
    /// A product that is taken apart or goes on into another: low-rank queries of latent attention, all inputs of a convolution
    /// or recurrence.
    pub(super) low: Vec<f32>,
    /// Queries of latent attention, `[n][H][nope + rope]`, and what they are in the space of the latents, `[n][H][kv_rank]`.
    pub(super) full_queries: Vec<f32>,
    pub(super) absorbed: Vec<f32>,
    /// A feed-forward between its products, `[n][F]` (of experts: one row per chosen expert), and the second product of one whose
    /// gate is cut by its whole row (`up`). Of a recurrence what its convolution or second product gives.
    pub(super) gate: Vec<f32>,
    pub(super) up: Vec<f32>,
    /// Outputs of chosen experts, `[n * used][E]`.
    pub(super) expert_out: Vec<f32>,
    /// Router logits, `[n][count]`; rates and decays of a delta rule's heads.
    pub(super) router: Vec<f32>,
    /// Quantized input of a branch, and of its second product.
    pub(super) input: Activations,
    pub(super) inner: Activations,
    /// Inputs of experts that were multiplied by their weights.
    pub(super) weighted: Activations,
    /// Attention's state: queries of each head, partial results of each tile, one set of buffers per thread.
    pub(super) queries: Vec<Queries>,
    pub(super) partials: Vec<Partial>,
    pub(super) workers: Vec<Mutex<AttendScratch>>,
    /// Logits of the rows asked for, `[rows][vocab]`.
    pub(super) logits: Vec<f32>,
}

impl Scratch {
    /// The first `len` logits of the last pass.
    pub(crate) fn logits(&self, len: usize) -> &[f32] {
        &self.logits[..len]
    }

    /// Values that its buffers hold, but for logits, quantized inputs and attention's state: what [`counted_values`] counts.
    #[cfg(feature = "testing")]
    pub(crate) fn values(&self) -> usize {
        let Self { x, h, branch, kept, entering, began, sum, side, streams, shifted, first_values, per_layer, .. } =
            self;
        let stream = [x, h, branch, entering, began, sum, side, streams, shifted, first_values, per_layer];
        stream.into_iter().chain(kept).map(Vec::len).sum::<usize>() + self.of_layers()
    }
}

/// THE BUFFERS whose width a layer decides, by their names in [`Scratch`].
macro_rules! widths {
    ($($buffer:ident)*) => {
        /// Values per token of each.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        struct Widths { $($buffer: usize,)* }

        impl Widths {
            /// Each the larger of both.
            fn max(self, other: Self) -> Self {
                Self { $($buffer: self.$buffer.max(other.$buffer),)* }
            }

            fn sum(self) -> usize {
                [$(self.$buffer),*].into_iter().sum()
            }
        }

        impl Scratch {
            /// Values that they hold.
            #[cfg(feature = "testing")]
            fn of_layers(&self) -> usize {
                [$(self.$buffer.len()),*].into_iter().sum()
            }
        }
    };
}

widths! { q k v gates mix expanded low full_queries absorbed gate up expert_out router }

impl Widths {
    fn of_mixer(mixer: &Mixer, w: &MixerWeights) -> Self {
        match (mixer, w) {
            (Mixer::Attention(a), MixerWeights::Attention(w)) => Self::of_attention(a, &w.qkv),
            (Mixer::Linear, _) => Self::default(),
            (Mixer::ShortConv(conv), _) => Self { low: 3 * conv.width, mix: conv.width, ..Self::default() },
            (Mixer::StateSpace(ssm), MixerWeights::StateSpace(w)) => {
                let (steps, rank, made) = match &w.rest {
                    StateSpaceInput::Joint => (w.dt_bias.len(), 0, 0),
                    StateSpaceInput::Projected { x, dt, .. } => (dt.rows(), dt.cols(), x.rows().max(2 * ssm.inner)),
                };
                let (low, up) = (w.input.rows(), ssm.conv_width());
                Self { low, up, k: steps, v: rank, gate: made, mix: ssm.inner, ..Self::default() }
            }
            (Mixer::Delta(delta), _) => {
                let (width, values) = (delta.conv_width(), delta.v_heads * delta.v_dim);
                let (k, v) = (delta.v_heads * delta.k_dim, delta.v_heads);
                let gate = values.max(k);
                Self { low: width, up: width, k, v, gate, router: 2 * v, gates: values, mix: values, ..Self::default() }
            }
            (Mixer::Lightning(l), _) => {
                let all = l.heads * l.dim;
                Self { low: 3 * all, gates: all, mix: all, ..Self::default() }
            }
            (Mixer::TimeMix(mix), MixerWeights::TimeMix(w)) => {
                let (e, kv) = (mix.width, mix.kv_heads * mix.dim);
                let low = w.blend.as_ref().map_or(0, |(first, _)| first.rows()).max(w.decay.0.rows());
                Self {
                    q: e,
                    k: kv,
                    v: kv,
                    gates: e,
                    mix: e,
                    expanded: e,
                    low,
                    gate: e,
                    up: low.max(e),
                    ..Self::default()
                }
            }
            (Mixer::ChannelMix(mix), _) => Self { gate: mix.width, gates: mix.embd, ..Self::default() },
            // Weights are bound by the specification.
            (Mixer::Attention(_) | Mixer::StateSpace(_) | Mixer::TimeMix(_), _) => Self::default(),
        }
    }

    fn of_attention(a: &Attention, qkv: &Qkv) -> Self {
        let [q, k, v] = [a.heads * a.k_dim, a.kv_heads * a.k_dim, a.kv_heads * a.v_dim];
        let gates =
            a.gate.map_or(0, |gate| if gate.from == GateSource::Heads { a.heads } else { q.max(a.heads * a.v_dim) });
        match (&a.proj, qkv) {
            (Projection::Latent(l), Qkv::Latent(latent)) => {
                let mix = a.heads * l.kv_rank.max(l.v_dim);
                let low = (a.heads * l.nope).max(l.q_rank.unwrap_or(0));
                let (absorbed, full_queries) = (a.heads * l.kv_rank, latent.q_b.rows());
                Self { q, k, gates, mix, expanded: mix, low, full_queries, absorbed, ..Self::default() }
            }
            _ => {
                let low = if a.gate.is_some_and(|gate| gate.from == GateSource::Query) { 2 * q } else { 0 };
                Self { q, k, v, gates, mix: a.heads * a.v_dim, low, ..Self::default() }
            }
        }
    }

    fn of_layer(embd: usize, layer: &Layer, w: &LayerWeights) -> Self {
        let mixers = layer.mixers.iter().zip(&w.mixers).map(|(mixer, w)| Self::of_mixer(mixer, w));
        let feeds = layer.feeds.iter().map(|feed| match &feed.ffn {
            Ffn::Dense(dense) => Self { gate: dense.width, up: second(dense), ..Self::default() },
            Ffn::Experts(experts) => {
                let width = (experts.used * experts.width).max(experts.shared.map_or(0, |shared| shared.width));
                let space = experts.latent.unwrap_or(embd);
                let router = experts.count * experts.router.per_group;
                let low = experts.latent.unwrap_or(0);
                Self { gate: width, up: bands(width), expert_out: experts.used * space, router, low, ..Self::default() }
            }
        });
        mixers.chain(feeds).fold(Self::default(), Self::max)
    }
}

/// Values per token of the second product of a feed-forward.
fn second(dense: &Dense) -> usize {
    if dense.sparsity.is_some() { dense.width } else { bands(dense.width) }
}

/// Values per token that threads hold of a second product with `width` rows: each a band, of which there are four a thread.
fn bands(width: usize) -> usize {
    width.div_ceil(4)
}

/// Values per token of all buffers of a pass of `model`, but for its quantized inputs and attention's partial results.
fn values_per_token(model: &Model) -> usize {
    let spec = &model.spec;
    let layers = spec.layers.iter().zip(&model.layers);
    let widest = layers.map(|(layer, w)| Widths::of_layer(spec.embd, layer, w)).fold(Widths::default(), Widths::max);
    let angles: usize = spec.ropes.iter().map(|rope| rope.dims).sum();
    let own = spec.embedding.per_layer.map_or(0, |len| 2 * len * spec.layers.len());
    let several = |layer: &Layer| layer.feeds.len() + layer.mixers.len() > 2 || !layer.ends.is_empty();
    let blended = |layer: &Layer| matches!(layer.mixers.first(), Some(Mixer::TimeMix(_)));
    let beside = if spec.layers.iter().any(|layer| several(layer) || blended(layer)) {
        4
    } else {
        let any = |asked: fn(&Layer) -> bool| usize::from(spec.layers.iter().any(asked));
        any(Layer::keeps_entering) + any(experts_aside)
    };
    let streams = spec.streams.map_or(0, |streams| 2 * streams.count + 2);
    // The stream, a branch's input and its output; what skips keep.
    (3 + beside + streams + kept_streams(spec) + weighed_inputs(spec)) * spec.embd + angles + own + widest.sum()
}

/// Inputs of experts for each token that are multiplied by their weights: as many as are chosen.
fn weighed_inputs(spec: &Spec) -> usize {
    let experts = spec.layers.iter().filter_map(Layer::experts);
    experts.filter(|experts| experts.weigh_input).map(|experts| experts.used).max().unwrap_or(0)
}

/// Whether something of a layer's experts is computed beside the stream.
fn experts_aside(layer: &Layer) -> bool {
    let aside =
        |experts: &Experts| experts.latent.is_some() || matches!(experts.router.input, RouterInput::Rescaled { .. });
    layer.experts().is_some_and(aside)
}

/// Streams that block skips keep.
fn kept_streams(spec: &Spec) -> usize {
    let slot = |skip: &Skip| match *skip {
        Skip::Save(slot) | Skip::Fill(slot) => slot + 1,
        Skip::Add(_) | Skip::Blend { .. } => 0,
    };
    spec.layers.iter().flat_map(|layer| &layer.skips).map(slot).max().unwrap_or(0)
}

/// Values that are counted for the buffers of a pass of `n` tokens, but for logits, quantized inputs and attention's state.
#[cfg(feature = "testing")]
pub(crate) fn counted_values(model: &Model, n: usize) -> usize {
    n * values_per_token(model)
}

/// Bytes of all buffers of a pass of `n` tokens in a session of `context`.
pub fn scratch_bytes(model: &Model, n: usize, context: usize) -> u64 {
    let spec = &model.spec;
    let partial = |attn: &Attention| {
        let tiles = context.min(attn.reach().unwrap_or(context)) / TILE + 1;
        attn.heads * tiles * (attn.v_dim + 2)
    };
    let partials = spec.layers.iter().filter_map(Layer::attention).map(partial).max().unwrap_or(0);
    (4 * (n * values_per_token(model) + partials + spec.vocab) + n * quantized(model)) as u64
}

/// Bytes per token of the quantized inputs of products: one buffer for what comes from the stream, one for what a
/// layer makes in between, each in every form that some weights ask for, and arranged for the kernels of many tokens.
fn quantized(model: &Model) -> usize {
    let of = |kind: ActKind| {
        let (bytes, arranged) = (kind.bytes_per_value(), kind.arranged_bytes_per_value());
        let reads = |stack: &Stack| stack.dtype().act() == kind;
        let mut inner = 0;
        // Formats of the products that read the stream at once: each may want another order.
        let mut formats = if reads(&model.output) { 1 } else { 0 };
        for index in 0..model.layers.len() {
            let between = between(model, index);
            let own = between.iter().filter(|(stack, _)| reads(stack));
            inner = own.map(|(stack, rows)| stack.cols() * rows).max().unwrap_or(0).max(inner);
            let is_between = |stack: &Stack| between.iter().any(|(other, _)| std::ptr::eq(*other, stack));
            let products = model.layer_products(index);
            let outer = products.iter().filter(|(stack, _)| reads(stack) && !is_between(stack));
            let mut outer: Vec<_> = outer.map(|(stack, _)| stack.dtype().name()).collect();
            outer.sort_unstable();
            outer.dedup();
            formats = outer.len().max(formats);
        }
        let outer = if formats > 0 { model.spec.embd } else { 0 };
        outer as f64 * (bytes + arranged * formats as f64) + inner as f64 * (bytes + arranged)
    };
    // In whatever form, they take no more than as they are.
    let forms = [ActKind::F32, ActKind::Block32, ActKind::Block256];
    forms.into_iter().map(of).sum::<f64>() as usize + 4 * weighed_inputs(&model.spec) * model.spec.embd
}

/// The products of a layer that do not read the stream, and how many rows of each token they read.
fn between(model: &Model, layer: usize) -> Vec<(&Stack, usize)> {
    let w = &model.layers[layer];
    let mut products: Vec<(&Stack, usize)> =
        w.mixers.iter().flat_map(|mixer| mixer.between()).map(|stack| (stack, stack.count())).collect();
    let feeds = w.feeds.iter().zip(&model.spec.layers[layer].feeds);
    let feeds = feeds.flat_map(|(feed, spec)| feed.ffn.products(&spec.ffn)).filter(|product| product.between);
    products.extend(feeds.map(|product| (product.stack, product.used)));
    products.extend(w.per_layer.iter().map(|w| (&w.proj, 1)));
    products
}

/// Buffers of one thread while it attends a block of tokens.
#[derive(Default)]
pub(super) struct AttendScratch {
    pub(super) queries: Queries,
    pub(super) partial: Partial,
    pub(super) total: Partial,
    pub(super) visible: Vec<std::ops::Range<u32>>,
    /// Of latent attention's expanded form: the transposed weights of a head's keys, keys, values, and a tile of them.
    pub(super) key_weights: Vec<u8>,
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
    pub(super) tile: Vec<u8>,
    /// What is added to the scores of a tile.
    pub(super) bias: Vec<f32>,
}

/// `buffer` with room for `len` values; what it held is of no interest.
pub(super) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        // New memory that comes as zeros, rather than the old copied and the rest written.
        *buffer = vec![0.0; len];
    }
    &mut buffer[..len]
}

crate::text::opaque!(Scratch);
