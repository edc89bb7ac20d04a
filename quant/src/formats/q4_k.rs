//! Q4_K: 256 weights in 144 bytes (4.5 bits a weight), `w = d * scale * q - dmin * min`, groups of 32.
//!
//! ```text
//! byte  0..2    d, f16
//! byte  2..4    dmin, f16
//! byte  4..16   scales s and mins m of 8 groups, 6 bits each:
//!               byte  4 + j (j < 4): s[j] in bits 0..6, bits 4..6 of s[j + 4] in bits 6..8
//!               byte  8 + j (j < 4): m[j] in bits 0..6, bits 4..6 of m[j + 4] in bits 6..8
//!               byte 12 + j (j < 4): bits 0..4 of s[j + 4] in the low nibble, of m[j + 4] in the high nibble
//! byte 16..144  quants: byte 16 + 32p + i (p: pair of groups, i < 32): quant 64p + i in the low nibble,
//!               quant 64p + 32 + i in the high nibble
//! ```

use super::{Blocks, Format256, Head, Held, Quants256, bits, eight, f16_at, four, layout, words4, words8};
use crate::isa::ints::Ints;

/// 4-bit quants above a minimum.
pub(crate) struct Q4K;

layout!(Q4K: 256 weights in 144 bytes, halves at [0, 2]);

/// Scales and minima of the 8 groups of 32, 6 bits each, from their 12 bytes.
pub(super) fn scales_and_mins(bytes: &[u8]) -> ([u8; 8], [u8; 8]) {
    let field = |at: usize, shift: usize| {
        move |j: usize| {
            if j < 4 { bytes[at + j] & 63 } else { (bytes[8 + j - 4] >> shift) & 15 | (bytes[at + j - 4] >> 6) << 4 }
        }
    };
    (std::array::from_fn(field(0, 0)), std::array::from_fn(field(4, 4)))
}

/// The low or high nibbles of 32 bytes are 32 quants: 256 quants from 128 bytes.
pub(super) fn nibble(bytes: &[u8], i: usize) -> u8 {
    (bytes[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15
}

/// [`scales_and_mins`] and the two numbers before them of eight rows, the first 16 bytes of Q4_K and Q5_K.
#[inline(always)]
pub(super) fn head8<S: Ints>(s: S, [numbers, low_scales, low_mins, high]: [S::B; 4]) -> Head<S> {
    let (d, min) = s.halves(numbers);
    let scales = [bits(s, low_scales, 0, 63), s.or(bits(s, high, 0, 15), bits(s, low_scales, 2, 48))];
    let mins = [bits(s, low_mins, 0, 63), s.or(bits(s, high, 4, 15), bits(s, low_mins, 2, 48))];
    Head { d, min, scales: [scales[0], scales[1], scales[0], scales[1]], mins: [mins[0], mins[1], mins[0], mins[1]] }
}

impl Format256 for Q4K {
    const HELD: Held = Held::Unsigned { max: 15, offset: 0 };
    const GROUPS_OF_16: bool = false;
    const MIN: bool = true;

    fn unpack(block: &[u8; 144]) -> Quants256 {
        let (scales, mins) = scales_and_mins(&block[4..16]);
        Quants256 {
            d: f16_at(block, 0),
            min: f16_at(block, 2),
            scales: std::array::from_fn(|g| scales[g / 2] as i8),
            mins: std::array::from_fn(|g| mins[g / 2]),
            q: std::array::from_fn(|i| nibble(&block[16..], i) as i8),
        }
    }

    #[inline(always)]
    fn head<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> Head<S> {
        head8(s, words4(s, &blocks, 0))
    }

    #[inline(always)]
    fn chunks<S: Ints>(s: S, blocks: Blocks<'_, Self>, mut each: impl FnMut(usize, [S::B; 8])) {
        four!(pair => {
            let x = words8(s, &blocks, 16 + 32 * pair);
            each(2 * pair, eight!(g => bits(s, x[g], 0, 15)));
            each(2 * pair + 1, eight!(g => bits(s, x[g], 4, 15)));
        });
    }
}
