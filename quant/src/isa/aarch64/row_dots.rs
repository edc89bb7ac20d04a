//! Products of four rows of weights with a few columns.

use std::arch::aarch64::*;

use super::Neon;
use super::dots::{WIDEN, fours, group, headroom, pin, sdot, sdot_lane};
use crate::isa::simd::{RowDots, Words};

type V = uint32x4_t;

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
