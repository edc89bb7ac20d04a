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

/// What a block is: `LEN` weights in `BYTES` bytes.
pub(crate) trait Format {
    /// A block's bytes, `[u8; BYTES]`.
    type Block: Copy + Send + Sync;
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

/// A format of 32 weights with one scale.
pub(crate) trait Format32: Format {
    /// Whether weights have a minimum added.
    const MIN: bool = false;
    /// The specification of the format.
    fn unpack(block: &Self::Block) -> Quants32;
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
    /// The specification of the format.
    fn unpack(block: &Self::Block) -> Quants256;
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
