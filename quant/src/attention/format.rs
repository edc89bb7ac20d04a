//! What a kind of cache is: how its values lie in a tile, and what is computed with them there.

use super::kernels::{Element, KeyStrip};
use super::sizes::{STRIP, TILE, strip_width};
use crate::isa::simd::{LANES, Lanes, Simd};

/// How a kind's values lie in a tile, and what is computed with them there.
pub(super) trait KvFormat: Element {
    /// Values of a key that lie side by side for each position.
    const TOGETHER: usize;
    /// Whether blocks of values share a scale.
    const SCALED: bool;

    /// Writes key `k` into `slot` of the tile, of which `strip` holds the keys of that slot and `scales` the scales.
    fn store_key<S: Lanes>(s: S, strip: &mut [u8], scales: &mut [u8], slot: usize, k: &[f32]);

    /// Writes a value.
    fn store_value<S: Lanes>(s: S, to: ValueSlot<'_>);

    /// The first values of the key in `slot`, as many as `out` holds.
    fn load_key(strip: &[u8], scales: &[u8], slot: usize, out: &mut [f32]);

    /// Scores of one strip of keys.
    fn scores<S: Simd>(s: S, keys: KeyStrip<'_>);

    /// Values that are part of keys, as rows of f32.
    fn unpack<S: Simd>(s: S, strip: KeptInKeys<'_>);
}

/// Where one position's value goes in a tile.
pub(super) struct ValueSlot<'a> {
    /// Values and their scales.
    pub(super) values: &'a mut [u8],
    /// Where the scales start.
    pub(super) scales: usize,
    /// Bytes of one value.
    pub(super) size: usize,
    pub(super) slot: usize,
    pub(super) v: &'a [f32],
}

impl ValueSlot<'_> {
    /// The scale of a block.
    #[inline(always)]
    pub(super) fn scale(&mut self, block: usize) -> &mut [u8] {
        &mut self.values[self.scales + (block * TILE + self.slot) * 2..][..2]
    }

    /// The bytes of value `d` up to the end of its position's row in the strip.
    #[inline(always)]
    pub(super) fn row(&mut self, d: usize) -> &mut [u8] {
        let start = d / STRIP * STRIP;
        let width = strip_width(self.v.len(), start);
        let (at, size) = (start * TILE + self.slot * width + d - start, self.size);
        &mut self.values[at * size..][..(width - (d - start)) * size]
    }
}

/// The strip of `width` values from value `start` on, of values that are part of keys.
pub(super) struct KeptInKeys<'a> {
    /// The strips of keys, each so many bytes.
    pub(super) keys: &'a [u8],
    pub(super) strip_bytes: usize,
    pub(super) start: usize,
    pub(super) width: usize,
    pub(super) out: &'a mut [u8],
}

impl<'a> KeptInKeys<'a> {
    /// Each strip of keys with the slot of its first.
    pub(super) fn key_strips(&self) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        let strips = self.keys.chunks_exact(self.strip_bytes).take(TILE / STRIP);
        strips.enumerate().map(|(index, strip)| (index * STRIP, strip))
    }

    /// From keys, `[k_dim][64 keys]`: 16 values of 16 keys at a time.
    #[inline(always)]
    pub(super) fn transpose<S: Simd, E: Element, const ROW: usize>(self, s: S) {
        for (slot, strip) in self.key_strips() {
            let rows = &strip.as_chunks::<ROW>().0[self.start..];
            for vector in 0..STRIP / LANES {
                for (chunk, rows) in rows.chunks(LANES).take(self.width / LANES).enumerate() {
                    let mut x = [s.splat(0.0); LANES];
                    for (row, x) in rows.iter().zip(&mut x) {
                        *x = E::load(s, row, vector);
                    }
                    s.transpose(&mut x);
                    for (key, x) in x.into_iter().enumerate() {
                        let at = (slot + vector * LANES + key) * self.width / LANES + chunk;
                        s.store_f32(x, &mut self.out.as_chunks_mut().0[at]);
                    }
                }
            }
        }
    }
}
