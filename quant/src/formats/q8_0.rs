//! Q8_0: 32 weights in 34 bytes (8.5 bits a weight), `w = d * q`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..34  quant i, i8 (-128 included)
//! ```

use super::bits::{f16_at, octet};
use super::{Format32, Held, Quants32, Rows, layout};
use crate::isa::simd::Words;

/// Signed bytes.
pub(crate) struct Q8_0;

layout!(Q8_0: 32 weights in 34 bytes: Field::F16, Field::words(8));

impl Format32 for Q8_0 {
    const HELD: Held = Held::Signed { max: 128 };
    fn unpack(block: &[u8; 34]) -> Quants32 {
        Quants32 { d: f16_at(block, 0), min: 0.0, q: std::array::from_fn(|i| block[2 + i] as i8) }
    }

    #[inline(always)]
    fn quants<S: Words>(s: S, rows: impl Rows<S>) -> [S::V; 8] {
        octet(s, rows, 2)
    }

    #[inline(always)]
    fn scales<S: Words>(s: S, rows: impl Rows<S>) -> (S::V, S::V) {
        (rows.f16(s, 0), s.splat_u32(0))
    }
}
