//! F32: 4 bytes a weight, little-endian single precision.

use super::{Float, layout};
use crate::isa::simd::Lanes;

/// Single precision.
pub(crate) struct F32;

layout!(F32: 1 weights in 4 bytes: Field::words(1); set scale by set_scale);

fn set_scale(block: &mut [u8], d: f32) {
    block.copy_from_slice(&d.to_le_bytes());
}

impl Float for F32 {
    fn value(weight: &[u8; 4], _: usize) -> f32 {
        f32::from_le_bytes(*weight)
    }

    #[inline(always)]
    fn load<S: Lanes>(s: S, row: &[[u8; 4]], at: usize) -> Option<S::F> {
        Some(s.load_f32(row.get(at..)?.as_flattened().first_chunk()?))
    }
}
