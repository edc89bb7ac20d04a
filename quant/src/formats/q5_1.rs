//! Q5_1: 32 weights in 24 bytes (6 bits a weight), `w = d * q + m`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..4   m, f16
//! byte  4..8   bit i of this little-endian word: bit 4 of quant i
//! byte  8..24  byte 8 + i: low 4 bits of quant i in the low nibble, of quant i + 16 in the high nibble
//! ```

use super::q5_0::{fifth_bits, fifth_bits8};
use super::{Blocks, Format32, Held, Quants32, eight, f16_at, layout, nibbles, nibbles8, word, words4};
use crate::isa::ints::Ints;

/// 5-bit quants above a minimum.
pub(crate) struct Q5_1;

layout!(Q5_1: 32 weights in 24 bytes, halves at [0, 2]);

impl Format32 for Q5_1 {
    const HELD: Held = Held::Unsigned { max: 31, offset: 0 };
    const MIN: bool = true;

    fn unpack(block: &[u8; 24]) -> Quants32 {
        let (low, high) = (nibbles(&block[8..]), fifth_bits(&block[4..8]));
        let q = std::array::from_fn(|i| (low[i] | high[i]) as i8);
        Quants32 { d: f16_at(block, 0), min: f16_at(block, 2), q }
    }

    #[inline(always)]
    fn quants<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> [S::B; 8] {
        let (low, high) = (nibbles8(s, words4(s, &blocks, 8)), fifth_bits8(s, word(s, &blocks, 4)));
        eight!(g => s.or(low[g], high[g]))
    }
}
