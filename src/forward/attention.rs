//! Grouped-query attention: every key-value head serves `H / KV` query heads, which meet its tiles together.
//!
//! Few query rows (decode): one piece of work per head and tile, all partial results kept, merged in tile order. Many
//! (prefill): one piece of work per block of tokens, which merges its tiles as it goes. Both are the same sums in the
//! same order, so the result does not depend on which was taken, nor on the threads.

use super::Pass;
use super::product::{self, Product};
use super::scratch::{AttendScratch, Scratch, sized};
use crate::arch::Attention;
use crate::kv::KvCache;
use crate::model::Qkv;
use std::ops::Range;
use std::sync::PoisonError;
use tokki_quant::attention::{Partial, Queries, TILE, TileBytes, attend_tile};
use tokki_quant::ops;
use tokki_quant::share::{Chunks, OutTiles};

/// Up to this many tokens, work is cut by tiles instead of by tokens.
pub(super) const FEW_TOKENS: usize = 8;

/// Query rows that a block of prefill aims at: enough to reuse a tile from the first-level cache.
const BLOCK_ROWS: usize = 64;

impl Pass<'_> {
    /// From the branch's input to its output: q/k/v, positions, cache, attention, output product.
    pub(super) fn heads(&self, s: &mut Scratch, cache: &mut KvCache, layer: usize) {
        let (a, w) = (&self.model.spec.layers[layer].attn, &self.model.layers[layer]);
        let Qkv::Heads { q, k, v } = &w.qkv else { return };
        let (lead, n) = (self.lead, self.n);
        product::run(
            lead,
            self.isa,
            &[
                Product::new((q, 0), &s.input, sized(&mut s.q, n * q.rows()), lead),
                Product::new((k, 0), &s.input, sized(&mut s.k, n * k.rows()), lead),
                Product::new((v, 0), &s.input, sized(&mut s.v, n * v.rows()), lead),
            ],
        );
        self.rotate(s, layer);
        self.store(s, cache, layer);
        self.attend(s, cache, layer);
        self.mix_to_input(s, a.heads * a.v_dim, product::kinds([&w.attn_output]));
        let e = self.model.spec.embd;
        self.product(&w.attn_output, &s.inner, sized(&mut s.branch, n * e));
    }

    /// Norm of each head, then RoPE.
    fn rotate(&self, s: &mut Scratch, layer: usize) {
        let a = &self.model.spec.layers[layer].attn;
        let norms = self.model.layers[layer].qk_norm.as_ref();
        if a.rope.is_none() && norms.is_none() {
            return;
        }
        let (q_len, k_len) = (a.heads * a.k_dim, a.kv_heads * a.k_dim);
        let qs = Chunks::new(&mut s.q[..self.n * q_len], q_len);
        let ks = Chunks::new(&mut s.k[..self.n * k_len], k_len);
        self.lead.phase(self.n, &|_, t| {
            for (heads, norm) in [(qs.take(t), norms.map(|n| &n.0)), (ks.take(t), norms.map(|n| &n.1))] {
                for head in heads.chunks_exact_mut(a.k_dim) {
                    if let Some(weight) = norm {
                        ops::rms_norm_in_place(self.isa, head, weight, self.model.spec.norm_eps);
                    }
                    self.rotate_head(a, t, head);
                }
            }
        });
    }

    /// RoPE of one head (or of the part of it that rotates) of token `t`.
    pub(super) fn rotate_head(&self, a: &Attention, t: usize, head: &mut [f32]) {
        if let Some(rope) = a.rope {
            let angles = &self.angles[rope];
            let (cos, sin) = angles.of(t);
            ops::rope(self.isa, &mut head[..angles.dims()], cos, sin, angles.halves());
        }
    }

    /// Appends keys and values to the cache.
    pub(super) fn store(&self, s: &Scratch, cache: &mut KvCache, layer: usize) {
        let a = &self.model.spec.layers[layer].attn;
        let (k_len, v_len) = (a.kv_heads * a.k_dim, a.kv_heads * a.v_dim);
        let (from, n, isa) = (self.from, self.n, self.isa);
        let (shape, pages) = cache.pages_mut(from, n);
        let layout = shape.layout(layer);
        let pages = Chunks::new(pages, 1);
        let first_page = from / TILE;
        self.lead.phase(pages.count(), &|_, index| {
            let page = &mut pages.take(index)[0];
            let start = (first_page + index) * TILE;
            for position in start.max(from)..(start + TILE).min(from + n) {
                let t = position - from;
                for head in 0..a.kv_heads {
                    let k = &s.k[t * k_len + head * a.k_dim..][..a.k_dim];
                    let v = if layout.v_in_k { &[][..] } else { &s.v[t * v_len + head * a.v_dim..][..a.v_dim] };
                    layout.store(isa, page.tile_mut(shape, layer, head), position - start, k, v);
                }
            }
        });
    }

    /// The slots of tile `tile` that token `t` sees.
    pub(super) fn seen(&self, a: &Attention, t: usize, tile: usize) -> Range<u32> {
        let seen = a.visible(self.from + t);
        let clip = |position: usize| (position.clamp(tile * TILE, (tile + 1) * TILE) - tile * TILE) as u32;
        clip(seen.start)..clip(seen.end)
    }

    /// Attention of all query heads over the cache, into `s.mix`.
    pub(super) fn attend(&self, s: &mut Scratch, cache: &KvCache, layer: usize) {
        let attend = Attend { pass: self, a: &self.model.spec.layers[layer].attn, cache, layer };
        if self.n <= FEW_TOKENS { attend.by_tiles(s) } else { attend.by_tokens(s) }
    }

    /// Quantizes attention's mix as the input of the output product.
    pub(super) fn mix_to_input(&self, s: &mut Scratch, len: usize, kinds: tokki_quant::activation::ActKinds) {
        let mix = &s.mix;
        let inner = s.inner.reset(kinds, self.n, len);
        self.lead.phase(self.n, &|_, t| inner.write(self.isa, t, &mix[t * len..][..len]));
    }
}

/// Attention of one layer.
struct Attend<'a> {
    pass: &'a Pass<'a>,
    a: &'a Attention,
    cache: &'a KvCache,
    layer: usize,
}

impl Attend<'_> {
    /// Query heads per key-value head.
    fn group(&self) -> usize {
        self.a.heads / self.a.kv_heads
    }

    /// Keys that token `t` may see, as positions.
    fn visible(&self, t: usize) -> Range<usize> {
        self.a.visible(self.pass.from + t)
    }

    /// Tiles that tokens `from..to` may see.
    fn tiles(&self, from: usize, to: usize) -> Range<usize> {
        self.visible(from).start / TILE..self.visible(to - 1).end.div_ceil(TILE)
    }

    /// The visible slots of `tile` for the rows of tokens `tokens`, one range per row (token-major, group-minor).
    fn slots(&self, tokens: Range<usize>, tile: usize, out: &mut Vec<Range<u32>>) {
        out.clear();
        for t in tokens {
            out.extend(std::iter::repeat_n(self.pass.seen(self.a, t, tile), self.group()));
        }
    }

    /// Query rows of tokens `tokens` for key-value head `head` (token-major, group-minor).
    fn query_rows<'q>(&self, q: &'q [f32], tokens: Range<usize>, head: usize) -> Vec<&'q [f32]> {
        let (stride, len) = (self.a.heads * self.a.k_dim, self.group() * self.a.k_dim);
        tokens.flat_map(|t| q[t * stride + head * len..][..len].chunks_exact(self.a.k_dim)).collect()
    }

    fn sink(&self, query_head: usize) -> Option<f32> {
        self.pass.model.layers[self.layer].sinks.as_ref().map(|sinks| sinks[query_head])
    }

    /// One piece of work per tile, or per (tile, head) where tiles alone are too few; all partial results are kept, then
    /// merged in order per head. The heads of a tile are neighbours in memory, so that a thread reads them as one stream.
    fn by_tiles(&self, s: &mut Scratch) {
        /// Pieces for each thread, so that a slow one delays little.
        const PIECES: usize = 4;
        let (a, pass, n, group) = (self.a, self.pass, self.pass.n, self.group());
        let layout = self.cache.shape().layout(self.layer);
        let tiles = self.tiles(0, n);
        let count = tiles.len();
        let Scratch { q, mix, queries, partials, workers, .. } = s;
        queries.resize_with(queries.len().max(a.kv_heads), Queries::default);
        partials.resize_with(partials.len().max(a.kv_heads * count), Partial::default);
        for (head, queries) in queries[..a.kv_heads].iter_mut().enumerate() {
            queries.set(pass.isa, layout, self.query_rows(q, 0..n, head).into_iter(), a.scale);
        }
        let slots = Chunks::new(&mut partials[..a.kv_heads * count], 1);
        let parts = if count >= PIECES * pass.lead.threads() { 1 } else { a.kv_heads };
        // Piece `index`: the number of its tile, and its heads.
        let piece = |index: usize| {
            let part = index % parts;
            (index / parts, part * a.kv_heads / parts..(part + 1) * a.kv_heads / parts)
        };
        let at = |tile, head| self.cache.tile(tiles.start + tile, self.layer, head);
        pass.lead.phase(count * parts, &|worker, index| {
            let (tile, heads) = piece(index);
            let mut scratch = workers[worker].lock().unwrap_or_else(PoisonError::into_inner);
            self.slots(0..n, tiles.start + tile, &mut scratch.visible);
            for head in heads.clone() {
                // A thread's pieces follow each other.
                let (next_tile, next_heads) =
                    if head + 1 < heads.end { (tile, head + 1..heads.end) } else { piece(index + 1) };
                let next = (next_tile < count).then(|| at(next_tile, next_heads.start));
                let bytes = TileBytes { tile: at(tile, head), next: next.unwrap_or_default() };
                let out = &mut slots.take(head * count + tile)[0];
                attend_tile(pass.isa, layout, bytes, &queries[head], &scratch.visible, a.softcap, out);
            }
        });
        let width = a.heads * a.v_dim;
        let bands = OutTiles::new(sized(mix, n * width), width, group * a.v_dim);
        let merged = Chunks::new(&mut partials[..a.kv_heads * count], count);
        pass.lead.phase(a.kv_heads, &|_, head| {
            let Some((total, rest)) = merged.take(head).split_first_mut() else { return };
            rest.iter().for_each(|next| total.merge(pass.isa, next));
            let mut band = bands.take(head);
            for t in 0..n {
                for (g, out) in band.col_mut(t).chunks_exact_mut(a.v_dim).enumerate() {
                    total.finish(pass.isa, t * group + g, self.sink(head * group + g), out);
                }
            }
        });
    }

    /// One piece of work per block of tokens, the last (longest) blocks first.
    fn by_tokens(&self, s: &mut Scratch) {
        let (a, n) = (self.a, self.pass.n);
        let block = (BLOCK_ROWS / self.group()).max(4);
        let width = a.heads * a.v_dim;
        let Scratch { q, mix, workers, .. } = s;
        let mixes = Chunks::new(sized(mix, n * width), block * width);
        let blocks = mixes.count();
        self.pass.lead.phase(blocks, &|worker, index| {
            let index = blocks - 1 - index;
            let tokens = index * block..((index + 1) * block).min(n);
            let mut scratch = workers[worker].lock().unwrap_or_else(PoisonError::into_inner);
            let mix = mixes.take(index);
            for head in 0..a.kv_heads {
                self.block(q, tokens.clone(), head, &mut scratch, mix);
            }
        });
    }

    /// Tokens `tokens` of one key-value head, into their rows of `mix`.
    fn block(&self, q: &[f32], tokens: Range<usize>, head: usize, scratch: &mut AttendScratch, mix: &mut [f32]) {
        let (a, isa, group) = (self.a, self.pass.isa, self.group());
        let layout = self.cache.shape().layout(self.layer);
        let AttendScratch { queries, partial, total, visible, .. } = scratch;
        queries.set(isa, layout, self.query_rows(q, tokens.clone(), head).into_iter(), a.scale);
        let tiles = self.tiles(tokens.start, tokens.end);
        for tile in tiles.clone() {
            self.slots(tokens.clone(), tile, visible);
            let out = if tile == tiles.start { &mut *total } else { &mut *partial };
            let at = |tile| self.cache.tile(tile, self.layer, head);
            let next = (tile + 1 < tiles.end).then(|| at(tile + 1));
            let bytes = TileBytes { tile: at(tile), next: next.unwrap_or_default() };
            attend_tile(isa, layout, bytes, queries, visible, a.softcap, out);
            if tile != tiles.start {
                total.merge(isa, partial);
            }
        }
        let width = a.heads * a.v_dim;
        for t in 0..tokens.len() {
            let out = &mut mix[t * width + head * group * a.v_dim..][..group * a.v_dim];
            for (g, out) in out.chunks_exact_mut(a.v_dim).enumerate() {
                total.finish(isa, t * group + g, self.sink(head * group + g), out);
            }
        }
    }
}
