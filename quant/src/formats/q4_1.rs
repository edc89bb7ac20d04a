//! Q4_1: 32 weights in 20 bytes (5 bits a weight), `w = d * q + m`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..4   m, f16
//! byte  4..20  byte 4 + i: quant i in the low nibble, quant i + 16 in the high nibble
//! ```

use super::{Blocks, Format32, Held, Quants32, f16_at, layout, nibbles, nibbles8, words4};
use crate::isa::ints::Ints;

/// 4-bit quants above a minimum.
pub(crate) struct Q4_1;

layout!(Q4_1: 32 weights in 20 bytes, halves at [0, 2]);

impl Format32 for Q4_1 {
    const HELD: Held = Held::Unsigned { max: 15, offset: 0 };
    const MIN: bool = true;

    fn unpack(block: &[u8; 20]) -> Quants32 {
        Quants32 { d: f16_at(block, 0), min: f16_at(block, 2), q: nibbles(&block[4..]).map(|q| q as i8) }
    }

    #[inline(always)]
    fn quants<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> [S::B; 8] {
        nibbles8(s, words4(s, &blocks, 4))
    }
}
