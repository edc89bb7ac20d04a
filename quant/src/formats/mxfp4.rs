//! MXFP4 (OCP microscaling, E2M1 elements): 32 weights in 17 bytes (4.25 bits a weight), `w = 2^(e - 128) * E2M1[q]`.
//!
//! ```text
//! byte  0      e, the biased exponent (E8M0)
//! byte  1..17  byte 1 + i: quant i in the low nibble, quant i + 16 in the high nibble
//! ```

use super::bits::{E2M1, E2M1_RAISED, nibbles, nibbles_v};
use super::{Format32, Held, Quants32, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::eight;

/// 4-bit floats with a shared exponent.
pub(crate) struct MXFP4;

layout!(MXFP4: 32 weights in 17 bytes: Field::BYTE, Field::words(4));

/// `2^(e - 128)`, the scale of doubled values: subnormal for `e < 2`, never infinite or NaN (`e = 255` is 2^127).
#[inline(always)]
const fn scale(e: u8) -> f32 {
    let e = e as u32;
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 })
}

impl Format32 for MXFP4 {
    const HELD: Held = Held::Unsigned { max: 24, offset: 12 };
    fn unpack(block: &[u8; 17]) -> Quants32 {
        Quants32 { d: scale(block[0]), min: 0.0, q: nibbles(&block[1..]).map(|q| E2M1[usize::from(q)]) }
    }

    #[inline(always)]
    fn quants<S: Words>(s: S, rows: impl Rows<S>) -> [S::V; 8] {
        let q = nibbles_v(s, rows.quad(s, 1));
        eight!(g => s.lookup(q[g], &E2M1_RAISED))
    }

    #[inline(always)]
    fn scales<S: Words>(s: S, rows: impl Rows<S>) -> (S::V, S::V) {
        /// `2^n` for n up to 2.
        const POWERS: [i8; 16] = [1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let e = rows.byte(s, 0);
        // Up to 2 the number itself is doubled, a subnormal one; from there on the exponent counts.
        let low = s.min_bytes(e, s.splat_u32(2));
        let power = s.and(s.lookup(low, &POWERS), s.splat_u32(0xff));
        (s.add_u32(s.shl(power, 21), s.shl(s.sub_u32(e, low), 23)), s.splat_u32(0))
    }
}
