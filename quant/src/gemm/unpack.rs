//! How the block formats unpack with one row per lane: the same steps as their scalar `unpack`, on words of four
//! neighbouring weights.

use crate::formats::iq4_nl::{self, IQ4NL};
use crate::formats::iq4_xs::IQ4XS;
use crate::formats::mxfp4::{self, MXFP4};
use crate::formats::q2_k::Q2K;
use crate::formats::q3_k::Q3K;
use crate::formats::q4_0::Q4_0;
use crate::formats::q4_1::Q4_1;
use crate::formats::q4_k::Q4K;
use crate::formats::q5_0::Q5_0;
use crate::formats::q5_1::Q5_1;
use crate::formats::q5_k::Q5K;
use crate::formats::q6_k::Q6K;
use crate::formats::q8_0::Q8_0;
use crate::formats::{Format32, Format256};
use crate::isa::words::{MOST_LANES, Rows, Words};

/// A format of 32 weights, one row per lane.
pub(crate) trait Lanes32: Format32 {
    /// Whether quants are signed bytes.
    const SIGNED: bool;
    /// The largest magnitude of a quant.
    const MAX: i32;
    /// The scale and the minimum (anything, in formats without), as f32.
    fn word_scales<S: Words>(s: S, rows: Rows<'_>) -> (S::V, S::V);
    /// The quants, four a word, in order.
    fn words<S: Words>(s: S, rows: Rows<'_>, out: &mut [S::V; 8]);
}

/// The scales of a super-block, one row per lane.
pub(crate) struct Scales<V> {
    /// The scale of the scales, as f32.
    pub(crate) d: V,
    /// The scale of the minima, as f32: anything, in formats without.
    pub(crate) min: V,
    /// Scales of the groups, signed bytes, four a word; the first [`Lanes256::GROUPS`] count.
    pub(crate) scales: [V; 4],
    /// Minima of the groups, likewise: anything, in formats without.
    pub(crate) mins: [V; 4],
}

/// A format of super-blocks of 256 weights, one row per lane.
pub(crate) trait Lanes256: Format256 {
    /// Whether quants are signed bytes.
    const SIGNED: bool;
    /// The largest magnitude of a quant.
    const MAX: i32;
    /// Groups with a scale of their own, 8 or 16.
    const GROUPS: usize;
    /// Scales and minima.
    fn word_scales<S: Words>(s: S, rows: Rows<'_>) -> Scales<S::V>;
    /// The quants, four a word, in order.
    fn words<S: Words>(s: S, rows: Rows<'_>, out: &mut [S::V; 64]);
}

/// `x` in every byte.
#[inline(always)]
fn bytes<S: Words>(s: S, x: u8) -> S::V {
    s.splat(u32::from_ne_bytes([x; 4]))
}

/// The low nibble of each byte.
#[inline(always)]
fn low<S: Words>(s: S, x: S::V) -> S::V {
    s.and(x, bytes(s, 15))
}

/// The high nibble of each byte.
#[inline(always)]
fn high<S: Words>(s: S, x: S::V) -> S::V {
    low(s, s.shr(x, 4))
}

/// Bits `shift..shift + 2` of each byte.
#[inline(always)]
fn two<S: Words>(s: S, x: S::V, shift: u32) -> S::V {
    s.and(s.shr(x, shift), bytes(s, 3))
}

/// Bit `bit` of each byte.
#[inline(always)]
fn one<S: Words>(s: S, x: S::V, bit: u32) -> S::V {
    s.and(s.shr(x, bit), bytes(s, 1))
}

/// The f16 in the upper half of each word.
#[inline(always)]
fn upper_f16<S: Words>(s: S, x: S::V) -> S::V {
    s.f16_to_f32(s.shr(x, 16))
}

/// 32 quants of 4 bits from 16 bytes at `at`.
#[inline(always)]
fn nibbles<S: Words>(s: S, rows: Rows<'_>, at: usize, out: &mut [S::V; 8]) {
    for (i, x) in s.quad(rows, at).into_iter().enumerate() {
        (out[i], out[4 + i]) = (low(s, x), high(s, x));
    }
}

/// Sets bit 4 of quant `k` to bit `k` of `word`.
#[inline(always)]
fn add_fifth_bits<S: Words>(s: S, word: S::V, out: &mut [S::V; 8]) {
    for (i, out) in out.iter_mut().enumerate() {
        // Bits 0..4 go to bit 4 of bytes 0..4.
        let x = s.and(s.shr(word, 4 * i as u32), s.splat(15));
        let x = s.or(s.shl(x, 4), s.shl(x, 11));
        let x = s.and(s.or(x, s.shl(x, 14)), bytes(s, 16));
        *out = s.or(*out, x);
    }
}

#[inline(always)]
fn sub_all<S: Words, const N: usize>(s: S, out: &mut [S::V; N], x: u8) {
    for out in out {
        *out = s.sub_bytes(*out, bytes(s, x));
    }
}

#[inline(always)]
fn lookup_all<S: Words, const N: usize>(s: S, out: &mut [S::V; N], table: &[i8; 16]) {
    for out in out {
        *out = s.lookup(*out, table);
    }
}

/// Both halves of the word at the start, as f32.
#[inline(always)]
fn scale_and_min<S: Words>(s: S, rows: Rows<'_>) -> (S::V, S::V) {
    let x = s.word(rows, 0);
    (s.f16_to_f32(x), upper_f16(s, x))
}

macro_rules! lanes32 {
    ($($format:ident: $signed:literal, $max:literal, ($s:ident, $rows:ident, $out:ident) $scales:expr, $quants:expr;)*) => {$(
        impl Lanes32 for $format {
            const SIGNED: bool = $signed;
            const MAX: i32 = $max;
            #[inline(always)]
            fn word_scales<S: Words>($s: S, $rows: Rows<'_>) -> (S::V, S::V) {
                $scales
            }
            #[inline(always)]
            fn words<S: Words>($s: S, $rows: Rows<'_>, $out: &mut [S::V; 8]) {
                $quants
            }
        }
    )*};
}

lanes32! {
    // format: signed, largest quant
    Q4_0: true, 8, (s, rows, out) scale_and_min(s, rows), {
        nibbles(s, rows, 2, out);
        sub_all(s, out, 8);
    };
    Q4_1: false, 15, (s, rows, out) scale_and_min(s, rows), nibbles(s, rows, 4, out);
    Q5_0: true, 16, (s, rows, out) scale_and_min(s, rows), {
        nibbles(s, rows, 6, out);
        add_fifth_bits(s, s.word(rows, 2), out);
        sub_all(s, out, 16);
    };
    Q5_1: false, 31, (s, rows, out) scale_and_min(s, rows), {
        nibbles(s, rows, 8, out);
        add_fifth_bits(s, s.word(rows, 4), out);
    };
    Q8_0: true, 128, (s, rows, out) scale_and_min(s, rows), {
        out[..4].copy_from_slice(&s.quad(rows, 2));
        out[4..].copy_from_slice(&s.quad(rows, 18));
    };
    IQ4NL: true, 127, (s, rows, out) scale_and_min(s, rows), {
        nibbles(s, rows, 2, out);
        lookup_all(s, out, &iq4_nl::VALUES);
    };
    MXFP4: true, 12, (s, rows, out) {
        let mut d = [0; MOST_LANES];
        for (lane, d) in d[..S::N].iter_mut().enumerate() {
            *d = mxfp4::scale(rows.bytes::<1>(lane, 0)[0]).to_bits();
        }
        (s.load(&d), s.splat(0))
    }, {
        nibbles(s, rows, 1, out);
        lookup_all(s, out, &mxfp4::VALUES);
    };
}

/// The first 16 bytes of Q4_K and Q5_K.
#[inline(always)]
fn scales_and_mins<S: Words>(s: S, rows: Rows<'_>) -> Scales<S::V> {
    let [d, a, b, c] = s.quad(rows, 0);
    // The upper two bits of scales and mins 4..8 stand above those of 0..4.
    let upper = |x| s.and(s.shr(x, 2), bytes(s, 0x30));
    let six = |x| s.and(x, bytes(s, 63));
    let zero = s.splat(0);
    Scales {
        d: s.f16_to_f32(d),
        min: upper_f16(s, d),
        scales: [six(a), s.or(low(s, c), upper(a)), zero, zero],
        mins: [six(b), s.or(high(s, c), upper(b)), zero, zero],
    }
}

/// 256 quants of 4 bits from 128 bytes at `at`: 32 bytes hold 64.
#[inline(always)]
fn nibbles_256<S: Words>(s: S, rows: Rows<'_>, at: usize, out: &mut [S::V; 64]) {
    for i in 0..8 {
        for (j, x) in s.quad(rows, at + 16 * i).into_iter().enumerate() {
            let k = i / 2 * 16 + i % 2 * 4 + j;
            (out[k], out[k + 8]) = (low(s, x), high(s, x));
        }
    }
}

/// The 32 bytes at `at`.
#[inline(always)]
fn octet<S: Words>(s: S, rows: Rows<'_>, at: usize) -> [S::V; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (s.quad(rows, at), s.quad(rows, at + 16));
    [a, b, c, d, e, f, g, h]
}

/// 256 quants of 2 bits from 64 bytes at `at`, the order that Q2_K, Q3_K and the upper bits of Q6_K share, shifted left by
/// `shift`, or'ed to `out`.
#[inline(always)]
fn add_two_bits<S: Words>(s: S, rows: Rows<'_>, at: usize, shift: u32, out: &mut [S::V; 64]) {
    for half in 0..2 {
        for (j, x) in octet(s, rows, at + 32 * half).into_iter().enumerate() {
            for t in 0..4 {
                let out = &mut out[32 * half + 8 * t + j];
                *out = s.or(*out, s.shl(two(s, x, 2 * t as u32), shift));
            }
        }
    }
}

/// 256 quants of 1 bit from 32 bytes at `at`, shifted left by `shift`, or'ed to `out`.
#[inline(always)]
fn add_one_bits<S: Words>(s: S, rows: Rows<'_>, at: usize, shift: u32, out: &mut [S::V; 64]) {
    for (j, x) in octet(s, rows, at).into_iter().enumerate() {
        for t in 0..8 {
            let out = &mut out[8 * t + j];
            *out = s.or(*out, s.shl(one(s, x, t as u32), shift));
        }
    }
}

impl Lanes256 for Q4K {
    const SIGNED: bool = false;
    const MAX: i32 = 15;
    const GROUPS: usize = 8;

    #[inline(always)]
    fn word_scales<S: Words>(s: S, rows: Rows<'_>) -> Scales<S::V> {
        scales_and_mins(s, rows)
    }

    #[inline(always)]
    fn words<S: Words>(s: S, rows: Rows<'_>, out: &mut [S::V; 64]) {
        nibbles_256(s, rows, 16, out);
    }
}

impl Lanes256 for Q5K {
    const SIGNED: bool = false;
    const MAX: i32 = 31;
    const GROUPS: usize = 8;

    #[inline(always)]
    fn word_scales<S: Words>(s: S, rows: Rows<'_>) -> Scales<S::V> {
        scales_and_mins(s, rows)
    }

    #[inline(always)]
    fn words<S: Words>(s: S, rows: Rows<'_>, out: &mut [S::V; 64]) {
        nibbles_256(s, rows, 48, out);
        add_one_bits(s, rows, 16, 4, out);
    }
}

impl Lanes256 for Q6K {
    const SIGNED: bool = true;
    const MAX: i32 = 32;
    const GROUPS: usize = 16;

    #[inline(always)]
    fn word_scales<S: Words>(s: S, rows: Rows<'_>) -> Scales<S::V> {
        let zero = s.splat(0);
        let d = upper_f16(s, s.word(rows, 206));
        Scales { d, min: zero, scales: s.quad(rows, 192), mins: [zero; 4] }
    }

    #[inline(always)]
    fn words<S: Words>(s: S, rows: Rows<'_>, out: &mut [S::V; 64]) {
        for i in 0..8 {
            for (j, x) in s.quad(rows, 16 * i).into_iter().enumerate() {
                let k = i / 4 * 32 + i % 4 * 4 + j;
                (out[k], out[k + 16]) = (low(s, x), high(s, x));
            }
        }
        add_two_bits(s, rows, 128, 4, out);
        sub_all(s, out, 32);
    }
}

impl Lanes256 for Q3K {
    const SIGNED: bool = true;
    const MAX: i32 = 4;
    const GROUPS: usize = 16;

    #[inline(always)]
    fn word_scales<S: Words>(s: S, rows: Rows<'_>) -> Scales<S::V> {
        let (a, b, c) = (s.word(rows, 96), s.word(rows, 100), s.word(rows, 104));
        let join = |low, t| s.sub_bytes(s.or(low, s.shl(two(s, c, t), 4)), bytes(s, 32));
        let zero = s.splat(0);
        Scales {
            d: upper_f16(s, s.word(rows, 106)),
            min: zero,
            scales: [join(low(s, a), 0), join(low(s, b), 2), join(high(s, a), 4), join(high(s, b), 6)],
            mins: [zero; 4],
        }
    }

    #[inline(always)]
    fn words<S: Words>(s: S, rows: Rows<'_>, out: &mut [S::V; 64]) {
        *out = [s.splat(0); 64];
        add_two_bits(s, rows, 32, 0, out);
        add_one_bits(s, rows, 0, 2, out);
        sub_all(s, out, 4);
    }
}

impl Lanes256 for Q2K {
    const SIGNED: bool = false;
    const MAX: i32 = 3;
    const GROUPS: usize = 16;

    #[inline(always)]
    fn word_scales<S: Words>(s: S, rows: Rows<'_>) -> Scales<S::V> {
        let [a, b, c, d] = s.quad(rows, 0);
        let numbers = s.word(rows, 80);
        Scales {
            d: s.f16_to_f32(numbers),
            min: upper_f16(s, numbers),
            scales: [low(s, a), low(s, b), low(s, c), low(s, d)],
            mins: [high(s, a), high(s, b), high(s, c), high(s, d)],
        }
    }

    #[inline(always)]
    fn words<S: Words>(s: S, rows: Rows<'_>, out: &mut [S::V; 64]) {
        *out = [s.splat(0); 64];
        add_two_bits(s, rows, 16, 0, out);
    }
}

impl Lanes256 for IQ4XS {
    const SIGNED: bool = true;
    const MAX: i32 = 127;
    const GROUPS: usize = 8;

    #[inline(always)]
    fn word_scales<S: Words>(s: S, rows: Rows<'_>) -> Scales<S::V> {
        let (head, lower) = (s.word(rows, 0), s.word(rows, 4));
        let zero = s.splat(0);
        // Four nibbles, or pairs of bits, of the lower half of a word go to its four bytes.
        let spread = |x, bits: u32| {
            let x = s.and(x, s.splat((1 << (4 * bits)) - 1));
            let x = s.and(s.or(x, s.shl(x, 16 - 2 * bits)), s.splat(((1 << (2 * bits)) - 1) * 0x1_0001));
            s.or(x, s.shl(x, 8 - bits))
        };
        let join = |n: u32| {
            let (low4, high2) = (spread(s.shr(lower, 16 * n), 4), spread(s.shr(head, 16 + 8 * n), 2));
            let x = s.or(low(s, low4), s.shl(s.and(high2, bytes(s, 3)), 4));
            s.sub_bytes(x, bytes(s, 32))
        };
        Scales { d: s.f16_to_f32(head), min: zero, scales: [join(0), join(1), zero, zero], mins: [zero; 4] }
    }

    #[inline(always)]
    fn words<S: Words>(s: S, rows: Rows<'_>, out: &mut [S::V; 64]) {
        for i in 0..8 {
            for (j, x) in s.quad(rows, 8 + 16 * i).into_iter().enumerate() {
                (out[8 * i + j], out[8 * i + 4 + j]) = (low(s, x), high(s, x));
            }
        }
        lookup_all(s, out, &iq4_nl::VALUES);
    }
}
