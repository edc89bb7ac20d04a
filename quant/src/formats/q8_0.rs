//! Q8_0: 32 weights in 34 bytes (8.5 bits a weight), `w = d * q`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..34  quant i, i8 (-128 included)
//! ```

use super::{Blocks, Format32, Held, Quants32, eight, f16_at, layout, words8};
use crate::isa::ints::Ints;

/// Signed bytes.
pub(crate) struct Q8_0;

layout!(Q8_0: 32 weights in 34 bytes, halves at [0]);

impl Format32 for Q8_0 {
    const HELD: Held = Held::Signed;
    fn unpack(block: &[u8; 34]) -> Quants32 {
        Quants32 { d: f16_at(block, 0), min: 0.0, q: std::array::from_fn(|i| block[2 + i] as i8) }
    }

    #[inline(always)]
    fn quants<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> [S::B; 8] {
        let q = words8(s, &blocks, 2);
        eight!(g => s.signed(q[g]))
    }
}
