//! Values that are part of the keys, turned from columns into rows of f32 so that lanes are values.
//!
//! (Unpacking plain f16 or q8_0 values in the same way doesn't pay even for 64 query rows: reading four times the bytes
//! from the second-level cache costs what the conversions did.)

use super::KvLayout;
use super::format::{KeptInKeys, KvFormat};
use super::kind::{ForKind, KvKind};
use super::sizes::{STRIP, TILE, strip_width};
use crate::isa::simd::{Kernel, LANES, Simd};

/// All values of `tile`, without their scales, as strips `[128 slots][width]` of f32.
#[inline(always)]
pub(super) fn unpack_values<S: Simd>(s: S, layout: &KvLayout, tile: &[u8], out: &mut Vec<u8>) {
    out.resize(layout.v_dim.next_multiple_of(LANES) * TILE * 4, 0);
    for start in (0..layout.v_dim).step_by(STRIP) {
        let width = strip_width(layout.v_dim, start);
        let out = &mut out[start * TILE * 4..][..width * TILE * 4];
        let strip = KeptInKeys { keys: tile, strip_bytes: layout.key_strip_bytes(), start, width, out };
        s.vectorize(UnpackStrip { kind: layout.kind, strip });
    }
}

struct UnpackStrip<'a> {
    kind: KvKind,
    strip: KeptInKeys<'a>,
}

impl Kernel for UnpackStrip<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.kind.with(InRows(s, self.strip));
    }
}

struct InRows<'a, S>(S, KeptInKeys<'a>);

impl<S: Simd> ForKind for InRows<'_, S> {
    type Out = ();
    #[inline(always)]
    fn run<K: KvFormat>(self) {
        K::unpack(self.0, self.1);
    }
}
