//! Values that are part of the keys, turned from columns into rows of f32 so that lanes are values.
//!
//! (Unpacking plain f16 or q8_0 values in the same way doesn't pay even for 64 query rows: reading four times the bytes
//! from the second-level cache costs what the conversions did.)

use super::kernels::Element;
use super::kind::{ForKind, KvFormat};
use super::{KvLayout, STRIP, TILE, strip_width};
use crate::isa::simd::{Kernel, LANES, Simd};

/// All values of `tile`, without their scales, as strips `[128 slots][width]` of f32.
#[inline(always)]
pub(super) fn unpack_values<S: Simd>(s: S, layout: &KvLayout, tile: &[u8], out: &mut Vec<u8>) {
    out.resize(layout.v_dim.next_multiple_of(LANES) * TILE * 4, 0);
    for start in (0..layout.v_dim).step_by(STRIP) {
        let width = strip_width(layout.v_dim, start);
        let out = &mut out[start * TILE * 4..][..width * TILE * 4];
        s.vectorize(UnpackStrip { layout, tile, start, width, out });
    }
}

/// The strip of `width` values from value `start` on.
pub(super) struct UnpackStrip<'a> {
    layout: &'a KvLayout,
    tile: &'a [u8],
    pub(super) start: usize,
    pub(super) width: usize,
    pub(super) out: &'a mut [u8],
}

impl Kernel for UnpackStrip<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.layout.kind.with(InRows(s, self));
    }
}

struct InRows<'a, S>(S, UnpackStrip<'a>);

impl<S: Simd> ForKind for InRows<'_, S> {
    type Out = ();
    #[inline(always)]
    fn run<K: KvFormat>(self) {
        K::unpack(self.0, self.1);
    }
}

impl<'a> UnpackStrip<'a> {
    /// Each strip of keys with the slot of its first.
    pub(super) fn key_strips(&self) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        let strips = self.tile.chunks_exact(self.layout.key_strip_bytes()).take(TILE / STRIP);
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
