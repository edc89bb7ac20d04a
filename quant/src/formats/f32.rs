//! F32: 4 bytes a weight, little-endian single precision.

use super::{Float, layout};

/// Single precision.
pub(crate) struct F32;

layout!(F32: 1 weights in 4 bytes, halves at []);

impl Float for F32 {
    fn value(weight: &[u8; 4]) -> f32 {
        f32::from_le_bytes(*weight)
    }
}
