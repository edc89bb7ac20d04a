//! IQ4_NL: 32 weights in 18 bytes (4.5 bits a weight), `w = d * VALUES[q]`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..18  byte 2 + i: quant i in the low nibble, quant i + 16 in the high nibble
//! ```

use super::{Blocks, Format32, Held, Quants32, eight, f16_at, layout, nibbles, nibbles8, words4};
use crate::isa::ints::Ints;

/// 4-bit indices into a table of unevenly spaced values.
pub(crate) struct IQ4NL;

layout!(IQ4NL: 32 weights in 18 bytes, halves at [0]);

/// The sixteen values, part of the file format: denser near zero, as weights are.
pub(crate) const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

impl Format32 for IQ4NL {
    const HELD: Held = Held::Signed;
    fn unpack(block: &[u8; 18]) -> Quants32 {
        Quants32 { d: f16_at(block, 0), min: 0.0, q: nibbles(&block[2..]).map(|q| VALUES[usize::from(q)]) }
    }

    #[inline(always)]
    fn quants<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> [S::B; 8] {
        let q = nibbles8(s, words4(s, &blocks, 2));
        eight!(g => s.signed(s.lookup(&VALUES, q[g])))
    }
}
