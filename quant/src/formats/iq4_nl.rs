//! IQ4_NL: 32 weights in 18 bytes (4.5 bits a weight), `w = d * IQ4_VALUES[q]`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..18  byte 2 + i: quant i in the low nibble, quant i + 16 in the high nibble
//! ```

use super::bits::{IQ4_VALUES, f16_at, nibbles, nibbles_v};
use super::{Format32, Held, Quants32, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::eight;

/// 4-bit indices into a table of unevenly spaced values.
pub(crate) struct IQ4NL;

layout!(IQ4NL: 32 weights in 18 bytes: Field::F16, Field::words(4));

impl Format32 for IQ4NL {
    const HELD: Held = Held::Signed { max: 127 };
    fn unpack(block: &[u8; 18]) -> Quants32 {
        Quants32 { d: f16_at(block, 0), min: 0.0, q: nibbles(&block[2..]).map(|q| IQ4_VALUES[usize::from(q)]) }
    }

    #[inline(always)]
    fn quants<S: Words>(s: S, rows: impl Rows<S>) -> [S::V; 8] {
        let q = nibbles_v(s, rows.quad(s, 2));
        eight!(g => s.lookup(q[g], &IQ4_VALUES))
    }

    #[inline(always)]
    fn scales<S: Words>(s: S, rows: impl Rows<S>) -> (S::V, S::V) {
        (rows.f16(s, 0), s.splat_u32(0))
    }
}
