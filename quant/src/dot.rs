//! The definition of every product of weights and activations, in portable code.
//!
//! * Block formats: inside a block everything is an exact integer, scales of groups included. Then one fused multiply-add
//!   per block, in block order: `acc = fma(d_w * d_a, isum, acc)`. Minima are a second accumulator in the same order,
//!   `macc = fma(min_w * d_a, msum, macc)`; the result is `acc + macc` for block-32 formats, `acc - macc` for super-blocks.
//! * Float formats: sixteen partial sums, value `i` goes to sum `i % 16` by a fused multiply-add, in order; then [`tree16`].
//!
//! So the result of a row and a column depends on nothing but the two. Every other kernel must give the same bits.

use crate::activation::{ActRow32, ActRow256, sum_slot};
use crate::fma::fma;
use crate::formats::{Float, Format32, Format256};

/// Adds sixteen partial sums in the one order that every instruction set follows: halves onto halves.
pub(crate) fn tree16(mut p: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            p[i] += p[i + half];
        }
    }
    p[0]
}

/// Products of one row of weights with some rows of activations, in single precision.
pub(crate) fn row_float<F: Float>(row: &[F::Block], x: &[&[f32]], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        let mut p = [0f32; 16];
        let weights = row.iter().flat_map(|block| (0..F::LEN).map(|i| F::value(block, i)));
        for (i, (weight, &x)) in weights.zip(*x).enumerate() {
            p[i % 16] = fma(weight, x, p[i % 16]);
        }
        *out = tree16(p);
    }
}

/// Columns that the portable kernels take at a time, so that a block is unpacked once for all of them.
pub(crate) const MAX_COLUMNS: usize = 8;

/// Products of one row of weights with up to [`MAX_COLUMNS`] rows of activations in blocks of 32.
pub(crate) fn row_32<F: Format32>(row: &[F::Block], x: &[ActRow32<'_>], out: &mut [f32]) {
    let (mut acc, mut macc) = ([0f32; MAX_COLUMNS], [0f32; MAX_COLUMNS]);
    for (b, block) in row.iter().enumerate() {
        let block = F::unpack(block);
        for (c, x) in x.iter().enumerate() {
            let isum: i32 = block.q.iter().zip(&x.q[b].0).map(|(&q, &a)| i32::from(q) * i32::from(a)).sum();
            acc[c] = fma(block.d * x.d[b], isum as f32, acc[c]);
            if F::MIN {
                macc[c] = fma(block.min * x.d[b], x.sums[b] as f32, macc[c]);
            }
        }
    }
    for (out, (acc, macc)) in out.iter_mut().zip(acc.iter().zip(macc)) {
        *out = if F::MIN { acc + macc } else { *acc };
    }
}

/// Products of one row of weights with up to [`MAX_COLUMNS`] rows of activations in blocks of 256.
pub(crate) fn row_256<F: Format256>(row: &[F::Block], x: &[ActRow256<'_>], out: &mut [f32]) {
    let (mut acc, mut macc) = ([0f32; MAX_COLUMNS], [0f32; MAX_COLUMNS]);
    for (b, block) in row.iter().enumerate() {
        let block = F::unpack(block);
        for (c, x) in x.iter().enumerate() {
            let (mut isum, mut msum) = (0, 0);
            for g in 0..16 {
                let (q, a) = (&block.q[g * 16..][..16], &x.q[b * 8 + g / 2].0[g % 2 * 16..][..16]);
                let sum: i32 = q.iter().zip(a).map(|(&q, &a)| i32::from(q) * i32::from(a)).sum();
                isum += i32::from(block.scales[g]) * sum;
                msum += i32::from(block.mins[g]) * i32::from(x.sums[b].by_16[sum_slot(g)]);
            }
            acc[c] = fma(block.d * x.d[b], isum as f32, acc[c]);
            if F::MIN {
                macc[c] = fma(block.min * x.d[b], msum as f32, macc[c]);
            }
        }
    }
    for (out, (acc, macc)) in out.iter_mut().zip(acc.iter().zip(macc)) {
        *out = if F::MIN { acc - macc } else { *acc };
    }
}
