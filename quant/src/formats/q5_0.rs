//! Q5_0: 32 weights in 22 bytes (5.5 bits a weight), `w = d * (q - 16)`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..6   bit i of this little-endian word: bit 4 of quant i
//! byte  6..22  byte 6 + i: low 4 bits of quant i in the low nibble, of quant i + 16 in the high nibble
//! ```

use super::{Blocks, Format32, Held, Quants32, eight, f16_at, layout, nibbles, nibbles8, word, words4};
use crate::isa::ints::Ints;

/// 5-bit quants around 16.
pub(crate) struct Q5_0;

layout!(Q5_0: 32 weights in 22 bytes, halves at [0]);

/// The fifth bits of 32 quants, in place: 16 where the bit is set.
pub(super) fn fifth_bits(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| ((bytes[i / 8] >> (i % 8)) & 1) << 4)
}

/// The fifth bits of 32 quants of eight rows, in place: vector `g` holds those of quants `4 g..4 g + 4`.
#[inline(always)]
pub(super) fn fifth_bits8<S: Ints>(s: S, word: S::B) -> [S::B; 8] {
    // Bit 4 + i of byte i: after the right byte of the word is in all places, and its right half on top.
    let (diagonal, sixteen) = (s.splat(0x8040_2010), s.splat(0x1010_1010));
    eight!(g => {
        let byte = s.spread(word, g / 2);
        let bit = s.and(if g.is_multiple_of(2) { s.shl(byte, 4) } else { byte }, diagonal);
        s.min_bytes(bit, sixteen)
    })
}

impl Format32 for Q5_0 {
    const HELD: Held = Held::Unsigned { max: 31, offset: 16 };
    fn unpack(block: &[u8; 22]) -> Quants32 {
        let (low, high) = (nibbles(&block[6..]), fifth_bits(&block[2..6]));
        Quants32 { d: f16_at(block, 0), min: 0.0, q: std::array::from_fn(|i| (low[i] | high[i]) as i8 - 16) }
    }

    #[inline(always)]
    fn quants<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> [S::B; 8] {
        let (low, high) = (nibbles8(s, words4(s, &blocks, 6)), fifth_bits8(s, word(s, &blocks, 2)));
        eight!(g => s.or(low[g], high[g]))
    }
}
