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

use super::iq4_nl::VALUES;
use super::{Blocks, Format256, Head, Held, Quants256, eight, f16_at, layout, nibbles8, word, words4};
use crate::isa::ints::Ints;

/// 4-bit indices into a table of unevenly spaced values, with scales of groups.
pub(crate) struct IQ4XS;

layout!(IQ4XS: 256 weights in 136 bytes, halves at [0]);

/// The eight scales, -32..=31.
pub(super) fn scales(block: &[u8; 136]) -> [i8; 8] {
    let high = u16::from_le_bytes([block[2], block[3]]);
    std::array::from_fn(|j| {
        let low = (block[4 + j / 2] >> (j % 2 * 4)) & 15;
        (low | ((high >> (2 * j)) as u8 & 3) << 4) as i8 - 32
    })
}

/// [`scales`] of eight rows, from words 0 and 1 of the block: those of groups `4 v..4 v + 4` are the bytes of vector `v`.
#[inline(always)]
fn scales8<S: Ints>(s: S, first: S::B, low: S::B, v: u32) -> S::B {
    // Two bytes of nibbles, each moved to the byte that it's for.
    let low = s.and(s.shr(low, 16 * v), s.splat(0xffff));
    let low = s.and(s.or(low, s.shl(low, 8)), s.splat(0x00ff_00ff));
    let low = s.or(s.and(low, s.splat(0x000f_000f)), s.and(s.shl(low, 4), s.splat(0x0f00_0f00)));
    // A byte of four pairs of bits: each shifted to the bottom of its byte.
    let high = s.and(s.shr(first, 16 + 8 * v), s.splat(0xff));
    let high = s.or(s.or(high, s.shl(high, 6)), s.or(s.shl(high, 12), s.shl(high, 18)));
    let high = s.shl(s.and(high, s.splat(0x0303_0303)), 4);
    s.sub_bytes(s.or(low, high), s.splat(0x2020_2020))
}

impl Format256 for IQ4XS {
    const HELD: Held = Held::Signed;
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
                VALUES[usize::from((byte >> (i % 32 / 16 * 4)) & 15)]
            }),
        }
    }

    #[inline(always)]
    fn head<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> Head<S> {
        let (first, low) = (word(s, &blocks, 0), word(s, &blocks, 4));
        let (a, b) = (scales8(s, first, low, 0), scales8(s, first, low, 1));
        Head { d: s.halves(first).0, min: s.float(0.0), scales: [a, b, a, b], mins: [a, b, a, b] }
    }

    #[inline(always)]
    fn chunks<S: Ints>(s: S, blocks: Blocks<'_, Self>, mut each: impl FnMut(usize, [S::B; 8])) {
        eight!(j => {
            let q = nibbles8(s, words4(s, &blocks, 8 + 16 * j));
            each(j, eight!(g => s.signed(s.lookup(&VALUES, q[g]))));
        });
    }
}
