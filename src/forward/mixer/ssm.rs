//! Selective state spaces: with a decay per channel (S6, arXiv 2312.00752) and per head (SSD, arXiv 2405.21060).
//!
//! Positions follow each other in order, heads and channels are shared out to the threads: a prompt gives the same bits as
//! its tokens one by one.

use super::curves::softplus;
use super::recurrence::States;
use crate::arch::{SsmForm, StateSpace};
use crate::forward::pass::Pass;
use crate::forward::scratch::{Scratch, sized};
use crate::forward::{norm, product};
use crate::kv::KvCache;
use crate::model::{NormWeights, StateSpaceInput, StateSpaceWeights};
use std::ops::Range;
use tokki_quant::fma::fma;
use tokki_quant::recurrent::{scan_channel, scan_head};
use tokki_quant::share::{Chunks, OutTiles};
use tokki_quant::{gates, ops};

/// Channels of one piece of work where each has a state of its own.
const STATE_CHANNELS: usize = 32;

/// Where the parts of a row lie.
struct Layout {
    /// Values of a row of the convolved input.
    stride: usize,
    /// First value of B and C in the row they are in.
    b: usize,
    c: usize,
    /// Values of a row of B and C.
    bc_stride: usize,
}

impl Pass<'_> {
    /// From the branch's input to its output.
    pub(super) fn state_space(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, state): (usize, Range<usize>),
        ssm: &StateSpace,
        w: &StateSpaceWeights,
    ) {
        let (n, d, width) = (self.n, ssm.inner, ssm.conv_width());
        let all = w.input.rows();
        self.product(&w.input, &s.input, sized(&mut s.low, n * all));
        let convolved = state.start..state.start + (ssm.taps - 1) * width;
        let scanned = convolved.end..state.end;
        if let SsmForm::Projected { heads, .. } = ssm.form {
            self.part_heads(s, heads, d);
        }
        // z, x, B, C, dt where heads share a decay; x, z where channels have their own.
        let x_at = match ssm.form {
            SsmForm::Heads { .. } => d,
            SsmForm::Channels { .. } | SsmForm::Projected { .. } => 0,
        };
        {
            let Scratch { low, up, .. } = s;
            let out = sized(up, n * width);
            self.convolve(caches, (layer, convolved), &w.taps, (&low[x_at..], all), (out, true));
        }
        self.tell("conv_output_silu", layer, width, &s.up);
        match ssm.form {
            SsmForm::Heads { heads, groups, .. } => {
                self.time_steps(s, all, d + width, w, heads);
                let n_state = ssm.state;
                let layout = Layout { stride: width, b: d, c: d + groups * n_state, bc_stride: width };
                self.scan_heads(s, caches, (layer, scanned), ssm, w, (heads, groups), &layout);
                self.gate(s, (all, 0), d, w.norm.as_deref().map(|norm| (norm, ssm)));
            }
            SsmForm::Channels { rank, .. } => {
                self.projected(s, ssm, w, rank, [0, rank, rank + ssm.state]);
                self.scan_channels(s, caches, (layer, scanned), ssm, w, rank);
                self.gate(s, (all, d), d, None);
            }
            SsmForm::Projected { heads, rank, .. } => {
                self.projected(s, ssm, w, rank, [2 * ssm.state, 0, ssm.state]);
                let bc_stride = rank + 2 * ssm.state;
                let layout = Layout { stride: d, b: 0, c: ssm.state, bc_stride };
                self.scan_heads(s, caches, (layer, scanned), ssm, w, (heads, 1), &layout);
                self.gate(s, (all, d), d, None);
            }
        }
        self.output_of_mix(s, layer, &w.output, d);
    }

    /// Rows of `[z | x]` per head become `[x of all heads | z of all heads]`.
    fn part_heads(&self, s: &mut Scratch, heads: usize, d: usize) {
        let len = d / heads;
        let rows = Chunks::new(&mut s.low[..self.n * 2 * d], 2 * d);
        let others = Chunks::new(sized(&mut s.gate, self.n * 2 * d), 2 * d);
        self.lead.phase(self.n, &|_, t| {
            let (row, other) = (rows.take(t), others.take(t));
            other.copy_from_slice(row);
            for (head, pair) in other.chunks_exact(2 * len).enumerate() {
                row[head * len..][..len].copy_from_slice(&pair[len..]);
                row[d + head * len..][..len].copy_from_slice(&pair[..len]);
            }
        });
    }

    /// Time steps of all heads into `s.k`, `[n][heads]`, from value `at` on of the rows of the input product.
    fn time_steps(&self, s: &mut Scratch, all: usize, at: usize, w: &StateSpaceWeights, heads: usize) {
        let steps = sized(&mut s.k, self.n * heads);
        for (t, row) in steps.chunks_exact_mut(heads).enumerate() {
            for (h, step) in row.iter_mut().enumerate() {
                *step = softplus(s.low[t * all + at + h] + w.dt_bias[h]);
            }
        }
    }

    /// B, C and the time step from the convolved input: `s.gate` gets the product's rows, normed; `s.k` the time steps.
    /// `parts` is where time step, B and C lie.
    fn projected(&self, s: &mut Scratch, ssm: &StateSpace, w: &StateSpaceWeights, rank: usize, parts: [usize; 3]) {
        let StateSpaceInput::Projected { x, dt, norms } = &w.rest else { return };
        let (n, d, rows) = (self.n, ssm.inner, x.rows());
        let Scratch { up, gate, inner, k, v, .. } = s;
        self.quantize(&up[..n * d], d, product::kinds([&**x]), inner);
        self.product(x, inner, sized(gate, n * rows));
        if let Some(norms) = norms {
            let made = Chunks::new(&mut gate[..n * rows], rows);
            self.lead.phase(n, &|_, t| {
                let row = made.take(t);
                for (weights, at) in norms.iter().zip(parts) {
                    let NormWeights { weight, .. } = weights;
                    norm::in_place(self.isa, weights, &mut row[at..at + weight.len()]);
                }
            });
        }
        let low = sized(v, n * rank);
        for (t, row) in low.chunks_exact_mut(rank).enumerate() {
            row.copy_from_slice(&gate[t * rows + parts[0]..][..rank]);
        }
        self.quantize(low, rank, product::kinds([&**dt]), inner);
        let steps = sized(k, n * dt.rows());
        self.product(dt, inner, steps);
        let steps = Chunks::new(steps, dt.rows());
        self.lead.phase(n, &|_, t| {
            steps.take(t).iter_mut().zip(&w.dt_bias).for_each(|(step, bias)| *step = softplus(*step + bias));
        });
    }

    /// All heads over all positions, into `s.mix`.
    #[expect(clippy::too_many_arguments, reason = "what is computed, with what, where it lies")]
    fn scan_heads(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, range): (usize, Range<usize>),
        ssm: &StateSpace,
        w: &StateSpaceWeights,
        (heads, groups): (usize, usize),
        layout: &Layout,
    ) {
        let (n, d, values) = (self.n, ssm.inner, ssm.state);
        let len = d / heads;
        let Scratch { up, gate, k: steps, mix, .. } = s;
        let shared = if matches!(w.rest, StateSpaceInput::Joint) { &*up } else { &*gate };
        let (x, steps) = (&*up, &*steps);
        let states = States { layer, range, band: len * values };
        let tiles = OutTiles::new(sized(mix, n * d), d, len);
        self.recur(
            caches,
            states,
            &tiles,
            |head, _| head,
            |&mut head, state, t, out| {
                let group = head / (heads / groups);
                let step = steps[t * heads + head];
                let row = &shared[t * layout.bc_stride..][..layout.bc_stride];
                let b = &row[layout.b + group * values..][..values];
                let c = &row[layout.c + group * values..][..values];
                let x = &x[t * layout.stride + head * len..][..len];
                scan_head(self.isa, state, (libm::expf(step * w.a[head]), step), (b, c), x, out);
                ops::add_scaled(self.isa, out, x, w.d[head]);
            },
        );
    }

    /// All channels over all positions, into `s.mix`.
    fn scan_channels(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, range): (usize, Range<usize>),
        ssm: &StateSpace,
        w: &StateSpaceWeights,
        rank: usize,
    ) {
        let (n, d, values) = (self.n, ssm.inner, ssm.state);
        let rows = rank + 2 * values;
        let Scratch { up: x, gate, k: steps, mix, .. } = s;
        let (x, gate, steps) = (&*x, &*gate, &*steps);
        let states = States { layer, range, band: STATE_CHANNELS * values };
        let tiles = OutTiles::new(sized(mix, n * d), d, STATE_CHANNELS);
        self.recur(
            caches,
            states,
            &tiles,
            |_, channels| channels,
            |channels, state, t, out| {
                let row = &gate[t * rows..][..rows];
                let (b, c) = (&row[rank..rank + values], &row[rank + values..]);
                let own = state.chunks_exact_mut(values).zip(channels.clone());
                for ((state, channel), out) in own.zip(out) {
                    let (x, step) = (x[t * d + channel], steps[t * d + channel]);
                    let a = &w.a[channel * values..][..values];
                    let y = scan_channel(self.isa, state, a, (b, c), x, step);
                    *out = fma(x, w.d[channel], y);
                }
            },
        );
    }

    /// `s.mix` times silu of the gate, which begins `at` values into the rows of the input product; then the norm of each
    /// group.
    fn gate(&self, s: &mut Scratch, (all, at): (usize, usize), d: usize, norm: Option<(&[f32], &StateSpace)>) {
        let low = &s.low;
        let rows = Chunks::new(&mut s.mix[..self.n * d], d);
        self.lead.phase(self.n, &|_, t| {
            let row = rows.take(t);
            gates::mul_silu(self.isa, row, &low[t * all + at..][..d]);
            if let Some((weights, StateSpace { form: SsmForm::Heads { groups, norm: Some(eps), .. }, .. })) = norm {
                let len = d / groups;
                for (part, weights) in row.chunks_exact_mut(len).zip(weights.chunks_exact(len)) {
                    ops::rms_norm_in_place(self.isa, part, weights, *eps);
                }
            }
        });
    }
}
