//! How quants and scales are packed, where several formats do it alike: each once for a block and once for vectors of rows.

use super::{Head, Rows};
use crate::isa::simd::Words;
use crate::isa::unroll::{eight, first};

/// The half-precision number at `bytes[at..at + 2]`, widened.
pub(crate) fn f16_at(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// The little-endian 16 bits at `bytes[at..at + 2]`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The little-endian word at `bytes[at..at + 4]`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*first(&bytes[at..]))
}

/// The byte that stands for the number nearest to `x`.
pub(super) fn nearest(number: impl Fn(u8) -> f32, x: f32) -> u8 {
    let off = |byte: &u8| (number(*byte) - x).abs();
    (0..=u8::MAX).min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(0)
}

/// `x` in every byte.
#[inline(always)]
pub(super) fn bytes<S: Words>(s: S, x: u8) -> S::V {
    s.splat_u32(u32::from_ne_bytes([x; 4]))
}

/// `(x >> by)` and then the bits `mask` of every byte.
#[inline(always)]
pub(super) fn bits<S: Words>(s: S, x: S::V, by: u32, mask: u8) -> S::V {
    s.and(if by == 0 { x } else { s.shr(x, by) }, bytes(s, mask))
}

/// Bits `mask` of every byte, after bit `from` was moved to bit `to`.
#[inline(always)]
pub(super) fn moved<S: Words>(s: S, x: S::V, from: usize, to: usize, mask: u8) -> S::V {
    if from < to { s.and(s.shl(x, (to - from) as u32), bytes(s, mask)) } else { bits(s, x, (from - to) as u32, mask) }
}

/// Bytes `at..at + 32` of each row's block.
#[inline(always)]
pub(super) fn octet<S: Words>(s: S, rows: impl Rows<S>, at: usize) -> [S::V; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (rows.quad(s, at), rows.quad(s, at + 16));
    [a, b, c, d, e, f, g, h]
}

/// Low and high nibbles of 16 bytes: byte `i` holds quant `i` below quant `i + 16`.
pub(super) fn nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
}

/// [`nibbles`] of rows.
#[inline(always)]
pub(super) fn nibbles_v<S: Words>(s: S, x: [S::V; 4]) -> [S::V; 8] {
    eight!(g => bits(s, x[g % 4], g as u32 / 4 * 4, 15))
}

/// The low or high nibbles of 32 bytes are 32 quants: quant `i` of 256 from 128 bytes.
pub(super) fn nibble(bytes: &[u8], i: usize) -> u8 {
    (bytes[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15
}

/// Two bits of quant `i` of 256 from 64 bytes: a byte has those of `i`, `i + 32`, `i + 64`, `i + 96`, lowest first.
pub(super) fn two_bits(bytes: &[u8], i: usize) -> u8 {
    (bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3
}

/// The fifth bits of 32 quants, in place: 16 where the bit is set.
pub(super) fn fifth_bits(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| ((bytes[i / 8] >> (i % 8)) & 1) << 4)
}

/// [`fifth_bits`] of rows: vector `g` holds those of quants `4 g..4 g + 4`.
#[inline(always)]
pub(super) fn fifth_bits_v<S: Words>(s: S, word: S::V) -> [S::V; 8] {
    // Bit 4 + i of byte i: after the right byte of the word is in all places, and its right half on top.
    let (diagonal, sixteen) = (s.splat_u32(0x8040_2010), bytes(s, 16));
    eight!(g => {
        let byte = s.spread(word, g / 2);
        let bit = s.and(if g.is_multiple_of(2) { s.shl(byte, 4) } else { byte }, diagonal);
        s.min_bytes(bit, sixteen)
    })
}

/// Scales and minima of the 8 groups of 32 of Q4_K and Q5_K, 6 bits each, from their 12 bytes.
pub(super) fn scales_and_mins(bytes: &[u8]) -> ([u8; 8], [u8; 8]) {
    let field = |at: usize, shift: usize| {
        move |j: usize| {
            if j < 4 { bytes[at + j] & 63 } else { (bytes[8 + j - 4] >> shift) & 15 | (bytes[at + j - 4] >> 6) << 4 }
        }
    };
    (std::array::from_fn(field(0, 0)), std::array::from_fn(field(4, 4)))
}

/// [`scales_and_mins`] and the two numbers before them of rows: the first 16 bytes of Q4_K and Q5_K.
#[inline(always)]
pub(super) fn scales_and_mins_v<S: Words>(s: S, [numbers, scales, mins, high]: [S::V; 4]) -> Head<S::V> {
    let (d, min) = s.halves(numbers);
    let scales = [bits(s, scales, 0, 63), s.or(bits(s, high, 0, 15), bits(s, scales, 2, 48))];
    let mins = [bits(s, mins, 0, 63), s.or(bits(s, high, 4, 15), bits(s, mins, 2, 48))];
    Head { d, min, scales: [scales[0], scales[1], scales[0], scales[1]], mins: [mins[0], mins[1], mins[0], mins[1]] }
}

/// Nibble `i` of the bytes, the lower one of each first.
pub(super) fn nth_nibble(bytes: &[u8], i: usize) -> u8 {
    (bytes[i / 2] >> (i % 2 * 4)) & 15
}

/// [`nth_nibble`] of rows: the four of half `v` of each word become its four bytes.
#[inline(always)]
pub(super) fn nth_nibbles_v<S: Words>(s: S, x: S::V, v: u32) -> S::V {
    // Two bytes of nibbles, each moved to the byte that it's for.
    let x = s.and(s.shr(x, 16 * v), s.splat_u32(0xffff));
    let x = s.and(s.or(x, s.shl(x, 8)), s.splat_u32(0x00ff_00ff));
    s.or(s.and(x, s.splat_u32(0x000f_000f)), s.and(s.shl(x, 4), s.splat_u32(0x0f00_0f00)))
}

/// `2 x + 1` of every byte below 64.
#[inline(always)]
pub(super) fn odd_v<S: Words>(s: S, x: S::V) -> S::V {
    s.or(s.shl(x, 1), bytes(s, 1))
}

/// The sign bits of eight weights from the lowest seven: they are even in number.
pub(super) fn signs(seven: u32) -> u8 {
    let seven = seven as u8 & 127;
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// [`signs`] of every byte.
#[inline(always)]
pub(super) fn signs_v<S: Words>(s: S, seven: S::V) -> S::V {
    /// The top bit where the number of bits is odd.
    const ODD: [i8; 16] = [0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0];
    let odd = s.xor(s.lookup(bits(s, seven, 0, 15), &ODD), s.lookup(bits(s, seven, 4, 15), &ODD));
    s.or(seven, odd)
}

/// Four times 7 bits of a word, each in a byte.
#[inline(always)]
pub(super) fn sevens_v<S: Words>(s: S, x: S::V) -> S::V {
    let (a, b) = (s.and(x, s.splat_u32(0x7f)), s.and(s.shl(x, 1), s.splat_u32(0x7f00)));
    let (c, d) = (s.and(s.shl(x, 2), s.splat_u32(0x7f_0000)), s.and(s.shl(x, 3), s.splat_u32(0x7f00_0000)));
    s.or(s.or(a, b), s.or(c, d))
}

/// `x` where bit `i % 8` of `signs[i / 8]` is 0, else `-x`.
pub(super) fn with_sign(x: u8, signs: u8, i: usize) -> i8 {
    if signs >> (i % 8) & 1 == 0 { x as i8 } else { -(x as i8) }
}

/// [`with_sign`] of the 32 quants in `x` with the four bytes of `signs`.
#[inline(always)]
pub(super) fn with_signs_v<S: Words>(s: S, x: [S::V; 8], signs: S::V) -> [S::V; 8] {
    eight!(g => {
        let bit = s.and(s.spread(signs, g / 2), s.splat_u32(if g.is_multiple_of(2) { 0x0804_0201 } else { 0x8040_2010 }));
        let minus = s.sub_bytes(s.splat_u32(0), s.min_bytes(bit, bytes(s, 1)));
        s.sub_bytes(s.xor(x[g], minus), minus)
    })
}

/// The sixteen values of IQ4_NL and IQ4_XS, part of the file format: denser near zero, as weights are.
pub(super) const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The E2M1 numbers, doubled so that they are integers.
pub(super) const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// [`E2M1`] plus 12: no longer signed.
pub(super) const E2M1_RAISED: [i8; 16] = [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0];
