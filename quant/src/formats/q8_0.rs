//! Q8_0: 32 weights in 34 bytes (8.5 bits a weight), `w = d * q`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..34  quant i, i8 (-128 included)
//! ```

use super::{Format32, Quants32, f16_at, layout};

/// Signed bytes.
pub(crate) struct Q8_0;

layout!(Q8_0: 32 weights in 34 bytes, halves at [0]);

impl Format32 for Q8_0 {
    fn unpack(block: &[u8; 34]) -> Quants32 {
        Quants32 { d: f16_at(block, 0), min: 0.0, q: std::array::from_fn(|i| block[2 + i] as i8) }
    }
}
