//! Q4_0: 32 weights in 18 bytes (4.5 bits a weight), `w = d * (q - 8)`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..18  byte 2 + i: quant i in the low nibble, quant i + 16 in the high nibble
//! ```

use super::{Blocks, Format32, Held, Quants32, f16_at, layout, nibbles, nibbles8, words4};
use crate::isa::ints::Ints;

/// 4-bit quants around 8.
pub(crate) struct Q4_0;

layout!(Q4_0: 32 weights in 18 bytes, halves at [0]);

impl Format32 for Q4_0 {
    const HELD: Held = Held::Unsigned { max: 15, offset: 8 };
    fn unpack(block: &[u8; 18]) -> Quants32 {
        Quants32 { d: f16_at(block, 0), min: 0.0, q: nibbles(&block[2..]).map(|q| q as i8 - 8) }
    }

    #[inline(always)]
    fn quants<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> [S::B; 8] {
        nibbles8(s, words4(s, &blocks, 2))
    }
}
