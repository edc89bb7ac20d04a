//! IQ2_S: 256 weights in 82 bytes (2.5625 bits a weight), `w = d / 8 * (2 scale + 1) * q`, groups of 16; eight magnitudes of `q` at
//! once come from a list of 1024.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..34  byte 2 + v: lower eight bits of the number of vector v of the list
//! byte 34..66  bit i of byte 34 + v: sign of weight i of vector v
//! byte 66..74  byte 66 + j: upper two bits of numbers 4j + {0, 1, 2, 3} in bits 0, 2, 4, 6
//! byte 74..82  nibble g, the lower one of each byte first: scale of group g
//! ```

use super::bits::{f16_at, nth_nibble, nth_nibbles_v, odd_v, with_sign, with_signs_v};
use super::grids::IQ2_S;
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, rows};

/// Vectors of eight with eight signs.
pub(crate) struct IQ2S;

layout!(IQ2S: 256 weights in 82 bytes: Field::F16, Field::words(20));

impl Format256 for IQ2S {
    const HELD: Held = Held::Signed { max: 43 };
    const GROUPS_OF_16: bool = true;
    const BY_PANELS: bool = true;

    fn unpack(block: &[u8; 82]) -> Quants256 {
        Quants256 {
            d: f16_at(block, 0) * 0.125,
            min: 0.0,
            scales: std::array::from_fn(|g| nth_nibble(&block[74..], g) as i8 * 2 + 1),
            mins: [0; 16],
            q: std::array::from_fn(|i| {
                let v = i / 8;
                let number = usize::from(block[2 + v]) | usize::from(block[66 + v / 4] >> (v % 4 * 2) & 3) << 8;
                with_sign(IQ2_S[number].to_le_bytes()[i % 8], block[34 + v], i)
            }),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        let (a, b) = (rows.word(s, 74), rows.word(s, 78));
        let scales = [nth_nibbles_v(s, a, 0), nth_nibbles_v(s, a, 1), nth_nibbles_v(s, b, 0), nth_nibbles_v(s, b, 1)];
        Head::of(s.mul_f32(rows.f16(s, 0), s.splat_u32(0.125f32.to_bits())), scales.map(|x| odd_v(s, x)))
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        eight!(j => {
            let half = |r: usize, k: usize| {
                let (low, high) = (rows.word_of(r, 2 + 4 * j), rows.word_of(r, 66 + j / 4 * 4) >> (j % 4 * 8));
                let number = |k: usize| (low >> (8 * k) & 255 | (high >> (2 * k) & 3) << 8) as usize;
                [IQ2_S[number(k)], IQ2_S[number(k + 1)]]
            };
            let [a, b, c, d] = s.transpose_pairs(&rows!(S::N, r => half(r, 0), [0; 2]));
            let [e, f, g, h] = s.transpose_pairs(&rows!(S::N, r => half(r, 2), [0; 2]));
            each(j, with_signs_v(s, [a, b, c, d, e, f, g, h], rows.word(s, 34 + 4 * j)));
        });
    }
}
