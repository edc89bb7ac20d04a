//! F16: 2 bytes a weight, little-endian half precision (1 sign, 5 exponent, 10 fraction bits).

use super::{Float, layout};
use crate::isa::simd::Lanes;

/// Half precision.
pub(crate) struct F16;

layout!(F16: 1 weights in 2 bytes: Field::F16);

impl Float for F16 {
    fn value(weight: &[u8; 2], _: usize) -> f32 {
        half::f16::from_le_bytes(*weight).to_f32()
    }

    #[inline(always)]
    fn load<S: Lanes>(s: S, row: &[[u8; 2]], at: usize) -> Option<S::F> {
        Some(s.load_f16(row.get(at..)?.as_flattened().first_chunk()?))
    }
}
