//! Loops that multiply as fast as the CPU can.

use std::arch::aarch64::*;
use std::arch::asm;

use super::dots::smmla;
use crate::isa::simd::CHAINS;

/// Products added up in 16 bits, eight times before they are widened.
#[target_feature(enable = "neon")]
pub(super) fn multiply_pairs(rounds: usize) -> (u64, i32) {
    const COLUMNS: usize = 4;
    let weights: [int8x16_t; 8] = std::array::from_fn(|i| vdupq_n_s8(i as i8 + 1));
    let mut sums = [vdupq_n_s32(0); COLUMNS];
    for round in 0..rounds {
        let a = std::hint::black_box(round as i8 | 1);
        for (c, sum) in sums.iter_mut().enumerate() {
            let a = vdupq_n_s8(a ^ c as i8);
            let (mut low, mut high) = (vdupq_n_s16(0), vdupq_n_s16(0));
            for &weight in &weights {
                low = vmlal_s8(low, vget_low_s8(weight), vget_low_s8(a));
                high = vmlal_high_s8(high, weight, a);
            }
            *sum = vpadalq_s16(vpadalq_s16(*sum, low), high);
        }
    }
    ((rounds * COLUMNS * 8 * 16) as u64, sums.iter().fold(0, |sum: i32, &x| sum.wrapping_add(vaddvq_s32(x))))
}

/// Four products added to 32 bits by one instruction.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn multiply_quads(rounds: usize) -> (u64, i32) {
    let weights = vdupq_n_s8(7);
    let mut sums = [vdupq_n_s32(0); CHAINS];
    for round in 0..rounds {
        let a = vdupq_n_s8(std::hint::black_box(round as i8 | 1));
        for sum in &mut sums {
            // SAFETY: it's one instruction on registers, which the function's feature stands for.
            unsafe {
                asm!("sdot {sum:v}.4s, {weights:v}.16b, {a:v}.16b", sum = inout(vreg) *sum, weights = in(vreg) weights,
                    a = in(vreg) a, options(pure, nomem, nostack, preserves_flags));
            }
        }
    }
    ((rounds * CHAINS * 16) as u64, sums.iter().fold(0, |sum: i32, &x| sum.wrapping_add(vaddvq_s32(x))))
}

/// Eight products added to 32 bits, four times by one instruction.
#[target_feature(enable = "neon,i8mm")]
pub(super) fn multiply_tiles(rounds: usize) -> (u64, i32) {
    let weights = vdupq_n_u32(0x0707_0707);
    let mut sums = [vdupq_n_u32(0); CHAINS];
    for round in 0..rounds {
        let a = vreinterpretq_u32_s8(vdupq_n_s8(std::hint::black_box(round as i8 | 1)));
        for sum in &mut sums {
            *sum = smmla(*sum, weights, a);
        }
    }
    ((rounds * CHAINS * 32) as u64, sums.iter().fold(0, |sum: i32, &x| sum.wrapping_add(vaddvq_u32(x) as i32)))
}
