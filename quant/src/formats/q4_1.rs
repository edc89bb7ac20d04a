//! Q4_1: 32 weights in 20 bytes (5 bits a weight), `w = d * q + m`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..4   m, f16
//! byte  4..20  byte 4 + i: quant i in the low nibble, quant i + 16 in the high nibble
//! ```

use super::bits::{f16_at, nibbles, nibbles_v};
use super::{Format32, Held, Quants32, Rows, layout};
use crate::isa::simd::Words;

/// 4-bit quants above a minimum.
pub(crate) struct Q4_1;

layout!(Q4_1: 32 weights in 20 bytes: Field::F16_PAIR, Field::words(4));

impl Format32 for Q4_1 {
    const HELD: Held = Held::Unsigned { max: 15, offset: 0 };
    const MIN: bool = true;

    fn unpack(block: &[u8; 20]) -> Quants32 {
        Quants32 { d: f16_at(block, 0), min: f16_at(block, 2), q: nibbles(&block[4..]).map(|q| q as i8) }
    }

    #[inline(always)]
    fn quants<S: Words>(s: S, rows: impl Rows<S>) -> [S::V; 8] {
        nibbles_v(s, rows.quad(s, 4))
    }

    #[inline(always)]
    fn scales<S: Words>(s: S, rows: impl Rows<S>) -> (S::V, S::V) {
        s.halves(rows.word(s, 0))
    }
}
