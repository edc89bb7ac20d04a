//! Grouped-query attention: every key-value head serves `H / KV` query heads, which meet its tiles together.
//!
//! Each sequence of a pass attends to its own cache. Few query rows (decode): one piece of work per head and tile of all
//! such sequences, all partial results kept, merged in tile order. Many (prefill): one piece of work per block of tokens,
//! which merges its tiles as it goes. Both are the same sums in the same order, so the result does not depend on which was
//! taken, nor on the threads, nor on the other sequences.

use super::super::rope;
use super::curves;
use crate::arch::{Attention, GateSource, ScoreBias, Values};
use crate::forward::norm;
use crate::forward::pass::{Pass, RowPlace};
use crate::forward::product::{self, Product};
use crate::forward::scratch::{AttendScratch, Scratch, sized};
use crate::kv::KvCache;
use crate::model::{AttentionWeights, Qkv};
use std::ops::Range;
use std::sync::PoisonError;
use tokki_quant::attention::{Partial, Queries, TILE, TileBytes, attend_tile_biased};
use tokki_quant::share::{Chunks, OutTiles};
use tokki_quant::{gates, ops};

/// Up to this many tokens, work is cut by tiles instead of by tokens.
pub(in crate::forward) const FEW_TOKENS: usize = 8;

/// Query rows that a block of prefill aims at: enough to reuse a tile from the first-level cache.
const BLOCK_ROWS: usize = 64;

/// The attention of one layer: what it computes, and with which weights.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) layer: usize,
    pub(super) a: &'a Attention,
    pub(super) w: &'a AttentionWeights,
}

impl Here<'_> {
    /// The layer whose keys and values are attended to.
    pub(super) fn source(&self) -> usize {
        self.a.kv_of.unwrap_or(self.layer)
    }
}

impl Pass<'_> {
    /// From the branch's input to its output: q/k/v, positions, cache, attention, output product.
    pub(super) fn heads(&self, s: &mut Scratch, caches: &mut [&mut KvCache], here: Here<'_>) {
        let a = here.a;
        self.queries_keys_values(s, here);
        self.rotate(s, here);
        self.tell("Qcur", here.layer, a.heads * a.k_dim, &s.q);
        if a.kv_of.is_none() {
            self.tell("Kcur", here.layer, a.kv_heads * a.k_dim, &s.k);
            self.tell("Vcur", here.layer, a.kv_heads * a.v_dim, &s.v);
        }
        if a.kv_of.is_none() {
            self.store(s, caches, here);
        }
        self.attend(s, caches, here);
        self.tell("kqv_out", here.layer, a.heads * a.v_dim, &s.mix);
        self.finish_heads(s, here, a.v_dim);
    }

    /// The products of q, k, v and of a gate, clamped where the model does so.
    fn queries_keys_values(&self, s: &mut Scratch, Here { a, w, .. }: Here<'_>) {
        let Qkv::Heads { q, k, v } = &w.qkv else { return };
        let (lead, n) = (self.lead, self.n);
        let gated = a.gate.is_some_and(|gate| gate.from == GateSource::Query);
        let Scratch { input, low, q: queries, k: keys, v: values, gates, .. } = s;
        let made = sized(if gated { low } else { queries }, n * q.rows());
        let mut products = vec![Product::new((q, 0), input, made, lead)];
        if let Some(k) = k {
            products.push(Product::new((k, 0), input, sized(keys, n * k.rows()), lead));
        }
        if let Some(v) = v {
            products.push(Product::new((v, 0), input, sized(values, n * v.rows()), lead));
        }
        if let Some(gate) = &w.gate {
            products.push(Product::new((gate, 0), input, sized(gates, n * gate.rows()), lead));
        }
        product::run(lead, self.isa, &products);
        drop(products);
        if gated {
            self.part_queries(s, a);
        }
        if a.kv_of.is_none() {
            // A layer that is tried on its own may lack the weights of keys and values that others made for it.
            sized(&mut s.k, n * a.kv_heads * a.k_dim);
            sized(&mut s.v, n * a.kv_heads * a.v_dim);
        }
        let (q_len, k_len, v_len) = (n * a.heads * a.k_dim, n * a.kv_heads * a.k_dim, n * a.kv_heads * a.v_dim);
        if a.values == Values::Keys && a.kv_of.is_none() {
            sized(&mut s.v, v_len).copy_from_slice(&s.k[..k_len]);
        }
        if let Some(limit) = a.clamp {
            for (values, len) in [(&mut s.q, q_len), (&mut s.k, k_len), (&mut s.v, v_len)] {
                gates::clamp(self.isa, &mut values[..len], limit);
            }
        }
    }

    /// `[query | gate]` of each head, apart.
    fn part_queries(&self, s: &mut Scratch, a: &Attention) {
        let (heads, d) = (a.heads, a.k_dim);
        let queries = Chunks::new(sized(&mut s.q, self.n * heads * d), heads * d);
        let gates = Chunks::new(sized(&mut s.gates, self.n * heads * d), heads * d);
        let made = &s.low;
        self.lead.phase(self.n, &|_, t| {
            let parts = queries.take(t).chunks_exact_mut(d).zip(gates.take(t).chunks_exact_mut(d));
            for ((query, gate), made) in parts.zip(made[t * heads * 2 * d..].chunks_exact(2 * d)) {
                query.copy_from_slice(&made[..d]);
                gate.copy_from_slice(&made[d..]);
            }
        });
    }

    /// Norms of heads and RoPE, in the order that the model has them, then what positions do to queries.
    fn rotate(&self, s: &mut Scratch, Here { a, w, .. }: Here<'_>) {
        let quiet = a.rope.is_none() && w.q_norm.is_none() && w.k_norm.is_none();
        if quiet && a.v_norm.is_none() && a.temperature.is_none() {
            return;
        }
        let own = a.kv_of.is_none();
        let (q_len, k_len, v_len) = (a.heads * a.k_dim, a.kv_heads * a.k_dim, a.kv_heads * a.v_dim);
        let rows = |values| Chunks::new(values, 1);
        let qs = Chunks::new(&mut s.q[..self.n * q_len], q_len);
        let (ks, vs) = if own {
            (Chunks::new(&mut s.k[..self.n * k_len], k_len), Chunks::new(&mut s.v[..self.n * v_len], v_len))
        } else {
            (rows(&mut s.k[..0]), rows(&mut s.v[..0]))
        };
        let ones = vec![1.0; a.v_dim];
        self.lead.phase(self.n, &|_, t| {
            let prepare = |row: &mut [f32], norm: Option<&_>| {
                if a.norm_after_rope {
                    row.chunks_exact_mut(a.k_dim).for_each(|head| rope::rotate_head(self.isa, self.angles, a, t, head));
                }
                if let Some(weights) = norm {
                    norm::heads(self.isa, weights, a.k_dim, row);
                }
                if !a.norm_after_rope {
                    row.chunks_exact_mut(a.k_dim).for_each(|head| rope::rotate_head(self.isa, self.angles, a, t, head));
                }
            };
            let q = qs.take(t);
            prepare(q, w.q_norm.as_ref());
            self.warm(a, t, q);
            if own {
                prepare(ks.take(t), w.k_norm.as_ref());
            }
            if let Some(eps) = a.v_norm.filter(|_| own) {
                vs.take(t).chunks_exact_mut(a.v_dim).for_each(|v| ops::rms_norm_in_place(self.isa, v, &ones, eps));
            }
        });
    }

    /// Queries grow with their position.
    pub(super) fn warm(&self, a: &Attention, t: usize, queries: &mut [f32]) {
        let factor = a.temperature.map_or(1.0, |temperature| temperature.at(self.position(t)));
        if factor != 1.0 {
            ops::scale(self.isa, queries, factor);
        }
    }

    /// The gate and norm of the heads' results of `v_dim` values each in `s.mix`, and the output product.
    pub(super) fn finish_heads(&self, s: &mut Scratch, Here { a, w, .. }: Here<'_>, v_dim: usize) {
        let (n, e, len) = (self.n, self.model.spec.embd, a.heads * v_dim);
        let Scratch { mix, gates, inner, .. } = s;
        let mixes = Chunks::new(&mut mix[..n * len], len);
        let inner = inner.reset(product::kinds([&w.output]), n, len);
        self.lead.phase(n, &|_, t| {
            let row = mixes.take(t);
            if let Some(gate) = a.gate {
                self.gate_heads(row, gates, (t, v_dim, a.heads), gate);
            }
            if let Some(weights) = &w.out_norm {
                norm::in_place(self.isa, weights, row);
            }
            inner.write(self.isa, t, row);
        });
        drop(inner);
        self.product(&w.output, &s.inner, sized(&mut s.branch, n * e));
        if a.out_scale != 1.0 {
            ops::scale(self.isa, &mut s.branch[..n * e], a.out_scale);
        }
    }

    /// Multiplies the heads' results of row `t` by its gates.
    fn gate_heads(
        &self,
        row: &mut [f32],
        made: &[f32],
        (t, v_dim, heads): (usize, usize, usize),
        gate: crate::arch::HeadGate,
    ) {
        let factor = |x: f32| {
            if gate.softplus { curves::softplus(x) } else { 1.0 / (1.0 + libm::expf(-x)) }
        };
        match (gate.from, gate.softplus) {
            (GateSource::Heads, _) => {
                for (head, x) in row.chunks_exact_mut(v_dim).zip(&made[t * heads..][..heads]) {
                    ops::scale(self.isa, head, factor(*x));
                }
            }
            (_, false) => gates::mul_sigmoid(self.isa, row, &made[t * row.len()..][..row.len()]),
            (_, true) => {
                let own = &made[t * row.len()..][..row.len()];
                row.iter_mut().zip(own).for_each(|(value, x)| *value *= factor(*x));
            }
        }
    }

    /// Appends keys and values to the caches.
    pub(super) fn store(&self, s: &Scratch, caches: &mut [&mut KvCache], Here { layer, a, .. }: Here<'_>) {
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
    pub(in crate::forward) fn position(&self, row: usize) -> usize {
        let after = self.places.partition_point(|place| place.row <= row);
        self.places[..after].last().map_or(row, |place| place.from + row - place.row)
    }

    /// The slots of tile `tile` that a query at `position` of a sequence of `len` sees.
    pub(super) fn seen(&self, a: &Attention, (position, len): (usize, usize), tile: usize) -> Range<u32> {
        let seen = a.visible(position, len, self.model.spec.causal);
        let clip = |position: usize| (position.clamp(tile * TILE, (tile + 1) * TILE) - tile * TILE) as u32;
        clip(seen.start)..clip(seen.end)
    }

    /// Attention of all query heads over the caches, into `s.mix`.
    pub(super) fn attend(&self, s: &mut Scratch, caches: &[&mut KvCache], here: Here<'_>) {
        sized(&mut s.mix, self.n * here.a.heads * here.a.v_dim);
        let attend = |(&place, cache)| Attend { pass: self, here, a: here.a, cache, layer: here.source(), place };
        let all = self.places.iter().zip(caches.iter().map(|cache| &**cache)).map(attend);
        let (few, many): (Vec<_>, Vec<_>) = all.partition(|attend| attend.place.n <= FEW_TOKENS);
        many.iter().for_each(|attend| attend.by_tokens(s));
        if !few.is_empty() {
            by_tiles(self, &few, s);
        }
    }
}

/// Attention of one sequence's rows in one layer.
struct Attend<'a> {
    pass: &'a Pass<'a>,
    here: Here<'a>,
    a: &'a Attention,
    cache: &'a KvCache,
    /// The layer whose keys and values are attended to.
    layer: usize,
    place: RowPlace,
}

impl<'a> Attend<'a> {
    /// Query heads per key-value head.
    fn group(&self) -> usize {
        self.a.heads / self.a.kv_heads
    }

    /// Positions of the sequence with the pass's.
    fn len(&self) -> usize {
        self.place.from + self.place.n
    }

    /// Keys that token `t` of the sequence may see, as positions.
    fn visible(&self, t: usize) -> Range<usize> {
        self.a.visible(self.place.from + t, self.len(), self.pass.model.spec.causal)
    }

    /// Tiles that tokens `from..to` may see.
    fn tiles(&self, from: usize, to: usize) -> Range<usize> {
        self.visible(from).start / TILE..self.visible(to - 1).end.div_ceil(TILE)
    }

    /// The visible slots of `tile` for the rows of tokens `tokens`, one range per row (token-major, group-minor).
    fn slots(&self, tokens: Range<usize>, tile: usize, out: &mut Vec<Range<u32>>) {
        out.clear();
        for t in tokens {
            let seen = self.pass.seen(self.a, (self.place.from + t, self.len()), tile);
            out.extend(std::iter::repeat_n(seen, self.group()));
        }
    }

    /// Query rows of tokens `tokens` for key-value head `head` (token-major, group-minor).
    fn query_rows<'q>(&self, q: &'q [f32], tokens: Range<usize>, head: usize) -> Vec<&'q [f32]> {
        let (stride, len) = (self.a.heads * self.a.k_dim, self.group() * self.a.k_dim);
        let row = |t| (self.place.row + t) * stride + head * len;
        tokens.flat_map(|t| q[row(t)..][..len].chunks_exact(self.a.k_dim)).collect()
    }

    fn sink(&self, query_head: usize) -> Option<f32> {
        self.here.w.sinks.as_ref().map(|sinks| sinks[query_head])
    }

    /// What is added to the scores of the rows of tokens `tokens` with a tile, `[rows][TILE]`; nothing in most models.
    fn bias(&self, tokens: Range<usize>, tile: usize, head: usize, out: &mut Vec<f32>) {
        out.clear();
        let Some(bias) = self.a.bias else { return };
        for t in tokens {
            for group in 0..self.group() {
                let own = head * self.group() + group;
                let query = self.place.from + t;
                let of = |key: usize| match bias {
                    ScoreBias::Alibi(max) => -curves::slope(max, own, self.a.heads) * query.abs_diff(key) as f32,
                    ScoreBias::Buckets { buckets, .. } => {
                        let table = self.here.w.distances.as_deref().unwrap_or(&[]);
                        table.get(curves::bucket(query, key, buckets) * self.a.heads + own).copied().unwrap_or(0.0)
                    }
                };
                out.extend((tile * TILE..(tile + 1) * TILE).map(of));
            }
        }
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
        let AttendScratch { queries, partial, total, visible, bias, .. } = scratch;
        queries.set(isa, layout, self.query_rows(q, tokens.clone(), head).into_iter(), a.scale);
        let tiles = self.tiles(tokens.start, tokens.end);
        for tile in tiles.clone() {
            self.slots(tokens.clone(), tile, visible);
            let out = if tile == tiles.start { &mut *total } else { &mut *partial };
            let next = (tile + 1 < tiles.end).then(|| self.tile(tile + 1, head));
            let bytes = TileBytes { tile: self.tile(tile, head), next: next.unwrap_or_default() };
            self.bias(tokens.clone(), tile, head, bias);
            attend_tile_biased(isa, layout, bytes, queries, (visible, bias), a.softcap, out);
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
            let AttendScratch { visible, bias, .. } = &mut *scratch;
            attend.bias(0..attend.place.n, tiles[own.of].start + own.tile, head, bias);
            let queries = &queries[own.of * heads + head];
            attend_tile_biased(pass.isa, layout, tile, queries, (visible, bias), a.softcap, out);
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
