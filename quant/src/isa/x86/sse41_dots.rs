//! Products of four rows of weights with a few columns, in pairs of 16 bits.

use std::arch::asm;
use std::arch::x86_64::*;

use super::Sse41;
use super::dots::{UPPER, headroom};
use crate::isa::simd::RowDots;

type V = __m128i;

/// `x`, which depends on `sum` as far as the compiler knows.
#[inline]
#[target_feature(enable = "ssse3,sse4.1")]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "the pointer is not followed")]
fn pin(mut x: *const u8, sum: &mut V) -> *const u8 {
    // SAFETY: no instruction is emitted.
    unsafe { asm!("/* {0} {1} */", inout(reg) x, inout(xmm_reg) *sum, options(pure, nomem, nostack, preserves_flags)) };
    x
}

/// Four activations in every lane.
#[inline]
#[target_feature(enable = "ssse3,sse4.1")]
fn group(a: &[i8; 4]) -> V {
    _mm_set1_epi32(i32::from_ne_bytes(a.map(|a| a as u8)))
}

/// Products of signed bytes and activations, in pairs of 16 bits: at most 2 * 128 * 127, which 16 bits hold.
#[inline]
#[target_feature(enable = "ssse3,sse4.1")]
fn signed_pairs(q: V, a: &[i8; 4]) -> V {
    _mm_maddubs_epi16(_mm_abs_epi8(q), _mm_sign_epi8(group(a), q))
}

impl RowDots for Sse41 {
    const SIGNED_BIAS: i32 = 0;

    #[inline(always)]
    fn pin<'a, T>(self, x: &'a T, sum: &mut V) -> &'a T {
        // SAFETY: `self` proves that the CPU has these instructions; the pointer comes back as it was.
        unsafe { &*pin((&raw const *x).cast(), sum).cast() }
    }

    #[inline(always)]
    fn signed(self, x: V) -> V {
        x
    }

    #[inline(always)]
    fn dot<const N: usize>(self, acc: V, q: &[V; N], max: u8, a: &[[i8; 4]; N]) -> V {
        // SAFETY: `self` proves that the CPU has these instructions.
        self.dot_scaled(acc, q, max, a, unsafe { _mm_set1_epi16(1) })
    }

    #[inline(always)]
    fn dot_signed<const N: usize>(self, acc: V, q: &[V; N], a: &[[i8; 4]; N]) -> V {
        // SAFETY: `self` proves that the CPU has these instructions.
        self.dot_signed_scaled(acc, q, a, unsafe { _mm_set1_epi16(1) })
    }

    #[inline(always)]
    fn dot_scaled<const N: usize>(self, acc: V, q: &[V; N], max: u8, a: &[[i8; 4]; N], scale: V) -> V {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            let (mut acc, mut sum) = (acc, _mm_setzero_si128());
            // As many products as 16 bits hold are added before they are widened.
            let run = headroom(max).min(N);
            for i in 0..N {
                let pairs = _mm_maddubs_epi16(q[i], group(&a[i]));
                sum = if i % run == 0 { pairs } else { _mm_add_epi16(sum, pairs) };
                if i % run == run - 1 || i == N - 1 {
                    acc = _mm_add_epi32(acc, _mm_madd_epi16(sum, scale));
                }
            }
            acc
        }
    }

    #[inline(always)]
    fn dot_signed_scaled<const N: usize>(self, acc: V, q: &[V; N], a: &[[i8; 4]; N], scale: V) -> V {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            let mut acc = acc;
            for i in 0..N {
                acc = _mm_add_epi32(acc, _mm_madd_epi16(signed_pairs(q[i], &a[i]), scale));
            }
            acc
        }
    }

    #[inline(always)]
    fn scale(self, x: V, i: usize) -> V {
        // SAFETY: `self` proves that the CPU has these instructions; 16 bytes are read from an array of 16.
        unsafe {
            // Byte i becomes the upper byte of both 16-bit halves, then moves down with its sign.
            _mm_srai_epi16::<8>(_mm_shuffle_epi8(x, _mm_loadu_si128(UPPER[i].as_ptr().cast())))
        }
    }

    #[inline(always)]
    fn weigh(self, acc: V, x: V, sums: [i16; 2]) -> V {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            let sums = _mm_set1_epi32(i32::from(sums[0]) & 0xffff | i32::from(sums[1]) << 16);
            _mm_add_epi32(acc, _mm_madd_epi16(x, sums))
        }
    }
}
