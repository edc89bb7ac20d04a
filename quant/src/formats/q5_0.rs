//! Q5_0: 32 weights in 22 bytes (5.5 bits a weight), `w = d * (q - 16)`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..6   bit i of this little-endian word: bit 4 of quant i
//! byte  6..22  byte 6 + i: low 4 bits of quant i in the low nibble, of quant i + 16 in the high nibble
//! ```

use super::bits::{f16_at, fifth_bits, fifth_bits_v, nibbles, nibbles_v};
use super::{Format32, Held, Quants32, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::eight;

/// 5-bit quants around 16.
pub(crate) struct Q5_0;

layout!(Q5_0: 32 weights in 22 bytes: Field::F16, Field::words(5));

impl Format32 for Q5_0 {
    const HELD: Held = Held::Unsigned { max: 31, offset: 16 };
    fn unpack(block: &[u8; 22]) -> Quants32 {
        let (low, high) = (nibbles(&block[6..]), fifth_bits(&block[2..6]));
        Quants32 { d: f16_at(block, 0), min: 0.0, q: std::array::from_fn(|i| (low[i] | high[i]) as i8 - 16) }
    }

    #[inline(always)]
    fn quants<S: Words>(s: S, rows: impl Rows<S>) -> [S::V; 8] {
        let (low, high) = (nibbles_v(s, rows.quad(s, 6)), fifth_bits_v(s, rows.word(s, 2)));
        eight!(g => s.or(low[g], high[g]))
    }

    #[inline(always)]
    fn scales<S: Words>(s: S, rows: impl Rows<S>) -> (S::V, S::V) {
        (rows.f16(s, 0), s.splat_u32(0))
    }
}
