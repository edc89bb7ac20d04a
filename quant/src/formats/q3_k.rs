//! Q3_K: 256 weights in 110 bytes (3.4375 bits a weight), `w = d * (scale - 32) * (q - 4)`, groups of 16.
//!
//! ```text
//! byte   0..32   bit b of byte i: bit 2 of quant 32b + i
//! byte  32..96   low two bits: byte 32 + 32h + i (i < 32) holds quants 128h + i + {0, 32, 64, 96} in bits 0, 2, 4, 6
//! byte  96..108  scales, 6 bits: byte 96 + j (j < 8): low 4 bits of scale j in the low nibble, of scale j + 8 in the high
//!                nibble; byte 104 + j (j < 4): upper 2 bits of scales j + {0, 4, 8, 12} in bits 0, 2, 4, 6
//! byte 108..110  d, f16
//! ```

use super::bits::{bits, bytes, f16_at, moved, octet, two_bits};
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, four};

/// 3-bit quants around 4.
pub(crate) struct Q3K;

layout!(Q3K: 256 weights in 110 bytes: Field::words(27), Field::F16);

/// The sixteen scales, -32..=31.
fn scales(block: &[u8]) -> [i8; 16] {
    std::array::from_fn(|g| {
        let low = (block[g % 8] >> (g / 8 * 4)) & 15;
        let high = (block[8 + g % 4] >> (g / 4 * 2)) & 3;
        (low | high << 4) as i8 - 32
    })
}

impl Format256 for Q3K {
    const HELD: Held = Held::Unsigned { max: 7, offset: 4 };
    const GROUPS_OF_16: bool = true;
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

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        let low = [rows.word(s, 96), rows.word(s, 100)];
        let high = rows.word(s, 104);
        let scales = four!(v => {
            let low = bits(s, low[v % 2], v as u32 / 2 * 4, 15);
            s.sub_bytes(s.or(low, moved(s, high, 2 * v, 4, 48)), bytes(s, 32))
        });
        Head::of(rows.f16(s, 108), scales)
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        let high = octet(s, rows, 0);
        let low = [octet(s, rows, 32), octet(s, rows, 64)];
        // Written out, so that all shifts are by constants.
        eight!(j => each(j, eight!(g => {
            s.or(bits(s, low[j / 4][g], j as u32 % 4 * 2, 3), moved(s, high[g], j, 2, 4))
        })));
    }
}
