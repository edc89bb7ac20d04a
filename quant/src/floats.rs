//! Products of weights that are single numbers, in single precision, with any number of columns.
//!
//! The sixteen partial sums of a row and a column are one vector of lanes. A tile of rows times columns shares the loads;
//! columns are taken in blocks that stay in the second-level cache while all rows pass by. The rows of the next tile are fetched
//! meanwhile, in the order of memory, as `gemv` does.

use std::marker::PhantomData;
use std::ops::Range;

use crate::fma::fma;
use crate::formats::Float;
use crate::isa::Isa;
use crate::isa::caches::LINE;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, LANES, Lanes};
use crate::prefetch::Next;
use crate::product::Product;

/// Bytes of activations that a block of columns should not exceed.
const MAX_ACTIVATION_BYTES: usize = 128 << 10;

/// The product.
pub(crate) fn product<F: Float>(isa: Isa, product: Product<'_, '_>) {
    dispatch(isa, Floats(product, PhantomData::<F>));
}

struct Floats<'a, 't, F>(Product<'a, 't>, PhantomData<F>);

impl<F: Float> Kernel for Floats<'_, '_, F> {
    type Out = ();

    #[inline(always)]
    fn run<S: Lanes>(mut self, s: S) {
        match S::ACCS {
            16.. => self.blocks::<S, 4, 4>(s),
            4.. => self.blocks::<S, 2, 2>(s),
            _ => self.blocks::<S, 1, 1>(s),
        }
    }
}

impl<'a, F: Float> Floats<'a, '_, F> {
    /// All of it, `R` rows times `C` columns at a time.
    #[inline(always)]
    fn blocks<S: Lanes, const R: usize, const C: usize>(&mut self, s: S) {
        let n = self.0.cols.len();
        let block = (MAX_ACTIVATION_BYTES / (4 * self.0.m.cols()).max(1)).max(1).next_multiple_of(C);
        for first in (0..n).step_by(block) {
            let columns = first..n.min(first + block);
            let full = columns.len() / C * C;
            for row in self.0.tile.rows().step_by(R) {
                for c in columns.clone().take(full).step_by(C) {
                    self.tile::<S, R, C>(s, row, c);
                }
                for c in columns.start + full..columns.end {
                    self.tile::<S, R, 1>(s, row, c);
                }
            }
        }
    }

    /// Rows from `first` on with columns from `column` on. The last row stands in for those that are missing.
    #[inline(always)]
    fn tile<S: Lanes, const R: usize, const C: usize>(&mut self, s: S, first: usize, column: usize) {
        let all: Range<usize> = self.0.tile.rows();
        let mut rows: [&'a [F::Block]; R] = [&[]; R];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = F::blocks(self.0.m.row((first + r).min(all.end - 1)));
        }
        let mut x: [&'a [f32]; C] = [&[]; C];
        for (c, x) in x.iter_mut().enumerate() {
            *x = self.0.x.row_f32(self.0.cols.get(column + c));
        }
        let bytes = self.0.m.row(first);
        let sums = products::<S, F, R, C>(s, &rows, Next::new(bytes, R * bytes.len()), &x);
        for c in 0..C {
            let out = self.0.tile.col_mut(column + c);
            for (out, sums) in out[first - all.start..].iter_mut().zip(&sums) {
                *out = sums[c];
            }
        }
    }
}

#[inline(always)]
fn products<S: Lanes, F: Float, const R: usize, const C: usize>(
    s: S,
    rows: &[&[F::Block]; R],
    next: Next<'_>,
    x: &[&[f32]; C],
) -> [[f32; C]; R] {
    let len = rows[0].len() * F::LEN;
    // Of one length, so that one look at it serves all.
    let (rows, x) = (rows.map(|row| &row[..rows[0].len()]), x.map(|x| &x[..len]));
    // Bytes of a step's weights, those of all rows.
    let step = const { R * LANES * size_of::<F::Block>() / F::LEN };
    let mut sums = [[s.splat(0.0); C]; R];
    for at in (0..len / LANES * LANES).step_by(LANES) {
        next.prefetch(s, at / LANES * step, 0..step.div_ceil(LINE));
        let mut w = [s.splat(0.0); R];
        for r in 0..R {
            if let Some(weights) = F::load(s, rows[r], at) {
                w[r] = weights;
            }
        }
        for c in 0..C {
            let Some(x) = x[c][at..].first_chunk() else { continue };
            let x = s.load(x);
            for r in 0..R {
                sums[r][c] = s.fma(w[r], x, sums[r][c]);
            }
        }
    }
    let mut out = [[0.0; C]; R];
    for r in 0..R {
        for c in 0..C {
            let mut sum = sums[r][c];
            if !len.is_multiple_of(LANES) {
                let mut lanes = [0.0; LANES];
                s.store(sum, &mut lanes);
                for (lane, i) in lanes.iter_mut().zip(len / LANES * LANES..len) {
                    *lane = fma(F::value(&rows[r][i / F::LEN], i % F::LEN), x[c][i], *lane);
                }
                sum = s.load(&lanes);
            }
            out[r][c] = s.sum(sum);
        }
    }
    out
}
