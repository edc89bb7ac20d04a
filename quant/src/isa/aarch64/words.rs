//! Four words in a 128-bit register.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Neon;
use super::dots::{TILES, dot, smmla};
use super::lanes::f16_to_f32;
use crate::isa::safe::operations;
use crate::isa::simd::{Dots, MAX_ROWS, Words, tiles};
use crate::isa::unroll::{first, four};

type V = uint32x4_t;

/// Keeps additions in the order written (the assembler code counts as having an effect): otherwise the compiler rearranges
/// them into trees, or column by column, and spills.
#[inline(always)]
fn pin(mut x: V) -> V {
    // SAFETY: it does nothing; the value goes through one register.
    unsafe { asm!("/* {x:v} */", x = inout(vreg) x, options(nomem, nostack, preserves_flags)) };
    x
}

/// Lane `r` of vector `i` is word `i` of row `r`.
#[target_feature(enable = "neon")]
#[inline]
fn transpose(x: [V; 4]) -> [V; 4] {
    let (ab, cd) = (vzip1q_u32(x[0], x[1]), vzip1q_u32(x[2], x[3]));
    let (ef, gh) = (vzip2q_u32(x[0], x[1]), vzip2q_u32(x[2], x[3]));
    let low = |a, b| vreinterpretq_u32_u64(vzip1q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
    let high = |a, b| vreinterpretq_u32_u64(vzip2q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
    [low(ab, cd), high(ab, cd), low(ef, gh), high(ef, gh)]
}

/// `acc` plus two products of 16-bit halves. What it takes to part `a` and `b` is done once for all products with either.
#[target_feature(enable = "neon")]
#[inline]
fn add_pairs(acc: V, a: V, b: V) -> V {
    let (acc, a, b) = (vreinterpretq_s32_u32(acc), vreinterpretq_s32_u32(a), vreinterpretq_s32_u32(b));
    let acc = vmlal_s16(acc, vmovn_s32(a), vmovn_s32(b));
    vreinterpretq_u32_s32(vmlal_s16(acc, vshrn_n_s32::<16>(a), vshrn_n_s32::<16>(b)))
}

// SAFETY: `V` is a register of integers.
unsafe impl<const MUL: u8> Words for Neon<MUL> {
    type V = V;

    const N: usize = 4;
    const DOTS: Dots = if MUL == TILES { Dots::Tiles32 } else { Dots::Signed32 };
    const TILE_COLUMNS: usize = 6;

    operations! {
        splat_u32(x: u32) -> V = vdupq_n_u32(x);
        load_u32(x: &[u32; MAX_ROWS]) -> V = vld1q_u32(x.as_ptr());
        store_u32(x: V, out: &mut [u32; MAX_ROWS]) -> () = vst1q_u32(out.as_mut_ptr(), x);
        gather(rows: &[&[u8; 4]; MAX_ROWS]) -> V = {
            let x = four!(r => u32::from_le_bytes(*rows[r]));
            vld1q_u32(x.as_ptr())
        };
        transpose_rows(rows: &[&[u8; 16]; MAX_ROWS]) -> [V; 4] =
            transpose(four!(r => vreinterpretq_u32_u8(vld1q_u8(rows[r].as_ptr()))));
        transpose_pairs(rows: &[[u64; 2]; MAX_ROWS]) -> [V; 4] =
            transpose(four!(r => vreinterpretq_u32_u64(vld1q_u64(rows[r].as_ptr()))));
        load_words(x: &[u8]) -> V = vreinterpretq_u32_u8(vld1q_u8(first::<16>(x).as_ptr()));
        load_halves(x: &[u8]) -> V =
            vreinterpretq_u32_f32(f16_to_f32(vreinterpret_u16_u8(vld1_u8(first::<8>(x).as_ptr()))));
        and(a: V, b: V) -> V = vandq_u32(a, b);
        or(a: V, b: V) -> V = vorrq_u32(a, b);
        shl(x: V, n: u32) -> V = vshlq_u32(x, vdupq_n_s32(n as i32));
        shr(x: V, n: u32) -> V = vshlq_u32(x, vdupq_n_s32(-(n as i32)));
        sar(x: V, n: u32) -> V =
            vreinterpretq_u32_s32(vshlq_s32(vreinterpretq_s32_u32(x), vdupq_n_s32(-(n as i32))));
        xor(a: V, b: V) -> V = veorq_u32(a, b);
        sub_bytes(a: V, b: V) -> V =
            vreinterpretq_u32_u8(vsubq_u8(vreinterpretq_u8_u32(a), vreinterpretq_u8_u32(b)));
        min_bytes(a: V, b: V) -> V =
            vreinterpretq_u32_u8(vminq_u8(vreinterpretq_u8_u32(a), vreinterpretq_u8_u32(b)));
        spread(x: V, i: usize) -> V = {
            // The lanes' first bytes, and i more in each.
            const FIRST: [u32; 4] = [0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c];
            let order = vorrq_u32(vld1q_u32(FIRST.as_ptr()), vdupq_n_u32(i as u32 * 0x0101_0101));
            vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(x), vreinterpretq_u8_u32(order)))
        };
        lookup(x: V, table: &[i8; 16]) -> V =
            vreinterpretq_u32_s8(vqtbl1q_s8(vld1q_s8(table.as_ptr()), vreinterpretq_u8_u32(x)));
        even_bytes(x: V) -> V =
            vreinterpretq_u32_s16(vshrq_n_s16::<8>(vshlq_n_s16::<8>(vreinterpretq_s16_u32(x))));
        odd_bytes(x: V) -> V = vreinterpretq_u32_s16(vshrq_n_s16::<8>(vreinterpretq_s16_u32(x)));
        mul_halves(a: V, b: V) -> V =
            vreinterpretq_u32_u16(vmulq_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b)));
        add_u32(a: V, b: V) -> V = vaddq_u32(a, b);
        sub_u32(a: V, b: V) -> V = vsubq_u32(a, b);
        mul_u32(a: V, b: V) -> V = vmulq_u32(a, b);
        add_bytes(acc: V, x: V) -> V = vreinterpretq_u32_s32(vpadalq_s16(
            vreinterpretq_s32_u32(acc), vpaddlq_s8(vreinterpretq_s8_u32(x))));

        f16_to_f32(x: V) -> V = vreinterpretq_u32_f32(f16_to_f32(vmovn_u32(x)));
        halves(x: V) -> (V, V) = (
            vreinterpretq_u32_f32(f16_to_f32(vmovn_u32(x))),
            vreinterpretq_u32_f32(f16_to_f32(vshrn_n_u32::<16>(x))),
        );
        i32_to_f32(x: V) -> V = vreinterpretq_u32_f32(vcvtq_f32_s32(vreinterpretq_s32_u32(x)));
        mul_f32(a: V, b: V) -> V =
            vreinterpretq_u32_f32(vmulq_f32(vreinterpretq_f32_u32(a), vreinterpretq_f32_u32(b)));
        add_f32(a: V, b: V) -> V =
            vreinterpretq_u32_f32(vaddq_f32(vreinterpretq_f32_u32(a), vreinterpretq_f32_u32(b)));
        sub_f32(a: V, b: V) -> V =
            vreinterpretq_u32_f32(vsubq_f32(vreinterpretq_f32_u32(a), vreinterpretq_f32_u32(b)));
        fma_f32(a: V, b: V, c: V) -> V = vreinterpretq_u32_f32(vfmaq_f32(
            vreinterpretq_f32_u32(c), vreinterpretq_f32_u32(a), vreinterpretq_f32_u32(b)));

        dot_halves(acc: V, a: V, b: V) -> V = pin(add_pairs(acc, a, b));
        zip_words(a: V, b: V) -> [V; 2] = [vzip1q_u32(a, b), vzip2q_u32(a, b)];
        unzip_words(a: V, b: V) -> [V; 2] = [vuzp1q_u32(a, b), vuzp2q_u32(a, b)];
    }

    #[inline(always)]
    fn mul_bytes<const SIGNED: bool>(self, w: V, x: V) -> V {
        self.dot_bytes::<SIGNED>(self.splat_u32(0), w, x)
    }

    #[inline(always)]
    fn dot_bytes<const SIGNED: bool>(self, acc: V, w: V, x: V) -> V {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            let (w, x) = (vreinterpretq_s8_u32(w), vreinterpretq_s8_u32(x));
            pin(vreinterpretq_u32_s32(dot::<MUL>(vreinterpretq_s32_u32(acc), w, x)))
        }
    }
    #[inline(always)]
    fn dot_tiles(self, acc: V, w: V, x: V) -> V {
        if MUL != TILES {
            return tiles(self, acc, w, x);
        }
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { smmla(acc, w, x) }
    }
}
