//! Q6_K: 256 weights in 210 bytes (6.5625 bits a weight), `w = d * scale * (q - 32)`, groups of 16.
//!
//! ```text
//! byte   0..128  low four bits: byte 64h + i (h: half, i < 64): quant 128h + i in the low nibble,
//!                quant 128h + 64 + i in the high nibble
//! byte 128..192  upper two bits: byte 128 + 32h + i (i < 32) holds quants 128h + i + {0, 32, 64, 96} in bits 0, 2, 4, 6
//! byte 192..208  scale of group g, i8
//! byte 208..210  d, f16
//! ```

use super::q2_k::two_bits;
use super::{Blocks, Format256, Head, Held, Quants256, bits, eight, f16_at, four, layout, moved, word, words4, words8};
use crate::isa::ints::Ints;

/// 6-bit quants around 32.
pub(crate) struct Q6K;

layout!(Q6K: 256 weights in 210 bytes, halves at [208]);

impl Format256 for Q6K {
    const HELD: Held = Held::Unsigned { max: 63, offset: 32 };
    const GROUPS_OF_16: bool = true;
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
    fn head<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> Head<S> {
        let scales = words4(s, &blocks, 192);
        Head { d: s.halves(word(s, &blocks, 206)).1, min: s.float(0.0), scales, mins: scales }
    }

    #[inline(always)]
    fn chunks<S: Ints>(s: S, blocks: Blocks<'_, Self>, mut each: impl FnMut(usize, [S::B; 8])) {
        for half in 0..2 {
            let low = [words8(s, &blocks, 64 * half), words8(s, &blocks, 64 * half + 32)];
            let high = words8(s, &blocks, 128 + 32 * half);
            // Written out, so that all shifts are by constants.
            four!(k => each(4 * half + k, eight!(g => {
                s.or(bits(s, low[k % 2][g], k as u32 / 2 * 4, 15), moved(s, high[g], 2 * k, 4, 48))
            })));
        }
    }
}
