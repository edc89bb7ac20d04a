//! The block formats: one file each, with the layout drawn in its header.
//!
//! A format says how many weights a block holds, in how many bytes, and how they unpack. The scalar `unpack` is the
//! specification of the format: decoding, the scalar dot products and every test start from it.
//!
//! Formats come in three kinds:
//! * [`Float`]: every weight is a number of its own; multiplied with `f32` activations;
//! * [`Format32`]: 32 weights share a scale and perhaps a minimum; multiplied with block-32 activations;
//! * [`Format256`]: a super-block of 256 weights in 16 groups of 16 (formats with 8 groups of 32 give every group twice);
//!   integer scales and minima of the groups, one float scale (and one for the minima) for the whole.

pub(crate) mod bf16;
pub(crate) mod f16;
pub(crate) mod f32;
pub(crate) mod iq4_nl;
pub(crate) mod iq4_xs;
pub(crate) mod mxfp4;
pub(crate) mod q2_k;
pub(crate) mod q3_k;
pub(crate) mod q4_0;
pub(crate) mod q4_1;
pub(crate) mod q4_k;
pub(crate) mod q5_0;
pub(crate) mod q5_1;
pub(crate) mod q5_k;
pub(crate) mod q6_k;
pub(crate) mod q8_0;

use crate::isa::ints::{Ints, ROWS};
use crate::isa::lanes::{LANES, Lanes};
pub(crate) use crate::isa::unroll::{eight, four};

/// What a block is: `LEN` weights in `BYTES` bytes.
pub(crate) trait Format {
    /// A block's bytes, `[u8; BYTES]`.
    type Block: 'static + Copy + Send + Sync + AsRef<[u8]>;
    /// Weights in a block.
    const LEN: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// Where in a block half-precision numbers stand.
    const HALVES: &'static [usize];
    /// The whole blocks at the start of `bytes`.
    fn blocks(bytes: &[u8]) -> &[Self::Block];
}

/// Implements [`Format`] for a format's type.
macro_rules! layout {
    ($format:ident: $len:literal weights in $bytes:literal bytes, halves at $halves:expr) => {
        impl crate::formats::Format for $format {
            type Block = [u8; $bytes];
            const LEN: usize = $len;
            const BYTES: usize = $bytes;
            const HALVES: &'static [usize] = &$halves;
            #[inline(always)]
            fn blocks(bytes: &[u8]) -> &[[u8; $bytes]] {
                bytes.as_chunks().0
            }
        }
    };
}
pub(crate) use layout;

/// A format whose weights stand alone (a block is one weight).
pub(crate) trait Float: Format {
    /// The weight, widened exactly.
    fn value(weight: &Self::Block) -> f32;
    /// Sixteen weights, widened exactly.
    fn load<S: Lanes>(s: S, weights: &[Self::Block; LANES]) -> S::F;
}

/// 32 weights, unpacked: weight `i` is `d * q[i]`, plus `min` in formats that have one.
pub(crate) struct Quants32 {
    /// The scale.
    pub(crate) d: f32,
    /// The minimum: 0 in formats without.
    pub(crate) min: f32,
    /// The quants.
    pub(crate) q: [i8; 32],
}

/// How quants of eight rows side by side are held.
#[derive(Clone, Copy)]
pub(crate) enum Held {
    /// As bytes from 0 to `max`, which are `offset` more than the quants are.
    Unsigned {
        /// The largest byte.
        max: u8,
        /// What is to be subtracted: zero or a power of two.
        offset: i32,
    },
    /// As [`Ints::signed`] makes them.
    Signed,
}

impl Held {
    /// What is to be subtracted from each byte: zero or a power of two.
    #[inline(always)]
    pub(crate) fn offset<S: Ints>(self) -> i32 {
        match self {
            Self::Unsigned { offset, .. } => offset,
            Self::Signed => S::SIGNED_BIAS,
        }
    }
}

/// Eight blocks of as many rows.
pub(crate) type Blocks<'a, F> = [&'a <F as Format>::Block; ROWS];

/// A format of 32 weights with one scale.
pub(crate) trait Format32: Format {
    /// Whether weights have a minimum added.
    const MIN: bool = false;
    /// How [`Format32::quants`] are held.
    const HELD: Held;

    /// The specification of the format.
    fn unpack(block: &Self::Block) -> Quants32;

    /// Eight blocks, unpacked: quants `4 g..4 g + 4` of each row are in vector `g`.
    fn quants<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> [S::B; 8];

    /// Scales and minima (zero in formats without) of eight blocks that start with them as half-precision numbers.
    #[inline(always)]
    fn scales<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> (S::F, S::F) {
        s.halves(word(s, &blocks, 0))
    }
}

/// 256 weights, unpacked: weight `i` of group `g = i / 16` is `d * scales[g] * q[i]`, less `min * mins[g]` in formats that
/// have minima.
pub(crate) struct Quants256 {
    /// The scale of the scales.
    pub(crate) d: f32,
    /// The scale of the minima: 0 in formats without.
    pub(crate) min: f32,
    /// Scales of the groups of 16.
    pub(crate) scales: [i8; 16],
    /// Minima of the groups of 16.
    pub(crate) mins: [u8; 16],
    /// The quants.
    pub(crate) q: [i8; 256],
}

/// A format of super-blocks of 256 weights.
pub(crate) trait Format256: Format {
    /// Whether groups have minima subtracted.
    const MIN: bool = false;
    /// How [`Format256::chunks`] hold quants.
    const HELD: Held;
    /// Whether the groups are 16 of 16, not 8 of 32.
    const GROUPS_OF_16: bool;

    /// The specification of the format.
    fn unpack(block: &Self::Block) -> Quants256;

    /// Scales and minima of eight super-blocks.
    fn head<S: Ints>(s: S, blocks: Blocks<'_, Self>) -> Head<S>;

    /// Unpacks eight super-blocks in chunks of 32 weights: calls `each(j, quants)` with quants `32 j + 4 g..32 j + 4 g + 4` of
    /// each row in vector `g`. The calls are written out: what follows from `j` is then known when compiling.
    fn chunks<S: Ints>(s: S, blocks: Blocks<'_, Self>, each: impl FnMut(usize, [S::B; 8]));
}

/// Scales and minima of eight super-blocks: those of groups `4 v..4 v + 4` are the bytes of vector `v`. Formats with eight
/// groups of 32 use two vectors; formats without minima leave anything in their place.
pub(crate) struct Head<S: Ints> {
    pub(crate) d: S::F,
    pub(crate) min: S::F,
    pub(crate) scales: [S::B; 4],
    pub(crate) mins: [S::B; 4],
}

/// `N` bytes of a block.
#[inline(always)]
fn part<const N: usize>(block: &impl AsRef<[u8]>, at: usize) -> &[u8; N] {
    block.as_ref()[at..].first_chunk().expect("a field inside the block")
}

/// Bytes `at..at + 16` of eight blocks, as words of 4 bytes.
#[inline(always)]
fn words4<S: Ints>(s: S, blocks: &[&impl AsRef<[u8]>; ROWS], at: usize) -> [S::B; 4] {
    s.transpose(eight!(r => part(blocks[r], at)))
}

/// Bytes `at..at + 32` of eight blocks, as words of 4 bytes.
#[inline(always)]
fn words8<S: Ints>(s: S, blocks: &[&impl AsRef<[u8]>; ROWS], at: usize) -> [S::B; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (words4(s, blocks, at), words4(s, blocks, at + 16));
    [a, b, c, d, e, f, g, h]
}

/// Bytes `at..at + 4` of eight blocks.
#[inline(always)]
fn word<S: Ints>(s: S, blocks: &[&impl AsRef<[u8]>; ROWS], at: usize) -> S::B {
    s.words(eight!(r => part(blocks[r], at)))
}

/// `(x >> by)` and then the bits `mask` of every byte.
#[inline(always)]
fn bits<S: Ints>(s: S, x: S::B, by: u32, mask: u8) -> S::B {
    s.and(if by == 0 { x } else { s.shr(x, by) }, s.splat(u32::from(mask) * 0x0101_0101))
}

/// Bits `mask` of every byte, after bit `from` was moved to bit `to`.
#[inline(always)]
fn moved<S: Ints>(s: S, x: S::B, from: usize, to: usize, mask: u8) -> S::B {
    if from < to {
        s.and(s.shl(x, (to - from) as u32), s.splat(u32::from(mask) * 0x0101_0101))
    } else {
        bits(s, x, (from - to) as u32, mask)
    }
}

/// [`nibbles`] of eight rows.
#[inline(always)]
fn nibbles8<S: Ints>(s: S, x: [S::B; 4]) -> [S::B; 8] {
    eight!(g => bits(s, x[g % 4], g as u32 / 4 * 4, 15))
}

/// The half-precision number at `bytes[at..at + 2]`, widened.
pub(crate) fn f16_at(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Low and high nibbles of 16 bytes: byte `i` holds quant `i` below quant `i + 16`.
pub(crate) fn nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
}

/// Decodes a row of a float format.
pub(crate) fn decode_float<F: Float>(row: &[u8], out: &mut [f32]) {
    for (out, weight) in out.iter_mut().zip(F::blocks(row)) {
        *out = F::value(weight);
    }
}

/// Decodes a row of a block-32 format.
pub(crate) fn decode_32<F: Format32>(row: &[u8], out: &mut [f32]) {
    for (out, block) in out.chunks_exact_mut(32).zip(F::blocks(row)) {
        let block = F::unpack(block);
        for (out, &q) in out.iter_mut().zip(&block.q) {
            let scaled = block.d * f32::from(q);
            *out = if F::MIN { scaled + block.min } else { scaled };
        }
    }
}

/// Decodes a row of a super-block format.
pub(crate) fn decode_256<F: Format256>(row: &[u8], out: &mut [f32]) {
    for (out, block) in out.chunks_exact_mut(256).zip(F::blocks(row)) {
        let block = F::unpack(block);
        for (i, (out, &q)) in out.iter_mut().zip(&block.q).enumerate() {
            let scaled = block.d * f32::from(block.scales[i / 16]) * f32::from(q);
            *out = if F::MIN { scaled - block.min * f32::from(block.mins[i / 16]) } else { scaled };
        }
    }
}
