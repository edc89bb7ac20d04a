//! Keys back out of a tile.

use super::{BLOCK, KvKind, KvLayout, STRIP, TILE};
use crate::half_float;

impl KvLayout {
    /// The first values of the key in `slot` of `tile` as f32, as many as `out` holds.
    ///
    /// # Panics
    /// If the tile or the slot doesn't fit the layout, or `out` is longer than a key.
    pub fn load_key(&self, tile: &[u8], slot: usize, out: &mut [f32]) {
        assert!(slot < TILE && out.len() <= self.k_dim, "load_key: slot {slot}, key of {}", out.len());
        assert_eq!(tile.len(), self.tile_bytes(), "load_key: tile");
        let (strip, at) = (&tile[slot / STRIP * self.key_strip_bytes()..], slot % STRIP);
        match self.kind {
            KvKind::F32 => {
                for (x, row) in out.iter_mut().zip(strip.as_chunks::<{ 4 * STRIP }>().0) {
                    *x = f32::from_le_bytes(row.as_chunks().0[at]);
                }
            }
            KvKind::F16 => {
                for (x, row) in out.iter_mut().zip(strip.as_chunks::<{ 2 * STRIP }>().0) {
                    *x = half_float::to_f32(u16::from_le_bytes(row.as_chunks().0[at]));
                }
            }
            KvKind::Q8 => {
                let scales = tile[self.key_scales_start()..].as_chunks::<{ 2 * TILE }>().0;
                for ((i, x), row) in out.chunks_mut(4).enumerate().zip(strip.as_chunks::<{ 4 * STRIP }>().0) {
                    let scale = u16::from_le_bytes(scales[4 * i / BLOCK].as_chunks().0[slot]);
                    let bytes: [u8; 4] = row.as_chunks().0[at];
                    for (x, byte) in x.iter_mut().zip(bytes) {
                        *x = f32::from(i16::from(byte) - 128) * half_float::to_f32(scale);
                    }
                }
            }
        }
    }
}
