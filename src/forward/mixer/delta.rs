//! Delta rules (arXiv 2412.06464, 2510.26692) and linear attention with a fixed decay (arXiv 2401.04658).
//!
//! Positions follow each other in order, heads are shared out to the threads: a prompt gives the same bits as its tokens one
//! by one.

use super::curves;
use super::recurrence::States;
use crate::arch::{Delta, DeltaForm, Lightning};
use crate::forward::norm;
use crate::forward::pass::Pass;
use crate::forward::product::{self, Product};
use crate::forward::scratch::{Scratch, sized};
use crate::kv::KvCache;
use crate::model::{DeltaDecay, DeltaWeights, LightningWeights, Stack};
use std::ops::Range;
use tokki_quant::recurrent::{DeltaStep, delta_step, lightning_step};
use tokki_quant::share::{Chunks, OutTiles};
use tokki_quant::{gates, norms, ops};

impl Pass<'_> {
    /// From the branch's input to its output.
    pub(super) fn delta(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, state): (usize, Range<usize>),
        delta: &Delta,
        w: &DeltaWeights,
    ) {
        let (n, width) = (self.n, delta.conv_width());
        self.side_by_side(s, &w.qkv, width);
        let convolved = state.start..state.start + (delta.taps - 1) * width;
        let scanned = convolved.end..state.end;
        {
            let Scratch { low, up, .. } = s;
            self.convolve(caches, (layer, convolved), &w.taps, (low, width), (sized(up, n * width), true));
        }
        self.tell("conv_output_silu", layer, width, &s.up);
        self.unit_heads(s, delta);
        match &w.decay {
            DeltaDecay::PerHead { gate, beta_alpha } => self.decay_per_head(s, delta, w, gate, beta_alpha),
            DeltaDecay::PerChannel { beta, f, g } => self.decay_per_channel(s, delta, w, (beta, f, g)),
        }
        self.tell("beta", layer, delta.v_heads, &s.v);
        self.delta_steps(s, caches, (layer, scanned), delta);
        let d = delta.v_heads * delta.v_dim;
        let rows = Chunks::new(&mut s.mix[..n * d], d);
        let made = &s.gates;
        let sigmoid = matches!(delta.form, DeltaForm::PerChannel { .. });
        self.lead.phase(n, &|_, t| {
            let row = rows.take(t);
            for head in row.chunks_exact_mut(delta.v_dim) {
                ops::rms_norm_in_place(self.isa, head, &w.norm, delta.eps);
            }
            let gate = &made[t * d..][..d];
            if sigmoid { gates::mul_sigmoid(self.isa, row, gate) } else { gates::mul_silu(self.isa, row, gate) }
        });
        drop(rows);
        self.output_of_mix(s, layer, &w.output, d);
    }

    /// Products of the branch's input, one beside the other, into `s.low` of `[n][width]`.
    fn side_by_side(&self, s: &mut Scratch, products: &[Stack], width: usize) {
        if let [one] = products {
            return self.product(one, &s.input, sized(&mut s.low, self.n * width));
        }
        let mut at = 0;
        for stack in products {
            let rows = stack.rows();
            self.product(stack, &s.input, sized(&mut s.gate, self.n * rows));
            let (made, all) = (&s.gate, sized(&mut s.low, self.n * width));
            for (row, made) in all.chunks_exact_mut(width).zip(made.chunks_exact(rows)) {
                row[at..at + rows].copy_from_slice(made);
            }
            at += rows;
        }
    }

    /// Queries and keys become vectors of length 1.
    fn unit_heads(&self, s: &mut Scratch, delta: &Delta) {
        let width = delta.conv_width();
        let keys = 2 * delta.k_heads * delta.k_dim;
        let rows = Chunks::new(&mut s.up[..self.n * width], width);
        self.lead.phase(self.n, &|_, t| {
            let heads = rows.take(t)[..keys].chunks_exact_mut(delta.k_dim);
            heads.for_each(|head| norms::unit_in_place(self.isa, head, delta.eps));
        });
    }

    /// Decays of all heads into `s.k`, betas into `s.v`, the gate into `s.gates`.
    fn decay_per_head(&self, s: &mut Scratch, delta: &Delta, w: &DeltaWeights, gate: &Stack, beta_alpha: &[Stack]) {
        let (n, heads) = (self.n, delta.v_heads);
        let Scratch { input, gates, gate: first, router: second, k: decays, v: betas, .. } = s;
        let mut products = vec![Product::new((gate, 0), input, sized(gates, n * gate.rows()), self.lead)];
        let outs = [&mut *first, &mut *second];
        for (stack, out) in beta_alpha.iter().zip(outs) {
            products.push(Product::new((stack, 0), input, sized(out, n * stack.rows()), self.lead));
        }
        product::run(self.lead, self.isa, &products);
        drop(products);
        let (decays, betas) = (sized(decays, n * heads), sized(betas, n * heads));
        let joint = beta_alpha.len() == 1;
        let per_key = heads / delta.k_heads;
        for t in 0..n {
            for head in 0..heads {
                let (beta, alpha) = if joint {
                    // Of each key head: the betas of its value heads, then their alphas.
                    let at = t * 2 * heads + head / per_key * 2 * per_key + head % per_key;
                    (first[at], first[at + per_key])
                } else {
                    (first[t * heads + head], second[t * heads + head])
                };
                betas[t * heads + head] = beta;
                decays[t * heads + head] = libm::expf(w.a[head] * curves::softplus(alpha + w.dt_bias[head]));
            }
        }
        ops::sigmoid(self.isa, betas);
    }

    /// Decays of all channels of keys into `s.k`, betas into `s.v`, the gate into `s.gates`.
    fn decay_per_channel(
        &self,
        s: &mut Scratch,
        delta: &Delta,
        w: &DeltaWeights,
        (beta, f, g): (&Stack, &[Stack], &[Stack]),
    ) {
        let (n, heads, len) = (self.n, delta.v_heads, delta.k_heads * delta.k_dim);
        self.product(beta, &s.input, sized(&mut s.v, n * heads));
        ops::sigmoid(self.isa, &mut s.v[..n * heads]);
        for (products, into_gate) in [(f, false), (g, true)] {
            let Scratch { input, inner, gate: between, k, gates, .. } = s;
            let out = if into_gate { gates } else { k };
            match products {
                [one] => self.product(one, input, sized(out, n * one.rows())),
                [first, second] => {
                    self.product(first, input, sized(between, n * first.rows()));
                    self.quantize(&between[..n * first.rows()], first.rows(), product::kinds([second]), inner);
                    self.product(second, inner, sized(out, n * second.rows()));
                }
                _ => {}
            }
        }
        let bound = match delta.form {
            DeltaForm::PerChannel { bound, .. } => bound,
            DeltaForm::Gated { .. } => None,
        };
        let decays = Chunks::new(&mut s.k[..n * len], len);
        self.lead.phase(n, &|_, t| {
            let row = decays.take(t);
            ops::add(self.isa, row, &w.dt_bias);
            for (head, a) in row.chunks_exact_mut(delta.k_dim).zip(&w.a) {
                match bound {
                    Some(bound) => {
                        ops::scale(self.isa, head, *a);
                        ops::sigmoid(self.isa, head);
                        ops::scale(self.isa, head, bound);
                    }
                    None => head.iter_mut().for_each(|x| *x = a * curves::softplus(*x)),
                }
            }
            gates::exp(self.isa, row);
        });
    }

    /// All heads over all positions, into `s.mix`.
    fn delta_steps(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, range): (usize, Range<usize>),
        delta: &Delta,
    ) {
        let (n, width, heads) = (self.n, delta.conv_width(), delta.v_heads);
        let (keys, values) = (delta.k_heads * delta.k_dim, heads * delta.v_dim);
        let per_key = heads / delta.k_heads;
        let tiled = matches!(delta.form, DeltaForm::Gated { tiled: true, .. });
        let decays_per_head = if matches!(delta.form, DeltaForm::Gated { .. }) { 1 } else { delta.k_dim };
        let Scratch { up, k: decays, v: betas, mix, .. } = s;
        let (up, decays, betas) = (&*up, &*decays, &*betas);
        let states = States { layer, range, band: delta.k_dim * delta.v_dim };
        let tiles = OutTiles::new(sized(mix, n * values), values, delta.v_dim);
        let scale = 1.0 / (delta.k_dim as f32).sqrt();
        let begin = |head, _| (head, vec![0.0; delta.v_dim]);
        self.recur(caches, states, &tiles, begin, |(head, scratch), state, t, out| {
            let head = *head;
            let key_head = if tiled { head % delta.k_heads } else { head / per_key };
            let row = &up[t * width..][..width];
            let step = DeltaStep {
                decay: &decays[(t * heads + head) * decays_per_head..][..decays_per_head],
                q: &row[key_head * delta.k_dim..][..delta.k_dim],
                k: &row[keys + key_head * delta.k_dim..][..delta.k_dim],
                v: &row[2 * keys + head * delta.v_dim..][..delta.v_dim],
                beta: betas[t * heads + head],
            };
            delta_step(self.isa, state, &step, scratch, out);
            ops::scale(self.isa, out, scale);
        });
    }

    /// Linear attention, from the branch's input to its output.
    pub(super) fn lightning(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, range): (usize, Range<usize>),
        l: &Lightning,
        w: &LightningWeights,
    ) {
        let (n, d) = (self.n, l.heads * l.dim);
        {
            let Scratch { input, low, gates, .. } = s;
            let qkv = Product::new((&w.qkv, 0), input, sized(low, n * 3 * d), self.lead);
            let gate = Product::new((&w.gate, 0), input, sized(gates, n * d), self.lead);
            product::run(self.lead, self.isa, &[qkv, gate]);
        }
        let rows = Chunks::new(&mut s.low[..n * 3 * d], 3 * d);
        self.lead.phase(n, &|_, t| gates::silu(self.isa, rows.take(t)));
        drop(rows);
        let low = &s.low;
        let states = States { layer, range, band: l.dim * l.dim };
        let tiles = OutTiles::new(sized(&mut s.mix, n * d), d, l.dim);
        let begin = |head, _| {
            let decay = [libm::expf(-curves::slope(8.0, head, l.heads) * l.slope)];
            (head, decay, vec![0.0; l.dim])
        };
        self.recur(caches, states, &tiles, begin, |(head, decay, scratch), state, t, out| {
            let row = &low[t * 3 * d + *head * 3 * l.dim..][..3 * l.dim];
            let (q, rest) = row.split_at(l.dim);
            let (k, v) = rest.split_at(l.dim);
            let step = DeltaStep { decay: &*decay, q, k, v, beta: 0.0 };
            lightning_step(self.isa, state, &step, scratch, out);
        });
        drop(tiles);
        let rows = Chunks::new(&mut s.mix[..n * d], d);
        let made = &s.gates;
        self.lead.phase(n, &|_, t| {
            let row = rows.take(t);
            norm::in_place(self.isa, &w.norm, row);
            gates::mul_sigmoid(self.isa, row, &made[t * d..][..d]);
        });
        drop(rows);
        self.output_of_mix(s, layer, &w.output, d);
    }
}
