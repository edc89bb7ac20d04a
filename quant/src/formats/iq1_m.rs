//! IQ1_M: 256 weights in 56 bytes (1.75 bits a weight), `w = d * (2 scale + 1) * (x + delta)`, groups of 16; `x` is a vector of eight
//! numbers -1, 0 or 1 from a list of 2048, `delta` an eighth, up or down. As integers: `w = d / 8 * scale * q`.
//!
//! ```text
//! byte  0..32  byte v: lower eight bits of the number of vector v of the list
//! byte 32..48  nibble v, the lower one of each byte first: bits 0..3: upper three bits of number v; bit 3: whether its delta is
//!              negative
//! byte 48..56  little-endian 16 bits i: bits 3k..3k + 3 (k < 4): scale of group 4i + k; bits 12..16: bits 4i..4i + 4 of d, f16
//! ```

use super::bits::{f16_at, nth_nibble, odd_v, u16_at};
use super::grids::IQ1;
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, four, rows};

/// Vectors of ternary digits, each moved by an eighth.
pub(crate) struct IQ1M;

layout!(IQ1M: 256 weights in 56 bytes: Field::words(14); set scale by set_scale);

fn set_scale(block: &mut [u8], d: f32) {
    let bits = half::f16::from_f32(d).to_bits();
    for (i, upper) in block[49..].iter_mut().step_by(2).enumerate() {
        *upper = *upper & 15 | ((bits >> (4 * i)) as u8 & 15) << 4;
    }
}

impl Format256 for IQ1M {
    const HELD: Held = Held::Unsigned { max: 25, offset: 16 };
    const GROUPS_OF_16: bool = true;
    const BY_PANELS: bool = true;

    fn unpack(block: &[u8; 56]) -> Quants256 {
        let scales = |i: usize| u16_at(block, 48 + 2 * i);
        let d = (0..4).fold(0, |d, i| d | scales(i) >> 12 << (4 * i));
        Quants256 {
            d: f16_at(&d.to_le_bytes(), 0) * 0.125,
            min: 0.0,
            scales: std::array::from_fn(|g| (scales(g / 4) >> (g % 4 * 3) & 7) as i8 * 2 + 1),
            mins: [0; 16],
            q: std::array::from_fn(|i| {
                let high = nth_nibble(&block[32..], i / 8);
                let number = usize::from(block[i / 8]) | usize::from(high & 7) << 8;
                let delta = if high & 8 == 0 { 1 } else { -1 };
                IQ1[number].to_le_bytes()[i % 8] as i8 - 17 + delta
            }),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        let words = [rows.word(s, 48), rows.word(s, 52)];
        let part = |word: usize, by: u32, mask: u32| s.and(s.shr(words[word], by), s.splat_u32(mask));
        let d = s.or(s.or(part(0, 12, 0xf), part(0, 24, 0xf0)), s.or(part(1, 4, 0xf00), part(1, 16, 0xf000)));
        let scales = four!(v => {
            let x = s.shr(words[v / 2], v as u32 % 2 * 16);
            let low = s.or(s.and(x, s.splat_u32(7)), s.and(s.shl(x, 5), s.splat_u32(0x700)));
            let high = s.or(s.and(s.shl(x, 10), s.splat_u32(0x7_0000)), s.and(s.shl(x, 15), s.splat_u32(0x0700_0000)));
            odd_v(s, s.or(low, high))
        });
        Head::of(s.mul_f32(s.f16_to_f32(d), s.splat_u32(0.125f32.to_bits())), scales)
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        eight!(j => {
            let half = |r: usize, k: usize| {
                let (low, high) = (rows.word_of(r, 4 * j), rows.word_of(r, 32 + j / 2 * 4) >> (j % 2 * 16));
                let number = |k: usize| (low >> (8 * k) & 255 | (high >> (4 * k) & 7) << 8) as usize;
                [IQ1[number(k)], IQ1[number(k + 1)]]
            };
            let [a, b, c, d] = s.transpose_pairs(&rows!(S::N, r => half(r, 0), [0; 2]));
            let [e, f, g, h] = s.transpose_pairs(&rows!(S::N, r => half(r, 2), [0; 2]));
            // The list is raised by 17, quants by 16: a delta of +1 is in it, one of -1 takes two off.
            let high = rows.word(s, 32 + j / 2 * 4);
            let down = four!(k => {
                let negative = s.shr(high, j as u32 % 2 * 16 + 4 * k as u32 + 3);
                s.shl(s.spread(s.and(negative, s.splat_u32(1)), 0), 1)
            });
            let x = [a, b, c, d, e, f, g, h];
            each(j, eight!(g => s.sub_bytes(x[g], down[g / 2])));
        });
    }
}
