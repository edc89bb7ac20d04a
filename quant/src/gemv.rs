//! Products of some rows of weights side by side, eight mostly, with a few columns: for one token, and for small batches.
//!
//! The weights are read once, straight from the file's bytes, unpacked in registers and used for all columns. The eight rows
//! of a step are neighbours, and what is fetched meanwhile are the next eight, *in the order of memory*: the processor sees a
//! single stream from the first byte of a matrix to its last, which its own prefetcher follows, while the kernel itself finds
//! all lines of its eight rows in the nearest cache. Eight streams, one a row, were a fifth slower on Zen 5.
//!
//! ```text
//! for each step of N rows (N lanes, lane = row):
//!   acc[c] = 0                                                      for each column c
//!   for each block b:
//!     prefetch a block of the next step's rows
//!     q = unpack(block b of the N rows); d = scales; min = minima   once for all columns
//!     for each column c:
//!       isum   = dot(q, x[c].q[b])                                  exact; of super-blocks: sum of scale[g] * dot of group g
//!       acc[c] = fma(d * x[c].d[b], isum, acc[c])                   and minima alike, with x[c].sums[b]
//!   out[c][rows] = acc[c] +- minima[c]
//! ```

#![allow(clippy::needless_range_loop, reason = "a block's number indexes the rows of weights and of activations alike")]

use std::marker::PhantomData;
use std::ops::Range;

use crate::activation::{ActRow32, ActRow256, Bytes32};
use crate::formats::{Format, Format32, Format256, Held};
use crate::isa::caches::LINE;
use crate::isa::simd::{Kernel, MAX_ROWS, RowDots, Simd, Words};
use crate::isa::unroll::eight;
use crate::layout::{Layout, MAX_TOGETHER};
use crate::matrix::Matrix;
use crate::prefetch::Next;
use crate::share::Tile;

/// Rows that share a pass over the columns at least: what is split is split between these.
pub(crate) const STEP_ROWS: usize = 8;

/// Cache lines that a block of each of `n` rows takes.
const fn lines<F: Format>(n: usize) -> usize {
    (n * F::BYTES).div_ceil(LINE)
}

/// Products of some of a tile's rows, in the layout `L`, with `C` columns; `X` is a column's activations.
pub(crate) struct Steps<'a, 't, L, F, X, const C: usize> {
    pub(crate) m: &'a Matrix<'a>,
    pub(crate) x: [X; C],
    /// Rows of the matrix, of which the tile has all.
    pub(crate) rows: Range<usize>,
    pub(crate) tile: &'a mut Tile<'t>,
    /// The column of the tile that the first of `x` is for: `tile[first + c] = m * x[c]`, for the columns that it has.
    pub(crate) first: usize,
    pub(crate) types: PhantomData<(L, F)>,
}

impl<'a, L: Layout, F: Format, X, const C: usize> Steps<'a, '_, L, F, X, C> {
    /// Calls `products(rows, what is read next)` for the rows that are walked through together, again and again.
    #[inline(always)]
    fn each_step<S: RowDots>(
        self,
        s: S,
        blocks: usize,
        mut products: impl FnMut(L::Group<'a, F>, Next<'a>) -> Sums<S, C>,
    ) {
        let (together, all, end) = (L::together(S::N), self.tile.rows().start, self.rows.end);
        for first in (L::first(self.rows.start, together * S::N)..end).step_by(together * S::N) {
            let next = Next::new(&self.m.bytes()[first * self.m.row_bytes()..], L::ahead(self.m.row_bytes(), S::N));
            let out = products(L::group::<F, S>(self.m.stored(), first, end, blocks), next);
            for (h, out) in out.iter().enumerate().take(together) {
                let first = first + h * S::N;
                let wanted = first.max(self.rows.start)..end.min(first + S::N);
                if wanted.is_empty() {
                    continue;
                }
                for (c, &out) in out.iter().enumerate().take(self.tile.n() - self.first) {
                    let mut words = [0; MAX_ROWS];
                    s.store_u32(out, &mut words);
                    let found = words.map(f32::from_bits);
                    let column = &mut self.tile.col_mut(self.first + c)[wanted.start - all..];
                    if wanted.len() == S::N {
                        column[..S::N].copy_from_slice(&found[..S::N]);
                    } else {
                        column[..wanted.len()].copy_from_slice(&found[wanted.start - first..][..wanted.len()]);
                    }
                }
            }
        }
    }
}

/// Results, or the sums on the way to them: of the vectors that are walked through together, one for each column.
type Sums<S, const C: usize> = [[<S as Words>::V; C]; MAX_TOGETHER];

impl<L: Layout, F: Format32, const C: usize> Kernel for Steps<'_, '_, L, F, ActRow32<'_>, C> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (s, n, x) = (s.few(), self.x[0].d.len(), self.x);
        self.each_step(
            s,
            n,
            #[inline(always)]
            |rows, next| products_32::<S::Few, L, F, C>(s, n, rows, next, &x),
        );
    }
}

impl<L: Layout, F: Format256, const C: usize> Kernel for Steps<'_, '_, L, F, ActRow256<'_>, C> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (s, n, x) = (s.few(), self.x[0].d.len(), self.x);
        self.each_step(
            s,
            n,
            #[inline(always)]
            |rows, next| products_256::<S::Few, L, F, C>(s, n, rows, next, &x),
        );
    }
}

/// What dot products come out too large by, times the sum of the activations.
const fn bias<S: RowDots>(held: Held) -> i32 {
    match held {
        Held::Unsigned { offset, .. } => offset as i32,
        Held::Signed { .. } => S::SIGNED_BIAS,
    }
}

/// Quants as the dot products want them.
#[inline(always)]
fn held<S: RowDots>(s: S, held: Held, q: [S::V; 8]) -> [S::V; 8] {
    match held {
        Held::Unsigned { .. } => q,
        Held::Signed { .. } => eight!(g => s.signed(q[g])),
    }
}

/// Sums of products and of minima to begin with.
#[inline(always)]
fn zeros<S: RowDots, const C: usize>(s: S) -> (Sums<S, C>, Sums<S, C>) {
    ([[s.splat_u32(0); C]; MAX_TOGETHER], [[s.splat_u32(0); C]; MAX_TOGETHER])
}

/// Blocks, and of each the vectors that are walked through together: their lines are in the nearest cache then.
#[inline(always)]
fn steps<L: Layout>(blocks: usize, n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..blocks * L::together(n)).map(move |i| (i / L::together(n), i % L::together(n)))
}

#[inline(always)]
fn products_32<S: RowDots, L: Layout, F: Format32, const C: usize>(
    s: S,
    n: usize,
    rows: L::Group<'_, F>,
    next: Next<'_>,
    x: &[ActRow32<'_>; C],
) -> Sums<S, C> {
    let x = x.map(|x| ActRow32 { q: &x.q[..n], d: &x.d[..n], sums: &x.sums[..n] });
    let (mut acc, mut macc) = zeros(s);
    let offset = const { bias::<S>(F::HELD) };
    for (b, h) in steps::<L>(n, S::N) {
        let (acc, macc) = (&mut acc[h], &mut macc[h]);
        let block = L::block::<F, S>(L::beside::<F, S>(rows, h), b);
        next.prefetch(s, (b * L::together(S::N) + h) * S::N * F::BYTES, 0..const { lines::<F>(S::N) });
        let q = held(s, F::HELD, F::quants(s, block));
        let (d, min) = F::scales(s, block);
        for c in 0..C {
            let (a, sum, zero) = (groups(&x[c].q[b]), x[c].sums[b], s.splat_u32(0));
            let mut isum = match F::HELD {
                Held::Unsigned { max, .. } => s.dot(zero, &q, max, a),
                Held::Signed { .. } => s.dot_signed(zero, &q, a),
            };
            if offset != 0 {
                isum = s.sub_u32(isum, s.splat_u32((offset * sum) as u32));
            }
            let da = s.splat_u32(x[c].d[b].to_bits());
            acc[c] = s.fma_f32(s.mul_f32(d, da), s.i32_to_f32(isum), acc[c]);
            if F::MIN {
                macc[c] = s.fma_f32(s.mul_f32(min, da), s.splat_u32((sum as f32).to_bits()), macc[c]);
            }
        }
    }
    for h in 0..if F::MIN { L::together(S::N) } else { 0 } {
        for c in 0..C {
            acc[h][c] = s.add_f32(acc[h][c], macc[h][c]);
        }
    }
    acc
}

#[inline(always)]
fn products_256<S: RowDots, L: Layout, F: Format256, const C: usize>(
    s: S,
    n: usize,
    rows: L::Group<'_, F>,
    next: Next<'_>,
    x: &[ActRow256<'_>; C],
) -> Sums<S, C> {
    let q = x.map(|x| &x.q.as_chunks::<8>().0[..n]);
    let x = x.map(|x| ActRow256 { q: x.q, d: &x.d[..n], sums: &x.sums[..n] });
    let (mut acc, mut macc) = zeros(s);
    let offset = const { bias::<S>(F::HELD) };
    for (b, h) in steps::<L>(n, S::N) {
        let (acc, macc) = (&mut acc[h], &mut macc[h]);
        let a: [_; C] = std::array::from_fn(|c| &q[c][b]);
        let block = L::block::<F, S>(L::beside::<F, S>(rows, h), b);
        let head = F::head(s, block);
        let mut isum = [s.splat_u32(0); C];
        F::chunks(
            s,
            block,
            #[inline(always)]
            |j, q| {
                // An eighth with each chunk: all at once would be more than the processor keeps in flight.
                let lines = const { lines::<F>(S::N) };
                let next = Next { start: s.pin(next.start, &mut isum[0]), ..next };
                let from = (b * L::together(S::N) + h) * S::N * F::BYTES;
                next.prefetch(s, from, j * lines / 8..(j + 1) * lines / 8);
                let q = held(s, F::HELD, q);
                let a: [_; C] = std::array::from_fn(|c| groups(&a[c][j]));
                scaled_dots::<S, F, C>(s, &mut isum, j, &q, &head.scales, a);
            },
        );
        if offset != 0 {
            let weighed = weigh::<S, F, C>(s, &head.scales, &x, b);
            for c in 0..C {
                isum[c] = s.sub_u32(isum[c], s.shl(weighed[c], offset.trailing_zeros()));
            }
        }
        for c in 0..C {
            acc[c] = s.fma_f32(s.mul_f32(head.d, s.splat_u32(x[c].d[b].to_bits())), s.i32_to_f32(isum[c]), acc[c]);
        }
        if F::MIN {
            let msum = weigh::<S, F, C>(s, &head.mins, &x, b);
            for c in 0..C {
                macc[c] =
                    s.fma_f32(s.mul_f32(head.min, s.splat_u32(x[c].d[b].to_bits())), s.i32_to_f32(msum[c]), macc[c]);
            }
        }
    }
    for h in 0..if F::MIN { L::together(S::N) } else { 0 } {
        for c in 0..C {
            acc[h][c] = s.sub_f32(acc[h][c], macc[h][c]);
        }
    }
    acc
}

/// Adds the products of chunk `j` (32 weights), times the scales of their groups.
#[inline(always)]
fn scaled_dots<S: RowDots, F: Format256, const C: usize>(
    s: S,
    isum: &mut [S::V; C],
    j: usize,
    q: &[S::V; 8],
    scales: &[S::V; 4],
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
                    Held::Signed { .. } => s.dot_signed_scaled(isum[c], q, &a, scale),
                };
            }
        }
    } else {
        let scale = s.scale(scales[j / 4], j % 4);
        for c in 0..C {
            let a = s.pin(a[c], &mut isum[(c + C - 1) % C]);
            isum[c] = match F::HELD {
                Held::Unsigned { max, .. } => s.dot_scaled(isum[c], q, max, a, scale),
                Held::Signed { .. } => s.dot_signed_scaled(isum[c], q, a, scale),
            };
        }
    }
}

/// The sum over all groups of a weight (a scale or a minimum) times the sum of the group's activations.
#[inline(always)]
fn weigh<S: RowDots, F: Format256, const C: usize>(
    s: S,
    weights: &[S::V; 4],
    x: &[ActRow256<'_>; C],
    b: usize,
) -> [S::V; C] {
    let mut out = [s.splat_u32(0); C];
    let vectors = if F::GROUPS_OF_16 { 4 } else { 2 };
    for (v, weights) in weights.iter().take(vectors).enumerate() {
        let (even, odd) = (s.even_bytes(*weights), s.odd_bytes(*weights));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::dtype::{DType, Visitor};
    use crate::formats::Float;
    use crate::isa::Isa;
    use crate::isa::dispatch::dispatch;
    use crate::layout::{Interleaved, Plain};
    use crate::matrix::interleave;
    use crate::testing::{Rng, activations, adversarial, assert_same_bits, product, weights};

    /// The kernel of this file in portable code, which otherwise follows the definition.
    struct Portable<'a, 't, L> {
        m: &'a Matrix<'a>,
        x: &'a crate::activation::Activations,
        tile: &'a mut Tile<'t>,
        layout: PhantomData<L>,
    }

    impl<L: Layout> Visitor for Portable<'_, '_, L> {
        type Out = ();

        fn float<F: Float>(self) {}

        fn block32<F: Format32>(self) {
            let Self { m, x, tile, .. } = self;
            let x = [x.row_32(0), x.row_32(1)];
            dispatch(Isa::SCALAR, Steps::<L, F, _, 2> { m, x, rows: 0..m.rows(), tile, first: 0, types: PhantomData });
        }

        fn block256<F: Format256>(self) {
            let Self { m, x, tile, .. } = self;
            if F::BY_PANELS {
                // Those have no such kernels.
                (0..2).for_each(|c| tile.col_mut(c).fill(f32::NAN));
                return;
            }
            let x = [x.row_256(0), x.row_256(1)];
            dispatch(Isa::SCALAR, Steps::<L, F, _, 2> { m, x, rows: 0..m.rows(), tile, first: 0, types: PhantomData });
        }
    }

    /// A format of each kind of scales, minima and quants.
    const FUSED: [DType; 6] = [DType::Q4_0, DType::Q5_1, DType::Q8_0, DType::Q4K, DType::Q6K, DType::IQ4XS];

    #[test]
    fn the_kernel_in_portable_code_equals_the_definition() {
        let (mut rng, rows, k) = (Rng::new(8), 21, 512);
        for &dtype in DType::ALL.iter().filter(|dtype| FUSED.contains(dtype)) {
            let x = activations(Isa::SCALAR, &rng.normals(2 * k), k);
            for bytes in [weights(dtype, rows, k, &mut rng), adversarial(dtype, rows, k, &mut rng)] {
                let plain = Matrix::new(dtype, rows, k, &bytes).unwrap();
                let wanted = product(Isa::SCALAR, &plain, &x);
                let mut out = vec![f32::NAN; 2 * rows];
                let mut tile = Tile::whole(&mut out, rows);
                dtype.visit(Portable { m: &plain, x: &x, tile: &mut tile, layout: PhantomData::<Plain> });
                assert_same_bits(&wanted, &out, &format!("{dtype}, plain"));

                let mut arranged = vec![0; bytes.len()];
                interleave(&plain, &mut arranged);
                let m = Matrix::interleaved(dtype, rows, k, &arranged).unwrap();
                // Of whole groups alone: rows left over are plain.
                let mut tile = Tile::whole(&mut out, rows);
                let grouped = Matrix::interleaved(dtype, 16, k, &m.bytes()[..16 * m.row_bytes()]).unwrap();
                dtype.visit(Portable { m: &grouped, x: &x, tile: &mut tile, layout: PhantomData::<Interleaved> });
                assert_same_bits(&wanted, &out, &format!("{dtype}, interleaved"));
            }
        }
    }
}
