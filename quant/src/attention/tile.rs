//! One tile: scores, softmax, weighted values.

use std::ops::Range;

use super::kernels::{Byte, DotScores, Element, Float, Half, Part, Scores, Values, by_rows};
use super::queries::{Group, Queries, ROWS};
use super::{BLOCK, KvKind, KvLayout, Partial, STRIP, TILE, strip_width};
use crate::elementary::{exp, softcap};
use crate::isa::Isa;
use crate::isa::lanes::{Kernel, LANES, Lanes, dispatch};

/// Scores, then weights, of a group of rows.
pub(super) type Weights = [[f32; TILE]; ROWS];

/// Weights times the scales of the values' blocks, for each block of a strip.
type Scaled = [Weights; STRIP / BLOCK];

/// Attends to one tile: `out` becomes its partial. `visible` holds, for each row, the slots of the tile that it sees.
///
/// # Panics
/// If `tile` or `q` don't suit the layout, or `visible` doesn't hold one range within the tile per row.
pub fn attend_tile(
    isa: Isa,
    layout: &KvLayout,
    tile: &[u8],
    q: &Queries,
    visible: &[Range<u32>],
    softcap: Option<f32>,
    out: &mut Partial,
) {
    assert_eq!(tile.len(), layout.tile_bytes(), "attend_tile: tile");
    assert!(q.suit(layout), "attend_tile: queries of another layout");
    assert_eq!(visible.len(), q.rows(), "attend_tile: ranges");
    assert!(visible.iter().all(|range| range.end <= TILE as u32), "attend_tile: slots");
    out.reset(q.rows(), layout.v_dim);
    dispatch(isa, Attend { layout, tile, q, visible, softcap, out });
}

struct Attend<'a> {
    layout: &'a KvLayout,
    tile: &'a [u8],
    q: &'a Queries,
    visible: &'a [Range<u32>],
    softcap: Option<f32>,
    out: &'a mut Partial,
}

impl Kernel for Attend<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Lanes>(mut self, s: S) {
        if self.layout.v_in_k {
            self.unpack_values(s);
        }
        let mut weights: Weights = [[0.0; TILE]; ROWS];
        let mut scaled = [weights; STRIP / BLOCK];
        for group in self.q.groups() {
            let rows = group.start..group.start + group.rows;
            let ranges: Ranges = std::array::from_fn(|i| match self.visible[rows.clone()].get(i) {
                Some(range) if range.start < range.end => range.start as usize..range.end as usize,
                _ => 0..0,
            });
            let Some(any) = union(&ranges) else { continue };
            self.scores(s, &group, any, &mut weights);
            for (row, range) in ranges.iter().enumerate().filter(|(_, range)| !range.is_empty()) {
                let (max, sum) = s.vectorize(Softmax { scores: &mut weights[row], range, softcap: self.softcap });
                (self.out.max[rows.start + row], self.out.sum[rows.start + row]) = (max, sum);
            }
            self.values(s, &group, &ranges, &weights, &mut scaled);
        }
    }
}

/// What each row of a group sees; `0..0` if nothing, or no row.
type Ranges = [Range<usize>; ROWS];

/// From the first to the last slot that some row sees.
fn union(ranges: &Ranges) -> Option<Range<usize>> {
    let seen = || ranges.iter().filter(|range| !range.is_empty());
    Some(seen().map(|range| range.start).min()?..seen().map(|range| range.end).max()?)
}

impl Attend<'_> {
    /// Scores of a group for at least the slots of `any`.
    #[inline(always)]
    fn scores<S: Lanes>(&self, s: S, group: &Group<'_>, any: Range<usize>, out: &mut Weights) {
        let vectors = any.start / LANES..any.end.div_ceil(LANES);
        let per_strip = STRIP / LANES;
        let strips = self.tile.chunks_exact(self.layout.key_strip_bytes()).take(TILE / STRIP);
        for (index, strip) in strips.enumerate() {
            let base = index * per_strip;
            let vectors = vectors.start.max(base)..vectors.end.min(base + per_strip);
            if vectors.is_empty() {
                continue;
            }
            let vectors = vectors.start - base..vectors.end - base;
            let at = index * STRIP;
            match self.layout.kind {
                KvKind::F32 => {
                    let strip = strip.as_chunks().0;
                    by_rows(s, group.rows, Scores::<Float, { 4 * STRIP }>::new(strip, group.values, vectors, at, out));
                }
                KvKind::F16 => {
                    let strip = strip.as_chunks().0;
                    by_rows(s, group.rows, Scores::<Half, { 2 * STRIP }>::new(strip, group.values, vectors, at, out));
                }
                KvKind::Q8 => {
                    let scales = &self.tile[self.layout.key_scales_start()..self.layout.values_start()];
                    let (strip, scales) = (strip.as_chunks().0, scales.as_chunks().0);
                    by_rows(s, group.rows, DotScores { strip, scales, group, vectors, at, out });
                }
            }
        }
    }

    /// Adds the weighted values of a group. Slots that all rows see go together; the others row by row, before or
    /// after, so that each row meets its slots in order and no others.
    #[inline(always)]
    fn values<S: Lanes>(&mut self, s: S, group: &Group<'_>, ranges: &Ranges, weights: &Weights, scaled: &mut Scaled) {
        let ranges = &ranges[..group.rows];
        let start = ranges.iter().map(|range| range.start).max().unwrap_or(0);
        let end = ranges.iter().map(|range| range.end).min().unwrap_or(0).max(start);
        for (row, range) in ranges.iter().enumerate() {
            self.rows_values(s, group, row..row + 1, range.start..range.end.min(start), weights, scaled);
        }
        self.rows_values(s, group, 0..group.rows, start..end, weights, scaled);
        for (row, range) in ranges.iter().enumerate() {
            self.rows_values(s, group, row..row + 1, range.start.max(end)..range.end, weights, scaled);
        }
    }

    /// Adds the weighted values of `slots` to `rows` of the group.
    #[inline(always)]
    fn rows_values<S: Lanes>(
        &mut self,
        s: S,
        group: &Group<'_>,
        rows: Range<usize>,
        slots: Range<usize>,
        weights: &Weights,
        scaled: &mut Scaled,
    ) {
        if slots.is_empty() {
            return;
        }
        let layout = self.layout;
        let stride = self.out.stride();
        let quantized = layout.kind == KvKind::Q8;
        let (kind, values, scales) = if layout.v_in_k {
            (KvKind::F32, &self.out.scratch[..], &self.tile[layout.key_scales_start()..])
        } else {
            let values = &self.tile[layout.values_start()..];
            (layout.kind, values, &values[layout.value_bytes()..])
        };
        let scales: &[[u8; 2 * TILE]] = scales.as_chunks().0;
        for start in (0..layout.v_dim).step_by(STRIP) {
            let width = strip_width(layout.v_dim, start);
            let size = kind.value_bytes();
            let strip = &values[start * TILE * size..][..width * TILE * size];
            if quantized {
                for (scales, scaled) in scales[start / BLOCK..].iter().zip(scaled.iter_mut()) {
                    let slots = slots.clone();
                    s.vectorize(ScaleWeights { weights, rows: rows.clone(), scales, slots, out: scaled });
                }
            }
            let weights = if quantized { scaled.each_ref() } else { [weights; STRIP / BLOCK] };
            let acc = &mut self.out.acc[(group.start + rows.start) * stride + start..];
            let part = Part { strip, width, slots: slots.clone(), weights, row: rows.start, acc, stride };
            let rows = rows.len();
            match kind {
                KvKind::F32 => by_rows(s, rows, Values::<Float>::new(part)),
                KvKind::F16 => by_rows(s, rows, Values::<Half>::new(part)),
                KvKind::Q8 => by_rows(s, rows, Values::<Byte>::new(part)),
            }
        }
    }

    /// Unpacks the values that are part of the keys to strips of f32, without their scales.
    #[inline(always)]
    fn unpack_values<S: Lanes>(&mut self, s: S) {
        let layout = self.layout;
        self.out.scratch.resize(layout.v_dim.next_multiple_of(LANES) * TILE * 4, 0);
        for start in (0..layout.v_dim).step_by(STRIP) {
            let width = strip_width(layout.v_dim, start);
            let out = &mut self.out.scratch[start * TILE * 4..][..width * TILE * 4];
            for (index, strip) in self.tile.chunks_exact(layout.key_strip_bytes()).take(TILE / STRIP).enumerate() {
                for chunk in 0..width / LANES {
                    for vector in 0..STRIP / LANES {
                        let unpack = Unpack { kind: layout.kind, strip, d: start + chunk * LANES, vector };
                        let block = s.vectorize(unpack);
                        for (key, values) in block.iter().enumerate() {
                            let slot = index * STRIP + vector * LANES + key;
                            out[(slot * width + chunk * LANES) * 4..][..4 * LANES].copy_from_slice(values);
                        }
                    }
                }
            }
        }
    }
}

/// The largest of the visible scores, and the sum of the weights that replace all scores.
struct Softmax<'a> {
    scores: &'a mut [f32; TILE],
    range: &'a Range<usize>,
    softcap: Option<f32>,
}

impl Kernel for Softmax<'_> {
    type Out = (f32, f32);
    #[inline(always)]
    fn run<S: Lanes>(self, s: S) -> (f32, f32) {
        let lowest = s.splat(f32::NEG_INFINITY);
        let (start, end) = (self.range.start as i32, self.range.end as i32);
        let vectors = self.range.start / LANES..self.range.end.div_ceil(LANES);
        let scores = &mut self.scores.as_chunks_mut().0[vectors.clone()];
        let mut max = lowest;
        for (vector, scores) in vectors.zip(scores.iter_mut()) {
            let mut x = s.load(scores);
            if let Some(cap) = self.softcap {
                x = softcap(s, x, cap);
            }
            let first = (vector * LANES) as i32;
            x = s.if_within(start - first, end - first, x, lowest);
            max = s.max(x, max);
            s.store(x, scores);
        }
        let max = s.max_lane(max);
        let mut sums = s.splat(0.0);
        for scores in scores {
            let e = exp(s, s.sub(s.load(scores), s.splat(max)));
            sums = s.add(sums, e);
            s.store(e, scores);
        }
        (max, s.sum(sums))
    }
}

/// Weights of some rows times the scales of one block of values.
struct ScaleWeights<'a> {
    weights: &'a Weights,
    rows: Range<usize>,
    scales: &'a [u8; 2 * TILE],
    slots: Range<usize>,
    out: &'a mut Weights,
}

impl Kernel for ScaleWeights<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let scales = self.scales.as_chunks().0;
        for vector in self.slots.start / LANES..self.slots.end.div_ceil(LANES) {
            let scale = s.load_f16(&scales[vector]);
            for (weights, out) in self.weights[self.rows.clone()].iter().zip(&mut self.out[self.rows.clone()]) {
                let weight = s.load(&weights.as_chunks().0[vector]);
                s.store(s.mul(weight, scale), &mut out.as_chunks_mut().0[vector]);
            }
        }
    }
}

/// Values `d..d + 16` of 16 keys, from the keys' strip: `[16 keys][16 values]`, 0 behind the end of a key.
struct Unpack<'a> {
    kind: KvKind,
    strip: &'a [u8],
    d: usize,
    vector: usize,
}

impl Kernel for Unpack<'_> {
    type Out = [[u8; 4 * LANES]; LANES];
    #[inline(always)]
    fn run<S: Lanes>(self, s: S) -> Self::Out {
        let mut x = [s.splat(0.0); LANES];
        match self.kind {
            KvKind::F32 => load_rows::<S, Float, { 4 * STRIP }>(s, self.strip, self.d, self.vector, &mut x),
            KvKind::F16 => load_rows::<S, Half, { 2 * STRIP }>(s, self.strip, self.d, self.vector, &mut x),
            KvKind::Q8 => {
                let groups = self.strip.as_chunks::<{ 4 * STRIP }>().0[self.d / 4..].iter().take(LANES / 4);
                for (group, x) in groups.zip(x.as_chunks_mut::<4>().0) {
                    let keys = group.as_chunks::<{ 4 * LANES }>().0[self.vector].as_chunks::<4>().0;
                    for (j, x) in x.iter_mut().enumerate() {
                        let bytes: [u8; LANES] = std::array::from_fn(|key| keys[key][j].wrapping_sub(128));
                        *x = s.load_i8(&bytes);
                    }
                }
            }
        }
        s.transpose(&mut x);
        let mut out = [[0; 4 * LANES]; LANES];
        for (x, out) in x.into_iter().zip(&mut out) {
            s.store_f32(x, out);
        }
        out
    }
}

/// 16 keys' values `d`, `d + 1`, .. in one vector each.
#[inline(always)]
fn load_rows<S: Lanes, E: Element, const ROW: usize>(
    s: S,
    strip: &[u8],
    d: usize,
    vector: usize,
    x: &mut [S::F; LANES],
) {
    for (row, x) in strip.as_chunks::<ROW>().0[d..].iter().zip(x) {
        *x = E::load(s, row, vector);
    }
}
