//! F32: 4 bytes a weight, little-endian single precision.

use super::{Float, layout};
use crate::isa::simd::{LANES, Lanes};

/// Single precision.
pub(crate) struct F32;

layout!(F32: 1 weights in 4 bytes: Field::words(1));

impl Float for F32 {
    fn value(weight: &[u8; 4]) -> f32 {
        f32::from_le_bytes(*weight)
    }

    #[inline(always)]
    fn load<S: Lanes>(s: S, weights: &[Self::Block; LANES]) -> S::F {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(weights.as_flattened());
        s.load_f32(&bytes)
    }
}
