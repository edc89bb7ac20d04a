//! Q5_K: 256 weights in 176 bytes (5.5 bits a weight), `w = d * scale * q - dmin * min`, groups of 32.
//!
//! ```text
//! byte  0..2    d, f16
//! byte  2..4    dmin, f16
//! byte  4..16   scales and mins of 8 groups, 6 bits each, packed as in Q4_K
//! byte 16..48   bit b of byte 16 + i (i < 32): bit 4 of quant 32b + i
//! byte 48..176  low four bits: byte 48 + 32p + i (i < 32): quant 64p + i in the low nibble,
//!               quant 64p + 32 + i in the high nibble
//! ```

use super::bits::{bits, f16_at, moved, nibble, octet, scales_and_mins, scales_and_mins_v};
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, four};

/// 5-bit quants above a minimum.
pub(crate) struct Q5K;

layout!(Q5K: 256 weights in 176 bytes: Field::F16_PAIR, Field::words(43));

impl Format256 for Q5K {
    const HELD: Held = Held::Unsigned { max: 31, offset: 0 };
    const GROUPS_OF_16: bool = false;
    const MIN: bool = true;
    const BY_TILES: bool = true;

    fn unpack(block: &[u8; 176]) -> Quants256 {
        let (scales, mins) = scales_and_mins(&block[4..16]);
        Quants256 {
            d: f16_at(block, 0),
            min: f16_at(block, 2),
            scales: std::array::from_fn(|g| scales[g / 2] as i8),
            mins: std::array::from_fn(|g| mins[g / 2]),
            q: std::array::from_fn(|i| {
                let high = (block[16 + i % 32] >> (i / 32)) & 1;
                (nibble(&block[48..], i) | high << 4) as i8
            }),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        scales_and_mins_v(s, rows.quad(s, 0))
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        let high = octet(s, rows, 16);
        // Written out, so that all shifts are by constants.
        four!(pair => {
            let low = octet(s, rows, 48 + 32 * pair);
            each(2 * pair, eight!(g => s.or(bits(s, low[g], 0, 15), moved(s, high[g], 2 * pair, 4, 16))));
            each(2 * pair + 1, eight!(g => s.or(bits(s, low[g], 4, 15), moved(s, high[g], 2 * pair + 1, 4, 16))));
        });
    }
}
