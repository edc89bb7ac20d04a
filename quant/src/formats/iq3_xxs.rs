//! IQ3_XXS: 256 weights in 98 bytes (3.0625 bits a weight), `w = d / 4 * (2 scale + 1) * q`, groups of 32; four magnitudes of `q` at
//! once come from a list of 256.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..66  byte 2 + v: number of vector v of the list
//! byte 66..98  little-endian word j: bits 7k..7k + 7 (k < 4): signs of weights 32j + 8k.., the eighth makes their number even;
//!              bits 28..32: scale of group j
//! ```

use super::bits::{f16_at, odd_v, sevens_v, signs, signs_v, u32_at, with_sign, with_signs_v};
use super::grids::IQ3_XXS;
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, rows};

/// Vectors of four with seven signs for two.
pub(crate) struct IQ3XXS;

layout!(IQ3XXS: 256 weights in 98 bytes: Field::F16, Field::words(24));

impl Format256 for IQ3XXS {
    const HELD: Held = Held::Signed { max: 62 };
    const GROUPS_OF_16: bool = false;
    const BY_PANELS: bool = true;

    fn unpack(block: &[u8; 98]) -> Quants256 {
        let word = |j: usize| u32_at(block, 66 + 4 * j);
        Quants256 {
            d: f16_at(block, 0) * 0.25,
            min: 0.0,
            scales: std::array::from_fn(|g| (word(g / 2) >> 28) as i8 * 2 + 1),
            mins: [0; 16],
            q: std::array::from_fn(|i| {
                let vector = IQ3_XXS[usize::from(block[2 + i / 4])];
                with_sign(vector.to_le_bytes()[i % 4], signs(word(i / 32) >> (i / 8 % 4 * 7)), i)
            }),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        let scales = |at| {
            let [a, b, c, d] = rows.quad(s, at).map(|x| s.shr(x, 28));
            odd_v(s, s.or(s.or(a, s.shl(b, 8)), s.or(s.shl(c, 16), s.shl(d, 24))))
        };
        Head::of_8(s.mul_f32(rows.f16(s, 0), s.splat_u32(0.25f32.to_bits())), [scales(66), scales(82)])
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        eight!(j => {
            let half = |r: usize, k: usize| {
                let numbers = rows.word_of(r, 2 + 8 * j + k);
                let vector = |k: usize| u64::from(IQ3_XXS[(numbers >> (8 * k) & 255) as usize]);
                [vector(0) | vector(1) << 32, vector(2) | vector(3) << 32]
            };
            let [a, b, c, d] = s.transpose_pairs(&rows!(S::N, r => half(r, 0), [0; 2]));
            let [e, f, g, h] = s.transpose_pairs(&rows!(S::N, r => half(r, 4), [0; 2]));
            let signs = signs_v(s, sevens_v(s, rows.word(s, 66 + 4 * j)));
            each(j, with_signs_v(s, [a, b, c, d, e, f, g, h], signs));
        });
    }
}
