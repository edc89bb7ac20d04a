//! Keys back out of a tile.

use super::KvLayout;
use super::format::KvFormat;
use super::kind::ForKind;
use super::sizes::{STRIP, TILE};

impl KvLayout {
    /// The first values of the key in `slot` of `tile` as f32, as many as `out` holds.
    ///
    /// # Panics
    /// If the tile or the slot doesn't fit the layout, or `out` is longer than a key.
    pub fn load_key(&self, tile: &[u8], slot: usize, out: &mut [f32]) {
        assert!(slot < TILE && out.len() <= self.k_dim, "load_key: slot {slot}, key of {}", out.len());
        assert_eq!(tile.len(), self.tile_bytes(), "load_key: tile");
        let strip = &tile[slot / STRIP * self.key_strip_bytes()..];
        let scales = &tile[self.key_scales_start()..self.values_start()];
        self.kind.with(LoadKey { strip, scales, slot, out });
    }
}

struct LoadKey<'a> {
    strip: &'a [u8],
    scales: &'a [u8],
    slot: usize,
    out: &'a mut [f32],
}

impl ForKind for LoadKey<'_> {
    type Out = ();
    fn run<K: KvFormat>(self) {
        K::load_key(self.strip, self.scales, self.slot, self.out);
    }
}
