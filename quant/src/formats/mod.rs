//! The block formats: one file each, with the layout drawn in its header.
//!
//! A format says how many weights a block holds, in how many bytes, and how they unpack. The scalar `unpack` is the
//! specification of the format: decoding, the scalar dot products and every test start from it.
//!
//! Formats come in three kinds:
//! * [`Float`]: every weight is a number of its own in single precision; multiplied with `f32` activations;
//! * [`Format32`]: 32 weights share a scale and perhaps a minimum; multiplied with block-32 activations;
//! * [`Format256`]: a super-block of 256 weights in 16 groups of 16 (formats with 8 groups of 32 give every group twice);
//!   integer scales and minima of the groups, one float scale (and one for the minima) for the whole.

pub(crate) mod bf16;
pub(crate) mod bits;
pub(crate) mod f16;
pub(crate) mod f32;
mod grids;
pub(crate) mod iq1_m;
pub(crate) mod iq1_s;
pub(crate) mod iq2_s;
pub(crate) mod iq2_xs;
pub(crate) mod iq2_xxs;
pub(crate) mod iq3_s;
pub(crate) mod iq3_xxs;
pub(crate) mod iq4_nl;
pub(crate) mod iq4_xs;
pub(crate) mod mxfp4;
pub(crate) mod nvfp4;
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
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod tq1_0;
pub(crate) mod tq2_0;

use crate::isa::simd::{Lanes, Words};

/// Rows that lie side by side where rows are interleaved.
pub(crate) const GROUP: usize = 16;

/// What a block is: `LEN` weights in `BYTES` bytes.
pub(crate) trait Format: 'static {
    /// A block's bytes, `[u8; BYTES]`.
    type Block: 'static + Copy + Send + Sync + AsRef<[u8]>;
    /// Weights in a block.
    const LEN: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// What a block consists of, in order.
    const FIELDS: &'static [Field];
    /// The whole blocks at the start of `bytes`.
    fn blocks(bytes: &[u8]) -> &[Self::Block];
    /// The whole super-blocks of sixteen interleaved rows at the start of `bytes`: each as long as sixteen blocks.
    fn super_blocks(bytes: &[u8]) -> &[[Self::Block; GROUP]] {
        Self::blocks(bytes).as_chunks().0
    }
    /// The bytes of a super-block: a length that the compiler knows.
    fn super_bytes(block: &[Self::Block; GROUP]) -> &[u8];

    /// Sets the scale of a block, and the scale of its minima if it has some, as well as their bits allow. By default they are
    /// the half-precision numbers that its fields start with, in this order.
    fn set_scales(block: &mut [u8], d: f32, min: f32) {
        for (at, x) in Field::halves(Self::FIELDS).zip([d, min]) {
            block[at..at + 2].copy_from_slice(&half::f16::from_f32(x).to_le_bytes());
        }
    }
}

/// A part of a block: some units of 1, 2 or 4 bytes, which stay together when blocks of several rows are interleaved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Bytes of a unit.
    pub(crate) unit: usize,
    /// How many there are.
    pub(crate) count: usize,
    /// How many f16 the field starts with.
    pub(crate) f16s: usize,
}

impl Field {
    /// A half-precision number.
    pub(crate) const F16: Self = Self { unit: 2, count: 1, f16s: 1 };
    /// Two of them, in a word.
    pub(crate) const F16_PAIR: Self = Self { unit: 4, count: 1, f16s: 2 };
    /// A word whose lower half is one.
    pub(crate) const F16_AND_MORE: Self = Self { unit: 4, count: 1, f16s: 1 };
    /// A byte.
    pub(crate) const BYTE: Self = Self { unit: 1, count: 1, f16s: 0 };

    /// Words of 4 bytes.
    pub(crate) const fn words(count: usize) -> Self {
        Self { unit: 4, count, f16s: 0 }
    }

    /// Bytes of all fields.
    pub(crate) const fn total(fields: &[Self]) -> usize {
        let (mut i, mut sum) = (0, 0);
        while i < fields.len() {
            sum += fields[i].unit * fields[i].count;
            i += 1;
        }
        sum
    }

    /// Where in a block half-precision numbers stand.
    pub(crate) fn halves(fields: &[Self]) -> impl Iterator<Item = usize> {
        let starts = fields.iter().scan(0, |at, field| {
            let start = *at;
            *at += field.unit * field.count;
            Some((start, field.f16s))
        });
        starts.flat_map(|(start, f16s)| (0..f16s).map(move |i| start + 2 * i))
    }
}

/// Implements [`Format`] for a format's type; `set scale by f` where the scale is no half-precision number.
macro_rules! layout {
    ($format:ident: $len:literal weights in $bytes:literal bytes: $($field:expr),* $(; set scale by $set_scale:path)?) => {
        impl crate::formats::Format for $format {
            type Block = [u8; $bytes];
            const LEN: usize = $len;
            const BYTES: usize = $bytes;
            const FIELDS: &'static [crate::formats::Field] = {
                use crate::formats::Field;
                let fields: &'static [Field] = &[$($field),*];
                assert!(Field::total(fields) == $bytes, "the fields are the block");
                fields
            };
            #[inline(always)]
            fn blocks(bytes: &[u8]) -> &[[u8; $bytes]] {
                bytes.as_chunks().0
            }
            #[inline(always)]
            fn super_bytes(block: &[[u8; $bytes]; crate::formats::GROUP]) -> &[u8] {
                block.as_flattened()
            }
            $(fn set_scales(block: &mut [u8], d: f32, _: f32) {
                $set_scale(block, d);
            })?
        }
    };
}
pub(crate) use layout;

/// A block of each of several rows, one row per lane, wherever their fields lie. `at` counts bytes of a single block.
pub(crate) trait Rows<S: Words>: Copy {
    /// The word at `at`.
    fn word(self, s: S, at: usize) -> S::V;
    /// The four words from `at` on.
    fn quad(self, s: S, at: usize) -> [S::V; 4];
    /// The half-precision number at `at`, a field of its own, as f32.
    fn f16(self, s: S, at: usize) -> S::V;
    /// The word at `at` of one row: what is looked up in tables is looked up row by row.
    fn word_of(self, row: usize, at: usize) -> u32;
    /// The byte at `at` of one row, a field of its own.
    fn byte_of(self, row: usize, at: usize) -> u8;
}

/// A format whose weights are multiplied one by one, in single precision. A block is one weight, or a multiple of sixteen.
pub(crate) trait Float: Format {
    /// Weight `i` of a block, exactly.
    fn value(block: &Self::Block, i: usize) -> f32;
    /// Weights `at..at + 16` of a row, exactly, where it has them; `at` is a multiple of sixteen.
    fn load<S: Lanes>(s: S, row: &[Self::Block], at: usize) -> Option<S::F>;
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

/// How the quants of rows come out of a block.
#[derive(Clone, Copy)]
pub(crate) enum Held {
    /// As bytes from 0 to `max`, which are `offset` more than the quants are.
    Unsigned {
        /// The largest byte.
        max: u8,
        /// What is to be subtracted: in super-blocks zero or a power of two.
        offset: u8,
    },
    /// As signed bytes.
    Signed {
        /// The largest magnitude.
        max: u8,
    },
}

impl Held {
    /// Whether quants may be negative.
    pub(crate) const fn signed(self) -> bool {
        !matches!(self, Self::Unsigned { offset: 0, .. })
    }

    /// What is to be subtracted from each byte.
    pub(crate) const fn offset(self) -> u8 {
        match self {
            Self::Unsigned { offset, .. } => offset,
            Self::Signed { .. } => 0,
        }
    }

    /// The largest magnitude of a quant.
    pub(crate) const fn largest(self) -> i32 {
        match self {
            Self::Unsigned { max, offset } if offset > max - offset => offset as i32,
            Self::Unsigned { max, offset } => (max - offset) as i32,
            Self::Signed { max } => max as i32,
        }
    }
}

/// A format of 32 weights with one scale.
pub(crate) trait Format32: Format {
    /// Whether weights have a minimum added.
    const MIN: bool = false;
    /// How [`Format32::quants`] are held.
    const HELD: Held;

    /// The specification of the format.
    fn unpack(block: &Self::Block) -> Quants32;

    /// The quants of rows, as [`Format32::HELD`] says: quants `4 g..4 g + 4` of each are in vector `g`.
    fn quants<S: Words>(s: S, rows: impl Rows<S>) -> [S::V; 8];

    /// Scales and minima (zero in formats without) of rows, as f32.
    fn scales<S: Words>(s: S, rows: impl Rows<S>) -> (S::V, S::V);
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
    /// Whether unpacking is so long (lists, ternary digits) that a panel costs little beside it: such formats have no kernels of
    /// their own for few columns.
    const BY_PANELS: bool = false;
    /// Whether products with many columns are made by tiles, where there is a unit of them: quants times scales of groups are
    /// 16-bit integers, and the groups are those of the minima.
    const BY_TILES: bool = false;

    /// The specification of the format.
    fn unpack(block: &Self::Block) -> Quants256;

    /// Scales and minima of rows.
    fn head<S: Words>(s: S, rows: impl Rows<S>) -> Head<S::V>;

    /// Unpacks the quants of rows in chunks of 32 weights: calls `each(j, quants)` with quants `32 j + 4 g..32 j + 4 g + 4` of
    /// each row in vector `g`, as [`Format256::HELD`] says. The calls are written out: what follows from `j` is then known
    /// when compiling.
    fn chunks<S: Words>(s: S, rows: impl Rows<S>, each: impl FnMut(usize, [S::V; 8]));
}

/// Scales and minima of rows: those of groups `4 v..4 v + 4` are the bytes of vector `v`. Formats with eight groups of 32 use
/// two vectors; formats without minima leave anything in their place.
pub(crate) struct Head<V> {
    /// The scale of the scales, as f32.
    pub(crate) d: V,
    /// The scale of the minima, as f32.
    pub(crate) min: V,
    /// Scales of the groups, signed bytes.
    pub(crate) scales: [V; 4],
    /// Minima of the groups, unsigned bytes below 128.
    pub(crate) mins: [V; 4],
}

impl<V: Copy> Head<V> {
    /// Of a format without minima.
    #[inline(always)]
    pub(crate) fn of(d: V, scales: [V; 4]) -> Self {
        Self { d, min: d, scales, mins: scales }
    }

    /// Of a format without minima, with eight groups.
    #[inline(always)]
    pub(crate) fn of_8(d: V, [a, b]: [V; 2]) -> Self {
        Self::of(d, [a, b, a, b])
    }
}

/// Decodes a row of a float format.
pub(crate) fn decode_float<F: Float>(row: &[u8], out: &mut [f32]) {
    for (out, block) in out.chunks_exact_mut(F::LEN).zip(F::blocks(row)) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = F::value(block, i);
        }
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
