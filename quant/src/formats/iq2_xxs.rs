//! IQ2_XXS: 256 weights in 66 bytes (2.0625 bits a weight), `w = d / 8 * (2 scale + 1) * q`, groups of 32; eight magnitudes of `q` at
//! once come from a list of 256.
//!
//! ```text
//! byte 0..2   d, f16
//! byte 2..66  eight bytes for group j, from byte 2 + 8j on: four numbers of vectors of the list, then a little-endian word:
//!             bits 7k..7k + 7 (k < 4): signs of vector k, the eighth makes their number even; bits 28..32: scale
//! ```

use super::bits::{f16_at, odd_v, sevens_v, signs, signs_v, u32_at, with_sign, with_signs_v};
use super::grids::IQ2_XXS;
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, rows};

/// Vectors of eight with seven signs.
pub(crate) struct IQ2XXS;

layout!(IQ2XXS: 256 weights in 66 bytes: Field::F16, Field::words(16));

impl Format256 for IQ2XXS {
    const HELD: Held = Held::Signed { max: 43 };
    const GROUPS_OF_16: bool = false;
    const BY_PANELS: bool = true;

    fn unpack(block: &[u8; 66]) -> Quants256 {
        let word = |j: usize| u32_at(block, 6 + 8 * j);
        Quants256 {
            d: f16_at(block, 0) * 0.125,
            min: 0.0,
            scales: std::array::from_fn(|g| (word(g / 2) >> 28) as i8 * 2 + 1),
            mins: [0; 16],
            q: std::array::from_fn(|i| {
                let (j, k) = (i / 32, i / 8 % 4);
                let vector = IQ2_XXS[usize::from(block[2 + 8 * j + k])];
                with_sign(vector.to_le_bytes()[i % 8], signs(word(j) >> (7 * k)), i)
            }),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        let scales = |at| {
            let [a, b, c, d] = [at, at + 8, at + 16, at + 24].map(|at| s.shr(rows.word(s, at), 28));
            odd_v(s, s.or(s.or(a, s.shl(b, 8)), s.or(s.shl(c, 16), s.shl(d, 24))))
        };
        Head::of_8(s.mul_f32(rows.f16(s, 0), s.splat_u32(0.125f32.to_bits())), [scales(6), scales(38)])
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        eight!(j => {
            let half = |r: usize, k: usize| {
                let number = |k: usize| (rows.word_of(r, 2 + 8 * j) >> (8 * k) & 255) as usize;
                [IQ2_XXS[number(k)], IQ2_XXS[number(k + 1)]]
            };
            let [a, b, c, d] = s.transpose_pairs(&rows!(S::N, r => half(r, 0), [0; 2]));
            let [e, f, g, h] = s.transpose_pairs(&rows!(S::N, r => half(r, 2), [0; 2]));
            let signs = signs_v(s, sevens_v(s, rows.word(s, 6 + 8 * j)));
            each(j, with_signs_v(s, [a, b, c, d, e, f, g, h], signs));
        });
    }
}
