//! MXFP4 (OCP microscaling, E2M1 elements): 32 weights in 17 bytes (4.25 bits a weight), `w = 2^(e - 128) * E2M1[q]`.
//!
//! ```text
//! byte  0      e, the biased exponent (E8M0)
//! byte  1..17  byte 1 + i: quant i in the low nibble, quant i + 16 in the high nibble
//! ```

use super::bits::{E2M1, E2M1_RAISED, nearest, nibbles, nibbles_v};
use super::{Format32, Held, Quants32, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, rows};

/// 4-bit floats with a shared exponent.
pub(crate) struct MXFP4;

layout!(MXFP4: 32 weights in 17 bytes: Field::BYTE, Field::words(4); set scale by set_scale);

fn set_scale(block: &mut [u8], d: f32) {
    block[0] = nearest(scale, d);
}

/// `2^(e - 128)`, the scale of doubled values: subnormal for `e < 2`, never infinite or NaN (`e = 255` is 2^127).
#[inline(always)]
const fn scale(e: u8) -> f32 {
    let e = e as u32;
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 })
}

/// The bits of [`scale`] for every exponent.
static SCALES: [[u8; 4]; 256] = {
    let mut bits = [[0; 4]; 256];
    let mut e = 0;
    while e < 256 {
        bits[e] = scale(e as u8).to_bits().to_le_bytes();
        e += 1;
    }
    bits
};

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
        (s.gather(&rows!(S::N, r => &SCALES[usize::from(rows.byte_of(r, 0))], &[0; 4])), s.splat_u32(0))
    }
}
