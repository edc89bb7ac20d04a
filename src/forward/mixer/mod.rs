//! What mixes positions: attention over the cache, or a state that each position updates.

mod attention;
mod conv;
mod delta;
mod mla;
mod mla_expanded;
mod recurrence;
mod ssm;
mod time_mix;

pub(super) use attention::FEW_TOKENS;

use super::Pass;
use super::product;
use super::scratch::{Scratch, sized};
use crate::arch::Mixer;
use crate::kv::KvCache;
use crate::model::{MixerWeights, Qkv, Stack};
use attention::Here;

/// One mixer of a layer, from the branch's input to its output. Its recurrent state begins `state` values into the layer's.
pub(super) fn run(
    pass: &Pass<'_>,
    s: &mut Scratch,
    caches: &mut [&mut KvCache],
    (layer, number): (usize, usize),
    state: usize,
) {
    let mixer = &pass.model.spec.layers[layer].mixers[number];
    let state = state..state + mixer.state_len();
    let (at, weights) = ((layer, state), &pass.model.layers[layer].mixers[number]);
    // Weights are bound by the specification.
    macro_rules! bound {
        ($kind:ident) => {{
            let MixerWeights::$kind(w) = weights else { return };
            w
        }};
    }
    match mixer {
        Mixer::Attention(a) => {
            let w = bound!(Attention);
            let here = Here { layer, a, w };
            match &w.qkv {
                Qkv::Heads { .. } => pass.heads(s, caches, here),
                Qkv::Latent(latent) => pass.latent(s, caches, here, latent),
            }
        }
        Mixer::Linear => {
            pass.product(bound!(Linear), &s.input, sized(&mut s.branch, pass.n * pass.model.spec.embd));
        }
        Mixer::ShortConv(conv) => pass.short_conv(s, caches, at, conv, bound!(ShortConv)),
        Mixer::StateSpace(ssm) => pass.state_space(s, caches, at, ssm, bound!(StateSpace)),
        Mixer::Delta(delta) => pass.delta(s, caches, at, delta, bound!(Delta)),
        Mixer::Lightning(l) => pass.lightning(s, caches, at, l, bound!(Lightning)),
        Mixer::TimeMix(mix) => pass.time_mix(s, caches, at, mix, bound!(TimeMix)),
        Mixer::ChannelMix(mix) => pass.channel_mix(s, caches, at, mix, bound!(ChannelMix)),
    }
}

impl Pass<'_> {
    /// The product that ends a mixer, of rows of `width` values in `s.mix`.
    fn output_of_mix(&self, s: &mut Scratch, layer: usize, output: &Stack, width: usize) {
        self.tell("final_output", layer, width, &s.mix);
        let Scratch { mix, inner, branch, .. } = s;
        self.quantize(&mix[..self.n * width], width, product::kinds([output]), inner);
        self.product(output, inner, sized(branch, self.n * self.model.spec.embd));
    }
}

/// `ln(1 + e^x)`, which is `x` from 20 on.
pub(super) fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { libm::log1pf(libm::expf(x)) }
}

/// The slope of head `head` of `heads` in ALiBi (arXiv 2108.12409): powers of `2^(-max / n)` for the largest power of two
/// `n` of heads, then odd powers of its root.
fn slope(max: f32, head: usize, heads: usize) -> f32 {
    let n = 1 << heads.max(1).ilog2();
    let (base, power) = if head < n { (max / n as f32, head + 1) } else { (max / 2.0 / n as f32, 2 * (head - n) + 1) };
    libm::exp2f(-base * power as f32)
}

/// The bucket of a distance in T5 (arXiv 1910.10683), for both directions: half of the buckets for keys after the query;
/// of each half, half for a distance each, half for distances up to 128 on a logarithmic scale.
fn bucket(query: usize, key: usize, buckets: usize) -> usize {
    const FARTHEST: f32 = 128.0;
    let half = buckets / 2;
    let (exact, distance) = (half / 2, query.abs_diff(key));
    let after = if key > query { half } else { 0 };
    if distance < exact {
        return after + distance;
    }
    let log = libm::logf(distance as f32 / exact as f32) / libm::logf(FARTHEST / exact as f32);
    after + (exact + (log * (half - exact) as f32) as usize).min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_halve_for_eight_heads() {
        let slopes: Vec<f32> = (0..8).map(|head| slope(8.0, head, 8)).collect();
        assert_eq!((slopes[0], slopes[7]), (0.5, 1.0 / 256.0));
        assert_eq!(slope(8.0, 8, 12), libm::exp2f(-0.5));
    }

    #[test]
    fn buckets_are_exact_near_and_shared_far() {
        assert_eq!([0, 1, 2].map(|back| bucket(50, 50 - back, 32)), [0, 1, 2]);
        assert_eq!(bucket(50, 51, 32), 17);
        assert_eq!(bucket(500, 0, 32), 15);
    }
}
