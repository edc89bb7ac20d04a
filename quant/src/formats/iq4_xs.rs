//! IQ4_XS: 256 weights in 136 bytes (4.25 bits a weight), `w = d * (scale - 32) * VALUES[q]`, groups of 32, the values of
//! IQ4_NL.
//!
//! ```text
//! byte 0..2    d, f16
//! byte 2..4    bits 2j..2j + 2 of this little-endian word: upper two bits of scale j
//! byte 4..8    low four bits: byte 4 + j: scale 2j in the low nibble, scale 2j + 1 in the high nibble
//! byte 8..136  quants: byte 8 + 16g + i (g: group, i < 16): quant 32g + i in the low nibble,
//!              quant 32g + 16 + i in the high nibble
//! ```

use super::iq4_nl::VALUES;
use super::{Format256, Quants256, f16_at, layout};

/// 4-bit indices into a table of unevenly spaced values, with scales of groups.
pub(crate) struct IQ4XS;

layout!(IQ4XS: 256 weights in 136 bytes, halves at [0]);

/// The eight scales, -32..=31.
pub(super) fn scales(block: &[u8; 136]) -> [i8; 8] {
    let high = u16::from_le_bytes([block[2], block[3]]);
    std::array::from_fn(|j| {
        let low = (block[4 + j / 2] >> (j % 2 * 4)) & 15;
        (low | ((high >> (2 * j)) as u8 & 3) << 4) as i8 - 32
    })
}

impl Format256 for IQ4XS {
    fn unpack(block: &[u8; 136]) -> Quants256 {
        let scales = scales(block);
        Quants256 {
            d: f16_at(block, 0),
            min: 0.0,
            scales: std::array::from_fn(|g| scales[g / 2]),
            mins: [0; 16],
            q: std::array::from_fn(|i| {
                let byte = block[8 + i / 32 * 16 + i % 16];
                VALUES[usize::from((byte >> (i % 32 / 16 * 4)) & 15)]
            }),
        }
    }
}
