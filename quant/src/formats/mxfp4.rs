//! MXFP4 (OCP microscaling, E2M1 elements): 32 weights in 17 bytes (4.25 bits a weight), `w = 2^(e - 128) * VALUES[q]`.
//!
//! ```text
//! byte  0      e, the biased exponent (E8M0)
//! byte  1..17  byte 1 + i: quant i in the low nibble, quant i + 16 in the high nibble
//! ```

use super::{Format32, Quants32, layout, nibbles};

/// 4-bit floats with a shared exponent.
pub(crate) struct MXFP4;

layout!(MXFP4: 32 weights in 17 bytes, halves at []);

/// The E2M1 numbers, doubled so that they are integers.
pub(crate) const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// `2^(e - 128)`, the scale of doubled values: subnormal for `e < 2`, never infinite or NaN (`e = 255` is 2^127).
#[inline(always)]
pub(crate) fn scale(e: u8) -> f32 {
    let e = u32::from(e);
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 })
}

impl Format32 for MXFP4 {
    fn unpack(block: &[u8; 17]) -> Quants32 {
        Quants32 { d: scale(block[0]), min: 0.0, q: nibbles(&block[1..]).map(|q| VALUES[usize::from(q)]) }
    }
}
