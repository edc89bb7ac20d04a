//! AltUp (arXiv 2301.13310): several residual streams of which each layer computes one, predicts and corrects the others;
//! and LAuReL (arXiv 2411.07501), a low-rank path beside attention.
//!
//! Stream 0 is `s.x`; the others are `s.streams`, `[streams - 1][n][E]`.

use super::pass::Pass;
use super::scratch::{Scratch, sized};
use super::{norm, product};
use crate::model::{AltUpWeights, Stack};
use tokki_quant::share::Chunks;
use tokki_quant::{gates, ops};

impl Pass<'_> {
    /// The other streams begin as products of the first, as long as it.
    pub(super) fn begin_streams(&self, s: &mut Scratch) {
        let Some((stack, _)) = &self.model.streams else { return };
        let (n, e) = (self.n, self.model.spec.embd);
        let Scratch { x, input, streams, .. } = s;
        self.quantize(&x[..n * e], e, product::kinds([stack]), input);
        let made = sized(streams, stack.count() * n * e);
        for (i, out) in made.chunks_exact_mut(n * e).enumerate() {
            product::run(self.lead, self.isa, &[product::Product::new((stack, i), input, out, self.lead)]);
        }
        self.as_long_as(made, x);
    }

    /// Rows of `streams`, `[streams][n][E]`, get the length of the rows of `x`.
    fn as_long_as(&self, streams: &mut [f32], x: &[f32]) {
        let (n, e, isa) = (self.n, self.model.spec.embd, self.isa);
        let rows = Chunks::new(streams, e);
        self.lead.phase(rows.count(), &|_, index| {
            let (row, wanted) = (rows.take(index), &x[index % n * e..][..e]);
            let factor = (ops::dot(isa, wanted, wanted) / ops::dot(isa, row, row)).sqrt();
            ops::scale(isa, row, factor);
        });
    }

    /// `tanh(router norm(x) / E)`, `[n][streams]`, into `s.router`.
    fn modalities(&self, s: &mut Scratch, w: &AltUpWeights) {
        let (n, e, isa) = (self.n, self.model.spec.embd, self.isa);
        let Scratch { x, side, inner, router, .. } = s;
        let rows = Chunks::new(sized(side, n * e), e);
        let writer = inner.reset(product::kinds([&w.router]), n, e);
        self.lead.phase(n, &|_, t| {
            let row = rows.take(t);
            norm::apply(isa, Some(&w.router_norm), &x[t * e..][..e], row);
            ops::scale(isa, row, 1.0 / e as f32);
            writer.write(isa, t, row);
        });
        drop(writer);
        let made = sized(router, n * w.router.rows());
        self.product(&w.router, inner, made);
        gates::tanh(isa, made);
    }

    /// Before a layer: every stream gets a mix of all, as predicted from the first.
    pub(super) fn predict_streams(&self, s: &mut Scratch, w: &AltUpWeights) {
        self.modalities(s, w);
        let (n, e, isa) = (self.n, self.model.spec.embd, self.isa);
        let count = w.router.rows();
        let Scratch { x, streams, router, entering, .. } = s;
        let firsts = Chunks::new(&mut x[..n * e], e);
        let others = Chunks::new(&mut streams[..(count - 1) * n * e], e);
        let kept = Chunks::new(sized(entering, n * e), e);
        self.lead.phase(n, &|_, t| {
            let mut rows = vec![firsts.take(t)];
            rows.extend((0..count - 1).map(|i| others.take(i * n + t)));
            let old: Vec<Vec<f32>> = rows.iter().map(|row| row.to_vec()).collect();
            let modal = &router[t * count..][..count];
            for (i, row) in rows.iter_mut().enumerate() {
                for (j, old) in old.iter().enumerate() {
                    let coefficients = &w.predict[(i * count + j) * count..][..count];
                    ops::add_scaled(isa, row, old, ops::dot(isa, coefficients, modal));
                }
            }
            kept.take(t).copy_from_slice(rows[0]);
        });
    }

    /// After attention: `x = (x + h + norm(r l h)) / sqrt(2)`, where `h` was attention's input.
    pub(super) fn low_rank_path(&self, s: &mut Scratch, w: &AltUpWeights) {
        let (n, e, isa) = (self.n, self.model.spec.embd, self.isa);
        let (left, right) = &w.laurel;
        let Scratch { x, h, inner, low, side, .. } = s;
        self.quantize(&h[..n * e], e, product::kinds([left]), inner);
        let made = sized(low, n * left.rows());
        self.product(left, inner, made);
        self.quantize(made, left.rows(), product::kinds([right]), inner);
        self.product(right, inner, sized(side, n * e));
        let (xs, sides) = (Chunks::new(&mut x[..n * e], e), Chunks::new(&mut side[..n * e], e));
        self.lead.phase(n, &|_, t| {
            let (row, path) = (xs.take(t), sides.take(t));
            norm::in_place(isa, &w.laurel_norm, path);
            ops::add(isa, path, &h[t * e..][..e]);
            ops::add(isa, row, path);
            ops::scale(isa, row, std::f32::consts::FRAC_1_SQRT_2);
        });
    }

    /// After a layer: every stream gets its share of what the layer changed, and all but the first the layer's own values of
    /// the token.
    pub(super) fn correct_streams(&self, s: &mut Scratch, w: &AltUpWeights, layer: usize) {
        self.modalities(s, w);
        let (n, e, isa, count) = (self.n, self.model.spec.embd, self.isa, w.router.rows());
        let (len, layers) = (w.own.gate.rows(), self.model.layers.len());
        let Scratch { x, streams, router, entering, side, input, inner, gate, branch, per_layer, .. } = s;
        {
            let xs = Chunks::new(&mut x[..n * e], e);
            let others = Chunks::new(&mut streams[..(count - 1) * n * e], e);
            let scaled = Chunks::new(sized(side, n * e), e);
            self.lead.phase(n, &|_, t| {
                let (row, before, own) = (xs.take(t), &entering[t * e..][..e], scaled.take(t));
                let modal = &router[t * count..][..count];
                let share = |i: usize| ops::dot(isa, &w.correct[i * count..][..count], modal) + 1.0;
                own.copy_from_slice(row);
                ops::add_scaled(isa, own, before, -1.0);
                (1..count).for_each(|i| ops::add_scaled(isa, others.take((i - 1) * n + t), own, share(i)));
                row.copy_from_slice(before);
                ops::add_scaled(isa, row, own, share(0));
                own.copy_from_slice(row);
                gates::mul(isa, own, &w.correct_scale);
            });
        }
        self.quantize(&side[..n * e], e, product::kinds([&w.own.gate]), input);
        self.product(&w.own.gate, input, sized(gate, n * len));
        let rows = Chunks::new(&mut gate[..n * len], len);
        self.lead.phase(n, &|_, t| {
            let row = rows.take(t);
            gates::gelu_tanh(isa, row);
            gates::mul(isa, row, &per_layer[t * len * layers + layer * len..][..len]);
        });
        drop(rows);
        self.quantize(&gate[..n * len], len, product::kinds([&w.own.proj]), inner);
        self.product(&w.own.proj, inner, sized(branch, n * e));
        let branches = Chunks::new(&mut branch[..n * e], e);
        let others = Chunks::new(&mut streams[..(count - 1) * n * e], e);
        self.lead.phase(n, &|_, t| {
            let row = branches.take(t);
            norm::in_place(isa, &w.own.norm, row);
            (0..count - 1).for_each(|i| ops::add(isa, others.take(i * n + t), row));
        });
    }

    /// At the end: the mean of the first stream and products of the others, as long as it.
    pub(super) fn join_streams(&self, s: &mut Scratch) {
        let Some((_, stack)) = &self.model.streams else { return };
        let (n, e, isa) = (self.n, self.model.spec.embd, self.isa);
        let made = self.products_of_streams(s, stack);
        let Scratch { x, side, .. } = s;
        self.as_long_as(&mut side[..made], x);
        for stream in side[..made].chunks_exact(n * e) {
            ops::add(isa, &mut x[..n * e], stream);
        }
        ops::scale(isa, &mut x[..n * e], 1.0 / (stack.count() + 1) as f32);
    }

    /// Product `i` of the stack with stream `i + 1`, into `s.side`; returns how many values these are.
    fn products_of_streams(&self, s: &mut Scratch, stack: &Stack) -> usize {
        let (n, e) = (self.n, self.model.spec.embd);
        let Scratch { streams, input, side, .. } = s;
        let made = sized(side, stack.count() * n * e);
        for (i, out) in made.chunks_exact_mut(n * e).enumerate() {
            self.quantize(&streams[i * n * e..][..n * e], e, product::kinds([stack]), input);
            product::run(self.lead, self.isa, &[product::Product::new((stack, i), input, out, self.lead)]);
        }
        made.len()
    }
}
