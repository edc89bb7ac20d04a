//! Products of eight rows of weights side by side with a few columns: for one token, and for small batches.
//!
//! The weights are read once, straight from the file's bytes, unpacked in registers and used for all columns. The eight rows
//! of a step are neighbours, and what is fetched meanwhile are the next eight, *in the order of memory*: the processor sees a
//! single stream from the first byte of a matrix to its last, which its own prefetcher follows, while the kernel itself finds
//! all lines of its eight rows in the nearest cache. Eight streams, one a row, were a fifth slower on Zen 5.

#![allow(clippy::needless_range_loop, reason = "a block's number indexes the rows of weights and of activations alike")]

use std::marker::PhantomData;
use std::ops::Range;

use crate::activation::{ActRow32, ActRow256, Bytes32};
use crate::formats::{Format, Format32, Format256, Held, eight};
use crate::isa::caches::LINE;
use crate::isa::ints::{Ints, Kernel, ROWS};
use crate::matrix::Matrix;
use crate::share::Tile;

/// Number of steps in which the rows of a tile are done.
pub(crate) fn steps(rows: usize) -> usize {
    rows.div_ceil(ROWS)
}

/// The rows after the eight of a step: fetched line by line while the step goes on.
#[derive(Clone, Copy)]
struct Next<'a> {
    /// The first byte of the step's first row.
    start: &'a u8,
    /// How far behind it those lie that are fetched.
    ahead: usize,
}

impl<'a> Next<'a> {
    /// Short rows are fetched more than eight ahead: memory needs time to answer.
    const LEAST: usize = 8 << 10;

    fn new(row: &'a [u8]) -> Self {
        Self { start: row.first().unwrap_or(&0), ahead: (ROWS * row.len()).max(Self::LEAST) }
    }

    /// Asks for lines `lines` of eight blocks in a row, or rather of those as far behind, of which `from` is the first byte.
    #[inline(always)]
    fn fetch<S: Ints>(self, s: S, from: usize, lines: Range<usize>) {
        for line in lines {
            s.prefetch(std::slice::from_ref(self.start), self.ahead + from + line * LINE);
        }
    }
}

/// Cache lines that a block of each of eight rows takes.
const fn lines<F: Format>() -> usize {
    (ROWS * F::BYTES).div_ceil(LINE)
}

/// Products of some of a tile's rows with `C` columns; `X` is a column's activations.
pub(crate) struct Steps<'a, 't, F, X, const C: usize> {
    m: &'a Matrix<'a>,
    x: [X; C],
    steps: Range<usize>,
    tile: &'a mut Tile<'t>,
    /// The column of the tile that the first of `x` is for.
    first: usize,
    format: PhantomData<F>,
}

impl<'a, 't, F, X, const C: usize> Steps<'a, 't, F, X, C> {
    /// `tile[first + c] = m * x[c]` for the rows of those steps, and the columns that the tile has.
    pub(crate) fn new(m: &'a Matrix<'a>, x: [X; C], steps: Range<usize>, tile: &'a mut Tile<'t>, first: usize) -> Self {
        Self { m, x, steps, tile, first, format: PhantomData }
    }

    /// Calls `products` for the eight rows of each step. Where the tile has fewer, the last row stands in.
    #[inline(always)]
    fn each_step<S: Ints>(self, s: S, mut products: impl FnMut([&'a [u8]; ROWS], &[X; C]) -> [S::F; C]) {
        let all = self.tile.rows();
        for step in self.steps {
            let first = all.start + step * ROWS;
            let rows = eight!(lane => self.m.row((first + lane).min(all.end - 1)));
            let out = products(rows, &self.x);
            for (c, out) in out.into_iter().enumerate().take(self.tile.n() - self.first) {
                let (out, column) = (s.store(out), &mut self.tile.col_mut(self.first + c)[step * ROWS..]);
                match column.first_chunk_mut() {
                    Some(column) => *column = out,
                    None => column.iter_mut().zip(out).for_each(|(column, out)| *column = out),
                }
            }
        }
    }
}

impl<F: Format32, const C: usize> Kernel for Steps<'_, '_, F, ActRow32<'_>, C> {
    #[inline(always)]
    fn run<S: Ints>(self, s: S) {
        self.each_step(
            s,
            #[inline(always)]
            |rows, x| products_32::<S, F, C>(s, rows, x),
        );
    }
}

impl<F: Format256, const C: usize> Kernel for Steps<'_, '_, F, ActRow256<'_>, C> {
    #[inline(always)]
    fn run<S: Ints>(self, s: S) {
        self.each_step(
            s,
            #[inline(always)]
            |rows, x| products_256::<S, F, C>(s, rows, x),
        );
    }
}

#[inline(always)]
fn products_32<S: Ints, F: Format32, const C: usize>(s: S, rows: [&[u8]; ROWS], x: &[ActRow32<'_>; C]) -> [S::F; C] {
    let (n, next) = (x[0].q.len(), Next::new(rows[0]));
    let rows = eight!(r => &F::blocks(rows[r])[..n]);
    let x = x.map(|x| ActRow32 { q: &x.q[..n], d: &x.d[..n], sums: &x.sums[..n] });
    let (mut acc, mut macc) = ([s.float(0.0); C], [s.float(0.0); C]);
    let offset = F::HELD.offset::<S>();
    for b in 0..n {
        let blocks = eight!(r => &rows[r][b]);
        next.fetch(s, b * ROWS * F::BYTES, 0..const { lines::<F>() });
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
fn products_256<S: Ints, F: Format256, const C: usize>(s: S, rows: [&[u8]; ROWS], x: &[ActRow256<'_>; C]) -> [S::F; C] {
    let (n, next) = (x[0].d.len(), Next::new(rows[0]));
    let rows = eight!(r => &F::blocks(rows[r])[..n]);
    let q = x.map(|x| &x.q.as_chunks::<8>().0[..n]);
    let x = x.map(|x| ActRow256 { q: x.q, d: &x.d[..n], sums: &x.sums[..n] });
    let (mut acc, mut macc) = ([s.float(0.0); C], [s.float(0.0); C]);
    let offset = F::HELD.offset::<S>();
    for b in 0..n {
        let (blocks, a): (_, [_; C]) = (eight!(r => &rows[r][b]), std::array::from_fn(|c| &q[c][b]));
        let head = F::head(s, blocks);
        let mut isum = [s.int(0); C];
        F::chunks(
            s,
            blocks,
            #[inline(always)]
            |j, q| {
                // An eighth with each chunk: all at once would be more than the processor keeps in flight.
                let lines = const { lines::<F>() };
                let next = Next { start: s.pin(next.start, &mut isum[0]), ..next };
                next.fetch(s, b * ROWS * F::BYTES, j * lines / 8..(j + 1) * lines / 8);
                let a: [_; C] = std::array::from_fn(|c| groups(&a[c][j]));
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
                let [a0, a1, a2, a3, a4, a5, a6, a7] = *s.pin(a[c], &mut isum[(c + C - 1) % C]);
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
            let a = s.pin(a[c], &mut isum[(c + C - 1) % C]);
            isum[c] = match F::HELD {
                Held::Unsigned { max, .. } => s.dot_scaled(isum[c], q, max, a, scale),
                Held::Signed => s.dot_signed_scaled(isum[c], q, a, scale),
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
