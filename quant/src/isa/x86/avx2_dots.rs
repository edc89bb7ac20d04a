//! Products of eight rows of weights with a few columns.

use std::arch::asm;
use std::arch::x86_64::*;

use super::Avx2;
use super::dots::{UPPER, dpbusd, dpwssd, headroom};
use crate::isa::simd::RowDots;

type V = __m256i;

/// `x`, which depends on `sum` as far as the compiler knows.
#[inline]
#[target_feature(enable = "avx2")]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "the pointer is not followed")]
fn pin(mut x: *const u8, sum: &mut __m256i) -> *const u8 {
    // SAFETY: no instruction is emitted.
    unsafe { asm!("/* {0} {1} */", inout(reg) x, inout(ymm_reg) *sum, options(pure, nomem, nostack, preserves_flags)) };
    x
}

/// Four activations in every lane.
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
unsafe fn group(a: &[i8; 4]) -> __m256i {
    // SAFETY: the caller's token proves AVX2.
    unsafe { _mm256_set1_epi32(i32::from_ne_bytes(a.map(|a| a as u8))) }
}

/// Products of signed bytes and activations, in pairs of 16 bits: at most 2 * 128 * 127, which 16 bits hold.
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
unsafe fn signed_pairs(q: __m256i, a: &[i8; 4]) -> __m256i {
    // SAFETY: the caller's token proves AVX2.
    unsafe { _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(group(a), q)) }
}

impl<const DOT: u8> RowDots for Avx2<DOT> {
    const SIGNED_BIAS: i32 = if Self::VNNI { 128 } else { 0 };

    #[inline(always)]
    fn pin<'a, T>(self, x: &'a T, sum: &mut V) -> &'a T {
        // SAFETY: `self` proves AVX2; the pointer comes back as it was.
        unsafe { &*pin((&raw const *x).cast(), sum).cast() }
    }

    #[inline(always)]
    fn signed(self, x: V) -> V {
        // SAFETY: `self` proves AVX2.
        if Self::VNNI { unsafe { _mm256_xor_si256(x, _mm256_set1_epi8(-128)) } } else { x }
    }

    #[inline(always)]
    fn dot<const N: usize>(self, acc: V, q: &[V; N], max: u8, a: &[[i8; 4]; N]) -> V {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            if !Self::VNNI {
                return self.dot_scaled(acc, q, max, a, _mm256_set1_epi16(1));
            }
            let mut acc = acc;
            for i in 0..N {
                acc = dpbusd::<DOT>(acc, q[i], group(&a[i]));
            }
            acc
        }
    }

    #[inline(always)]
    fn dot_signed<const N: usize>(self, acc: V, q: &[V; N], a: &[[i8; 4]; N]) -> V {
        if Self::VNNI {
            return self.dot(acc, q, u8::MAX, a);
        }
        // SAFETY: `self` proves AVX2.
        self.dot_signed_scaled(acc, q, a, unsafe { _mm256_set1_epi16(1) })
    }

    #[inline(always)]
    fn dot_scaled<const N: usize>(self, acc: V, q: &[V; N], max: u8, a: &[[i8; 4]; N], scale: V) -> V {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            if Self::VNNI {
                let sum = self.dot(_mm256_setzero_si256(), q, max, a);
                return _mm256_add_epi32(acc, _mm256_mullo_epi32(sum, scale));
            }
            let (mut acc, mut sum) = (acc, _mm256_setzero_si256());
            // As many products as 16 bits hold are added before they are widened.
            let run = headroom(max).min(N);
            for i in 0..N {
                let pairs = _mm256_maddubs_epi16(q[i], group(&a[i]));
                sum = if i % run == 0 { pairs } else { _mm256_add_epi16(sum, pairs) };
                if i % run == run - 1 || i == N - 1 {
                    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(sum, scale));
                }
            }
            acc
        }
    }

    #[inline(always)]
    fn dot_signed_scaled<const N: usize>(self, acc: V, q: &[V; N], a: &[[i8; 4]; N], scale: V) -> V {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            if Self::VNNI {
                let sum = self.dot_signed(_mm256_setzero_si256(), q, a);
                return _mm256_add_epi32(acc, _mm256_mullo_epi32(sum, scale));
            }
            let mut acc = acc;
            for i in 0..N {
                acc = _mm256_add_epi32(acc, _mm256_madd_epi16(signed_pairs(q[i], &a[i]), scale));
            }
            acc
        }
    }

    #[inline(always)]
    fn scale(self, x: V, i: usize) -> V {
        // SAFETY: `self` proves AVX2; 16 bytes are read from an array of 16.
        unsafe {
            if Self::VNNI {
                // Byte i becomes the uppermost byte, then moves down with its sign.
                return _mm256_srai_epi32::<24>(_mm256_sll_epi32(x, _mm_cvtsi32_si128(24 - 8 * i as i32)));
            }
            // Byte i becomes the upper byte of both 16-bit halves, then moves down with its sign.
            let order = _mm256_broadcastsi128_si256(_mm_loadu_si128(UPPER[i].as_ptr().cast()));
            _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(x, order))
        }
    }

    #[inline(always)]
    fn weigh(self, acc: V, x: V, sums: [i16; 2]) -> V {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            let sums = _mm256_set1_epi32(i32::from(sums[0]) & 0xffff | i32::from(sums[1]) << 16);
            if Self::VNNI { dpwssd::<DOT>(acc, x, sums) } else { _mm256_add_epi32(acc, _mm256_madd_epi16(x, sums)) }
        }
    }
}
