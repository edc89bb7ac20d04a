//! Products of bytes: the instructions, and what stands for them where they are missing.

use std::arch::aarch64::*;
use std::arch::asm;

type V = uint32x4_t;

/// Products widened to 16 bits: NEON alone.
pub(in crate::isa) const WIDEN: u8 = 0;
/// Four products added to 32 bits by `sdot` (FEAT_DotProd).
pub(in crate::isa) const DOT: u8 = 1;
/// Besides, two rows times two columns of eight bytes by `smmla` (FEAT_I8MM).
pub(in crate::isa) const TILES: u8 = 2;

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
pub(super) fn sdot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
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
pub(super) fn sdot_lane<const I: usize>(mut acc: int32x4_t, q: V, a: int8x16_t) -> int32x4_t {
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
pub(super) fn fours(low: int16x8_t, high: int16x8_t) -> int32x4_t {
    vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))
}

/// Four activations in every lane.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn group(a: &[i8; 4]) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(a.map(|a| a as u8))))
}

/// `x`, which depends on `sum` as far as the compiler knows.
#[inline(always)]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "the pointer is not followed")]
pub(super) fn pin(mut x: *const u8, sum: &mut V) -> *const u8 {
    // SAFETY: no instruction is emitted.
    unsafe { asm!("/* {0} {1:v} */", inout(reg) x, inout(vreg) *sum, options(pure, nomem, nostack, preserves_flags)) };
    x
}

/// The most products of a byte up to `max` and an activation that 16 bits hold.
pub(super) const fn headroom(max: u8) -> usize {
    32767 / (max as usize * 127)
}
