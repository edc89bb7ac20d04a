//! Q3_K: 256 weights in 110 bytes (3.4375 bits a weight), `w = d * (scale - 32) * (q - 4)`, groups of 16.
//!
//! ```text
//! byte   0..32   bit b of byte i: bit 2 of quant 32b + i
//! byte  32..96   low two bits: byte 32 + 32h + i (i < 32) holds quants 128h + i + {0, 32, 64, 96} in bits 0, 2, 4, 6
//! byte  96..108  scales, 6 bits: byte 96 + j (j < 8): low 4 bits of scale j in the low nibble, of scale j + 8 in the high
//!                nibble; byte 104 + j (j < 4): upper 2 bits of scales j + {0, 4, 8, 12} in bits 0, 2, 4, 6
//! byte 108..110  d, f16
//! ```

use super::q2_k::two_bits;
use super::{Format256, Quants256, f16_at, layout};

/// 3-bit quants around 4.
pub(crate) struct Q3K;

layout!(Q3K: 256 weights in 110 bytes, halves at [108]);

/// The sixteen scales, -32..=31.
pub(super) fn scales(bytes: &[u8]) -> [i8; 16] {
    std::array::from_fn(|g| {
        let low = (bytes[g % 8] >> (g / 8 * 4)) & 15;
        let high = (bytes[8 + g % 4] >> (g / 4 * 2)) & 3;
        (low | high << 4) as i8 - 32
    })
}

impl Format256 for Q3K {
    fn unpack(block: &[u8; 110]) -> Quants256 {
        Quants256 {
            d: f16_at(block, 108),
            min: 0.0,
            scales: scales(&block[96..108]),
            mins: [0; 16],
            q: std::array::from_fn(|i| {
                let high = (block[i % 32] >> (i / 32)) & 1;
                (two_bits(&block[32..96], i) | high << 2) as i8 - 4
            }),
        }
    }
}
