//! BF16: 2 bytes a weight, the upper half of a little-endian single precision number.

use super::{Float, layout};
use crate::isa::simd::Lanes;

/// The upper half of single precision.
pub(crate) struct BF16;

layout!(BF16: 1 weights in 2 bytes: Field { unit: 2, count: 1, f16s: 0 }; set scale by set_scale);

fn set_scale(block: &mut [u8], d: f32) {
    block.copy_from_slice(&half::bf16::from_f32(d).to_le_bytes());
}

impl Float for BF16 {
    fn value(weight: &[u8; 2], _: usize) -> f32 {
        f32::from_bits(u32::from(u16::from_le_bytes(*weight)) << 16)
    }

    #[inline(always)]
    fn load<S: Lanes>(s: S, row: &[[u8; 2]], at: usize) -> Option<S::F> {
        Some(s.load_bf16(row.get(at..)?.as_flattened().first_chunk()?))
    }
}
