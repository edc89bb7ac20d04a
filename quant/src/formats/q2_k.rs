//! Q2_K: 256 weights in 84 bytes (2.625 bits a weight), `w = d * scale * q - dmin * min`, groups of 16.
//!
//! ```text
//! byte  0..16  byte g: scale of group g in the low nibble, min of group g in the high nibble
//! byte 16..80  quants: byte 16 + 32h + i (h: half, i < 32) holds quants 128h + i + {0, 32, 64, 96} in bits 0, 2, 4, 6
//! byte 80..82  d, f16
//! byte 82..84  dmin, f16
//! ```

use super::{Blocks, Format256, Head, Held, Quants256, bits, eight, f16_at, four, layout, word, words4, words8};
use crate::isa::ints::Ints;

/// 2-bit quants above a minimum.
pub(crate) struct Q2K;

layout!(Q2K: 256 weights in 84 bytes, halves at [80, 82]);

/// Two bits of quant `i` of 256 from 64 bytes, the order that Q2_K, Q3_K and the upper bits of Q6_K share.
pub(super) fn two_bits(bytes: &[u8], i: usize) -> u8 {
    (bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3
}

impl Format256 for Q2K {
    const HELD: Held = Held::Unsigned { max: 3, offset: 0 };
    const GROUPS_OF_16: bool = true;
    const MIN: bool = true;

    fn unpack(block: &[u8; 84]) -> Quants256 {
        Quants256 {
            d: f16_at(block, 80),
            min: f16_at(block, 82),
            scales: std::array::from_fn(|g| (block[g] & 15) as i8),
            mins: std::array::from_fn(|g| block[g] >> 4),
            q: std::array::from_fn(|i| two_bits(&block[16..80], i) as i8),
        }
    }

    #[inline(always)]
    fn head<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> Head<S> {
        let fields = words4(s, &blocks, 0);
        let (d, min) = s.halves(word(s, &blocks, 80));
        Head { d, min, scales: four!(v => bits(s, fields[v], 0, 15)), mins: four!(v => bits(s, fields[v], 4, 15)) }
    }

    #[inline(always)]
    fn chunks<S: Ints>(s: S, blocks: Blocks<'_, Self>, mut each: impl FnMut(usize, [S::B; 8])) {
        for half in 0..2 {
            let x = words8(s, &blocks, 16 + 32 * half);
            four!(k => each(4 * half + k, eight!(g => bits(s, x[g], 2 * k as u32, 3))));
        }
    }
}
