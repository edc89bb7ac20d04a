//! NVFP4 (E2M1 elements, scales of their own for every 16): 64 weights in 36 bytes (4.5 bits a weight),
//! `w = UE4M3[e] / 2 * E2M1[q]`. The factor of the whole tensor that it is used with stands in a tensor of its own.
//!
//! ```text
//! byte  0..4   byte g: scale of weights 16 g..16 g + 16, four bits of exponent (bias 7) above three bits of fraction
//! byte  4..36  byte 4 + 8 g + i: quant 16 g + i in the low nibble, quant 16 g + i + 8 in the high nibble
//! ```
//!
//! Scales have four significant bits at very different exponents, so that a block has no common integers: weights are
//! multiplied in single precision, in which each is exact.

use super::bits::{E2M1, nearest};
use super::{Float, Format, layout};
use crate::isa::simd::Lanes;

/// 4-bit floats whose groups of 16 share a float of 8 bits.
pub(crate) struct NVFP4;

layout!(NVFP4: 64 weights in 36 bytes: Field::words(9); set scale by set_scale);

fn set_scale(block: &mut [u8], d: f32) {
    block[..4].fill(nearest(scale, d));
}

/// Weights that share a scale.
const SHARED: usize = 16;

/// Half the scale with these bits, since [`E2M1`] is doubled. The sign is not looked at, and the one pattern that stands for
/// no number is zero.
const fn scale(bits: u8) -> f32 {
    let (exponent, fraction) = ((bits >> 3 & 15) as u32, (bits & 7) as u32);
    match (exponent, bits) {
        (_, 0x7f) => 0.0,
        // Subnormal: 2^-9 a step.
        (0, _) => fraction as f32 / 1024.0,
        _ => f32::from_bits((exponent + 127 - 7 - 1) << 23 | fraction << 20),
    }
}

/// [`scale`] of all patterns.
static SCALES: [f32; 256] = {
    let mut scales = [0.0; 256];
    let mut bits = 0;
    while bits < 256 {
        scales[bits] = scale(bits as u8);
        bits += 1;
    }
    scales
};

impl Float for NVFP4 {
    fn value(block: &[u8; 36], i: usize) -> f32 {
        let (group, i) = (i / SHARED, i % SHARED);
        let nibble = block[4 + 8 * group + i % 8] >> (i / 8 * 4) & 15;
        scale(block[group]) * f32::from(E2M1[usize::from(nibble)])
    }

    #[inline(always)]
    fn load<S: Lanes>(s: S, row: &[[u8; 36]], at: usize) -> Option<S::F> {
        let (block, group) = (row.get(at / Self::LEN)?, at % Self::LEN / SHARED);
        let quants = s.load_nibbles(block[4 + 8 * group..].first_chunk()?, &E2M1);
        Some(s.mul(quants, s.splat(SCALES[usize::from(block[group])])))
    }
}
