//! From f32 heads into tiles.

use super::kind::{ForKind, KvFormat};
use super::{KvLayout, STRIP, TILE, strip_width};
use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, Lanes};

/// The largest finite f16.
pub(super) const F16_MAX: f32 = 65504.0;

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
        let strip =
            strips.chunks_exact_mut(self.layout.key_strip_bytes().max(1)).nth(self.slot / STRIP).unwrap_or_default();
        self.layout.kind.with(InKey { s, strip, scales, slot: self.slot, k: self.k });
    }
}

struct InKey<'a, S> {
    s: S,
    strip: &'a mut [u8],
    scales: &'a mut [u8],
    slot: usize,
    k: &'a [f32],
}

impl<S: Lanes> ForKind for InKey<'_, S> {
    type Out = ();
    #[inline(always)]
    fn run<K: KvFormat>(self) {
        K::store_key(self.s, self.strip, self.scales, self.slot, self.k);
    }
}

/// A value on its way into a tile.
pub(super) struct StoreValue<'a> {
    layout: &'a KvLayout,
    /// Values and their scales.
    values: &'a mut [u8],
    slot: usize,
    pub(super) v: &'a [f32],
}

impl StoreValue<'_> {
    /// The scale of a block.
    #[inline(always)]
    pub(super) fn scale(&mut self, block: usize) -> &mut [u8] {
        let scales = self.layout.value_bytes();
        &mut self.values[scales + (block * TILE + self.slot) * 2..][..2]
    }

    /// The bytes of value `d` up to the end of its position's row in the strip.
    #[inline(always)]
    pub(super) fn row(&mut self, d: usize) -> &mut [u8] {
        let start = d / STRIP * STRIP;
        let width = strip_width(self.layout.v_dim, start);
        let size = self.layout.kind.value_bytes();
        &mut self.values[(start * TILE + self.slot * width + d - start) * size..][..(width - (d - start)) * size]
    }
}

impl Kernel for StoreValue<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        self.layout.kind.with(InValue(s, self));
    }
}

struct InValue<'a, S>(S, StoreValue<'a>);

impl<S: Lanes> ForKind for InValue<'_, S> {
    type Out = ();
    #[inline(always)]
    fn run<K: KvFormat>(self) {
        K::store_value(self.0, self.1);
    }
}
