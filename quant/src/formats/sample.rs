//! A format that no file has, for tests of what a new one takes: 256 weights in 266 bytes, `w = d * scale * q`, groups of 32.
//!
//! ```text
//! byte   0..2    d, f16
//! byte   2..258  byte 2 + i: quant i plus 64, from 0 to 127; the highest bit doesn't count
//! byte 258..266  scale of group g, i8
//! ```

use super::bits::{bits, f16_at, octet};
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::eight;

/// 7-bit quants around 64.
pub(crate) struct Sample;

layout!(Sample: 256 weights in 266 bytes: Field::F16, Field::words(66));

impl Format256 for Sample {
    const HELD: Held = Held::Unsigned { max: 127, offset: 64 };
    const GROUPS_OF_16: bool = false;

    fn unpack(block: &[u8; 266]) -> Quants256 {
        Quants256 {
            d: f16_at(block, 0),
            min: 0.0,
            scales: std::array::from_fn(|g| block[258 + g / 2] as i8),
            mins: [0; 16],
            q: std::array::from_fn(|i| (block[2 + i] & 127) as i8 - 64),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        Head::of_8(rows.f16(s, 0), [rows.word(s, 258), rows.word(s, 262)])
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        eight!(j => {
            let x = octet(s, rows, 2 + 32 * j);
            each(j, eight!(g => bits(s, x[g], 0, 127)));
        });
    }
}
