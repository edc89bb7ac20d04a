//! Q4_0: 32 weights in 18 bytes (4.5 bits a weight), `w = d * (q - 8)`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..18  byte 2 + i: quant i in the low nibble, quant i + 16 in the high nibble
//! ```

use super::bits::{f16_at, nibbles, nibbles_v};
use super::{Format32, Held, Quants32, Rows, layout};
use crate::isa::simd::Words;

/// 4-bit quants around 8.
pub(crate) struct Q4_0;

layout!(Q4_0: 32 weights in 18 bytes: Field::F16, Field::words(4));

impl Format32 for Q4_0 {
    const HELD: Held = Held::Unsigned { max: 15, offset: 8 };
    fn unpack(block: &[u8; 18]) -> Quants32 {
        Quants32 { d: f16_at(block, 0), min: 0.0, q: nibbles(&block[2..]).map(|q| q as i8 - 8) }
    }

    #[inline(always)]
    fn quants<S: Words>(s: S, rows: impl Rows<S>) -> [S::V; 8] {
        nibbles_v(s, rows.quad(s, 2))
    }

    #[inline(always)]
    fn scales<S: Words>(s: S, rows: impl Rows<S>) -> (S::V, S::V) {
        (rows.f16(s, 0), s.splat_u32(0))
    }
}
