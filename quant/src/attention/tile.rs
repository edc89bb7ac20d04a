//! One tile: scores, softmax, weighted values.
//!
//! ```text
//! for each group of query rows that share keys and values:
//!   S[row][slot] = q[row] . k[slot]                 strips of slots, one lane a slot (keys lie transposed)
//!   for each row:
//!     S = softcap(S) + bias; slots that the row does not see become -inf
//!     m[row] = max S; P = exp(S - m[row]); l[row] = sum P
//!   O[row][:] += P[row][slot] * v[slot][:]          slots in rising order; strips of the value's dimensions in registers
//! ```
//! The partials `(m, l, O)` of all tiles are merged in the order of positions afterwards.

use std::cell::RefCell;
use std::ops::Range;

use super::format::KvFormat;
use super::kernels::{Fetch, Group, KeyStrip, Part, Values, Weights, by_rows};
use super::kind::ForKind;
use super::queries::Queries;
use super::sizes::{BLOCK, QUERY_ROWS, STRIP, TILE, strip_width};
use super::unpack::unpack_values;
use super::{KvKind, KvLayout, Partial};
use crate::elementary::{exp, softcap};
use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, LANES, Simd};

/// Weights times the scales of the values' blocks, for each block of a strip.
type Scaled = [Weights; STRIP / BLOCK];

thread_local! {
    /// Weights of the tile in work, and scaled ones: kept, because clearing them would take longer than computing some.
    static SCRATCH: RefCell<Box<(Weights, Scaled)>> =
        RefCell::new(Box::new(([[0.0; TILE]; QUERY_ROWS], [[[0.0; TILE]; QUERY_ROWS]; STRIP / BLOCK])));
}

/// A tile, and what its reader will want after it.
#[derive(Clone, Copy, Debug)]
pub struct TileBytes<'a> {
    /// The tile.
    pub tile: &'a [u8],
    /// Fetched while this tile is in work: the one that comes next, or nothing.
    pub next: &'a [u8],
}

impl<'a> TileBytes<'a> {
    /// Nothing is known of what comes after `tile`.
    pub fn alone(tile: &'a [u8]) -> Self {
        Self { tile, next: &[] }
    }
}

/// Attends to one tile: `out` becomes its partial. `visible` holds, for each row, the slots of the tile that it sees.
///
/// # Panics
/// If `tile` or `q` don't suit the layout, keys have no values, or `visible` doesn't hold one range within the tile per row.
pub fn attend_tile(
    isa: Isa,
    layout: &KvLayout,
    tile: TileBytes<'_>,
    q: &Queries,
    visible: &[Range<u32>],
    softcap: Option<f32>,
    out: &mut Partial,
) {
    attend_tile_biased(isa, layout, tile, q, (visible, &[]), softcap, out);
}

/// [`attend_tile`] with something added to each score: `bias` is empty, or holds `TILE` values per row.
///
/// # Panics
/// As [`attend_tile`], and if `bias` has another length.
pub fn attend_tile_biased(
    isa: Isa,
    layout: &KvLayout,
    TileBytes { tile, next }: TileBytes<'_>,
    q: &Queries,
    (visible, bias): (&[Range<u32>], &[f32]),
    softcap: Option<f32>,
    out: &mut Partial,
) {
    assert!(bias.is_empty() || bias.len() == q.rows() * TILE, "attend_tile: bias");
    assert_eq!(tile.len(), layout.tile_bytes(), "attend_tile: tile");
    assert!(layout.k_dim > 0, "attend_tile: keys without values");
    assert!(q.suit(layout), "attend_tile: queries of another layout");
    assert_eq!(visible.len(), q.rows(), "attend_tile: ranges");
    assert!(visible.iter().all(|range| range.end <= TILE as u32), "attend_tile: slots");
    out.reset(q.rows(), layout.v_dim);
    SCRATCH.with_borrow_mut(|scratch| {
        let (weights, scaled) = &mut **scratch;
        dispatch(isa, Attend { layout, tile, next, q, visible, bias, softcap, out, weights, scaled });
    });
}

struct Attend<'a> {
    layout: &'a KvLayout,
    tile: &'a [u8],
    next: &'a [u8],
    q: &'a Queries,
    visible: &'a [Range<u32>],
    bias: &'a [f32],
    softcap: Option<f32>,
    out: &'a mut Partial,
    weights: &'a mut Weights,
    scaled: &'a mut Scaled,
}

impl Kernel for Attend<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        if self.layout.v_in_k {
            unpack_values(s, self.layout, self.tile, &mut self.out.scratch);
        }
        for group in self.q.groups() {
            let rows = group.start..group.start + group.rows;
            let ranges: Ranges = std::array::from_fn(|i| match self.visible[rows.clone()].get(i) {
                Some(range) if range.start < range.end => range.start as usize..range.end as usize,
                _ => 0..0,
            });
            let Some(any) = union(&ranges) else { continue };
            let next = if group.start == 0 { Fetch(self.next) } else { Fetch::default() };
            let [in_scores, in_softmax, in_values] = [0, 1, 2].map(|third| next.part(third, 3));
            self.scores(s, &group, any, in_scores);
            for (row, range) in ranges.iter().enumerate().filter(|(_, range)| !range.is_empty()) {
                in_softmax.part(row, group.rows).now(s);
                let bias = self.bias.as_chunks().0.get(rows.start + row);
                let scores = &mut self.weights[row];
                let (max, sum) = s.vectorize(Softmax { scores, bias, range, softcap: self.softcap });
                (self.out.max[rows.start + row], self.out.sum[rows.start + row]) = (max, sum);
            }
            self.values(s, &group, &ranges, in_values);
        }
    }
}

/// What each row of a group sees; `0..0` if nothing, or no row.
type Ranges = [Range<usize>; QUERY_ROWS];

/// From the first to the last slot that some row sees.
fn union(ranges: &Ranges) -> Option<Range<usize>> {
    let seen = || ranges.iter().filter(|range| !range.is_empty());
    Some(seen().map(|range| range.start).min()?..seen().map(|range| range.end).max()?)
}

impl Attend<'_> {
    /// Scores of a group for at least the slots of `any`.
    #[inline(always)]
    fn scores<S: Simd>(&mut self, s: S, group: &Group<'_>, any: Range<usize>, next: Fetch<'_>) {
        let out = &mut *self.weights;
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
            let (at, next) = (index * STRIP, next.part(index, TILE / STRIP));
            let scales = &self.tile[self.layout.key_scales_start()..self.layout.values_start()];
            let keys = KeyStrip { strip, scales, group, vectors, at, next, out };
            self.layout.kind.with(ScoreKeys(s, keys));
        }
    }

    /// Adds the weighted values of a group. Slots that all rows see go together; the others row by row, before or
    /// after, so that each row meets its slots in order and no others.
    #[inline(always)]
    fn values<S: Simd>(&mut self, s: S, group: &Group<'_>, ranges: &Ranges, next: Fetch<'_>) {
        let ranges = &ranges[..group.rows];
        let start = ranges.iter().map(|range| range.start).max().unwrap_or(0);
        let end = ranges.iter().map(|range| range.end).min().unwrap_or(0).max(start);
        for (row, range) in ranges.iter().enumerate() {
            self.rows_values(s, group, row..row + 1, range.start..range.end.min(start), Fetch::default());
        }
        self.rows_values(s, group, 0..group.rows, start..end, next);
        for (row, range) in ranges.iter().enumerate() {
            self.rows_values(s, group, row..row + 1, range.start.max(end)..range.end, Fetch::default());
        }
    }

    /// Adds the weighted values of `slots` to `rows` of the group.
    #[inline(always)]
    fn rows_values<S: Simd>(
        &mut self,
        s: S,
        group: &Group<'_>,
        rows: Range<usize>,
        slots: Range<usize>,
        next: Fetch<'_>,
    ) {
        if slots.is_empty() {
            return;
        }
        let layout = self.layout;
        let (weights, scaled) = (&*self.weights, &mut *self.scaled);
        let stride = self.out.stride();
        let quantized = layout.kind.scaled();
        let (kind, values) = if layout.v_in_k {
            (KvKind::F32, &self.out.scratch[..])
        } else {
            (layout.kind, &self.tile[layout.values_start()..])
        };
        let scales = if layout.v_in_k { layout.key_scales_start() } else { layout.value_scales_start() };
        let scales: &[[u8; 2 * TILE]] = self.tile[scales..].as_chunks().0;
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
            let next = next.part(start / STRIP, layout.v_dim.div_ceil(STRIP));
            let part = Part { strip, next, width, slots: slots.clone(), weights, row: rows.start, acc, stride };
            let rows = rows.len();
            kind.with(AddValues(s, rows, part));
        }
    }
}

struct ScoreKeys<'a, S>(S, KeyStrip<'a>);

impl<S: Simd> ForKind for ScoreKeys<'_, S> {
    type Out = ();
    #[inline(always)]
    fn run<K: KvFormat>(self) {
        K::scores(self.0, self.1);
    }
}

struct AddValues<'a, S>(S, usize, Part<'a>);

impl<S: Simd> ForKind for AddValues<'_, S> {
    type Out = ();
    #[inline(always)]
    fn run<K: KvFormat>(self) {
        by_rows(self.0, self.1, Values::<K>::new(self.2));
    }
}

/// The largest of the visible scores, and the sum of the weights that replace all scores.
struct Softmax<'a> {
    scores: &'a mut [f32; TILE],
    bias: Option<&'a [f32; TILE]>,
    range: &'a Range<usize>,
    softcap: Option<f32>,
}

impl Kernel for Softmax<'_> {
    type Out = (f32, f32);
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32) {
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
            if let Some(bias) = self.bias {
                x = s.add(x, s.load(&bias.as_chunks().0[vector]));
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
    fn run<S: Simd>(self, s: S) {
        let vectors = self.slots.start / LANES..self.slots.end.div_ceil(LANES);
        for (vector, scale) in self.scales.as_chunks().0.iter().enumerate().take(vectors.end).skip(vectors.start) {
            let scale = s.load_f16(scale);
            for (weights, out) in self.weights[self.rows.clone()].iter().zip(&mut self.out[self.rows.clone()]) {
                let weight = s.load(&weights.as_chunks().0[vector]);
                s.store(s.mul(weight, scale), &mut out.as_chunks_mut().0[vector]);
            }
        }
    }
}
