//! f32 caches: keys `[k_dim][64]`, values `[128][64]`.

use super::format::{KeptInKeys, KvFormat, ValueSlot};
use super::kernels::{Element, KeyStrip, Scores, by_rows};
use super::sizes::STRIP;
use crate::isa::simd::{LANES, Lanes, Simd};

/// f32.
pub(super) struct FloatCache;

/// A row of a strip of keys.
const F32_ROW_BYTES: usize = 4 * STRIP;

impl Element for FloatCache {
    const BYTES: usize = 4 * LANES;
    #[inline(always)]
    fn load<S: Simd>(s: S, bytes: &[u8], index: usize) -> S::F {
        s.load_f32(&bytes.as_chunks().0[index])
    }
}

impl KvFormat for FloatCache {
    const TOGETHER: usize = 1;
    const SCALED: bool = false;

    #[inline(always)]
    fn store_key<S: Lanes>(_: S, strip: &mut [u8], _: &mut [u8], slot: usize, k: &[f32]) {
        for (row, x) in strip.as_chunks_mut::<F32_ROW_BYTES>().0.iter_mut().zip(k) {
            row[4 * (slot % STRIP)..][..4].copy_from_slice(&x.to_le_bytes());
        }
    }

    #[inline(always)]
    fn store_value<S: Lanes>(_: S, mut to: ValueSlot<'_>) {
        for (strip, x) in to.v.chunks(STRIP).enumerate() {
            for (out, x) in to.row(strip * STRIP).as_chunks_mut().0.iter_mut().zip(x) {
                *out = x.to_le_bytes();
            }
        }
    }

    fn load_key(strip: &[u8], _: &[u8], slot: usize, out: &mut [f32]) {
        for (x, row) in out.iter_mut().zip(strip.as_chunks::<F32_ROW_BYTES>().0) {
            *x = f32::from_le_bytes(row.as_chunks().0[slot % STRIP]);
        }
    }

    #[inline(always)]
    fn scores<S: Simd>(s: S, keys: KeyStrip<'_>) {
        by_rows(s, keys.group.rows, Scores::<Self, F32_ROW_BYTES>::new(keys));
    }

    #[inline(always)]
    fn unpack<S: Simd>(s: S, strip: KeptInKeys<'_>) {
        strip.transpose::<S, Self, F32_ROW_BYTES>(s);
    }
}
