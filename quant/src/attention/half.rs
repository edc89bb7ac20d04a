//! f16 caches: keys `[k_dim][64]`, values `[128][64]`.

use super::format::{KeptInKeys, KvFormat, ValueSlot};
use super::kernels::{Element, KeyStrip, Scores, by_rows};
use super::sizes::{F16_MAX, STRIP};
use crate::half_float;
use crate::isa::simd::{LANES, Lanes, Simd, load_padded};

/// f16; values beyond its range are stored as its largest.
pub(super) struct HalfCache;

/// A row of a strip of keys.
const F16_ROW_BYTES: usize = 2 * STRIP;

impl Element for HalfCache {
    const BYTES: usize = 2 * LANES;
    #[inline(always)]
    fn load<S: Simd>(s: S, bytes: &[u8], index: usize) -> S::F {
        s.load_f16(&bytes.as_chunks().0[index])
    }
}

impl KvFormat for HalfCache {
    const TOGETHER: usize = 1;
    const SCALED: bool = false;

    #[inline(always)]
    fn store_key<S: Lanes>(s: S, strip: &mut [u8], _: &mut [u8], slot: usize, k: &[f32]) {
        let rows = strip.as_chunks_mut::<F16_ROW_BYTES>().0.chunks_mut(LANES);
        for (rows, x) in rows.zip(k.chunks(LANES)) {
            let halves = saturated_f16(s, x);
            for (row, half) in rows.iter_mut().zip(halves.as_chunks::<2>().0) {
                row[2 * (slot % STRIP)..][..2].copy_from_slice(half);
            }
        }
    }

    #[inline(always)]
    fn store_value<S: Lanes>(s: S, mut to: ValueSlot<'_>) {
        for (chunk, x) in to.v.chunks(LANES).enumerate() {
            to.row(chunk * LANES)[..2 * LANES].copy_from_slice(&saturated_f16(s, x));
        }
    }

    fn load_key(strip: &[u8], _: &[u8], slot: usize, out: &mut [f32]) {
        for (x, row) in out.iter_mut().zip(strip.as_chunks::<F16_ROW_BYTES>().0) {
            *x = half_float::to_f32(u16::from_le_bytes(row.as_chunks().0[slot % STRIP]));
        }
    }

    #[inline(always)]
    fn scores<S: Simd>(s: S, keys: KeyStrip<'_>) {
        by_rows(s, keys.group.rows, Scores::<Self, F16_ROW_BYTES>::new(keys));
    }

    #[inline(always)]
    fn unpack<S: Simd>(s: S, strip: KeptInKeys<'_>) {
        strip.transpose::<S, Self, F16_ROW_BYTES>(s);
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
