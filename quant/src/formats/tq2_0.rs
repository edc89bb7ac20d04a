//! TQ2_0: 256 weights in 66 bytes (2.0625 bits a weight), `w = d * (q - 1)`.
//!
//! ```text
//! byte  0..64  byte 32h + i (h: half, i < 32) holds quants 128h + i + {0, 32, 64, 96} in bits 0, 2, 4, 6
//! byte 64..66  d, f16
//! ```

use super::bits::{bits, bytes, f16_at, octet, two_bits};
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, four};

/// 2-bit quants around 1.
pub(crate) struct TQ2_0;

layout!(TQ2_0: 256 weights in 66 bytes: Field::words(16), Field::F16);

impl Format256 for TQ2_0 {
    const HELD: Held = Held::Unsigned { max: 3, offset: 1 };
    const GROUPS_OF_16: bool = false;

    fn unpack(block: &[u8; 66]) -> Quants256 {
        Quants256 {
            d: f16_at(block, 64),
            min: 0.0,
            scales: [1; 16],
            mins: [0; 16],
            q: std::array::from_fn(|i| two_bits(block, i) as i8 - 1),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        Head::of(rows.f16(s, 64), [bytes(s, 1); 4])
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        for half in 0..2 {
            let x = octet(s, rows, 32 * half);
            four!(k => each(4 * half + k, eight!(g => bits(s, x[g], 2 * k as u32, 3))));
        }
    }
}
