//! Sixteen lanes in four 128-bit registers.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Neon;
use super::dots::dot;
use crate::isa::safe::methods;
use crate::isa::simd::{LANES, Lanes};
use crate::isa::unroll::four;

type F = [float32x4_t; 4];
type I = [int32x4_t; 4];

/// Four f16, widened exactly (the type of f16 vectors is not in stable Rust).
#[inline(always)]
pub(super) fn f16_to_f32(x: uint16x4_t) -> float32x4_t {
    let out: float32x4_t;
    // SAFETY: it's one instruction on registers, which every aarch64 CPU has.
    unsafe {
        asm!("fcvtl {out:v}.4s, {x:v}.4h", out = out(vreg) out, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// Rounded to f16, half to even; beyond the range to infinity.
#[inline(always)]
fn f32_to_f16(x: float32x4_t) -> uint16x4_t {
    let out: uint16x4_t;
    // SAFETY: as above.
    unsafe {
        asm!("fcvtn {out:v}.4h, {x:v}.4s", out = out(vreg) out, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// Sixteen signed bytes as f32.
#[target_feature(enable = "neon")]
#[inline]
fn bytes_to_f32(x: int8x16_t) -> F {
    let (low, high) = (vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x));
    [
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
        vcvtq_f32_s32(vmovl_high_s16(low)),
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
        vcvtq_f32_s32(vmovl_high_s16(high)),
    ]
}

impl<const MUL: u8> Lanes for Neon<MUL> {
    type F = F;
    type I = I;
    /// Signed.
    type K = [int8x16_t; 4];

    // 5 are 20 of 32 registers.
    const ACCS: usize = 5;
    const DOT_ACCS: usize = 5;

    methods! {
        fn splat(x: f32) -> F { [vdupq_n_f32(x); 4] }
        fn load(x: &[f32; LANES]) -> F { four!(i => vld1q_f32(x[4 * i..].as_ptr())) }
        fn store(x: F, out: &mut [f32; LANES]) {
            four!(i => vst1q_f32(out[4 * i..].as_mut_ptr(), x[i]));
        }
        fn load_f32(x: &[u8; 64]) -> F { four!(i => vreinterpretq_f32_u8(vld1q_u8(x[16 * i..].as_ptr()))) }
        fn store_f32(x: F, out: &mut [u8; 64]) {
            four!(i => vst1q_u8(out[16 * i..].as_mut_ptr(), vreinterpretq_u8_f32(x[i])));
        }
        fn load_f16(x: &[u8; 32]) -> F {
            four!(i => f16_to_f32(vreinterpret_u16_u8(vld1_u8(x[8 * i..].as_ptr()))))
        }
        fn load_bf16(x: &[u8; 32]) -> F {
            four!(i => vreinterpretq_f32_u32(vshll_n_u16::<16>(vreinterpret_u16_u8(vld1_u8(x[8 * i..].as_ptr())))))
        }
        fn store_f16(x: F, out: &mut [u8; 32]) {
            four!(i => vst1_u8(out[8 * i..].as_mut_ptr(), vreinterpret_u8_u16(f32_to_f16(x[i]))));
        }
        fn load_i8(x: &[u8; LANES]) -> F {
            bytes_to_f32(vreinterpretq_s8_u8(vld1q_u8(x.as_ptr())))
        }
        fn load_nibbles(x: &[u8; 8], table: &[i8; 16]) -> F {
            let x = vld1_u8(x.as_ptr());
            let q = vcombine_u8(vand_u8(x, vdup_n_u8(15)), vshr_n_u8::<4>(x));
            bytes_to_f32(vqtbl1q_s8(vld1q_s8(table.as_ptr()), q))
        }

        fn add(a: F, b: F) -> F { four!(i => vaddq_f32(a[i], b[i])) }
        fn sub(a: F, b: F) -> F { four!(i => vsubq_f32(a[i], b[i])) }
        fn mul(a: F, b: F) -> F { four!(i => vmulq_f32(a[i], b[i])) }
        fn div(a: F, b: F) -> F { four!(i => vdivq_f32(a[i], b[i])) }
        fn fma(a: F, b: F, c: F) -> F { four!(i => vfmaq_f32(c[i], a[i], b[i])) }
        // Not `fmax` and `fmin`, which return a NaN wherever it stands.
        fn max(a: F, b: F) -> F { four!(i => max4(a[i], b[i])) }
        fn min(a: F, b: F) -> F { four!(i => vbslq_f32(vcltq_f32(a[i], b[i]), a[i], b[i])) }
        fn if_less(a: F, b: F, yes: F, no: F) -> F {
            four!(i => vbslq_f32(vcltq_f32(a[i], b[i]), yes[i], no[i]))
        }
        fn sum(x: F) -> f32 {
            let x = vaddq_f32(vaddq_f32(x[0], x[2]), vaddq_f32(x[1], x[3]));
            let x = vadd_f32(vget_low_f32(x), vget_high_f32(x));
            vget_lane_f32::<0>(x) + vget_lane_f32::<1>(x)
        }
        fn max_lane(x: F) -> f32 {
            let x = max4(max4(x[0], x[2]), max4(x[1], x[3]));
            let (low, high) = (vget_low_f32(x), vget_high_f32(x));
            let x = vbsl_f32(vcgt_f32(low, high), low, high);
            let (a, b) = (vget_lane_f32::<0>(x), vget_lane_f32::<1>(x));
            if a > b { a } else { b }
        }
        fn unzip(a: F, b: F) -> (F, F) {
            (
                [vuzp1q_f32(a[0], a[1]), vuzp1q_f32(a[2], a[3]), vuzp1q_f32(b[0], b[1]), vuzp1q_f32(b[2], b[3])],
                [vuzp2q_f32(a[0], a[1]), vuzp2q_f32(a[2], a[3]), vuzp2q_f32(b[0], b[1]), vuzp2q_f32(b[2], b[3])],
            )
        }
        fn zip(even: F, odd: F) -> (F, F) {
            let low = four!(i => vzip1q_f32(even[i], odd[i]));
            let high = four!(i => vzip2q_f32(even[i], odd[i]));
            ([low[0], high[0], low[1], high[1]], [low[2], high[2], low[3], high[3]])
        }
        fn transpose(x: &mut [F; LANES]) {
            let old = *x;
            for rows in 0..4 {
                for columns in 0..4 {
                    let block = transpose4(four!(i => old[rows * 4 + i][columns]));
                    for (i, row) in block.into_iter().enumerate() {
                        x[columns * 4 + i][rows] = row;
                    }
                }
            }
        }

        fn splat_i(x: i32) -> I { [vdupq_n_s32(x); 4] }
        fn bits(x: F) -> I { four!(i => vreinterpretq_s32_f32(x[i])) }
        fn as_f32(x: I) -> F { four!(i => vreinterpretq_f32_s32(x[i])) }
        fn add_i(a: I, b: I) -> I { four!(i => vaddq_s32(a[i], b[i])) }
        fn sub_i(a: I, b: I) -> I { four!(i => vsubq_s32(a[i], b[i])) }
        fn and_i(a: I, b: I) -> I { four!(i => vandq_s32(a[i], b[i])) }
        fn or_i(a: I, b: I) -> I { four!(i => vorrq_s32(a[i], b[i])) }
        fn max_i(a: I, b: I) -> I { four!(i => vmaxq_s32(a[i], b[i])) }
        fn max_lane_i(x: I) -> i32 { vmaxvq_s32(vmaxq_s32(vmaxq_s32(x[0], x[1]), vmaxq_s32(x[2], x[3]))) }
        fn shl_i<const N: i32>(x: I) -> I { four!(i => vshlq_s32(x[i], vdupq_n_s32(N))) }
        fn sar_i<const N: i32>(x: I) -> I { four!(i => vshlq_s32(x[i], vdupq_n_s32(-N))) }
        fn to_f32(x: I) -> F { four!(i => vcvtq_f32_s32(x[i])) }
        fn store_i8(x: I, out: &mut [u8; LANES]) {
            let low = vcombine_s16(vmovn_s32(x[0]), vmovn_s32(x[1]));
            let high = vcombine_s16(vmovn_s32(x[2]), vmovn_s32(x[3]));
            vst1q_u8(out.as_mut_ptr(), vreinterpretq_u8_s8(vcombine_s8(vmovn_s16(low), vmovn_s16(high))));
        }
        fn if_within(start: i32, end: i32, yes: F, no: F) -> F {
            const FIRST: [i32; 4] = [0, 1, 2, 3];
            let first = vld1q_s32(FIRST.as_ptr());
            four!(i => if_within4(vaddq_s32(first, vdupq_n_s32(4 * i as i32)), start, end, yes[i], no[i]))
        }

        fn load_k(x: &[u8; 64]) -> [int8x16_t; 4] {
            four!(i => vreinterpretq_s8_u8(veorq_u8(vld1q_u8(x[16 * i..].as_ptr()), vdupq_n_u8(0x80))))
        }
        fn dot_start(_q_sum: i32) -> I { [vdupq_n_s32(0); 4] }
        fn dot4(acc: I, k: [int8x16_t; 4], q: [u8; 4]) -> I {
            let q = vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(q)));
            four!(i => dot::<MUL>(acc[i], k[i], q))
        }
    }
}

/// `a` where `a > b`, else `b`.
#[target_feature(enable = "neon")]
#[inline]
fn max4(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vbslq_f32(vcgtq_f32(a, b), a, b)
}

/// `yes` where `start <= at < end`, else `no`.
#[target_feature(enable = "neon")]
#[inline]
fn if_within4(at: int32x4_t, start: i32, end: i32, yes: float32x4_t, no: float32x4_t) -> float32x4_t {
    vbslq_f32(vandq_u32(vcgeq_s32(at, vdupq_n_s32(start)), vcltq_s32(at, vdupq_n_s32(end))), yes, no)
}

/// `x[i][j]` to `x[j][i]`.
#[target_feature(enable = "neon")]
#[inline]
fn transpose4(x: [float32x4_t; 4]) -> [float32x4_t; 4] {
    let (ab, cd) = (vzip1q_f32(x[0], x[1]), vzip1q_f32(x[2], x[3]));
    let (ef, gh) = (vzip2q_f32(x[0], x[1]), vzip2q_f32(x[2], x[3]));
    let low = |a, b| vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
    let high = |a, b| vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
    [low(ab, cd), high(ab, cd), low(ef, gh), high(ef, gh)]
}
