//! What one token costs: bytes of weights read and multiply-adds done. `bench` holds speeds against it, `plan` predicts
//! from it.

use super::{LayerWeights, Model, Stack};
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
