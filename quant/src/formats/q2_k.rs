//! Q2_K: 256 weights in 84 bytes (2.625 bits a weight), `w = d * scale * q - dmin * min`, groups of 16.
//!
//! ```text
//! byte  0..16  byte g: scale of group g in the low nibble, min of group g in the high nibble
//! byte 16..80  quants: byte 16 + 32h + i (h: half, i < 32) holds quants 128h + i + {0, 32, 64, 96} in bits 0, 2, 4, 6
//! byte 80..82  d, f16
//! byte 82..84  dmin, f16
//! ```

use super::bits::{bits, f16_at, octet, two_bits};
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, four};

/// 2-bit quants above a minimum.
pub(crate) struct Q2K;

layout!(Q2K: 256 weights in 84 bytes: Field::words(20), Field::F16_PAIR);

impl Format256 for Q2K {
    const HELD: Held = Held::Unsigned { max: 3, offset: 0 };
    const GROUPS_OF_16: bool = true;
    const MIN: bool = true;

    fn unpack(block: &[u8; 84]) -> Quants256 {
        Quants256 {
            d: f16_at(block, 80),
            min: f16_at(block, 82),
            scales: std::array::from_fn(|g| (block[g] & 15) as i8),
            mins: std::array::from_fn(|g| block[g] >> 4),
            q: std::array::from_fn(|i| two_bits(&block[16..80], i) as i8),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        let fields = rows.quad(s, 0);
        let (d, min) = s.halves(rows.word(s, 80));
        Head { d, min, scales: four!(v => bits(s, fields[v], 0, 15)), mins: four!(v => bits(s, fields[v], 4, 15)) }
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        for half in 0..2 {
            let x = octet(s, rows, 16 + 32 * half);
            four!(k => each(4 * half + k, eight!(g => bits(s, x[g], 2 * k as u32, 3))));
        }
    }
}
