//! What every operation on words means.

use super::Scalar;
use crate::fma::fma;
use crate::half_float;
use crate::isa::simd::{Dots, MAX_ROWS, RowDots, Words};

const N: usize = 4;
type V = [u32; N];

#[inline(always)]
fn map(a: V, f: impl Fn(u32) -> u32) -> V {
    [f(a[0]), f(a[1]), f(a[2]), f(a[3])]
}

#[inline(always)]
fn zip(a: V, b: V, f: impl Fn(u32, u32) -> u32) -> V {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

#[inline(always)]
fn bytes(a: u32, b: u32, f: impl Fn(u8, u8) -> u8) -> u32 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    u32::from_le_bytes([f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])])
}

/// The signed halves, low one first.
#[inline(always)]
fn halves(x: u32) -> [i32; 2] {
    [i32::from(x as i16), x as i32 >> 16]
}

#[inline(always)]
fn from_halves(low: i32, high: i32) -> u32 {
    low as u32 & 0xffff | (high as u32) << 16
}

#[inline(always)]
fn float(a: u32, b: u32, f: impl Fn(f32, f32) -> f32) -> u32 {
    f(f32::from_bits(a), f32::from_bits(b)).to_bits()
}

// SAFETY: `V` is an array of integers.
unsafe impl Words for Scalar {
    type V = V;

    const N: usize = N;
    const DOTS: Dots = Dots::None;
    const TILE_COLUMNS: usize = 2;

    #[inline(always)]
    fn splat_u32(self, x: u32) -> V {
        [x; N]
    }
    #[inline(always)]
    fn load_u32(self, x: &[u32; MAX_ROWS]) -> V {
        [x[0], x[1], x[2], x[3]]
    }
    #[inline(always)]
    fn store_u32(self, x: V, out: &mut [u32; MAX_ROWS]) {
        out[..N].copy_from_slice(&x);
    }
    #[inline(always)]
    fn gather(self, rows: &[&[u8; 4]; MAX_ROWS]) -> V {
        std::array::from_fn(|r| u32::from_le_bytes(*rows[r]))
    }
    #[inline(always)]
    fn transpose_rows(self, rows: &[&[u8; 16]; MAX_ROWS]) -> [V; 4] {
        let words: [_; N] = std::array::from_fn(|r| rows[r].as_chunks().0);
        std::array::from_fn(|i| std::array::from_fn(|r| u32::from_le_bytes(words[r][i])))
    }
    #[inline(always)]
    fn transpose_pairs(self, rows: &[[u64; 2]; MAX_ROWS]) -> [V; 4] {
        std::array::from_fn(|i| std::array::from_fn(|r| (rows[r][i / 2] >> (i % 2 * 32)) as u32))
    }
    #[inline(always)]
    fn load_words(self, x: &[u8]) -> V {
        let words = x.as_chunks().0;
        std::array::from_fn(|r| u32::from_le_bytes(words[r]))
    }
    #[inline(always)]
    fn load_halves(self, x: &[u8]) -> V {
        let halves = x.as_chunks().0;
        std::array::from_fn(|r| half_float::to_f32(u16::from_le_bytes(halves[r])).to_bits())
    }
    #[inline(always)]
    fn and(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a & b)
    }
    #[inline(always)]
    fn or(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a | b)
    }
    #[inline(always)]
    fn shl(self, x: V, n: u32) -> V {
        map(x, |x| x << n)
    }
    #[inline(always)]
    fn shr(self, x: V, n: u32) -> V {
        map(x, |x| x >> n)
    }
    #[inline(always)]
    fn sar(self, x: V, n: u32) -> V {
        map(x, |x| (x as i32 >> n) as u32)
    }
    #[inline(always)]
    fn xor(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a ^ b)
    }
    #[inline(always)]
    fn min_bytes(self, a: V, b: V) -> V {
        zip(a, b, |a, b| bytes(a, b, u8::min))
    }
    #[inline(always)]
    fn spread(self, x: V, i: usize) -> V {
        map(x, |x| u32::from_le_bytes([x.to_le_bytes()[i]; 4]))
    }
    #[inline(always)]
    fn sub_bytes(self, a: V, b: V) -> V {
        zip(a, b, |a, b| bytes(a, b, u8::wrapping_sub))
    }
    #[inline(always)]
    fn lookup(self, x: V, table: &[i8; 16]) -> V {
        map(x, |x| bytes(x, 0, |b, _| table[usize::from(b & 15)] as u8))
    }
    #[inline(always)]
    fn even_bytes(self, x: V) -> V {
        map(x, |x| from_halves(i32::from(x as i8), i32::from((x >> 16) as i8)))
    }
    #[inline(always)]
    fn odd_bytes(self, x: V) -> V {
        map(x, |x| from_halves(i32::from((x >> 8) as i8), x as i32 >> 24))
    }
    #[inline(always)]
    fn mul_halves(self, a: V, b: V) -> V {
        zip(a, b, |a, b| {
            let ([a, c], [b, d]) = (halves(a), halves(b));
            from_halves(a.wrapping_mul(b), c.wrapping_mul(d))
        })
    }
    #[inline(always)]
    fn add_u32(self, a: V, b: V) -> V {
        zip(a, b, u32::wrapping_add)
    }
    #[inline(always)]
    fn sub_u32(self, a: V, b: V) -> V {
        zip(a, b, u32::wrapping_sub)
    }
    #[inline(always)]
    fn mul_u32(self, a: V, b: V) -> V {
        zip(a, b, u32::wrapping_mul)
    }
    #[inline(always)]
    fn add_bytes(self, acc: V, x: V) -> V {
        zip(acc, x, |acc, x| x.to_le_bytes().iter().fold(acc, |acc, &b| acc.wrapping_add(b as i8 as u32)))
    }

    #[inline(always)]
    fn f16_to_f32(self, x: V) -> V {
        map(x, |x| half_float::to_f32(x as u16).to_bits())
    }
    #[inline(always)]
    fn halves(self, x: V) -> (V, V) {
        (self.f16_to_f32(x), self.f16_to_f32(self.shr(x, 16)))
    }
    #[inline(always)]
    fn i32_to_f32(self, x: V) -> V {
        map(x, |x| (x as i32 as f32).to_bits())
    }
    #[inline(always)]
    fn mul_f32(self, a: V, b: V) -> V {
        zip(a, b, |a, b| float(a, b, |a, b| a * b))
    }
    #[inline(always)]
    fn add_f32(self, a: V, b: V) -> V {
        zip(a, b, |a, b| float(a, b, |a, b| a + b))
    }
    #[inline(always)]
    fn sub_f32(self, a: V, b: V) -> V {
        zip(a, b, |a, b| float(a, b, |a, b| a - b))
    }
    #[inline(always)]
    fn fma_f32(self, a: V, b: V, c: V) -> V {
        std::array::from_fn(|i| fma(f32::from_bits(a[i]), f32::from_bits(b[i]), f32::from_bits(c[i])).to_bits())
    }

    #[inline(always)]
    fn dot_halves(self, acc: V, a: V, b: V) -> V {
        // Written so that compilers see the instruction that many CPUs have for it.
        let halves = |x: V| x.map(|x| [x as i16, (x >> 16) as i16]);
        let (a, b) = (halves(a), halves(b));
        let mut products = [0; 2 * N];
        for (product, (&a, &b)) in products.iter_mut().zip(a.as_flattened().iter().zip(b.as_flattened())) {
            *product = i32::from(a) * i32::from(b);
        }
        std::array::from_fn(|i| acc[i].wrapping_add((products[2 * i] + products[2 * i + 1]) as u32))
    }
    #[inline(always)]
    fn mul_bytes<const SIGNED: bool>(self, w: V, x: V) -> V {
        self.dot_bytes::<SIGNED>([0; N], w, x)
    }
    #[inline(always)]
    fn dot_bytes<const SIGNED: bool>(self, acc: V, w: V, x: V) -> V {
        std::array::from_fn(|i| {
            let (unsigned, signed) = if SIGNED { (x[i], w[i]) } else { (w[i], x[i]) };
            let products = unsigned.to_le_bytes().into_iter().zip(signed.to_le_bytes());
            products.fold(acc[i], |acc, (u, s)| acc.wrapping_add((i32::from(u) * i32::from(s as i8)) as u32))
        })
    }
}

/// The sum of four products of bytes of `q` (whose value is `value`) and activations.
#[inline(always)]
fn four_products(q: u32, a: &[i8; 4], value: impl Fn(u8) -> i32) -> i32 {
    q.to_le_bytes().into_iter().zip(a).map(|(q, &a)| value(q) * i32::from(a)).sum()
}

/// The sum of the products of `M` words of each lane.
#[inline(always)]
fn products<const M: usize>(q: &[V; M], a: &[[i8; 4]; M], value: impl Fn(u8) -> i32 + Copy) -> V {
    let lane = |r: usize| q.iter().zip(a).map(|(q, a)| four_products(q[r], a, value)).sum::<i32>() as u32;
    std::array::from_fn(lane)
}

impl RowDots for Scalar {
    const SIGNED_BIAS: i32 = 0;

    #[inline(always)]
    fn signed(self, x: V) -> V {
        x
    }
    #[inline(always)]
    fn dot<const M: usize>(self, acc: V, q: &[V; M], _max: u8, a: &[[i8; 4]; M]) -> V {
        self.add_u32(acc, products(q, a, i32::from))
    }
    #[inline(always)]
    fn dot_signed<const M: usize>(self, acc: V, q: &[V; M], a: &[[i8; 4]; M]) -> V {
        self.add_u32(acc, products(q, a, |q| i32::from(q as i8)))
    }
    #[inline(always)]
    fn dot_scaled<const M: usize>(self, acc: V, q: &[V; M], max: u8, a: &[[i8; 4]; M], scale: V) -> V {
        self.add_u32(acc, self.mul_u32(self.dot([0; N], q, max, a), scale))
    }
    #[inline(always)]
    fn dot_signed_scaled<const M: usize>(self, acc: V, q: &[V; M], a: &[[i8; 4]; M], scale: V) -> V {
        self.add_u32(acc, self.mul_u32(self.dot_signed([0; N], q, a), scale))
    }
    #[inline(always)]
    fn scale(self, x: V, i: usize) -> V {
        map(x, |x| x.to_le_bytes()[i] as i8 as u32)
    }
    #[inline(always)]
    fn weigh(self, acc: V, x: V, sums: [i16; 2]) -> V {
        self.dot_halves(acc, x, [u32::from(sums[0] as u16) | u32::from(sums[1] as u16) << 16; N])
    }
    #[inline(always)]
    fn pin<'a, T>(self, x: &'a T, _sum: &mut V) -> &'a T {
        x
    }
}
