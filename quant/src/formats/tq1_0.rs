//! TQ1_0: 256 weights in 54 bytes (1.6875 bits a weight), `w = d * (q - 1)`: five digits of base 3 in a byte.
//!
//! A byte holds `ceil(n * 256 / 243)` for a number `n` of five digits. Times `3^k`, modulo 256, it starts with digit `k`: the
//! upper byte of three times that is the digit.
//!
//! ```text
//! byte  0..32  byte i: digit k is quant 32k + i
//! byte 32..48  byte 32 + i: digit k is quant 160 + 16k + i
//! byte 48..52  byte 48 + i: digit k < 4 is quant 240 + 4k + i
//! byte 52..54  d, f16
//! ```

use super::bits::{bytes, f16_at, octet};
use super::{Format256, Head, Held, Quants256, Rows, layout};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, four};

/// Ternary digits.
pub(crate) struct TQ1_0;

layout!(TQ1_0: 256 weights in 54 bytes: Field::words(13), Field::F16);

/// Digit `k` of a byte.
fn digit(byte: u8, k: usize) -> u8 {
    ((u16::from(byte.wrapping_mul(3u8.pow(k as u32))) * 3) >> 8) as u8
}

/// [`digit`] of every byte.
#[inline(always)]
fn digits<S: Words>(s: S, x: S::V, k: u32) -> S::V {
    let (even, odd) = (s.splat_u32(0x00ff_00ff), s.splat_u32(0xff00_ff00));
    let (power, three) = (s.splat_u32(3u32.pow(k) * 0x1_0001), s.splat_u32(0x3_0003));
    let low = s.mul_halves(s.and(s.mul_halves(s.and(x, even), power), even), three);
    let high = s.mul_halves(s.and(s.mul_halves(s.and(s.shr(x, 8), even), power), even), three);
    s.or(s.and(s.shr(low, 8), even), s.and(high, odd))
}

impl Format256 for TQ1_0 {
    const HELD: Held = Held::Unsigned { max: 2, offset: 1 };
    const GROUPS_OF_16: bool = false;
    const BY_PANELS: bool = true;

    fn unpack(block: &[u8; 54]) -> Quants256 {
        let quant = |i: usize| match i {
            0..160 => digit(block[i % 32], i / 32),
            160..240 => digit(block[32 + i % 16], (i - 160) / 16),
            _ => digit(block[48 + i % 4], (i - 240) / 4),
        };
        Quants256 {
            d: f16_at(block, 52),
            min: 0.0,
            scales: [1; 16],
            mins: [0; 16],
            q: std::array::from_fn(|i| quant(i) as i8 - 1),
        }
    }

    #[inline(always)]
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V> {
        Head::of(rows.f16(s, 52), [bytes(s, 1); 4])
    }

    #[inline(always)]
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, mut each: impl FnMut(usize, [S::V; 8])) {
        let x = octet(s, rows, 0);
        each(0, eight!(g => digits(s, x[g], 0)));
        each(1, eight!(g => digits(s, x[g], 1)));
        each(2, eight!(g => digits(s, x[g], 2)));
        each(3, eight!(g => digits(s, x[g], 3)));
        each(4, eight!(g => digits(s, x[g], 4)));
        let (x, last) = (rows.quad(s, 32), rows.word(s, 48));
        each(5, eight!(g => digits(s, x[g % 4], g as u32 / 4)));
        each(6, eight!(g => digits(s, x[g % 4], 2 + g as u32 / 4)));
        let ([a, b, c, d], [e, f, g, h]) = (four!(g => digits(s, x[g], 4)), four!(k => digits(s, last, k as u32)));
        each(7, [a, b, c, d, e, f, g, h]);
    }
}
