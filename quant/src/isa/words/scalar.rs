//! What every operation on words means.

use super::{Dots, MOST_LANES, Rows, Task, Words};
use crate::half_float;

/// Portable Rust on arrays.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

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

impl Words for Scalar {
    type V = V;

    const N: usize = N;
    const DOTS: Dots = Dots::None;
    const COLUMNS: usize = 2;

    fn vectorize<T: Task<Self>>(self, task: T) {
        task.run(self);
    }

    #[inline(always)]
    fn prefetch<T>(self, _memory: &[T], _ahead: usize) {}
    #[inline(always)]
    fn splat(self, x: u32) -> V {
        [x; N]
    }
    #[inline(always)]
    fn load(self, x: &[u32; MOST_LANES]) -> V {
        [x[0], x[1], x[2], x[3]]
    }
    #[inline(always)]
    fn store(self, x: V, out: &mut [u32; MOST_LANES]) {
        out[..N].copy_from_slice(&x);
    }
    #[inline(always)]
    fn word(self, rows: Rows<'_>, at: usize) -> V {
        map([0, 1, 2, 3], |lane| rows.word(lane as usize, at))
    }
    #[inline(always)]
    fn quad(self, rows: Rows<'_>, at: usize) -> [V; 4] {
        [self.word(rows, at), self.word(rows, at + 4), self.word(rows, at + 8), self.word(rows, at + 12)]
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
    fn add(self, a: V, b: V) -> V {
        zip(a, b, u32::wrapping_add)
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
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
    fn to_f32(self, x: V) -> V {
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
    fn fma(self, a: V, b: V, c: V) -> V {
        std::array::from_fn(|i| f32::from_bits(a[i]).mul_add(f32::from_bits(b[i]), f32::from_bits(c[i])).to_bits())
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
