//! From f32 heads into tiles, and the q8_0 quantizer.

use super::{BLOCK, KvKind, KvLayout, STRIP, TILE, strip_width};
use crate::elementary::{abs, round_small};
use crate::half_float;
use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, LANES, Lanes, load_padded};

/// The largest finite f16.
const F16_MAX: f32 = 65504.0;

impl KvLayout {
    /// Writes key `k` and value `v` of one position into `slot` of `tile`. `v` is ignored if values are part of keys.
    ///
    /// # Panics
    /// If a length or the slot doesn't fit the layout.
    pub fn store(&self, isa: Isa, tile: &mut [u8], slot: usize, k: &[f32], v: &[f32]) {
        assert!(slot < TILE && k.len() == self.k_dim, "store: slot {slot}, key of {}", k.len());
        assert_eq!(tile.len(), self.tile_bytes(), "store: tile");
        let (keys, values) = tile.split_at_mut(self.values_start());
        dispatch(isa, StoreKey { layout: self, keys, slot, k });
        if !self.v_in_k {
            assert_eq!(v.len(), self.v_dim, "store: value");
            dispatch(isa, StoreValue { layout: self, values, slot, v });
        }
    }
}

struct StoreKey<'a> {
    layout: &'a KvLayout,
    /// Keys and their scales.
    keys: &'a mut [u8],
    slot: usize,
    k: &'a [f32],
}

impl Kernel for StoreKey<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let (strips, scales) = self.keys.split_at_mut(self.layout.key_scales_start());
        let strip = strips.chunks_exact_mut(self.layout.key_strip_bytes()).nth(self.slot / STRIP).unwrap_or_default();
        let at = self.slot % STRIP;
        match self.layout.kind {
            KvKind::F32 => {
                for (row, x) in strip.as_chunks_mut::<{ 4 * STRIP }>().0.iter_mut().zip(self.k) {
                    row[4 * at..][..4].copy_from_slice(&x.to_le_bytes());
                }
            }
            KvKind::F16 => {
                let rows = strip.as_chunks_mut::<{ 2 * STRIP }>().0.chunks_mut(LANES);
                for (rows, x) in rows.zip(self.k.chunks(LANES)) {
                    let halves = saturated_f16(s, x);
                    for (row, half) in rows.iter_mut().zip(halves.as_chunks::<2>().0) {
                        row[2 * at..][..2].copy_from_slice(half);
                    }
                }
            }
            KvKind::Q8 => {
                let blocks = strip.as_chunks_mut::<{ 4 * STRIP }>().0.chunks_mut(BLOCK / 4);
                let scales = scales.as_chunks_mut::<{ 2 * TILE }>().0;
                for ((rows, x), scales) in blocks.zip(self.k.chunks(BLOCK)).zip(scales) {
                    let (scale, bytes) = quantize_f16(s, x);
                    for (row, group) in rows.iter_mut().zip(bytes.as_chunks::<4>().0) {
                        row[4 * at..][..4].copy_from_slice(&group.map(|x| x.wrapping_add(128)));
                    }
                    scales[2 * self.slot..][..2].copy_from_slice(&scale.to_le_bytes());
                }
            }
        }
    }
}

struct StoreValue<'a> {
    layout: &'a KvLayout,
    /// Values and their scales.
    values: &'a mut [u8],
    slot: usize,
    v: &'a [f32],
}

impl StoreValue<'_> {
    /// The bytes of value `d` up to the end of its position's row in the strip.
    #[inline(always)]
    fn row(&mut self, d: usize) -> &mut [u8] {
        let start = d / STRIP * STRIP;
        let width = strip_width(self.layout.v_dim, start);
        let size = self.layout.kind.value_bytes();
        &mut self.values[(start * TILE + self.slot * width + d - start) * size..][..(width - (d - start)) * size]
    }
}

impl Kernel for StoreValue<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Lanes>(mut self, s: S) {
        let v = self.v;
        match self.layout.kind {
            KvKind::F32 => {
                for (strip, x) in v.chunks(STRIP).enumerate() {
                    for (out, x) in self.row(strip * STRIP).as_chunks_mut().0.iter_mut().zip(x) {
                        *out = x.to_le_bytes();
                    }
                }
            }
            KvKind::F16 => {
                for (chunk, x) in v.chunks(LANES).enumerate() {
                    self.row(chunk * LANES)[..2 * LANES].copy_from_slice(&saturated_f16(s, x));
                }
            }
            KvKind::Q8 => {
                let scales = self.layout.value_bytes();
                for (block, x) in v.chunks(BLOCK).enumerate() {
                    let (scale, bytes) = quantize_f16(s, x);
                    let row = self.row(block * BLOCK);
                    let stored = row.len().min(BLOCK);
                    row[..stored].copy_from_slice(&bytes[..stored]);
                    self.values[scales + (block * TILE + self.slot) * 2..][..2].copy_from_slice(&scale.to_le_bytes());
                }
            }
        }
    }
}

/// Up to 16 values as f16, saturating; 0 past the end.
#[inline(always)]
fn saturated_f16<S: Lanes>(s: S, x: &[f32]) -> [u8; 2 * LANES] {
    let x = s.max(s.splat(-F16_MAX), s.min(s.splat(F16_MAX), load_padded(s, x, 0.0)));
    let mut out = [0; 2 * LANES];
    s.store_f16(x, &mut out);
    out
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
