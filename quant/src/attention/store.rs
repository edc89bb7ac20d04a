//! From f32 heads into tiles.

use super::KvLayout;
use super::format::{KvFormat, ValueSlot};
use super::kind::ForKind;
use super::sizes::{STRIP, TILE};
use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, Lanes};

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
struct StoreValue<'a> {
    layout: &'a KvLayout,
    /// Values and their scales.
    values: &'a mut [u8],
    slot: usize,
    v: &'a [f32],
}

impl Kernel for StoreValue<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let Self { layout, values, slot, v } = self;
        let (scales, size) = (layout.value_bytes(), layout.kind.value_bytes());
        layout.kind.with(InValue(s, ValueSlot { values, scales, size, slot, v }));
    }
}

struct InValue<'a, S>(S, ValueSlot<'a>);

impl<S: Lanes> ForKind for InValue<'_, S> {
    type Out = ();
    #[inline(always)]
    fn run<K: KvFormat>(self) {
        K::store_value(self.0, self.1);
    }
}
