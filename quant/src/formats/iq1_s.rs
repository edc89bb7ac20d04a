//! IQ1_S: 256 weights in 50 bytes (1.5625 bits a weight), `w = d * (2 scale + 1) * (x + delta)`, groups of 32; `x` is a vector of
//! eight numbers -1, 0 or 1 from a list of 2048, `delta` an eighth, up or down. As integers: `w = d / 8 * scale * q`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..34  byte 2 + 4j + k: lower eight bits of number 4j + k of a vector of the list
//! byte 34..50  little-endian 16 bits j: bits 3k..3k + 3 (k < 4): upper three bits of number 4j + k;
//!              bits 12..15: scale of group j; bit 15: whether its delta is negative
//! ```

use super::bits::{f16_at, odd_v, u16_at};
use super::grids::IQ1;
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, rows};

/// Vectors of ternary digits, moved by an eighth.
pub(crate) struct IQ1S;

layout!(IQ1S: 256 weights in 50 bytes: Field::F16, Field::words(12));

impl Format256 for IQ1S {
    const HELD: Held = Held::Unsigned { max: 25, offset: 16 };
    const GROUPS_OF_16: bool = false;
    const BY_PANELS: bool = true;

    fn unpack(block: &[u8; 50]) -> Quants256 {
        let high = |j: usize| u16_at(block, 34 + 2 * j);
        Quants256 {
            d: f16_at(block, 0) * 0.125,
            min: 0.0,
            scales: std::array::from_fn(|g| (high(g / 2) >> 12 & 7) as i8 * 2 + 1),
            mins: [0; 16],
            q: std::array::from_fn(|i| {
                let (j, k) = (i / 32, i / 8 % 4);
                let number = usize::from(block[2 + 4 * j + k]) | usize::from(high(j) >> (3 * k) & 7) << 8;
                let delta = if high(j) >> 15 == 0 { 1 } else { -1 };
                IQ1[number].to_le_bytes()[i % 8] as i8 - 17 + delta
            }),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        let scales = |at| {
            let (a, b) = (rows.word(s, at), rows.word(s, at + 4));
            let a = s.or(s.and(s.shr(a, 12), s.splat_u32(7)), s.and(s.shr(a, 20), s.splat_u32(0x700)));
            let b = s.or(s.and(s.shl(b, 4), s.splat_u32(0x7_0000)), s.and(s.shr(b, 4), s.splat_u32(0x0700_0000)));
            odd_v(s, s.or(a, b))
        };
        Head::of_8(s.mul_f32(rows.f16(s, 0), s.splat_u32(0.125f32.to_bits())), [scales(34), scales(42)])
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        eight!(j => {
            let half = |r: usize, k: usize| {
                let (low, high) = (rows.word_of(r, 2 + 4 * j), rows.word_of(r, 34 + j / 2 * 4) >> (j % 2 * 16));
                let number = |k: usize| (low >> (8 * k) & 255 | (high >> (3 * k) & 7) << 8) as usize;
                [IQ1[number(k)], IQ1[number(k + 1)]]
            };
            let [a, b, c, d] = s.transpose_pairs(&rows!(S::N, r => half(r, 0), [0; 2]));
            let [e, f, g, h] = s.transpose_pairs(&rows!(S::N, r => half(r, 2), [0; 2]));
            // The list is raised by 17, quants by 16: a delta of +1 is in it, one of -1 takes two off.
            let negative = s.shr(rows.word(s, 34 + j / 2 * 4), 15 + j as u32 % 2 * 16);
            let down = s.shl(s.spread(s.and(negative, s.splat_u32(1)), 0), 1);
            let x = [a, b, c, d, e, f, g, h];
            each(j, eight!(g => s.sub_bytes(x[g], down)));
        });
    }
}
