//! What one token costs: bytes of weights read and multiply-adds done. `bench` holds speeds against it, `plan` predicts
//! from it.

use super::{DeltaDecay, LayerWeights, MixerWeights, Model, Qkv, Stack, StateSpaceInput, TimeMixPart};
use crate::arch::Feed;

/// Work of one token, attention over the cache not included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of weights that decoding one token reads.
    pub bytes: u64,
    /// Multiply-adds in the layers.
    pub layer_macs: u64,
    /// Multiply-adds in the head, which prefill does for the last token only.
    pub head_macs: u64,
}

/// Multiply-adds of one matrix of the stack with one token.
pub fn macs(stack: &Stack) -> u64 {
    stack.rows() as u64 * stack.cols() as u64
}

/// The products of what mixes positions, each with how many of its matrices one token meets: those that read the layer's
/// input first.
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

impl LayerWeights {
    fn products(&self, feeds: &[Feed]) -> Vec<(&Stack, usize)> {
        let mut products = Vec::new();
        for mixer in &self.mixers {
            let stacks = mixer.inputs().into_iter().chain(mixer.between());
            products.extend(stacks.map(|stack| (stack, stack.count())));
        }
        let feeds = self.feeds.iter().zip(feeds).flat_map(|(feed, spec)| feed.ffn.products(&spec.ffn));
        products.extend(feeds.map(|product| (product.stack, product.used)));
        products.extend(
            self.streams
                .iter()
                .flat_map(|w| [(&w.router, 1), (&w.laurel.0, 1), (&w.laurel.1, 1), (&w.own.gate, 1), (&w.own.proj, 1)]),
        );
        products.extend(self.per_layer.iter().flat_map(|w| [(&w.gate, 1), (&w.proj, 1)]));
        products
    }
}

impl Model {
    /// The products of all layers, each with how many of its matrices one token meets (of a mixture of experts only the
    /// chosen ones).
    pub fn products(&self) -> Vec<(&Stack, usize)> {
        (0..self.layers.len()).flat_map(|layer| self.layer_products(layer)).collect()
    }

    /// The products of one layer, as [`Model::products`] lists them, in the order of their use.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn layer_products(&self, layer: usize) -> Vec<(&Stack, usize)> {
        self.layers[layer].products(&self.spec.layers[layer].feeds)
    }

    /// Bytes of weights on the heap: those that had to be made another way than they lie in the file.
    pub fn heap_bytes(&self) -> u64 {
        self.products().iter().map(|(stack, _)| stack.heap_bytes()).sum()
    }

    /// The cost of one token.
    pub fn cost(&self) -> Cost {
        let mut cost = Cost { bytes: self.output.matrix_bytes() as u64, layer_macs: 0, head_macs: macs(&self.output) };
        let streams = self.streams.iter().flat_map(|(to, back)| [(to, to.count()), (back, back.count())]);
        let per_layer = self.per_layer.iter().map(|w| (&w.proj, 1)).chain(streams);
        for (stack, used) in self.products().into_iter().chain(per_layer) {
            cost.bytes += stack.matrix_bytes() as u64 * used as u64;
            cost.layer_macs += macs(stack) * used as u64;
        }
        cost
    }
}
