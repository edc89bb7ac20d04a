//! The mixers of WKV-6 (arXiv 2404.05892) and WKV-7 (arXiv 2503.14456): each position is blended with the one before it,
//! and a matrix per head keeps all of them.

use super::recurrence::States;
use crate::arch::{ChannelMix, TimeMix, TimeMixForm};
use crate::forward::norm;
use crate::forward::pass::Pass;
use crate::forward::product;
use crate::forward::scratch::{Scratch, sized};
use crate::kv::KvCache;
use crate::model::{ChannelMixWeights, SevenWeights, Stack, TimeMixPart, TimeMixWeights};
use std::ops::Range;
use tokki_quant::recurrent::{DeltaStep, WkvStep, lightning_step, wkv6_step, wkv7_step};
use tokki_quant::share::{Chunks, OutTiles};
use tokki_quant::{gates, norms, ops};

/// The logarithm of the slowest decay of WKV-7, `-e^-0.5`.
const SLOWEST: f32 = -0.606_531;

/// Smallest length of a removal key.
const MIN_LENGTH: f32 = 1e-12;

/// Which buffer a blended and multiplied input goes to.
type Buffer = fn(&mut Scratch) -> &mut Vec<f32>;

impl Pass<'_> {
    /// `s.shifted = previous input - input` of each row; the state becomes the last input.
    fn shift(&self, s: &mut Scratch, caches: &mut [&mut KvCache], layer: usize, state: Range<usize>) {
        let e = self.model.spec.embd;
        let shifted = sized(&mut s.shifted, self.n * e);
        for (place, cache) in self.places.iter().zip(caches) {
            let mut states = cache.state_mut();
            let last = &mut states.layer(layer)[state.clone()];
            for t in place.row..place.row + place.n {
                let (input, out) = (&s.h[t * e..][..e], &mut shifted[t * e..][..e]);
                let before = if t == place.row { &*last } else { &s.h[(t - 1) * e..][..e] };
                out.iter_mut().zip(before.iter().zip(input)).for_each(|(out, (before, x))| *out = before - x);
            }
            last.copy_from_slice(&s.h[(place.row + place.n - 1) * e..][..e]);
        }
    }

    /// `s.side = input + shifted * (lerp + more)`, quantized for products with `stack` in `s.inner`.
    fn blend(&self, s: &mut Scratch, lerp: &[f32], more: bool, stack: &Stack) {
        let e = self.model.spec.embd;
        let Scratch { h, shifted, side, gate, inner, .. } = s;
        let rows = Chunks::new(sized(side, self.n * e), e);
        let writer = inner.reset(product::kinds([stack]), self.n, e);
        self.lead.phase(self.n, &|_, t| {
            let row = rows.take(t);
            row.copy_from_slice(lerp);
            if more {
                ops::add(self.isa, row, &gate[t * e..][..e]);
            }
            gates::mul(self.isa, row, &shifted[t * e..][..e]);
            ops::add(self.isa, row, &h[t * e..][..e]);
            writer.write(self.isa, t, row);
        });
    }

    /// `second act(first x)` of the blended input in `s.inner`, by a low rank, into a buffer.
    fn low_rank(&self, s: &mut Scratch, (first, second): &(Stack, Stack), tanh: bool, out: Buffer, sigmoid: bool) {
        let n = self.n;
        let mut made = std::mem::take(&mut s.low);
        let low = sized(&mut made, n * first.rows());
        self.product(first, &s.inner, low);
        if tanh {
            gates::tanh(self.isa, low);
        }
        if sigmoid {
            ops::sigmoid(self.isa, low);
        }
        let mut input = std::mem::take(&mut s.weighted);
        self.quantize(low, first.rows(), product::kinds([second]), &mut input);
        let out = out(s);
        self.product(second, &input, sized(out, n * second.rows()));
        s.weighted = input;
        s.low = made;
    }

    /// From the branch's input to its output.
    pub(super) fn time_mix(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, state): (usize, Range<usize>),
        mix: &TimeMix,
        w: &TimeMixWeights,
    ) {
        let e = mix.width;
        self.shift(s, caches, layer, state.start..state.start + e);
        let matrices = state.start + e..state.end;
        match mix.form {
            TimeMixForm::Six { lerp, linear, .. } => self.six(s, caches, (layer, matrices), mix, w, (lerp, linear)),
            TimeMixForm::Seven { .. } => self.seven(s, caches, (layer, matrices), mix, w),
        }
        self.output_of_mix(s, layer, &w.output, e);
    }

    /// The five blends of WKV-6 depend on the input: `lerp_i + W2_i tanh(W1 x)`, into `s.gate` for blend `i` of five.
    fn learned_blend(&self, s: &mut Scratch, w: &TimeMixWeights, rank: usize, i: usize) {
        let Some((_, second)) = &w.blend else { return };
        let (n, e) = (self.n, self.model.spec.embd);
        let Scratch { up, low, gate, weighted, .. } = s;
        let rows = sized(low, n * rank);
        for (t, row) in rows.chunks_exact_mut(rank).enumerate() {
            row.copy_from_slice(&up[t * 5 * rank + i * rank..][..rank]);
        }
        self.quantize(rows, rank, product::kinds([second]), weighted);
        let out = sized(gate, n * e);
        product::run(self.lead, self.isa, &[product::Product::new((second, i), weighted, out, self.lead)]);
    }

    fn six(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, matrices): (usize, Range<usize>),
        mix: &TimeMix,
        w: &TimeMixWeights,
        (rank, linear): (usize, bool),
    ) {
        let (n, e, isa) = (self.n, mix.width, self.isa);
        let Some((first, _)) = &w.blend else { return };
        self.blend(s, &w.lerp_x, false, first);
        {
            let Scratch { inner, up, .. } = s;
            self.product(first, inner, sized(up, n * first.rows()));
            gates::tanh(isa, &mut up[..n * first.rows()]);
        }
        // In the order of the blends: decay, key, value, receptance, gate.
        let lerp = |i: usize| &w.lerps[i * e..][..e];
        self.learned_blend(s, w, rank, 0);
        self.blend(s, lerp(0), true, &w.decay.0);
        self.low_rank(s, &w.decay, true, |s| &mut s.expanded, false);
        let decays = Chunks::new(&mut s.expanded[..n * e], e);
        self.lead.phase(n, &|_, t| {
            let row = decays.take(t);
            ops::add(isa, row, &w.decay_bias);
            gates::exp(isa, row);
            ops::scale(isa, row, -1.0);
            gates::exp(isa, row);
        });
        drop(decays);
        let gate = match &w.part {
            TimeMixPart::Six { gate, .. } => gate,
            TimeMixPart::Seven(_) => return,
        };
        let products: [(usize, &Stack, Buffer); 4] = [
            (1, &w.key, |s| &mut s.k),
            (2, &w.value, |s| &mut s.v),
            (3, &w.receptance, |s| &mut s.q),
            (4, gate, |s| &mut s.gates),
        ];
        for (i, stack, into) in products {
            self.learned_blend(s, w, rank, i);
            self.blend(s, lerp(i), true, stack);
            let input = std::mem::take(&mut s.inner);
            self.product(stack, &input, sized(into(s), n * stack.rows()));
            s.inner = input;
        }
        self.six_steps(s, caches, (layer, matrices), mix, w, linear);
        self.finish_time(s, mix, w, linear);
    }

    fn six_steps(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, matrices): (usize, Range<usize>),
        mix: &TimeMix,
        w: &TimeMixWeights,
        linear: bool,
    ) {
        let (n, e, d, isa) = (self.n, mix.width, mix.dim, self.isa);
        let kv = mix.kv_heads * d;
        let bonus = match &w.part {
            TimeMixPart::Six { bonus, .. } => bonus.as_deref(),
            TimeMixPart::Seven(_) => None,
        };
        let Scratch { q, k, v, expanded: decays, mix: mixes, .. } = s;
        let (q, k, v, decays) = (&*q, &*k, &*v, &*decays);
        let states = States { layer, range: matrices, band: d * d };
        let tiles = OutTiles::new(sized(mixes, n * e), e, d);
        let begin = |head, _| (head, vec![0.0; d], vec![0.0; d]);
        self.recur(caches, states, &tiles, begin, |(head, key, scratch), state, t, out| {
            let (head, kv_head) = (*head, *head / (mix.heads / mix.kv_heads));
            let decay = &decays[t * e + head * d..][..d];
            let r = &q[t * e + head * d..][..d];
            key.copy_from_slice(&k[t * kv + kv_head * d..][..d]);
            let v = &v[t * kv + kv_head * d..][..d];
            if linear {
                key.iter_mut().zip(decay).for_each(|(k, w)| *k -= *k * w);
                let step = DeltaStep { decay, q: r, k: key, v, beta: 0.0 };
                lightning_step(isa, state, &step, scratch, out);
                ops::scale(isa, out, 1.0 / (d as f32).sqrt());
            } else if let Some(bonus) = bonus {
                let step = WkvStep { r, decay, k: key, v };
                wkv6_step(isa, state, &step, &bonus[head * d..][..d], out);
            }
        });
    }

    /// The norm of each head and the gate.
    fn finish_time(&self, s: &mut Scratch, mix: &TimeMix, w: &TimeMixWeights, linear: bool) {
        let e = mix.width;
        let made = &s.gates;
        let rows = Chunks::new(&mut s.mix[..self.n * e], e);
        self.lead.phase(self.n, &|_, t| {
            let row = rows.take(t);
            if let Some(weights) = &w.norm {
                norm::heads(self.isa, weights, mix.dim, row);
            }
            let gate = &made[t * e..][..e];
            if linear { gates::mul_sigmoid(self.isa, row, gate) } else { gates::mul_silu(self.isa, row, gate) }
        });
    }

    fn seven(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, matrices): (usize, Range<usize>),
        mix: &TimeMix,
        w: &TimeMixWeights,
    ) {
        let TimeMixPart::Seven(part) = &w.part else { return };
        let (n, e) = (self.n, mix.width);
        // In the order of the blends: receptance, decay, key, value, rate, gate.
        let lerp = |i: usize| &w.lerps[i * e..][..e];
        let products: [(usize, &Stack, Buffer); 3] =
            [(0, &w.receptance, |s| &mut s.q), (2, &w.key, |s| &mut s.k), (3, &w.value, |s| &mut s.v)];
        for (i, stack, into) in products {
            self.blend(s, lerp(i), false, stack);
            let input = std::mem::take(&mut s.inner);
            self.product(stack, &input, sized(into(s), n * e));
            s.inner = input;
        }
        self.first_values(s, e, lerp(3), part);
        self.blend(s, lerp(1), false, &w.decay.0);
        self.low_rank(s, &w.decay, true, |s| &mut s.expanded, false);
        self.blend(s, lerp(4), false, &part.rate.0.0);
        self.low_rank(s, &part.rate.0, false, |s| &mut s.up, false);
        if let Some(gate) = &part.gate {
            self.blend(s, lerp(5), false, &gate.0);
            self.low_rank(s, gate, false, |s| &mut s.gates, true);
        }
        self.seven_gates(s, mix, w, part);
        self.seven_steps(s, caches, (layer, matrices), mix);
        self.seven_outputs(s, mix, w, part);
    }

    /// Values with their share of those of the first layer; that layer's own are kept for the others.
    fn first_values(&self, s: &mut Scratch, e: usize, lerp: &[f32], part: &SevenWeights) {
        let (n, isa) = (self.n, self.isa);
        let Some((pair, bias)) = &part.value else {
            sized(&mut s.first_values, n * e).copy_from_slice(&s.v[..n * e]);
            return;
        };
        // The blend of values serves twice.
        self.blend(s, lerp, false, &pair.0);
        self.low_rank(s, pair, false, |s| &mut s.up, false);
        let Scratch { up, v, first_values, .. } = s;
        for (value, (share, first)) in
            v[..n * e].chunks_exact_mut(e).zip(up.chunks_exact_mut(e).zip(first_values.chunks_exact(e)))
        {
            ops::add(isa, share, bias);
            ops::sigmoid(isa, share);
            for (value, (share, first)) in value.iter_mut().zip(share.iter().zip(first)) {
                *value += (first - *value) * share;
            }
        }
    }

    /// Decays, rates, removal keys (into `s.gate`) and keys.
    fn seven_gates(&self, s: &mut Scratch, mix: &TimeMix, w: &TimeMixWeights, part: &SevenWeights) {
        let (n, e, isa) = (self.n, mix.width, self.isa);
        let Scratch { expanded, up, gate, k, .. } = s;
        let (decays, rates) = (Chunks::new(&mut expanded[..n * e], e), Chunks::new(&mut up[..n * e], e));
        let (removals, keys) = (Chunks::new(sized(gate, n * e), e), Chunks::new(&mut k[..n * e], e));
        self.lead.phase(n, &|_, t| {
            let (decay, rate, removal, key) = (decays.take(t), rates.take(t), removals.take(t), keys.take(t));
            ops::add(isa, decay, &w.decay_bias);
            ops::sigmoid(isa, decay);
            ops::scale(isa, decay, SLOWEST);
            gates::exp(isa, decay);
            ops::add(isa, rate, &part.rate.1);
            ops::sigmoid(isa, rate);
            removal.copy_from_slice(key);
            gates::mul(isa, removal, &part.k_k);
            for head in removal.chunks_exact_mut(mix.dim) {
                norms::unit_in_place(isa, head, MIN_LENGTH * MIN_LENGTH);
            }
            for (key, (rate, k_a)) in key.iter_mut().zip(rate.iter().zip(&part.k_a)) {
                *key += rate * *key * k_a - *key * k_a;
            }
            // From here on, what the removed part is written back with.
            gates::mul(isa, rate, removal);
        });
    }

    /// What was read from the states, normalized, with the share of each value that its own key gives, and gated.
    fn seven_outputs(&self, s: &mut Scratch, mix: &TimeMix, w: &TimeMixWeights, part: &SevenWeights) {
        let (n, e, isa) = (self.n, mix.width, self.isa);
        let Scratch { q, k, v, mix: mixes, gates: made, .. } = s;
        let rows = Chunks::new(&mut mixes[..n * e], e);
        self.lead.phase(n, &|_, t| {
            let row = rows.take(t);
            if let Some(weights) = &w.norm {
                norm::heads(isa, weights, mix.dim, row);
            }
            for (head, out) in row.chunks_exact_mut(mix.dim).enumerate() {
                let own = t * e + head * mix.dim..t * e + (head + 1) * mix.dim;
                let weights = &part.r_k[head * mix.dim..][..mix.dim];
                let terms = q[own.clone()].iter().zip(&k[own.clone()]).zip(weights);
                let share: f32 = terms.map(|((r, k), w)| r * k * w).sum();
                ops::add_scaled(isa, out, &v[own], share);
            }
            if part.gate.is_some() {
                gates::mul(isa, row, &made[t * e..][..e]);
            }
        });
    }

    fn seven_steps(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, matrices): (usize, Range<usize>),
        mix: &TimeMix,
    ) {
        let (n, e, d) = (self.n, mix.width, mix.dim);
        let Scratch { q, k, v, expanded: decays, up: rates, gate: removals, mix: mixes, .. } = s;
        let (q, k, v, decays, rates, removals) = (&*q, &*k, &*v, &*decays, &*rates, &*removals);
        let states = States { layer, range: matrices, band: d * d };
        let tiles = OutTiles::new(sized(mixes, n * e), e, d);
        let begin = |head, _| (head, vec![0.0; d]);
        self.recur(caches, states, &tiles, begin, |(head, scratch), state, t, out| {
            let own = t * e + *head * d..t * e + (*head + 1) * d;
            let of = |values: &'_ [f32]| -> Vec<f32> { values[own.clone()].to_vec() };
            let (r, decay, k, v) = (of(q), of(decays), of(k), of(v));
            let step = WkvStep { r: &r, decay: &decay, k: &k, v: &v };
            let removed = (&removals[own.clone()], &rates[own.clone()]);
            wkv7_step(self.isa, state, &step, removed, scratch, out);
        });
    }

    /// `value relu(key x_k)^2`, times `sigmoid(receptance x_r)` where there is one.
    pub(super) fn channel_mix(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, state): (usize, Range<usize>),
        mix: &ChannelMix,
        w: &ChannelMixWeights,
    ) {
        let (n, e) = (self.n, mix.embd);
        self.shift(s, caches, layer, state);
        self.blend(s, &w.lerp_k, false, &w.key);
        let input = std::mem::take(&mut s.inner);
        self.product(&w.key, &input, sized(&mut s.gate, n * mix.width));
        s.inner = input;
        gates::relu_squared(self.isa, &mut s.gate[..n * mix.width]);
        if let Some((lerp, receptance)) = &w.receptance {
            self.blend(s, lerp, false, receptance);
            let input = std::mem::take(&mut s.inner);
            self.product(receptance, &input, sized(&mut s.gates, n * e));
            s.inner = input;
        }
        let Scratch { gate, gates: made, inner, branch, .. } = s;
        self.quantize(&gate[..n * mix.width], mix.width, product::kinds([&w.value]), inner);
        let out = sized(branch, n * e);
        self.product(&w.value, inner, out);
        if w.receptance.is_some() {
            gates::mul_sigmoid(self.isa, out, &made[..n * e]);
        }
    }
}
