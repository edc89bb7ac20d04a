//! Grouped-query attention: every key-value head serves `H / KV` query heads, which meet its tiles together.
//!
//! Each sequence of a pass attends to its own cache. Few query rows (decode): one piece of work per head and tile of all
//! such sequences, all partial results kept, merged in tile order. Many (prefill): one piece of work per block of tokens,
//! which merges its tiles as it goes. Both are the same sums in the same order, so the result does not depend on which was
//! taken, nor on the threads, nor on the other sequences.

use super::product::{self, Product};
use super::scratch::{AttendScratch, Scratch, sized};
use super::{Pass, Place};
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
    pub(super) fn heads(&self, s: &mut Scratch, caches: &mut [&mut KvCache], layer: usize) {
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
        self.store(s, caches, layer);
        self.attend(s, caches, layer);
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

    /// Appends keys and values to the caches.
    pub(super) fn store(&self, s: &Scratch, caches: &mut [&mut KvCache], layer: usize) {
        let a = &self.model.spec.layers[layer].attn;
        let (k_len, v_len) = (a.kv_heads * a.k_dim, a.kv_heads * a.v_dim);
        let layout = self.shape.layout(layer);
        let mut parts = Vec::new();
        for (place, cache) in self.places.iter().zip(caches) {
            let pages = cache.pages_mut(place.from, place.n).iter_mut();
            parts.extend(pages.enumerate().map(|(index, page)| (place, (place.from / TILE + index) * TILE, page)));
        }
        let parts = Chunks::new(&mut parts, 1);
        self.lead.phase(parts.count(), &|_, index| {
            let (place, start, page) = &mut parts.take(index)[0];
            for position in (*start).max(place.from)..(*start + TILE).min(place.from + place.n) {
                let row = place.row + position - place.from;
                for head in 0..a.kv_heads {
                    let k = &s.k[row * k_len + head * a.k_dim..][..a.k_dim];
                    let v = if layout.v_in_k { &[][..] } else { &s.v[row * v_len + head * a.v_dim..][..a.v_dim] };
                    layout.store(self.isa, page.tile_mut(self.shape, layer, head), position - *start, k, v);
                }
            }
        });
    }

    /// Position in its sequence of row `row`.
    pub(super) fn position(&self, row: usize) -> usize {
        let after = self.places.partition_point(|place| place.row <= row);
        self.places[..after].last().map_or(row, |place| place.from + row - place.row)
    }

    /// The slots of tile `tile` that a query at `position` sees.
    pub(super) fn seen(&self, a: &Attention, position: usize, tile: usize) -> Range<u32> {
        let seen = a.visible(position);
        let clip = |position: usize| (position.clamp(tile * TILE, (tile + 1) * TILE) - tile * TILE) as u32;
        clip(seen.start)..clip(seen.end)
    }

    /// Attention of all query heads over the caches, into `s.mix`.
    pub(super) fn attend(&self, s: &mut Scratch, caches: &[&mut KvCache], layer: usize) {
        let a = &self.model.spec.layers[layer].attn;
        sized(&mut s.mix, self.n * a.heads * a.v_dim);
        let attend = |(&place, cache)| Attend { pass: self, a, cache, layer, place };
        let all = self.places.iter().zip(caches.iter().map(|cache| &**cache)).map(attend);
        let (few, many): (Vec<_>, Vec<_>) = all.partition(|attend| attend.place.n <= FEW_TOKENS);
        many.iter().for_each(|attend| attend.by_tokens(s));
        if !few.is_empty() {
            by_tiles(self, &few, s);
        }
    }

    /// Quantizes attention's mix as the input of the output product.
    pub(super) fn mix_to_input(&self, s: &mut Scratch, len: usize, kinds: tokki_quant::activation::ActKinds) {
        let mix = &s.mix;
        let inner = s.inner.reset(kinds, self.n, len);
        self.lead.phase(self.n, &|_, t| inner.write(self.isa, t, &mix[t * len..][..len]));
    }
}

/// Attention of one sequence's rows in one layer.
struct Attend<'a> {
    pass: &'a Pass<'a>,
    a: &'a Attention,
    cache: &'a KvCache,
    layer: usize,
    place: Place,
}

impl<'a> Attend<'a> {
    /// Query heads per key-value head.
    fn group(&self) -> usize {
        self.a.heads / self.a.kv_heads
    }

    /// Keys that token `t` of the sequence may see, as positions.
    fn visible(&self, t: usize) -> Range<usize> {
        self.a.visible(self.place.from + t)
    }

    /// Tiles that tokens `from..to` may see.
    fn tiles(&self, from: usize, to: usize) -> Range<usize> {
        self.visible(from).start / TILE..self.visible(to - 1).end.div_ceil(TILE)
    }

    /// The visible slots of `tile` for the rows of tokens `tokens`, one range per row (token-major, group-minor).
    fn slots(&self, tokens: Range<usize>, tile: usize, out: &mut Vec<Range<u32>>) {
        out.clear();
        for t in tokens {
            out.extend(std::iter::repeat_n(self.pass.seen(self.a, self.place.from + t, tile), self.group()));
        }
    }

    /// Query rows of tokens `tokens` for key-value head `head` (token-major, group-minor).
    fn query_rows<'q>(&self, q: &'q [f32], tokens: Range<usize>, head: usize) -> Vec<&'q [f32]> {
        let (stride, len) = (self.a.heads * self.a.k_dim, self.group() * self.a.k_dim);
        let row = |t| (self.place.row + t) * stride + head * len;
        tokens.flat_map(|t| q[row(t)..][..len].chunks_exact(self.a.k_dim)).collect()
    }

    fn sink(&self, query_head: usize) -> Option<f32> {
        self.pass.model.layers[self.layer].sinks.as_ref().map(|sinks| sinks[query_head])
    }

    fn tile(&self, tile: usize, head: usize) -> &'a [u8] {
        self.cache.tile(tile, self.layer, head)
    }

    /// One piece of work per block of tokens, the last (longest) blocks first.
    fn by_tokens(&self, s: &mut Scratch) {
        let (a, n) = (self.a, self.place.n);
        let block = (BLOCK_ROWS / self.group()).max(4);
        let width = a.heads * a.v_dim;
        let Scratch { q, mix, workers, .. } = s;
        let mixes = Chunks::new(&mut mix[self.place.row * width..][..n * width], block * width);
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
        let layout = self.pass.shape.layout(self.layer);
        let AttendScratch { queries, partial, total, visible, .. } = scratch;
        queries.set(isa, layout, self.query_rows(q, tokens.clone(), head).into_iter(), a.scale);
        let tiles = self.tiles(tokens.start, tokens.end);
        for tile in tiles.clone() {
            self.slots(tokens.clone(), tile, visible);
            let out = if tile == tiles.start { &mut *total } else { &mut *partial };
            let next = (tile + 1 < tiles.end).then(|| self.tile(tile + 1, head));
            let bytes = TileBytes { tile: self.tile(tile, head), next: next.unwrap_or_default() };
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

/// One piece of work of [`by_tiles`]: heads of one tile of one sequence.
struct Piece {
    /// Which of the sequences.
    of: usize,
    /// The tile, counted from the first that is seen.
    tile: usize,
    heads: Range<usize>,
}

/// Attention of sequences with few rows each: one piece of work per tile, or per (tile, head) where tiles alone are too
/// few; all partial results are kept, then merged in order per head. The heads of a tile are neighbours in memory, so that
/// a thread reads them as one stream.
fn by_tiles(pass: &Pass<'_>, all: &[Attend<'_>], s: &mut Scratch) {
    /// Pieces for each thread, so that a slow one delays little.
    const PIECES: usize = 4;
    let Some(Attend { a, layer, .. }) = all.first() else { return };
    let (heads, layout) = (a.kv_heads, pass.shape.layout(*layer));
    let tiles: Vec<Range<usize>> = all.iter().map(|attend| attend.tiles(0, attend.place.n)).collect();
    let total: usize = tiles.iter().map(Range::len).sum();
    // Tiles of the sequences before each one.
    let before: Vec<usize> = running_sums(tiles.iter().map(Range::len));
    let Scratch { q, mix, queries, partials, workers, .. } = s;
    queries.resize_with(queries.len().max(all.len() * heads), Queries::default);
    partials.resize_with(partials.len().max(heads * total), Partial::default);
    for (attend, queries) in all.iter().zip(queries.chunks_exact_mut(heads)) {
        for (head, queries) in queries.iter_mut().enumerate() {
            let rows = attend.query_rows(q, 0..attend.place.n, head);
            queries.set(pass.isa, layout, rows.into_iter(), a.scale);
        }
    }
    let slots = Chunks::new(&mut partials[..heads * total], 1);
    let parts = if total >= PIECES * pass.lead.threads() { 1 } else { heads };
    let piece = |index: usize| {
        let (tile, part) = (index / parts, index % parts);
        let of = before.partition_point(|&first| first <= tile) - 1;
        Piece { of, tile: tile - before[of], heads: part * heads / parts..(part + 1) * heads / parts }
    };
    let bytes = |of: usize, tile: usize, head: usize| all[of].tile(tiles[of].start + tile, head);
    pass.lead.phase(total * parts, &|worker, index| {
        let own = piece(index);
        let attend = &all[own.of];
        let mut scratch = workers[worker].lock().unwrap_or_else(PoisonError::into_inner);
        attend.slots(0..attend.place.n, tiles[own.of].start + own.tile, &mut scratch.visible);
        for head in own.heads.clone() {
            // A thread's pieces follow each other.
            let next = if head + 1 < own.heads.end {
                bytes(own.of, own.tile, head + 1)
            } else if index + 1 < total * parts {
                let next = piece(index + 1);
                bytes(next.of, next.tile, next.heads.start)
            } else {
                &[]
            };
            let tile = TileBytes { tile: bytes(own.of, own.tile, head), next };
            let out = &mut slots.take(before[own.of] * heads + head * tiles[own.of].len() + own.tile)[0];
            attend_tile(pass.isa, layout, tile, &queries[own.of * heads + head], &scratch.visible, a.softcap, out);
        }
    });
    let (width, group) = (a.heads * a.v_dim, a.heads / heads);
    let bands = OutTiles::new(&mut mix[..pass.n * width], width, group * a.v_dim);
    let merged = Chunks::new(&mut partials[..heads * total], 1);
    pass.lead.phase(heads, &|_, head| {
        let mut band = bands.take(head);
        for (of, attend) in all.iter().enumerate() {
            let first = before[of] * heads + head * tiles[of].len();
            let sum = &mut merged.take(first)[0];
            (1..tiles[of].len()).for_each(|tile| sum.merge(pass.isa, &merged.take(first + tile)[0]));
            for t in 0..attend.place.n {
                for (g, out) in band.col_mut(attend.place.row + t).chunks_exact_mut(a.v_dim).enumerate() {
                    sum.finish(pass.isa, t * group + g, attend.sink(head * group + g), out);
                }
            }
        }
    });
}

/// For each number the sum of those before it.
fn running_sums(numbers: impl Iterator<Item = usize>) -> Vec<usize> {
    let add = |sum: &mut usize, number| Some(std::mem::replace(sum, *sum + number));
    numbers.scan(0, add).collect()
}
