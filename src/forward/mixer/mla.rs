//! Multi-head latent attention (arXiv 2405.04434, section 2.1) in its absorbed form, for any number of tokens.
//!
//! The cache holds one entry per position for all heads: the normed latent and the rotated key part. A query head is
//! taken into the latent space once, and the mix of latents is taken back to values once, so keys and values of each head
//! are never made. Prefill uses the same form: expanding keys and values would be other sums, and a prompt must give the
//! same bits as the same tokens one by one. (Where that promise is not needed, `expanded` is the faster form.)

use super::super::rope;
use super::attention::Here;
use crate::arch::Projection;
use crate::forward::pass::Pass;
use crate::forward::product::{self, Product};
use crate::forward::scratch::{Scratch, sized};
use crate::kv::KvCache;
use crate::model::{LatentWeights, Stack};
use tokki_quant::activation::Activations;
use tokki_quant::matmul::matmul_cols;
use tokki_quant::ops;
use tokki_quant::share::{Chunks, OutTiles};

impl Pass<'_> {
    /// From the branch's input to its output.
    pub(super) fn latent(&self, s: &mut Scratch, caches: &mut [&mut KvCache], here: Here<'_>, w: &LatentWeights) {
        let a = here.a;
        let Projection::Latent(l) = &a.proj else { return };
        let (n, eps) = (self.n, l.eps);
        if let Some(gate) = &here.w.gate {
            let out = sized(&mut s.gates, n * gate.rows());
            product::run(self.lead, self.isa, &[Product::new((gate, 0), &s.input, out, self.lead)]);
        }

        // Keys: [latent | rotated part], one entry per token.
        self.product(&w.kv_a, &s.input, sized(&mut s.k, n * a.k_dim));
        let keys = Chunks::new(&mut s.k[..n * a.k_dim], a.k_dim);
        self.lead.phase(n, &|_, t| {
            let (latent, rotated) = keys.take(t).split_at_mut(l.kv_rank);
            ops::rms_norm_in_place(self.isa, latent, &w.kv_a_norm, eps);
            rope::rotate_head(self.isa, self.angles, a, t, rotated);
        });

        drop(keys);
        self.tell_part("kv_cmpr", here.layer, (1, a.k_dim), 0..l.kv_rank, &s.k);
        self.tell_part("k_pe", here.layer, (1, a.k_dim), l.kv_rank..a.k_dim, &s.k);
        self.store(s, caches, here);
        self.full_queries(s, w, eps);
        self.tell("q", here.layer, w.q_b.rows(), &s.full_queries);
        let width = a.heads * l.v_dim;
        if let (true, [cache]) = (self.expand_latents, &*caches) {
            self.attend_expanded(s, cache, here, w);
        } else {
            self.latent_queries(s, here, w);
            self.tell_part("q_nope_absorbed", here.layer, (a.heads, a.k_dim), 0..l.kv_rank, &s.q);
            self.tell_part("q_pe", here.layer, (a.heads, a.k_dim), l.kv_rank..a.k_dim, &s.q);
            self.attend(s, caches, here);
            // Back from mixes of latents to values, head by head.
            self.quantize(&s.mix[..n * a.heads * l.kv_rank], l.kv_rank, product::kinds([&w.v_b]), &mut s.inner);
            self.per_head(&w.v_b, &s.inner, sized(&mut s.expanded, n * width));
            std::mem::swap(&mut s.mix, &mut s.expanded);
        }
        self.tell("kqv_out", here.layer, width, &s.mix);
        self.finish_heads(s, here, l.v_dim);
    }

    /// Queries of all heads, through their low rank where there is one: `[nope | rope, not rotated]` each, into `s.full_queries`.
    fn full_queries(&self, s: &mut Scratch, w: &LatentWeights, eps: f32) {
        let n = self.n;
        let made = sized(&mut s.full_queries, n * w.q_b.rows());
        match &w.q_a {
            None => self.product(&w.q_b, &s.input, made),
            Some((q_a, norm)) => {
                let rank = q_a.rows();
                self.product(q_a, &s.input, sized(&mut s.low, n * rank));
                let rows = Chunks::new(&mut s.low[..n * rank], rank);
                self.lead.phase(n, &|_, t| ops::rms_norm_in_place(self.isa, rows.take(t), norm, eps));
                self.quantize(&s.low[..n * rank], rank, product::kinds([&w.q_b]), &mut s.inner);
                self.product(&w.q_b, &s.inner, made);
            }
        }
    }

    /// Queries of all heads in the latent space: `[latent | rotated part]` each, into `s.q`.
    fn latent_queries(&self, s: &mut Scratch, Here { a, .. }: Here<'_>, w: &LatentWeights) {
        let Projection::Latent(l) = &a.proj else { return };
        let (n, head_len) = (self.n, l.nope + l.rope);
        let made = &s.full_queries[..n * a.heads * head_len];
        let nopes = sized(&mut s.low, n * a.heads * l.nope);
        for (row, head) in made.chunks_exact(head_len).enumerate() {
            nopes[row * l.nope..][..l.nope].copy_from_slice(&head[..l.nope]);
        }
        let absorbed = sized(&mut s.absorbed, n * a.heads * l.kv_rank);
        match &w.k_b {
            Some(k_b) => {
                self.quantize(nopes, l.nope, product::kinds([k_b]), &mut s.inner);
                self.per_head(k_b, &s.inner, absorbed);
            }
            // All of a key is positional.
            None => absorbed.fill(0.0),
        }
        let queries = Chunks::new(sized(&mut s.q, n * a.heads * a.k_dim), a.heads * a.k_dim);
        let (absorbed, made) = (&s.absorbed, &s.full_queries);
        self.lead.phase(n, &|_, t| {
            let row = queries.take(t);
            for (h, query) in row.chunks_exact_mut(a.k_dim).enumerate() {
                let from = t * a.heads + h;
                let (latent, rotated) = query.split_at_mut(l.kv_rank);
                latent.copy_from_slice(&absorbed[from * l.kv_rank..][..l.kv_rank]);
                rotated.copy_from_slice(&made[from * head_len + l.nope..][..l.rope]);
                rope::rotate_head(self.isa, self.angles, a, t, rotated);
            }
            self.warm(a, t, row);
        });
    }

    /// Matrix `h` of the stack times rows `t * H + h` of `x`, into `out` of `[n][H][rows]`.
    fn per_head(&self, stack: &Stack, x: &Activations, out: &mut [f32]) {
        let (heads, n) = (stack.count(), self.n);
        let tiles = OutTiles::new(out, heads * stack.rows(), stack.rows());
        self.lead.phase(heads, &|_, h| {
            let rows: Vec<u32> = (0..n).map(|t| (t * heads + h) as u32).collect();
            matmul_cols(self.isa, &stack.matrix(h), x, &rows, &mut tiles.take(h).renumbered());
        });
    }
}
