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

use super::bits::{bits, f16_at, nibble, octet, scales_and_mins, scales_and_mins_v};
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, four};

/// 4-bit quants above a minimum.
pub(crate) struct Q4K;

layout!(Q4K: 256 weights in 144 bytes: Field::F16_PAIR, Field::words(35));

impl Format256 for Q4K {
    const HELD: Held = Held::Unsigned { max: 15, offset: 0 };
    const GROUPS_OF_16: bool = false;
    const MIN: bool = true;
    const BY_TILES: bool = true;

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
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        scales_and_mins_v(s, rows.quad(s, 0))
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        four!(pair => {
            let x = octet(s, rows, 16 + 32 * pair);
            each(2 * pair, eight!(g => bits(s, x[g], 0, 15)));
            each(2 * pair + 1, eight!(g => bits(s, x[g], 4, 15)));
        });
    }
}
