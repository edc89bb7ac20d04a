//! What a tile, or several tiles in order, gave for each query row.

use crate::elementary::exp;
use crate::fma::fma;
use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, LANES, Lanes, load_padded, store_partial};

/// For each query row: the largest score, the sum of `e^(score - largest)` and the values weighted by it.
///
/// Merging isn't associative in the last bit. To get the same bits however the work is split, merge the partials of
/// single tiles in order (or of runs of tiles, if where runs begin depends on positions alone).
#[derive(Clone, Debug, Default)]
pub struct Partial {
    pub(super) rows: usize,
    pub(super) v_dim: usize,
    pub(super) max: Vec<f32>,
    pub(super) sum: Vec<f32>,
    /// `[rows][v_dim rounded up to 16]`.
    pub(super) acc: Vec<f32>,
    /// Unpacked values, where a kernel needs them.
    pub(super) scratch: Vec<u8>,
}

impl Partial {
    /// Of no rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes this the neutral partial of `rows` rows: no key seen.
    ///
    /// # Panics
    /// When they are more than can be counted.
    pub fn reset(&mut self, rows: usize, v_dim: usize) {
        let countable = v_dim.checked_next_multiple_of(LANES).and_then(|stride| stride.checked_mul(rows)).is_some();
        assert!(countable, "{rows} rows of {v_dim} values are more than memory can hold");
        (self.rows, self.v_dim) = (rows, v_dim);
        for (vec, len, value) in [
            (&mut self.max, rows, f32::NEG_INFINITY),
            (&mut self.sum, rows, 0.0),
            (&mut self.acc, rows * v_dim.next_multiple_of(LANES), 0.0),
        ] {
            vec.clear();
            vec.resize(len, value);
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The largest score of each row; minus infinity if it saw no key.
    pub fn max(&self) -> &[f32] {
        &self.max
    }

    /// The sum of each row; 0 if it saw no key.
    pub fn sum(&self) -> &[f32] {
        &self.sum
    }

    /// The weighted values of a row, before the division by the sum.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn values(&self, row: usize) -> &[f32] {
        assert!(row < self.rows, "row {row} of {} rows", self.rows);
        &self.acc[row * self.stride()..][..self.v_dim]
    }

    /// Values from one row to the next.
    pub(super) fn stride(&self) -> usize {
        self.v_dim.next_multiple_of(LANES)
    }

    /// Takes in what comes after: the partial of the next tile.
    ///
    /// # Panics
    /// If `next` has other rows.
    pub fn merge(&mut self, isa: Isa, next: &Self) {
        assert_eq!((self.rows, self.v_dim), (next.rows, next.v_dim), "merge: rows, values");
        dispatch(isa, Merge { all: self, next });
    }

    /// The result of a row: its values divided by its sum. `sink` is one more score in the softmax that has no value.
    /// Zeros if the row saw no key.
    ///
    /// # Panics
    /// If there is no such row or `out` isn't `v_dim` long.
    pub fn finish(&self, isa: Isa, row: usize, sink: Option<f32>, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {} rows", self.rows);
        assert_eq!(out.len(), self.v_dim, "finish: out");
        dispatch(isa, Finish { partial: self, row, sink, out });
    }
}

struct Merge<'a> {
    all: &'a mut Partial,
    next: &'a Partial,
}

impl Kernel for Merge<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let stride = self.all.stride();
        for start in (0..self.all.rows).step_by(LANES) {
            let rows = start..self.all.rows.min(start + LANES);
            let (keep, take) = factors(s, &self.all.max[rows.clone()], &self.next.max[rows.clone()]);
            for (row, (keep, take)) in rows.zip(keep.into_iter().zip(take)) {
                let old = self.all.acc[row * stride..][..stride].as_chunks_mut().0;
                let new = self.next.acc[row * stride..][..stride].as_chunks().0;
                let (max, sum) = (&mut self.all.max[row], &mut self.all.sum[row]);
                // A side that saw no key has the sum 0 and takes no part.
                if self.next.sum[row] == 0.0 {
                    continue;
                }
                if *sum == 0.0 {
                    (*max, *sum) = (self.next.max[row], self.next.sum[row]);
                    old.copy_from_slice(new);
                    continue;
                }
                *sum = fma(self.next.sum[row], take, *sum * keep);
                *max = if *max > self.next.max[row] { *max } else { self.next.max[row] };
                let (keep, take) = (s.splat(keep), s.splat(take));
                for (old, new) in old.iter_mut().zip(new) {
                    s.store(s.fma(s.load(new), take, s.mul(s.load(old), keep)), old);
                }
            }
        }
    }
}

/// What the values and sums of up to 16 rows are multiplied by so that both sides refer to the larger maximum.
#[inline(always)]
fn factors<S: Lanes>(s: S, old: &[f32], new: &[f32]) -> ([f32; LANES], [f32; LANES]) {
    let (old, new) = (load_padded(s, old, 0.0), load_padded(s, new, 0.0));
    let max = s.max(old, new);
    let (mut keep, mut take) = ([0.0; LANES], [0.0; LANES]);
    s.store(exp(s, s.sub(old, max)), &mut keep);
    s.store(exp(s, s.sub(new, max)), &mut take);
    (keep, take)
}

struct Finish<'a> {
    partial: &'a Partial,
    row: usize,
    sink: Option<f32>,
    out: &'a mut [f32],
}

impl Kernel for Finish<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let (max, sum) = (self.partial.max[self.row], self.partial.sum[self.row]);
        let factor = if sum == 0.0 {
            0.0
        } else if let Some(sink) = self.sink {
            let top = if sink > max { sink } else { max };
            let mut e = [0.0; LANES];
            let scores = load_padded(s, &[max - top, sink - top], f32::NEG_INFINITY);
            s.store(exp(s, scores), &mut e);
            e[0] / fma(sum, e[0], e[1])
        } else {
            1.0 / sum
        };
        for (x, out) in self.partial.values(self.row).chunks(LANES).zip(self.out.chunks_mut(LANES)) {
            store_partial(s, s.mul(load_padded(s, x, 0.0), s.splat(factor)), out);
        }
    }
}
