//! What every operation on lanes means.

use super::Scalar;
use crate::fma::fma;
use crate::half_float;
use crate::isa::simd::{LANES, Lanes};

type F = [f32; LANES];
type I = [i32; LANES];

#[inline(always)]
fn map<A: Copy, B: Default + Copy>(a: [A; LANES], f: impl Fn(A) -> B) -> [B; LANES] {
    a.map(f)
}

#[inline(always)]
fn zip<A: Copy, B: Default + Copy>(a: [A; LANES], b: [A; LANES], f: impl Fn(A, A) -> B) -> [B; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// Halves the vector with `f` until one lane is left.
#[inline(always)]
fn tree<A: Copy>(mut x: [A; LANES], f: impl Fn(A, A) -> A) -> A {
    for n in [8, 4, 2, 1] {
        for i in 0..n {
            x[i] = f(x[i], x[i + n]);
        }
    }
    x[0]
}

impl Lanes for Scalar {
    type F = F;
    type I = I;
    type K = [i8; 64];

    const ACCS: usize = 1;
    const DOT_ACCS: usize = 1;

    fn splat(self, x: f32) -> F {
        [x; LANES]
    }
    fn load(self, x: &[f32; LANES]) -> F {
        *x
    }
    fn store(self, x: F, out: &mut [f32; LANES]) {
        *out = x;
    }
    fn load_f32(self, x: &[u8; 64]) -> F {
        std::array::from_fn(|i| f32::from_le_bytes([x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]]))
    }
    fn store_f32(self, x: F, out: &mut [u8; 64]) {
        for (out, x) in out.as_chunks_mut().0.iter_mut().zip(x) {
            *out = x.to_le_bytes();
        }
    }
    fn load_f16(self, x: &[u8; 32]) -> F {
        std::array::from_fn(|i| half_float::to_f32(u16::from_le_bytes([x[2 * i], x[2 * i + 1]])))
    }
    fn load_bf16(self, x: &[u8; 32]) -> F {
        std::array::from_fn(|i| f32::from_bits(u32::from_le_bytes([0, 0, x[2 * i], x[2 * i + 1]])))
    }
    fn store_f16(self, x: F, out: &mut [u8; 32]) {
        for (out, x) in out.as_chunks_mut().0.iter_mut().zip(x) {
            *out = half_float::from_f32(x).to_le_bytes();
        }
    }
    fn load_i8(self, x: &[u8; LANES]) -> F {
        map(*x, |x| f32::from(x as i8))
    }
    fn load_nibbles(self, x: &[u8; 8], table: &[i8; 16]) -> F {
        std::array::from_fn(|i| f32::from(table[usize::from(x[i % 8] >> (i / 8 * 4) & 15)]))
    }

    fn add(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a + b)
    }
    fn sub(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a - b)
    }
    fn mul(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a * b)
    }
    fn div(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a / b)
    }
    fn fma(self, a: F, b: F, c: F) -> F {
        std::array::from_fn(|i| fma(a[i], b[i], c[i]))
    }
    fn max(self, a: F, b: F) -> F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    fn min(self, a: F, b: F) -> F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    fn if_less(self, a: F, b: F, yes: F, no: F) -> F {
        std::array::from_fn(|i| if a[i] < b[i] { yes[i] } else { no[i] })
    }
    fn sum(self, x: F) -> f32 {
        tree(x, |a, b| a + b)
    }
    fn max_lane(self, x: F) -> f32 {
        tree(x, |a, b| if a > b { a } else { b })
    }
    fn unzip(self, a: F, b: F) -> (F, F) {
        let pick = |odd| std::array::from_fn(|i| if i < 8 { a[2 * i + odd] } else { b[2 * (i - 8) + odd] });
        (pick(0), pick(1))
    }
    fn zip(self, even: F, odd: F) -> (F, F) {
        let half = |at| std::array::from_fn(|i| if i % 2 == 0 { even[at + i / 2] } else { odd[at + i / 2] });
        (half(0), half(8))
    }
    fn transpose(self, x: &mut [F; LANES]) {
        let old = *x;
        for (i, row) in x.iter_mut().enumerate() {
            *row = std::array::from_fn(|j| old[j][i]);
        }
    }

    fn splat_i(self, x: i32) -> I {
        [x; LANES]
    }
    fn bits(self, x: F) -> I {
        map(x, |x| x.to_bits() as i32)
    }
    fn as_f32(self, x: I) -> F {
        map(x, |x| f32::from_bits(x as u32))
    }
    fn add_i(self, a: I, b: I) -> I {
        zip(a, b, i32::wrapping_add)
    }
    fn sub_i(self, a: I, b: I) -> I {
        zip(a, b, i32::wrapping_sub)
    }
    fn and_i(self, a: I, b: I) -> I {
        zip(a, b, |a, b| a & b)
    }
    fn or_i(self, a: I, b: I) -> I {
        zip(a, b, |a, b| a | b)
    }
    fn max_i(self, a: I, b: I) -> I {
        zip(a, b, Ord::max)
    }
    fn max_lane_i(self, x: I) -> i32 {
        tree(x, Ord::max)
    }
    fn shl_i<const N: i32>(self, x: I) -> I {
        map(x, |x| x << N)
    }
    fn sar_i<const N: i32>(self, x: I) -> I {
        map(x, |x| x >> N)
    }
    fn to_f32(self, x: I) -> F {
        map(x, |x| x as f32)
    }
    fn store_i8(self, x: I, out: &mut [u8; LANES]) {
        *out = map(x, |x| x as u8);
    }
    fn if_within(self, start: i32, end: i32, yes: F, no: F) -> F {
        std::array::from_fn(|i| if (start..end).contains(&(i as i32)) { yes[i] } else { no[i] })
    }

    fn load_k(self, x: &[u8; 64]) -> Self::K {
        x.map(|x| x.wrapping_sub(128) as i8)
    }
    fn dot_start(self, _q_sum: i32) -> I {
        [0; LANES]
    }
    fn dot4(self, acc: I, k: Self::K, q: [u8; 4]) -> I {
        std::array::from_fn(|i| acc[i] + (0..4).map(|j| i32::from(k[4 * i + j]) * i32::from(q[j] as i8)).sum::<i32>())
    }
}
