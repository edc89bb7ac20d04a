//! Products of eight rows of weights side by side with a few columns: for one token, and for small batches.
//!
//! The weights are read once, straight from the file's bytes, unpacked in registers and used for all columns. While one
//! group of rows is computed, the next one is fetched: each block asks for the bytes at its own place in the group of rows
//! that follows. (Prefetching a fixed distance ahead inside the row reaches little more than half of that speed.)

#![allow(clippy::needless_range_loop, reason = "a block's number indexes the rows of weights and of activations alike")]

use std::marker::PhantomData;
use std::ops::Range;

use crate::activation::{ActRow32, ActRow256, Bytes32};
use crate::formats::{Format32, Format256, Held, eight};
use crate::isa::ints::{Ints, Kernel, ROWS};
use crate::matrix::Matrix;
use crate::share::Tile;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Products of some of a tile's rows with `C` columns; `X` is a column's activations.
pub(crate) struct Product<'a, 't, F, X, const C: usize> {
    m: &'a Matrix<'a>,
    x: [X; C],
    rows: Range<usize>,
    tile: &'a mut Tile<'t>,
    /// The column of the tile that the first of `x` is for.
    first: usize,
    format: PhantomData<F>,
}

impl<'a, 't, F, X, const C: usize> Product<'a, 't, F, X, C> {
    /// `tile[first + c] = m * x[c]` for `rows`, which are of the tile, and the columns that the tile has.
    pub(crate) fn new(m: &'a Matrix<'a>, x: [X; C], rows: Range<usize>, tile: &'a mut Tile<'t>, first: usize) -> Self {
        Self { m, x, rows, tile, first, format: PhantomData }
    }

    /// Calls `products(rows, ahead)` for eight rows at a time, the last of which may be the same one several times over.
    /// `ahead` is how far behind each row the one of the next group lies: 0 for the last group of the tile.
    #[inline(always)]
    fn groups<S: Ints>(self, s: S, mut products: impl FnMut([&'a [u8]; ROWS], usize, &[X; C]) -> [S::F; C]) {
        let (rows, all) = (self.rows, self.tile.rows());
        for from in rows.clone().step_by(ROWS) {
            let group = eight!(r => self.m.row((from + r).min(rows.end - 1)));
            let ahead = if from + ROWS < all.end { ROWS * self.m.row_bytes() } else { 0 };
            let out = products(group, ahead, &self.x);
            let at = from - all.start;
            let count = ROWS.min(rows.end - from);
            for (c, out) in out.into_iter().enumerate().take(self.tile.n() - self.first) {
                self.tile.col_mut(self.first + c)[at..at + count].copy_from_slice(&s.store(out)[..count]);
            }
        }
    }
}

impl<F: Format32, const C: usize> Kernel for Product<'_, '_, F, ActRow32<'_>, C> {
    #[inline(always)]
    fn run<S: Ints>(self, s: S) {
        self.groups(
            s,
            #[inline(always)]
            |rows, ahead, x| products_32::<S, F, C>(s, rows, ahead, x),
        );
    }
}

impl<F: Format256, const C: usize> Kernel for Product<'_, '_, F, ActRow256<'_>, C> {
    #[inline(always)]
    fn run<S: Ints>(self, s: S) {
        self.groups(
            s,
            #[inline(always)]
            |rows, ahead, x| products_256::<S, F, C>(s, rows, ahead, x),
        );
    }
}

#[inline(always)]
fn products_32<S: Ints, F: Format32, const C: usize>(
    s: S,
    rows: [&[u8]; ROWS],
    ahead: usize,
    x: &[ActRow32<'_>; C],
) -> [S::F; C] {
    let n = x[0].q.len();
    let rows = eight!(r => &F::blocks(rows[r])[..n]);
    let x = x.map(|x| ActRow32 { q: &x.q[..n], d: &x.d[..n], sums: &x.sums[..n] });
    let (mut acc, mut macc) = ([s.float(0.0); C], [s.float(0.0); C]);
    let offset = F::HELD.offset::<S>();
    for b in 0..n {
        let blocks = eight!(r => &rows[r][b]);
        // Once per cache line, or nearly so.
        if b.is_multiple_of((LINE / F::BYTES).max(1)) {
            blocks.iter().for_each(|block| s.prefetch(block.as_ref(), ahead));
        }
        let q = F::quants(s, blocks);
        let (d, min) = F::scales(s, blocks);
        for c in 0..C {
            let (a, sum, zero) = (groups(&x[c].q[b]), x[c].sums[b], s.int(0));
            let mut isum = match F::HELD {
                Held::Unsigned { max, .. } => s.dot(zero, &q, max, a),
                Held::Signed => s.dot_signed(zero, &q, a),
            };
            if offset != 0 {
                isum = s.sub(isum, s.int(offset * sum));
            }
            let da = s.float(x[c].d[b]);
            acc[c] = s.fma(s.mul(d, da), s.to_float(isum), acc[c]);
            if F::MIN {
                macc[c] = s.fma(s.mul(min, da), s.float(sum as f32), macc[c]);
            }
        }
    }
    if F::MIN {
        for c in 0..C {
            acc[c] = s.add_float(acc[c], macc[c]);
        }
    }
    acc
}

#[inline(always)]
fn products_256<S: Ints, F: Format256, const C: usize>(
    s: S,
    rows: [&[u8]; ROWS],
    ahead: usize,
    x: &[ActRow256<'_>; C],
) -> [S::F; C] {
    let n = x[0].d.len();
    let rows = eight!(r => &F::blocks(rows[r])[..n]);
    let x = x.map(|x| ActRow256 { q: &x.q[..n * 8], d: &x.d[..n], sums: &x.sums[..n] });
    let (mut acc, mut macc) = ([s.float(0.0); C], [s.float(0.0); C]);
    let offset = F::HELD.offset::<S>();
    for b in 0..n {
        let blocks = eight!(r => &rows[r][b]);
        let head = F::head(s, blocks);
        let mut isum = [s.int(0); C];
        F::chunks(
            s,
            blocks,
            #[inline(always)]
            |j, q| {
                // A line of each row per chunk: all at once would be more than the processor keeps in flight.
                if j < F::BYTES.div_ceil(LINE) {
                    blocks.iter().for_each(|block| s.prefetch(block.as_ref(), ahead + j * LINE));
                }
                let a: [_; C] = std::array::from_fn(|c| groups(&x[c].q[b * 8 + j]));
                scaled_dots::<S, F, C>(s, &mut isum, j, &q, &head.scales, a);
            },
        );
        if offset != 0 {
            let weighed = weigh::<S, F, C>(s, &head.scales, &x, b);
            for c in 0..C {
                isum[c] = s.sub(isum[c], s.shl_int(weighed[c], offset.trailing_zeros()));
            }
        }
        for c in 0..C {
            acc[c] = s.fma(s.mul(head.d, s.float(x[c].d[b])), s.to_float(isum[c]), acc[c]);
        }
        if F::MIN {
            let msum = weigh::<S, F, C>(s, &head.mins, &x, b);
            for c in 0..C {
                macc[c] = s.fma(s.mul(head.min, s.float(x[c].d[b])), s.to_float(msum[c]), macc[c]);
            }
        }
    }
    if F::MIN {
        for c in 0..C {
            acc[c] = s.sub_float(acc[c], macc[c]);
        }
    }
    acc
}

/// Adds the products of chunk `j` (32 weights), times the scales of their groups.
#[inline(always)]
fn scaled_dots<S: Ints, F: Format256, const C: usize>(
    s: S,
    isum: &mut [S::I; C],
    j: usize,
    q: &[S::B; 8],
    scales: &[S::B; 4],
    a: [&[[i8; 4]; 8]; C],
) {
    if F::GROUPS_OF_16 {
        let [q0, q1, q2, q3, q4, q5, q6, q7] = *q;
        for (h, q) in [[q0, q1, q2, q3], [q4, q5, q6, q7]].iter().enumerate() {
            let scale = s.scale(scales[j / 2], j % 2 * 2 + h);
            for c in 0..C {
                let [a0, a1, a2, a3, a4, a5, a6, a7] = *a[c];
                let a = if h == 0 { [a0, a1, a2, a3] } else { [a4, a5, a6, a7] };
                isum[c] = match F::HELD {
                    Held::Unsigned { max, .. } => s.dot_scaled(isum[c], q, max, &a, scale),
                    Held::Signed => s.dot_signed_scaled(isum[c], q, &a, scale),
                };
            }
        }
    } else {
        let scale = s.scale(scales[j / 4], j % 4);
        for c in 0..C {
            isum[c] = match F::HELD {
                Held::Unsigned { max, .. } => s.dot_scaled(isum[c], q, max, a[c], scale),
                Held::Signed => s.dot_signed_scaled(isum[c], q, a[c], scale),
            };
        }
    }
}

/// The sum over all groups of a weight (a scale or a minimum) times the sum of the group's activations.
#[inline(always)]
fn weigh<S: Ints, F: Format256, const C: usize>(
    s: S,
    weights: &[S::B; 4],
    x: &[ActRow256<'_>; C],
    b: usize,
) -> [S::I; C] {
    let mut out = [s.int(0); C];
    let vectors = if F::GROUPS_OF_16 { 4 } else { 2 };
    for (v, weights) in weights.iter().take(vectors).enumerate() {
        let (even, odd) = (s.even(*weights), s.odd(*weights));
        for c in 0..C {
            let sums = &x[c].sums[b];
            let sums: &[i16] = if F::GROUPS_OF_16 { &sums.by_16 } else { &sums.by_32 };
            out[c] = s.weigh(out[c], even, [sums[4 * v], sums[4 * v + 1]]);
            out[c] = s.weigh(out[c], odd, [sums[4 * v + 2], sums[4 * v + 3]]);
        }
    }
    out
}

/// The activations in groups of 4.
#[inline(always)]
fn groups(q: &Bytes32) -> &[[i8; 4]; 8] {
    q.0.as_chunks().0.first_chunk().expect("32 is 8 times 4")
}
