//! q8_0 caches: blocks of 32 signed bytes with an f16 scale. Keys `[k_dim / 4][64][4]`, each byte plus 128, then their
//! scales `[k_dim / 32][128]`; values `[128][64]`, then their scales. And the quantizer, which queries go through, too.

use super::float::FloatCache;
use super::format::{KeptInKeys, KvFormat, ValueSlot};
use super::kernels::{DotScores, Element, KeyStrip, by_rows};
use super::sizes::{BLOCK, F16_MAX, STRIP, TILE};
use crate::elementary::{abs, round_small};
use crate::half_float;
use crate::isa::simd::{LANES, Lanes, Simd, load_padded};

/// Signed bytes, blocks of which have a scale.
pub(super) struct ByteCache;

impl Element for ByteCache {
    const BYTES: usize = LANES;
    #[inline(always)]
    fn load<S: Simd>(s: S, bytes: &[u8], index: usize) -> S::F {
        s.load_i8(&bytes.as_chunks().0[index])
    }
}

impl KvFormat for ByteCache {
    const TOGETHER: usize = 4;
    const SCALED: bool = true;

    #[inline(always)]
    fn store_key<S: Lanes>(s: S, strip: &mut [u8], scales: &mut [u8], slot: usize, k: &[f32]) {
        let blocks = strip.as_chunks_mut::<{ 4 * STRIP }>().0.chunks_mut(BLOCK / 4);
        let scales = scales.as_chunks_mut::<{ 2 * TILE }>().0;
        for ((rows, x), scales) in blocks.zip(k.chunks(BLOCK)).zip(scales) {
            let (scale, bytes) = quantize_f16(s, x);
            for (row, group) in rows.iter_mut().zip(bytes.as_chunks::<4>().0) {
                row[4 * (slot % STRIP)..][..4].copy_from_slice(&group.map(|x| x.wrapping_add(128)));
            }
            scales[2 * slot..][..2].copy_from_slice(&scale.to_le_bytes());
        }
    }

    #[inline(always)]
    fn store_value<S: Lanes>(s: S, mut to: ValueSlot<'_>) {
        for (block, x) in to.v.chunks(BLOCK).enumerate() {
            let (scale, bytes) = quantize_f16(s, x);
            let row = to.row(block * BLOCK);
            let stored = row.len().min(BLOCK);
            row[..stored].copy_from_slice(&bytes[..stored]);
            to.scale(block).copy_from_slice(&scale.to_le_bytes());
        }
    }

    fn load_key(strip: &[u8], scales: &[u8], slot: usize, out: &mut [f32]) {
        let scales = scales.as_chunks::<{ 2 * TILE }>().0;
        for ((i, x), row) in out.chunks_mut(4).enumerate().zip(strip.as_chunks::<{ 4 * STRIP }>().0) {
            let scale = u16::from_le_bytes(scales[4 * i / BLOCK].as_chunks().0[slot]);
            let bytes: [u8; 4] = row.as_chunks().0[slot % STRIP];
            for (x, byte) in x.iter_mut().zip(bytes) {
                *x = f32::from(i16::from(byte) - 128) * half_float::to_f32(scale);
            }
        }
    }

    #[inline(always)]
    fn scores<S: Simd>(s: S, keys: KeyStrip<'_>) {
        let KeyStrip { strip, scales, group, vectors, at, next, out } = keys;
        let (strip, scales) = (strip.as_chunks().0, scales.as_chunks().0);
        by_rows(s, group.rows, DotScores { strip, scales, group, vectors, at, next, out });
    }

    /// Keys are `[k_dim / 4][64 keys][4]` bytes: 16 groups of 4 of 16 keys at a time, moved as if they were f32.
    #[inline(always)]
    fn unpack<S: Simd>(s: S, strips: KeptInKeys<'_>) {
        for (slot, strip) in strips.key_strips() {
            let rows = &strip.as_chunks::<{ 4 * STRIP }>().0[strips.start / 4..];
            for vector in 0..STRIP / LANES {
                let mut x = [s.splat(0.0); LANES];
                for (row, x) in rows.iter().zip(&mut x) {
                    *x = FloatCache::load(s, row, vector);
                }
                s.transpose(&mut x);
                for (key, x) in x.into_iter().enumerate() {
                    let mut bytes = [0; STRIP];
                    s.store_f32(x, &mut bytes);
                    let bytes = bytes.map(|x| x ^ 0x80);
                    let at = (slot + vector * LANES + key) * strips.width / LANES;
                    let out = &mut strips.out.as_chunks_mut().0[at..][..strips.width / LANES];
                    for (chunk, out) in out.iter_mut().enumerate() {
                        s.store_f32(ByteCache::load(s, &bytes, chunk), out);
                    }
                }
            }
        }
    }
}

/// A block of up to 32 values, 0 past the end.
#[inline(always)]
fn load_block<S: Lanes>(s: S, x: &[f32]) -> [S::F; 2] {
    let (low, high) = x.split_at(x.len().min(LANES));
    [load_padded(s, low, 0.0), load_padded(s, high, 0.0)]
}

/// The largest magnitude of a block; NaN if one of the values is NaN.
#[inline(always)]
fn largest<S: Lanes>(s: S, x: [S::F; 2]) -> f32 {
    // As integers, so that NaN compares above infinity.
    f32::from_bits(s.max_lane_i(s.max_i(s.bits(abs(s, x[0])), s.bits(abs(s, x[1])))) as u32)
}

/// `x * inverse` rounded half to even and clamped to a signed byte without -128.
#[inline(always)]
fn to_bytes<S: Lanes>(s: S, x: [S::F; 2], inverse: f32) -> [u8; BLOCK] {
    let mut out = [0; BLOCK];
    for (out, x) in out.as_chunks_mut().0.iter_mut().zip(x) {
        let scaled = s.mul(x, s.splat(inverse));
        s.store_i8(round_small(s, s.max(s.splat(-127.0), s.min(s.splat(127.0), scaled))), out);
    }
    out
}

/// One block of a cache: the bits of its f16 scale, and its bytes. A NaN or an infinity makes the scale NaN.
#[inline(always)]
fn quantize_f16<S: Lanes>(s: S, x: &[f32]) -> (u16, [u8; BLOCK]) {
    let x = load_block(s, x);
    let largest = largest(s, x);
    if !largest.is_finite() {
        return (half_float::from_f32(f32::NAN), [0; BLOCK]);
    }
    // The scale as it is read back, so that the bytes make up for its rounding.
    let scale = half_float::from_f32((largest / 127.0).min(F16_MAX));
    let inverse = if scale == 0 { 0.0 } else { 1.0 / half_float::to_f32(scale) };
    (scale, to_bytes(s, x, inverse))
}

/// One block of a query: its f32 scale, its bytes and their sum. A NaN or an infinity makes the scale NaN.
#[inline(always)]
pub(super) fn quantize_f32<S: Lanes>(s: S, x: &[f32]) -> (f32, [u8; BLOCK], i32) {
    /// Blocks below this count as zeros: the inverse of their scale could overflow.
    const SMALLEST: f32 = 1e-35;
    let x = load_block(s, x);
    let largest = largest(s, x);
    if !largest.is_finite() {
        return (f32::NAN, [0; BLOCK], 0);
    }
    if largest < SMALLEST {
        return (0.0, [0; BLOCK], 0);
    }
    let bytes = to_bytes(s, x, 127.0 / largest);
    (largest / 127.0, bytes, bytes.iter().map(|&x| i32::from(x as i8)).sum())
}
