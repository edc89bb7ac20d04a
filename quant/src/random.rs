//! Weights of random bits, for untrained models: a block's scales are set so that its weights are as large as wanted.

use crate::dtype::{DType, Visitor};
use crate::formats::{Field, Float, Format, Format32, Format256};
use crate::matrix::{Fields, Matrix};

/// Makes `block`, one block of random bits, one whose weights have `size` as the root of their mean square and lie around
/// zero as far as its quants do; in formats of single numbers, with that as their standard deviation.
///
/// # Panics
/// When `block` isn't as long as a block.
pub fn resize(dtype: DType, block: &mut [u8], size: f32) {
    assert_eq!(block.len(), dtype.block_bytes(), "the length of a block of {dtype}");
    if let ([.., a, b], 1) = (&*block, dtype.block_len()) {
        let uniform = f32::from(i16::from_le_bytes([*a, *b])) / 32768.0 * 3f32.sqrt();
        return set_scales(dtype, block, uniform * size, 0.0);
    }
    let min = balance(dtype, block);
    set_scales(dtype, block, 1.0, min);
    let weights = decode(dtype, block);
    let found = (weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32).sqrt();
    let factor = if found > 0.0 { size / found } else { size };
    set_scales(dtype, block, factor, factor * min);
}

/// The scale of the minima at which, beside a scale of one, the weights of a block lie around zero; 0 in formats without.
fn balance(dtype: DType, block: &mut [u8]) -> f32 {
    if Field::halves(dtype.visit(Fields)).count() < 2 {
        return 0.0;
    }
    let mut sum = |d, min| {
        set_scales(dtype, block, d, min);
        decode(dtype, block).iter().sum::<f32>()
    };
    let (quants, mins) = (sum(1.0, 0.0), sum(0.0, 1.0));
    if mins == 0.0 { 0.0 } else { -quants / mins }
}

/// The weights of a block.
fn decode(dtype: DType, block: &[u8]) -> Vec<f32> {
    let mut weights = vec![0.0; dtype.block_len()];
    if let Ok(matrix) = Matrix::new(dtype, 1, weights.len(), block) {
        matrix.decode_row(0, &mut weights);
    }
    weights
}

fn set_scales(dtype: DType, block: &mut [u8], d: f32, min: f32) {
    dtype.visit(SetScales { block, d, min });
}

struct SetScales<'a> {
    block: &'a mut [u8],
    d: f32,
    min: f32,
}

impl SetScales<'_> {
    fn of<F: Format>(self) {
        F::set_scales(self.block, self.d, self.min);
    }
}

impl Visitor for SetScales<'_> {
    type Out = ();

    fn float<F: Float>(self) {
        self.of::<F>();
    }

    fn block32<F: Format32>(self) {
        self.of::<F>();
    }

    fn block256<F: Format256>(self) {
        self.of::<F>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, for_each_format};

    /// Every format says where its scales are, or the sizes would be those of random bits.
    #[test]
    fn weights_are_as_large_as_wanted_and_around_zero() {
        let mut rng = Rng(11);
        for_each_format(|dtype| {
            let mut weights = Vec::new();
            while weights.len() < 40_000 {
                let mut block: Vec<u8> = (0..dtype.block_bytes()).map(|_| rng.bits() as u8).collect();
                resize(dtype, &mut block, 0.02);
                weights.extend(decode(dtype, &block));
            }
            let mean = weights.iter().sum::<f32>() / weights.len() as f32;
            let size = (weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32).sqrt();
            // Scales of powers of two are off by up to the root of two.
            assert!((0.014..0.03).contains(&size), "{dtype}: {size}");
            // Quants of few bits have no middle; a minimum out of place is worth much more.
            assert!(mean.abs() < 0.01, "{dtype}: {mean}");
        });
    }
}
