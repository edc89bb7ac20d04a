//! Latent attention in its expanded form, for passes of many tokens: keys and values of each head are made of the cached
//! latents, `k = [W_k latent | rotated part]` and `v = W_v latent`, and met by queries that were never taken into the
//! latent space.
//!
//! With the published head lengths a query and a key then cost 192 + 128 multiply-adds instead of 576 + 512, which soon
//! makes up for the expansion: that is done once for all tokens of the pass. (128 heads, weights in Q4_K_M, two cores with
//! AVX-512: 512 tokens after 4096 others are read at 57 instead of 42 tokens per second, products with weights included;
//! the longer the prompt, the larger the difference.) Other sums than the absorbed ones, though, so that a prompt does not
//! give the same bits as its tokens one by one; that's why it has to be asked for.
//!
//! One head is one piece of work. A thread expands its head for a run of tiles into buffers of its own, so that memory
//! grows neither with the heads times the context nor with its square. Each position is expanded on its own and tiles are
//! merged in order: neither threads nor the size of passes change the bits of this form.

use super::super::rope;
use super::attention::Here;
use crate::arch::{Attention, Latent, Projection};
use crate::forward::pass::Pass;
use crate::forward::product;
use crate::forward::scratch::{AttendScratch, Scratch, sized};
use crate::kv::KvCache;
use crate::model::LatentWeights;
use std::ops::Range;
use std::sync::PoisonError;
use tokki_quant::activation::ActKind;
use tokki_quant::activation::Activations;
use tokki_quant::attention::{KvKind, KvLayout, Partial, TILE, TileBytes, attend_tile};
use tokki_quant::dtype::DType;
use tokki_quant::matmul::matmul;
use tokki_quant::matrix::Matrix;
use tokki_quant::share::{Chunks, OutTiles, Tile};

/// Tiles that are expanded together.
const RUN: usize = 8;

/// Tiles start at a multiple of this.
const ALIGN: usize = 64;

/// What is the same for all heads of a layer.
struct Expanded<'a> {
    pass: &'a Pass<'a>,
    a: &'a Attention,
    l: &'a Latent,
    w: &'a LatentWeights,
    /// Of expanded tiles.
    layout: KvLayout,
}

impl Pass<'_> {
    /// Attention over the cache of the pass's only sequence with the queries of `s.full_queries`, into `s.mix`: `[n][H][v_dim]`.
    pub(super) fn attend_expanded(&self, s: &mut Scratch, cache: &KvCache, here: Here<'_>, w: &LatentWeights) {
        let (a, layer) = (here.a, here.layer);
        let Projection::Latent(l) = &a.proj else { return };
        let layout = KvLayout { kind: KvKind::F16, k_dim: l.nope + l.rope, v_dim: l.v_dim, v_in_k: false };
        let expanded = Expanded { pass: self, a, l, w, layout };
        expanded.rotate_queries(&mut s.full_queries);
        sized(&mut s.mix, self.n * a.heads * l.v_dim);
        s.partials.resize_with(s.partials.len().max(a.heads), Partial::default);
        let end = self.position(0) + self.n;
        for start in (0..end).step_by(RUN * TILE) {
            let positions = start..end.min(start + RUN * TILE);
            expanded.load_latents(s, cache, layer, positions.clone());
            expanded.attend(s, positions);
        }
        expanded.finish(s);
    }
}

impl Expanded<'_> {
    /// RoPE of the queries' last part.
    fn rotate_queries(&self, queries: &mut [f32]) {
        let len = self.a.heads * self.layout.k_dim;
        let rows = Chunks::new(&mut queries[..self.pass.n * len], len);
        self.pass.lead.phase(self.pass.n, &|_, t| {
            let row = rows.take(t);
            for head in row.chunks_exact_mut(self.layout.k_dim) {
                rope::rotate_head(self.pass.isa, self.pass.angles, self.a, t, &mut head[self.l.nope..]);
            }
            self.pass.warm(self.a, t, row);
        });
    }

    /// Cached entries of `positions` into `s.latents`, and the latents of them as the input of products.
    fn load_latents(&self, s: &mut Scratch, cache: &KvCache, layer: usize, positions: Range<usize>) {
        let (pass, entry) = (self.pass, self.a.k_dim);
        let rows = Chunks::new(sized(&mut s.latents, positions.len() * entry), entry);
        let kinds = product::kinds([&self.w.v_b]).with(ActKind::F32);
        let input = s.inner.reset(kinds, positions.len(), self.l.kv_rank);
        pass.lead.phase(positions.len(), &|_, i| {
            let (position, row) = (positions.start + i, rows.take(i));
            let tile = cache.tile(position / TILE, layer, 0);
            cache.shape().layout(layer).load_key(tile, position % TILE, row);
            input.write(pass.isa, i, &row[..self.l.kv_rank]);
        });
    }

    /// Adds the tiles of `positions` to the partials of all heads.
    fn attend(&self, s: &mut Scratch, positions: Range<usize>) {
        let Scratch { full_queries: queries, latents, inner, partials, workers, .. } = s;
        let totals = Chunks::new(&mut partials[..self.a.heads], 1);
        self.pass.lead.phase(self.a.heads, &|worker, head| {
            let mut scratch = workers[worker].lock().unwrap_or_else(PoisonError::into_inner);
            self.expand(head, inner, &mut scratch);
            let len = self.layout.k_dim;
            let rows = queries[..self.pass.n * self.a.heads * len].chunks_exact(len).skip(head).step_by(self.a.heads);
            scratch.queries.set(self.pass.isa, &self.layout, rows, self.a.scale);
            self.meet(&mut scratch, latents, positions.clone(), &mut totals.take(head)[0]);
        });
    }

    /// Keys (without their rotated part) and values of a head, of every row of `latents`.
    fn expand(&self, head: usize, latents: &Activations, scratch: &mut AttendScratch) {
        let (isa, l, n) = (self.pass.isa, self.l, latents.n());
        let AttendScratch { key_weights, keys, values, .. } = scratch;
        // The file has them the other way round, for the absorbed form.
        if let Some(k_b) = &self.w.k_b {
            let matrix = k_b.matrix(head);
            key_weights.resize(l.nope * l.kv_rank * 4, 0);
            let row = sized(values, l.nope);
            for r in 0..l.kv_rank {
                matrix.decode_row(r, row);
                for (out, x) in key_weights.as_chunks_mut::<4>().0[r..].iter_mut().step_by(l.kv_rank).zip(&*row) {
                    *out = x.to_le_bytes();
                }
            }
            if let Ok(transposed) = Matrix::new(DType::F32, l.nope, l.kv_rank, key_weights) {
                matmul(isa, &transposed, latents, &mut Tile::whole(sized(keys, n * l.nope), l.nope));
            }
        }
        let matrix = self.w.v_b.matrix(head);
        matmul(isa, &matrix, latents, &mut Tile::whole(sized(values, n * l.v_dim), l.v_dim));
    }

    /// The queries of a head with its expanded `positions`, tile by tile.
    fn meet(&self, scratch: &mut AttendScratch, latents: &[f32], positions: Range<usize>, total: &mut Partial) {
        let (pass, isa, l, layout) = (self.pass, self.pass.isa, self.l, &self.layout);
        let AttendScratch { queries, partial, visible, keys, values, tile, .. } = scratch;
        tile.resize(layout.tile_bytes() + ALIGN, 0);
        let aligned = tile.as_ptr().align_offset(ALIGN).min(ALIGN);
        let tile = &mut tile[aligned..][..layout.tile_bytes()];
        let mut key = vec![0.0; layout.k_dim];
        for start in positions.clone().step_by(TILE) {
            for position in start..positions.end.min(start + TILE) {
                let i = position - positions.start;
                key[..l.nope].copy_from_slice(&keys[i * l.nope..][..l.nope]);
                key[l.nope..].copy_from_slice(&latents[i * self.a.k_dim + l.kv_rank..][..l.rope]);
                layout.store(isa, tile, position - start, &key, &values[i * l.v_dim..][..l.v_dim]);
            }
            visible.clear();
            let len = pass.position(0) + pass.n;
            visible.extend((0..pass.n).map(|t| pass.seen(self.a, (pass.position(t), len), start / TILE)));
            if start == 0 {
                attend_tile(isa, layout, TileBytes::alone(tile), queries, visible, self.a.softcap, total);
            } else {
                attend_tile(isa, layout, TileBytes::alone(tile), queries, visible, self.a.softcap, partial);
                total.merge(isa, partial);
            }
        }
    }

    /// The partials of all heads, divided by their sums, into `s.mix`.
    fn finish(&self, s: &mut Scratch) {
        let (n, v_dim, width) = (self.pass.n, self.l.v_dim, self.a.heads * self.l.v_dim);
        let bands = OutTiles::new(&mut s.mix[..n * width], width, v_dim);
        let partials = &s.partials;
        self.pass.lead.phase(self.a.heads, &|_, head| {
            let mut band = bands.take(head);
            (0..n).for_each(|t| partials[head].finish(self.pass.isa, t, None, band.col_mut(t)));
        });
    }
}
