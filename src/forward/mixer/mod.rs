//! What mixes positions: attention over the cache, or a state that each position updates.

mod attention;
mod conv;
pub(super) mod curves;
mod delta;
mod mla;
mod mla_expanded;
mod recurrence;
mod ssm;
mod time_mix;

pub(super) use attention::FEW_TOKENS;

use super::pass::Pass;
use super::scratch::{Scratch, sized};
use crate::arch::Mixer;
use crate::kv::KvCache;
use crate::model::{MixerWeights, Qkv};
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
