//! IQ4_XS: 256 weights in 136 bytes (4.25 bits a weight), `w = d * (scale - 32) * VALUES[q]`, groups of 32, the values of
//! IQ4_NL.
//!
//! ```text
//! byte 0..2    d, f16
//! byte 2..4    bits 2j..2j + 2 of this little-endian word: upper two bits of scale j
//! byte 4..8    low four bits: byte 4 + j: scale 2j in the low nibble, scale 2j + 1 in the high nibble
//! byte 8..136  quants: byte 8 + 16g + i (g: group, i < 16): quant 32g + i in the low nibble,
//!              quant 32g + 16 + i in the high nibble
//! ```

use super::bits::{IQ4_VALUES, bytes, f16_at, nibbles_v, nth_nibble, nth_nibbles_v, u16_at};
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::eight;

/// 4-bit indices into a table of unevenly spaced values, with scales of groups.
pub(crate) struct IQ4XS;

layout!(IQ4XS: 256 weights in 136 bytes: Field::F16_AND_MORE, Field::words(33));

/// The eight scales, -32..=31.
fn scales(block: &[u8; 136]) -> [i8; 8] {
    let high = u16_at(block, 2);
    std::array::from_fn(|j| (nth_nibble(&block[4..], j) | ((high >> (2 * j)) as u8 & 3) << 4) as i8 - 32)
}

/// [`scales`] of rows, from words 0 and 1 of the block: those of groups `4 v..4 v + 4` are the bytes of vector `v`.
#[inline(always)]
fn scales_v<S: Words>(s: S, first: S::V, low: S::V, v: u32) -> S::V {
    // A byte of four pairs of bits: each shifted to the bottom of its byte.
    let high = s.and(s.shr(first, 16 + 8 * v), s.splat_u32(0xff));
    let high = s.or(s.or(high, s.shl(high, 6)), s.or(s.shl(high, 12), s.shl(high, 18)));
    let high = s.shl(s.and(high, bytes(s, 3)), 4);
    s.sub_bytes(s.or(nth_nibbles_v(s, low, v), high), bytes(s, 32))
}

impl Format256 for IQ4XS {
    const HELD: Held = Held::Signed { max: 127 };
    const GROUPS_OF_16: bool = false;
    fn unpack(block: &[u8; 136]) -> Quants256 {
        let scales = scales(block);
        Quants256 {
            d: f16_at(block, 0),
            min: 0.0,
            scales: std::array::from_fn(|g| scales[g / 2]),
            mins: [0; 16],
            q: std::array::from_fn(|i| {
                let byte = block[8 + i / 32 * 16 + i % 16];
                IQ4_VALUES[usize::from((byte >> (i % 32 / 16 * 4)) & 15)]
            }),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        let (first, low) = (rows.word(s, 0), rows.word(s, 4));
        Head::of_8(s.f16_to_f32(first), [scales_v(s, first, low, 0), scales_v(s, first, low, 1)])
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        eight!(j => {
            let q = nibbles_v(s, rows.quad(s, 8 + 16 * j));
            each(j, eight!(g => s.lookup(q[g], &IQ4_VALUES)));
        });
    }
}
