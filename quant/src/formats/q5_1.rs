//! Q5_1: 32 weights in 24 bytes (6 bits a weight), `w = d * q + m`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..4   m, f16
//! byte  4..8   bit i of this little-endian word: bit 4 of quant i
//! byte  8..24  byte 8 + i: low 4 bits of quant i in the low nibble, of quant i + 16 in the high nibble
//! ```

use super::bits::{f16_at, fifth_bits, fifth_bits_v, nibbles, nibbles_v};
use super::{Format32, Held, Quants32, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::eight;

/// 5-bit quants above a minimum.
pub(crate) struct Q5_1;

layout!(Q5_1: 32 weights in 24 bytes: Field::F16_PAIR, Field::words(5));

impl Format32 for Q5_1 {
    const HELD: Held = Held::Unsigned { max: 31, offset: 0 };
    const MIN: bool = true;

    fn unpack(block: &[u8; 24]) -> Quants32 {
        let (low, high) = (nibbles(&block[8..]), fifth_bits(&block[4..8]));
        let q = std::array::from_fn(|i| (low[i] | high[i]) as i8);
        Quants32 { d: f16_at(block, 0), min: f16_at(block, 2), q }
    }

    #[inline(always)]
    fn quants<S: Words>(s: S, rows: impl Rows<S>) -> [S::V; 8] {
        let (low, high) = (nibbles_v(s, rows.quad(s, 8)), fifth_bits_v(s, rows.word(s, 4)));
        eight!(g => s.or(low[g], high[g]))
    }

    #[inline(always)]
    fn scales<S: Words>(s: S, rows: impl Rows<S>) -> (S::V, S::V) {
        s.halves(rows.word(s, 0))
    }
}
