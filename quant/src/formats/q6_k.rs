//! Q6_K: 256 weights in 210 bytes (6.5625 bits a weight), `w = d * scale * (q - 32)`, groups of 16.
//!
//! ```text
//! byte   0..128  low four bits: byte 64h + i (h: half, i < 64): quant 128h + i in the low nibble,
//!                quant 128h + 64 + i in the high nibble
//! byte 128..192  upper two bits: byte 128 + 32h + i (i < 32) holds quants 128h + i + {0, 32, 64, 96} in bits 0, 2, 4, 6
//! byte 192..208  scale of group g, i8
//! byte 208..210  d, f16
//! ```

use super::bits::{bits, f16_at, moved, octet, two_bits};
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, four};

/// 6-bit quants around 32.
pub(crate) struct Q6K;

layout!(Q6K: 256 weights in 210 bytes: Field::words(52), Field::F16);

impl Format256 for Q6K {
    const HELD: Held = Held::Unsigned { max: 63, offset: 32 };
    const GROUPS_OF_16: bool = true;
    const BY_TILES: bool = true;
    fn unpack(block: &[u8; 210]) -> Quants256 {
        Quants256 {
            d: f16_at(block, 208),
            min: 0.0,
            scales: std::array::from_fn(|g| block[192 + g] as i8),
            mins: [0; 16],
            q: std::array::from_fn(|i| {
                let low = (block[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4)) & 15;
                (low | two_bits(&block[128..192], i) << 4) as i8 - 32
            }),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        Head::of(rows.f16(s, 208), rows.quad(s, 192))
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        for half in 0..2 {
            let low = [octet(s, rows, 64 * half), octet(s, rows, 64 * half + 32)];
            let high = octet(s, rows, 128 + 32 * half);
            // Written out, so that all shifts are by constants.
            four!(k => each(4 * half + k, eight!(g => {
                s.or(bits(s, low[k % 2][g], k as u32 / 2 * 4, 15), moved(s, high[g], 2 * k, 4, 48))
            })));
        }
    }
}
