//! What one token costs: bytes of weights read and multiply-adds done. `bench` holds speeds against it, `plan` predicts
//! from it.

use super::{FfnWeights, Gated, Model, Qkv, Stack};
use crate::arch::Ffn;

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

fn gated(w: &Gated, used: usize) -> [(&Stack, usize); 3] {
    [(&w.gate, used), (&w.up, used), (&w.down, used)]
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
        let (w, spec) = (&self.layers[layer], &self.spec.layers[layer]);
        let mut products = Vec::new();
        match &w.qkv {
            Qkv::Heads { q, k, v } => products.extend([(q, 1), (k, 1), (v, 1)]),
            Qkv::Latent(l) => {
                products.extend(l.q_a.iter().map(|(q_a, _)| (q_a, 1)));
                products.extend([(&l.q_b, 1), (&l.kv_a, 1), (&l.k_b, l.k_b.count()), (&l.v_b, l.v_b.count())]);
            }
        }
        products.push((&w.attn_output, 1));
        match (&w.ffn, &spec.ffn) {
            (FfnWeights::Dense(w), _) => products.extend(gated(w, 1)),
            (FfnWeights::Experts(w), Ffn::Experts { used, .. }) => {
                products.push((&w.router, 1));
                products.extend(w.shared.iter().flat_map(|shared| gated(shared, 1)));
                products.extend(gated(&w.experts, *used));
            }
            (FfnWeights::Experts(w), Ffn::Dense { .. }) => products.push((&w.router, 1)),
        }
        products
    }

    /// The cost of one token.
    pub fn cost(&self) -> Cost {
        let mut cost = Cost { bytes: self.output.matrix_bytes() as u64, layer_macs: 0, head_macs: macs(&self.output) };
        for (stack, used) in self.products() {
            cost.bytes += stack.matrix_bytes() as u64 * used as u64;
            cost.layer_macs += macs(stack) * used as u64;
        }
        cost
    }
}
