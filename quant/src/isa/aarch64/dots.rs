//! Products of bytes, and those of four rows of weights with a few columns.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Neon;
use crate::isa::simd::{RowDots, Words};

type V = uint32x4_t;

/// Products widened to 16 bits: NEON alone.
pub(in crate::isa) const WIDEN: u8 = 0;
/// Four products added to 32 bits by `sdot` (FEAT_DotProd).
pub(in crate::isa) const DOT: u8 = 1;
/// Besides, two rows times two columns of eight bytes by `smmla` (FEAT_I8MM).
pub(in crate::isa) const TILE: u8 = 2;

/// To each word of `acc` four products of signed bytes are added.
///
/// # Safety
/// The CPU must have NEON, and what `MUL` says.
#[inline(always)]
pub(super) unsafe fn dot<const MUL: u8>(acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: as the caller says.
    unsafe {
        if MUL != WIDEN {
            return sdot(acc, a, b);
        }
        let (low, high) = (vmull_s8(vget_low_s8(a), vget_low_s8(b)), vmull_high_s8(a, b));
        vaddq_s32(acc, fours(low, high))
    }
}

#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: it's one instruction on registers.
    unsafe {
        asm!("sdot {acc:v}.4s, {a:v}.16b, {b:v}.16b", acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    acc
}

/// [`sdot`] with the four bytes of word `I` of `a` for every lane.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot_lane<const I: usize>(mut acc: int32x4_t, q: V, a: int8x16_t) -> int32x4_t {
    // SAFETY: it's one instruction on registers.
    unsafe {
        asm!("sdot {acc:v}.4s, {q:v}.16b, {a:v}.4b[{i}]", acc = inout(vreg) acc, q = in(vreg) q, a = in(vreg) a, i = const I,
            options(pure, nomem, nostack, preserves_flags));
    }
    acc
}

/// To the four words of `acc` the products of rows 0, 0, 1, 1 of `w` with columns 0, 1, 0, 1 of `x` are added, where a row and a
/// column are eight signed bytes. The additions stay in the order written, or the compiler spills.
#[target_feature(enable = "neon,i8mm")]
#[inline]
pub(super) fn smmla(mut acc: V, w: V, x: V) -> V {
    // SAFETY: it's one instruction on registers.
    unsafe {
        asm!("smmla {acc:v}.4s, {w:v}.16b, {x:v}.16b", acc = inout(vreg) acc, w = in(vreg) w, x = in(vreg) x,
            options(nomem, nostack, preserves_flags));
    }
    acc
}

/// The sums of four neighbours each.
#[target_feature(enable = "neon")]
#[inline]
fn fours(low: int16x8_t, high: int16x8_t) -> int32x4_t {
    vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))
}

/// Four activations in every lane.
#[target_feature(enable = "neon")]
#[inline]
fn group(a: &[i8; 4]) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(a.map(|a| a as u8))))
}

/// `x`, which depends on `sum` as far as the compiler knows.
#[inline(always)]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "the pointer is not followed")]
fn pin(mut x: *const u8, sum: &mut V) -> *const u8 {
    // SAFETY: no instruction is emitted.
    unsafe { asm!("/* {0} {1:v} */", inout(reg) x, inout(vreg) *sum, options(pure, nomem, nostack, preserves_flags)) };
    x
}

/// The most products of a byte up to `max` and an activation that 16 bits hold.
const fn headroom(max: u8) -> usize {
    32767 / (max as usize * 127)
}

impl<const MUL: u8> Neon<MUL> {
    /// The sum of the products of bytes, of magnitudes up to `max`, and activations.
    #[inline(always)]
    fn products<const N: usize>(self, q: &[V; N], max: u8, a: &[[i8; 4]; N]) -> int32x4_t {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            let mut acc = vdupq_n_s32(0);
            if MUL != WIDEN {
                // One load for the activations of four words.
                for (q, a) in q.as_chunks::<4>().0.iter().zip(a.as_chunks::<4>().0) {
                    let a = vld1q_s8(a.as_flattened().as_ptr());
                    acc = sdot_lane::<0>(acc, q[0], a);
                    acc = sdot_lane::<1>(acc, q[1], a);
                    acc = sdot_lane::<2>(acc, q[2], a);
                    acc = sdot_lane::<3>(acc, q[3], a);
                }
                for (q, a) in q.as_chunks::<4>().1.iter().zip(a.as_chunks::<4>().1) {
                    acc = sdot(acc, vreinterpretq_s8_u32(*q), group(a));
                }
                return acc;
            }
            // As many products as 16 bits hold are added before they are widened.
            let run = headroom(max).min(N);
            let (mut low, mut high) = (vdupq_n_s16(0), vdupq_n_s16(0));
            for i in 0..N {
                let (q, a) = (vreinterpretq_s8_u32(q[i]), group(&a[i]));
                (low, high) = if i % run == 0 {
                    (vmull_s8(vget_low_s8(q), vget_low_s8(a)), vmull_high_s8(q, a))
                } else {
                    (vmlal_s8(low, vget_low_s8(q), vget_low_s8(a)), vmlal_high_s8(high, q, a))
                };
                if i % run == run - 1 || i == N - 1 {
                    acc = vaddq_s32(acc, fours(low, high));
                }
            }
            acc
        }
    }
}

impl<const MUL: u8> RowDots for Neon<MUL> {
    const SIGNED_BIAS: i32 = 0;

    #[inline(always)]
    fn pin<'a, T>(self, x: &'a T, sum: &mut V) -> &'a T {
        // SAFETY: the pointer comes back as it was.
        unsafe { &*pin((&raw const *x).cast(), sum).cast() }
    }

    #[inline(always)]
    fn signed(self, x: V) -> V {
        x
    }

    #[inline(always)]
    fn dot<const N: usize>(self, acc: V, q: &[V; N], max: u8, a: &[[i8; 4]; N]) -> V {
        // SAFETY: `self` proves NEON.
        self.add_u32(acc, unsafe { vreinterpretq_u32_s32(self.products(q, max, a)) })
    }

    #[inline(always)]
    fn dot_signed<const N: usize>(self, acc: V, q: &[V; N], a: &[[i8; 4]; N]) -> V {
        self.dot(acc, q, 128, a)
    }

    #[inline(always)]
    fn dot_scaled<const N: usize>(self, acc: V, q: &[V; N], max: u8, a: &[[i8; 4]; N], scale: V) -> V {
        // SAFETY: `self` proves NEON.
        unsafe { vmlaq_u32(acc, vreinterpretq_u32_s32(self.products(q, max, a)), scale) }
    }

    #[inline(always)]
    fn dot_signed_scaled<const N: usize>(self, acc: V, q: &[V; N], a: &[[i8; 4]; N], scale: V) -> V {
        self.dot_scaled(acc, q, 128, a, scale)
    }

    #[inline(always)]
    fn scale(self, x: V, i: usize) -> V {
        // Byte i becomes the uppermost byte, then moves down with its sign.
        self.sar(self.shl(x, 24 - 8 * i as u32), 24)
    }

    #[inline(always)]
    fn weigh(self, acc: V, x: V, sums: [i16; 2]) -> V {
        self.dot_halves(acc, x, self.splat_u32(u32::from(sums[0] as u16) | u32::from(sums[1] as u16) << 16))
    }
}
