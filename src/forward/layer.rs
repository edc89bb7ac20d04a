//! One layer: mixers of positions, feed-forwards, and what holds them together.

use super::pass::Pass;
use super::scratch::{Scratch, sized};
use super::{mixer, norm, product};
use crate::arch::{End, Ffn, Residual, Skip, Stream};
use crate::kv::KvCache;
use crate::model::{FfnWeights, LayerWeights, NormWeights};
use tokki_quant::activation::ActKinds;
use tokki_quant::share::Chunks;
use tokki_quant::{gates, ops};

/// What the residual stream still misses: `scale * norm(branch)`, and the norms of the sum.
struct Pending<'a> {
    norm: Option<&'a NormWeights>,
    scale: f32,
    sum: Option<&'a NormWeights>,
    again: Option<&'a NormWeights>,
}

impl Pass<'_> {
    /// One layer on the rows of the pass.
    pub(super) fn layer(&self, s: &mut Scratch, caches: &mut [&mut KvCache], index: usize) {
        let (layer, w) = (&self.model.spec.layers[index], &self.model.layers[index]);
        self.skip(s, &layer.skips);
        if layer.keeps_entering() {
            let len = self.n * self.model.spec.embd;
            sized(&mut s.entering, len).copy_from_slice(&s.x[..len]);
        }
        if let Some(streams) = &w.streams {
            self.predict_streams(s, streams);
        }
        let scale = layer.residual_scale;
        let mut pending = None;
        if !layer.mixers.is_empty() {
            let kinds = product::kinds(w.mixers.iter().flat_map(|mixer| mixer.inputs()));
            self.enter(s, None, w.attn_norm.as_ref(), kinds, layer.residual);
            self.tell("attn_norm", index, self.model.spec.embd, &s.h);
            self.mix(s, caches, index);
            self.tell("attn_out", index, self.model.spec.embd, &s.branch);
            let (norm, sum) = (w.attn_post_norm.as_ref(), w.attn_sum_norm.as_ref());
            pending = Some(Pending { norm, scale, sum, again: w.attn_again_norm.as_ref() });
        }
        if let Some(streams) = &w.streams {
            if let Some(pending) = pending.take() {
                self.settle(s, &pending);
            }
            self.low_rank_path(s, streams);
        }
        match (&w.feeds[..], &layer.feeds[..]) {
            ([feed], [spec]) if spec.of == Stream::Mixed => {
                self.enter(s, pending, feed.norm.as_ref(), input_kinds(&spec.ffn, &feed.ffn), layer.residual);
                self.feed(s, index, 0);
            }
            ([], _) => {
                if let Some(pending) = pending {
                    self.settle(s, &pending);
                }
                return self.end(s, index);
            }
            _ => {
                if let Some(pending) = pending {
                    self.settle(s, &pending);
                }
                self.feed_several(s, index);
            }
        }
        let (norm, sum) = (w.ffn_post_norm.as_ref(), w.ffn_sum_norm.as_ref());
        self.settle(s, &Pending { norm, scale, sum, again: None });
        self.end(s, index);
    }

    /// All mixers of the layer on the same input; the sum of their results into `s.branch`.
    fn mix(&self, s: &mut Scratch, caches: &mut [&mut KvCache], index: usize) {
        let count = self.model.layers[index].mixers.len();
        let len = self.n * self.model.spec.embd;
        // Where a layer's state is shared by its mixers, each has its part.
        let mut state = 0;
        for number in 0..count {
            mixer::run(self, s, caches, (index, number), state);
            state += self.model.spec.layers[index].mixers[number].state_len();
            if number > 0 {
                ops::add(self.isa, &mut s.branch[..len], &s.sum[..len]);
            }
            if number + 1 < count {
                std::mem::swap(&mut s.branch, &mut s.sum);
                sized(&mut s.branch, len);
            }
        }
    }

    /// The feed-forwards of a layer that has several, or one that does not follow the mixers; their sum into `s.branch`.
    fn feed_several(&self, s: &mut Scratch, index: usize) {
        let (layer, w) = (&self.model.spec.layers[index], &self.model.layers[index]);
        let (len, isa) = (self.n * self.model.spec.embd, self.isa);
        for (number, (feed, weights)) in layer.feeds.iter().zip(&w.feeds).enumerate() {
            if number > 0 {
                if number == 1 {
                    sized(&mut s.sum, len).copy_from_slice(&s.branch[..len]);
                } else {
                    ops::add(isa, &mut s.sum[..len], &s.branch[..len]);
                }
            }
            self.read(s, feed.of, weights.norm.as_ref(), input_kinds(&feed.ffn, &weights.ffn));
            self.feed(s, index, number);
            if weights.post_norm.is_some() || feed.scale != 1.0 {
                self.finish_feed(s, weights.post_norm.as_ref(), feed.scale);
            }
        }
        if layer.feeds.len() > 1 {
            ops::add(isa, &mut s.branch[..len], &s.sum[..len]);
        }
    }

    /// One feed-forward from its input to its output.
    fn feed(&self, s: &mut Scratch, index: usize, number: usize) {
        let (feed, e) = (&self.model.spec.layers[index].feeds[number], self.model.spec.embd);
        if number == 0 && feed.of == Stream::Mixed && !self.model.layers[index].mixers.is_empty() {
            self.tell("ffn_inp", index, e, &s.x);
        }
        self.tell("ffn_norm", index, e, &s.h);
        // Weights are bound by the facts: both are of one kind.
        match &self.model.layers[index].feeds[number].ffn {
            FfnWeights::Dense(w) => {
                self.read_layer_ahead(index + 1);
                if let Some(dense) = feed.ffn.dense() {
                    self.dense(s, index, dense, w);
                }
            }
            FfnWeights::Experts(w) => {
                if let Some(experts) = feed.ffn.experts() {
                    self.experts(s, index, experts, w);
                }
            }
        }
        self.tell("ffn_out", index, e, &s.branch);
    }

    /// The norm and the factor of one feed-forward's result.
    fn finish_feed(&self, s: &mut Scratch, post: Option<&NormWeights>, scale: f32) {
        let e = self.model.spec.embd;
        let branches = Chunks::new(&mut s.branch[..self.n * e], e);
        self.lead.phase(self.n, &|_, t| {
            let branch = branches.take(t);
            if let Some(post) = post {
                norm::in_place(self.isa, post, branch);
            }
            if scale != 1.0 {
                ops::scale(self.isa, branch, scale);
            }
        });
    }

    /// Takes the norm of a state of the stream, and quantizes that as a branch's input.
    fn read(&self, s: &mut Scratch, of: Stream, norm: Option<&NormWeights>, kinds: ActKinds) {
        let (e, isa) = (self.model.spec.embd, self.isa);
        let Scratch { x, h, entering, branch, input, .. } = s;
        let source = match of {
            Stream::Entering => &entering[..self.n * e],
            Stream::Mixed => &x[..self.n * e],
            Stream::Fed => &branch[..self.n * e],
        };
        let hs = Chunks::new(sized(h, self.n * e), e);
        let input = input.reset(kinds, self.n, e);
        self.lead.phase(self.n, &|_, t| {
            let h = hs.take(t);
            norm::apply(isa, norm, &source[t * e..][..e], h);
            input.write(isa, t, h);
        });
    }

    /// Adds what is pending to the stream, takes the norm of it, and quantizes that as a branch's input.
    fn enter(
        &self,
        s: &mut Scratch,
        pending: Option<Pending<'_>>,
        norm: Option<&NormWeights>,
        kinds: ActKinds,
        residual: Residual,
    ) {
        let (e, isa) = (self.model.spec.embd, self.isa);
        let xs = Chunks::new(&mut s.x[..self.n * e], e);
        let hs = Chunks::new(sized(&mut s.h, self.n * e), e);
        let branches = Chunks::new(sized(&mut s.branch, self.n * e), e);
        let input = s.input.reset(kinds, self.n, e);
        let entering = &s.entering;
        self.lead.phase(self.n, &|_, t| {
            let (x, h) = (xs.take(t), hs.take(t));
            if let Some(pending) = &pending {
                self.add(x, branches.take(t), pending, entering.get(t * e..(t + 1) * e));
            }
            norm::apply(isa, norm, x, h);
            input.write(isa, t, h);
            if let Residual::Normed(scale) = residual {
                x.copy_from_slice(h);
                ops::scale(isa, x, scale);
            }
        });
    }

    /// Adds what is pending to the stream.
    fn settle(&self, s: &mut Scratch, pending: &Pending<'_>) {
        let e = self.model.spec.embd;
        let xs = Chunks::new(&mut s.x[..self.n * e], e);
        let branches = Chunks::new(&mut s.branch[..self.n * e], e);
        let entering = &s.entering;
        self.lead.phase(self.n, &|_, t| {
            self.add(xs.take(t), branches.take(t), pending, entering.get(t * e..(t + 1) * e));
        });
    }

    fn add(&self, x: &mut [f32], branch: &mut [f32], pending: &Pending<'_>, entering: Option<&[f32]>) {
        if let Some(post) = pending.norm {
            norm::in_place(self.isa, post, branch);
        }
        if pending.scale == 1.0 {
            ops::add(self.isa, x, branch);
        } else {
            ops::add_scaled(self.isa, x, branch, pending.scale);
        }
        if let Some(sum) = pending.sum {
            norm::in_place(self.isa, sum, x);
        }
        if let (Some(again), Some(entering)) = (pending.again, entering) {
            ops::add(self.isa, x, entering);
            norm::in_place(self.isa, again, x);
        }
    }

    /// Block skip connections, on the settled stream.
    fn skip(&self, s: &mut Scratch, skips: &[Skip]) {
        let len = self.n * self.model.spec.embd;
        for skip in skips {
            match *skip {
                Skip::Save(slot) => {
                    s.kept.resize_with(s.kept.len().max(slot + 1), Vec::new);
                    sized(&mut s.kept[slot], len).copy_from_slice(&s.x[..len]);
                }
                Skip::Fill(slot) => {
                    s.kept.resize_with(s.kept.len().max(slot + 1), Vec::new);
                    let rows = sized(&mut s.kept[slot], len).chunks_exact_mut(self.model.spec.embd);
                    rows.zip(std::iter::repeat(&self.model.second)).for_each(|(row, second)| {
                        second.iter().for_each(|second| row.copy_from_slice(second));
                    });
                }
                Skip::Add(slot) => ops::add(self.isa, &mut s.x[..len], &s.kept[slot][..len]),
                Skip::Blend { slot, weight } => {
                    let x = &mut s.x[..len];
                    ops::scale(self.isa, x, 1.0 - weight);
                    ops::add_scaled(self.isa, x, &s.kept[slot][..len], weight);
                }
            }
        }
    }

    /// What is done at the layer's end.
    fn end(&self, s: &mut Scratch, index: usize) {
        let w = &self.model.layers[index];
        let len = self.n * self.model.spec.embd;
        if let Some(streams) = &w.streams {
            self.correct_streams(s, streams, index);
        }
        for end in &self.model.spec.layers[index].ends {
            match end {
                End::PerLayer => self.take_per_layer(s, index, w),
                End::Scale => ops::scale(self.isa, &mut s.x[..len], w.output_scale),
                End::AddEmbedding => ops::add_scaled(self.isa, &mut s.x[..len], &s.began[..len], w.output_scale),
            }
        }
        self.tell("l_out", index, self.model.spec.embd, &s.x);
    }

    /// `x += norm(proj(gelu(gate x) * p))` with the layer's own values `p` of each token.
    fn take_per_layer(&self, s: &mut Scratch, index: usize, w: &LayerWeights) {
        let Some(w) = &w.per_layer else { return };
        let (e, len, isa) = (self.model.spec.embd, w.gate.rows(), self.isa);
        let all = len * self.model.layers.len();
        let Scratch { x, input, inner, gate, branch, per_layer, .. } = s;
        self.quantize(&x[..self.n * e], e, product::kinds([&w.gate]), input);
        self.product(&w.gate, input, sized(gate, self.n * len));
        let rows = Chunks::new(&mut gate[..self.n * len], len);
        self.lead.phase(self.n, &|_, t| {
            let row = rows.take(t);
            gates::gelu_tanh(isa, row);
            gates::mul(isa, row, &per_layer[t * all + index * len..][..len]);
        });
        drop(rows);
        self.quantize(&gate[..self.n * len], len, product::kinds([&w.proj]), inner);
        self.product(&w.proj, inner, sized(branch, self.n * e));
        self.settle(s, &Pending { norm: Some(&w.norm), scale: 1.0, sum: None, again: None });
    }
}

/// The kinds of activations that a feed-forward's first products read.
fn input_kinds(ffn: &Ffn, weights: &FfnWeights) -> ActKinds {
    let first = weights.products(ffn).into_iter().filter(|product| !product.between);
    product::kinds(first.map(|product| product.stack))
}
