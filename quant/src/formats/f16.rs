//! F16: 2 bytes a weight, little-endian half precision (1 sign, 5 exponent, 10 fraction bits).

use super::{Float, layout};
use crate::isa::simd::{LANES, Lanes};

/// Half precision.
pub(crate) struct F16;

layout!(F16: 1 weights in 2 bytes: Field::F16);

impl Float for F16 {
    fn value(weight: &[u8; 2]) -> f32 {
        half::f16::from_le_bytes(*weight).to_f32()
    }

    #[inline(always)]
    fn load<S: Lanes>(s: S, weights: &[Self::Block; LANES]) -> S::F {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(weights.as_flattened());
        s.load_f16(&bytes)
    }
}
