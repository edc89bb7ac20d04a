//! MXFP4 (OCP microscaling, E2M1 elements): 32 weights in 17 bytes (4.25 bits a weight), `w = 2^(e - 128) * VALUES[q]`.
//!
//! ```text
//! byte  0      e, the biased exponent (E8M0)
//! byte  1..17  byte 1 + i: quant i in the low nibble, quant i + 16 in the high nibble
//! ```

use super::{Blocks, Format32, Held, Quants32, eight, layout, nibbles, nibbles8, words4};
use crate::isa::ints::Ints;

/// 4-bit floats with a shared exponent.
pub(crate) struct MXFP4;

layout!(MXFP4: 32 weights in 17 bytes, halves at []);

/// The E2M1 numbers, doubled so that they are integers.
pub(crate) const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// `2^(e - 128)`, the scale of doubled values: subnormal for `e < 2`, never infinite or NaN (`e = 255` is 2^127).
#[inline(always)]
pub(crate) const fn scale(e: u8) -> f32 {
    let e = e as u32;
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 })
}

/// [`VALUES`] plus 12: no longer signed.
const RAISED: [i8; 16] = [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0];

/// The bits of [`scale`] for every exponent.
static SCALES: [[u8; 4]; 256] = {
    let mut bits = [[0; 4]; 256];
    let mut e = 0;
    while e < 256 {
        bits[e] = scale(e as u8).to_bits().to_ne_bytes();
        e += 1;
    }
    bits
};

impl Format32 for MXFP4 {
    const HELD: Held = Held::Unsigned { max: 24, offset: 12 };
    fn unpack(block: &[u8; 17]) -> Quants32 {
        Quants32 { d: scale(block[0]), min: 0.0, q: nibbles(&block[1..]).map(|q| VALUES[usize::from(q)]) }
    }

    #[inline(always)]
    fn quants<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> [S::B; 8] {
        let q = nibbles8(s, words4(s, &blocks, 1));
        eight!(g => s.lookup(&RAISED, q[g]))
    }

    #[inline(always)]
    fn scales<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> (S::F, S::F) {
        let scales = eight!(r => &SCALES[usize::from(blocks[r][0])]);
        (s.float_bits(s.words(scales)), s.float(0.0))
    }
}
