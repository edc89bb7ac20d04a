//! Q5_0: 32 weights in 22 bytes (5.5 bits a weight), `w = d * (q - 16)`.
//!
//! ```text
//! byte  0..2   d, f16
//! byte  2..6   bit i of this little-endian word: bit 4 of quant i
//! byte  6..22  byte 6 + i: low 4 bits of quant i in the low nibble, of quant i + 16 in the high nibble
//! ```

use super::{Format32, Quants32, f16_at, layout, nibbles};

/// 5-bit quants around 16.
pub(crate) struct Q5_0;

layout!(Q5_0: 32 weights in 22 bytes, halves at [0]);

/// The fifth bits of 32 quants, in place: 16 where the bit is set.
pub(super) fn fifth_bits(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| ((bytes[i / 8] >> (i % 8)) & 1) << 4)
}

impl Format32 for Q5_0 {
    fn unpack(block: &[u8; 22]) -> Quants32 {
        let (low, high) = (nibbles(&block[6..]), fifth_bits(&block[2..6]));
        Quants32 { d: f16_at(block, 0), min: 0.0, q: std::array::from_fn(|i| (low[i] | high[i]) as i8 - 16) }
    }
}
