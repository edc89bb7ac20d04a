//! IQ2_XS: 256 weights in 74 bytes (2.3125 bits a weight), `w = d / 8 * (2 scale + 1) * q`, groups of 16; eight magnitudes of `q` at
//! once come from a list of 512.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..66  little-endian 16 bits v: bits 0..9: number of vector v of the list; bits 9..16: its signs, the eighth makes
//!              their number even
//! byte 66..74  nibble g, the lower one of each byte first: scale of group g
//! ```

use super::bits::{f16_at, nth_nibble, nth_nibbles_v, odd_v, signs, signs_v, u16_at, with_sign, with_signs_v};
use super::grids::IQ2_XS;
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, rows};

/// Vectors of eight with seven signs, scales of 16.
pub(crate) struct IQ2XS;

layout!(IQ2XS: 256 weights in 74 bytes: Field::F16, Field::words(18));

impl Format256 for IQ2XS {
    const HELD: Held = Held::Signed { max: 43 };
    const GROUPS_OF_16: bool = true;
    const BY_PANELS: bool = true;

    fn unpack(block: &[u8; 74]) -> Quants256 {
        Quants256 {
            d: f16_at(block, 0) * 0.125,
            min: 0.0,
            scales: std::array::from_fn(|g| nth_nibble(&block[66..], g) as i8 * 2 + 1),
            mins: [0; 16],
            q: std::array::from_fn(|i| {
                let x = u16_at(block, 2 + i / 8 * 2);
                let vector = IQ2_XS[usize::from(x & 511)];
                with_sign(vector.to_le_bytes()[i % 8], signs(u32::from(x >> 9)), i)
            }),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        let (a, b) = (rows.word(s, 66), rows.word(s, 70));
        let scales = [nth_nibbles_v(s, a, 0), nth_nibbles_v(s, a, 1), nth_nibbles_v(s, b, 0), nth_nibbles_v(s, b, 1)];
        Head::of(s.mul_f32(rows.f16(s, 0), s.splat_u32(0.125f32.to_bits())), scales.map(|x| odd_v(s, x)))
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        eight!(j => {
            let half = |r: usize, k: usize| {
                let pair = rows.word_of(r, 2 + 8 * j + 2 * k);
                [IQ2_XS[(pair & 511) as usize], IQ2_XS[(pair >> 16 & 511) as usize]]
            };
            let [a, b, c, d] = s.transpose_pairs(&rows!(S::N, r => half(r, 0), [0; 2]));
            let [e, f, g, h] = s.transpose_pairs(&rows!(S::N, r => half(r, 2), [0; 2]));
            // Bits 9..16 and 25..32 of both words, each in a byte.
            let (low, high) = (rows.word(s, 2 + 8 * j), rows.word(s, 6 + 8 * j));
            let low = s.or(s.and(s.shr(low, 9), s.splat_u32(0x7f)), s.and(s.shr(low, 17), s.splat_u32(0x7f00)));
            let high = s.or(s.and(s.shl(high, 7), s.splat_u32(0x7f_0000)), s.and(s.shr(high, 1), s.splat_u32(0x7f00_0000)));
            each(j, with_signs_v(s, [a, b, c, d, e, f, g, h], signs_v(s, s.or(low, high))));
        });
    }
}
