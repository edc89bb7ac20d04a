//! IQ3_S: 256 weights in 110 bytes (3.4375 bits a weight), `w = d * (2 scale + 1) * q`, groups of 32; four magnitudes of `q` at once
//! come from a list of 512.
//!
//! ```text
//! byte   0..2    d, f16
//! byte   2..66   byte 2 + v: lower eight bits of the number of vector v of the list
//! byte  66..74   bit k of byte 66 + j: ninth bit of number 8j + k
//! byte  74..106  bit i of byte 74 + b: sign of weight 8b + i
//! byte 106..110  nibble j, the lower one of each byte first: scale of group j
//! ```

use super::bits::{f16_at, nth_nibble, nth_nibbles_v, odd_v, with_sign, with_signs_v};
use super::grids::IQ3_S;
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, rows};

/// Vectors of four with a sign for each weight.
pub(crate) struct IQ3S;

layout!(IQ3S: 256 weights in 110 bytes: Field::F16, Field::words(27));

impl Format256 for IQ3S {
    const HELD: Held = Held::Signed { max: 15 };
    const GROUPS_OF_16: bool = false;
    const BY_PANELS: bool = true;

    fn unpack(block: &[u8; 110]) -> Quants256 {
        Quants256 {
            d: f16_at(block, 0),
            min: 0.0,
            scales: std::array::from_fn(|g| nth_nibble(&block[106..], g / 2) as i8 * 2 + 1),
            mins: [0; 16],
            q: std::array::from_fn(|i| {
                let v = i / 4;
                let number = usize::from(block[2 + v]) | usize::from(block[66 + v / 8] >> (v % 8) & 1) << 8;
                with_sign(IQ3_S[number].to_le_bytes()[i % 4], block[74 + i / 8], i)
            }),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        let x = rows.word(s, 106);
        Head::of_8(rows.f16(s, 0), [odd_v(s, nth_nibbles_v(s, x, 0)), odd_v(s, nth_nibbles_v(s, x, 1))])
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        eight!(j => {
            let half = |r: usize, k: usize| {
                let numbers = rows.word_of(r, 2 + 8 * j + k);
                let ninth = rows.word_of(r, 66 + j / 4 * 4) >> (j % 4 * 8 + k);
                let number = |k: usize| (numbers >> (8 * k) & 255 | (ninth >> k & 1) << 8) as usize;
                let vector = |k: usize| u64::from(IQ3_S[number(k)]);
                [vector(0) | vector(1) << 32, vector(2) | vector(3) << 32]
            };
            let [a, b, c, d] = s.transpose_pairs(&rows!(S::N, r => half(r, 0), [0; 2]));
            let [e, f, g, h] = s.transpose_pairs(&rows!(S::N, r => half(r, 4), [0; 2]));
            each(j, with_signs_v(s, [a, b, c, d, e, f, g, h], rows.word(s, 74 + 4 * j)));
        });
    }
}
