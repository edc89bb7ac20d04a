//! Sixteen lanes: the portable vector that `ops` and `attention` are written on, once.
//!
//! A [`Kernel`] is an operation with its arguments; [`dispatch`] runs it on the vectors of an [`Isa`]. Because the kernel
//! itself is the same code everywhere and each operation of [`Lanes`] has one exact meaning (IEEE single precision, fused
//! where it says so, every reduction one fixed tree), all instruction sets give the same bits. [`scalar`] is the meaning.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use super::{Isa, Level};

/// Values in one vector.
pub(crate) const LANES: usize = 16;

/// An operation with its arguments, generic over the vectors that it runs on.
pub(crate) trait Kernel {
    /// What it returns.
    type Out;
    /// Runs it. Implementations are `#[inline(always)]`, so that they are compiled for the instruction set of `S`.
    fn run<S: Lanes>(self, s: S) -> Self::Out;
}

/// Runs `kernel` on the vectors of `isa`.
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Out {
    match isa.level() {
        Level::Scalar => scalar::Scalar.vectorize(kernel),
        // SAFETY: there is no `Isa` of a level that the CPU lacks.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::Avx2::<false>::new() }.vectorize(kernel),
        // SAFETY: there is no `Isa` of a level that the CPU lacks.
        #[cfg(target_arch = "x86_64")]
        Level::AvxVnni => unsafe { avx2::Avx2::<true>::new() }.vectorize(kernel),
        // SAFETY: there is no `Isa` of a level that the CPU lacks.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni => unsafe { avx512::Avx512::new() }.vectorize(kernel),
        #[cfg(not(target_arch = "x86_64"))]
        Level::Avx2 | Level::AvxVnni | Level::Avx512Vnni => scalar::Scalar.vectorize(kernel),
    }
}

/// Vectors of 16 lanes on one instruction set. A value of the implementing type proves that the CPU has it.
pub(crate) trait Lanes: Copy {
    /// 16 x f32.
    type F: Copy;
    /// 16 x i32.
    type I: Copy;
    /// 64 x u8: 16 groups of 4, prepared for [`Lanes::dot4`].
    type K: Copy;

    /// How many accumulators of 16 lanes fit in registers beside their operands.
    const ACCS: usize;
    /// The same for accumulators of [`Lanes::dot4`].
    const DOT_ACCS: usize;

    /// Calls `kernel` as a function of its own, compiled for this instruction set.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Out;

    /// Asks for the cache line `ahead` bytes behind the start of `x`, wherever that is.
    fn prefetch(self, x: &[u8], ahead: usize);

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// 16 values.
    fn load(self, x: &[f32; LANES]) -> Self::F;
    /// The inverse of [`Lanes::load`].
    fn store(self, x: Self::F, out: &mut [f32; LANES]);
    /// 16 little-endian f32.
    fn load_f32(self, x: &[u8; 64]) -> Self::F;
    /// The inverse of [`Lanes::load_f32`].
    fn store_f32(self, x: Self::F, out: &mut [u8; 64]);
    /// 16 little-endian f16, widened exactly.
    fn load_f16(self, x: &[u8; 32]) -> Self::F;
    /// 16 little-endian bf16 (upper halves of f32), widened exactly.
    fn load_bf16(self, x: &[u8; 32]) -> Self::F;
    /// Rounded to f16, half to even; beyond the range to infinity.
    fn store_f16(self, x: Self::F, out: &mut [u8; 32]);
    /// 16 signed bytes as f32.
    fn load_i8(self, x: &[u8; 16]) -> Self::F;

    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a` where `a > b`, else `b` (so `b` where one is NaN).
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a` where `a < b`, else `b` (so `b` where one is NaN).
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `yes` where `a < b`, else `no`.
    fn if_less(self, a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F;
    /// Lanes `at, at + n, ..` are added for `n = 8, 4, 2, 1`.
    fn sum(self, x: Self::F) -> f32;
    /// The same tree of [`Lanes::max`]`(x[at], x[at + n])`.
    fn max_lane(self, x: Self::F) -> f32;
    /// `a[0], a[2], .., b[0], b[2], ..` and `a[1], a[3], .., b[1], b[3], ..`.
    fn unzip(self, a: Self::F, b: Self::F) -> (Self::F, Self::F);
    /// The inverse of [`Lanes::unzip`].
    fn zip(self, even: Self::F, odd: Self::F) -> (Self::F, Self::F);
    /// `x[i][j]` to `x[j][i]`.
    fn transpose(self, x: &mut [Self::F; LANES]);

    /// `x` in every lane.
    fn splat_i(self, x: i32) -> Self::I;
    /// The bits.
    fn bits(self, x: Self::F) -> Self::I;
    /// From bits.
    fn as_f32(self, x: Self::I) -> Self::F;
    /// Wrapping `a + b`.
    fn add_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// Wrapping `a - b`.
    fn sub_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a & b`.
    fn and_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a | b`.
    fn or_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// The larger, signed.
    fn max_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// The largest lane, signed.
    fn max_lane_i(self, x: Self::I) -> i32;
    /// `x << N`.
    fn shl<const N: i32>(self, x: Self::I) -> Self::I;
    /// `x >> N`, copies of the sign coming in.
    fn shr<const N: i32>(self, x: Self::I) -> Self::I;
    /// `x as f32`, half to even.
    fn to_f32(self, x: Self::I) -> Self::F;
    /// The low byte of each lane.
    fn store_i8(self, x: Self::I, out: &mut [u8; LANES]);
    /// Lane `i` is `yes[i]` where `start <= i < end`, else `no[i]`.
    fn if_within(self, start: i32, end: i32, yes: Self::F, no: Self::F) -> Self::F;

    /// 16 groups of 4 values, each a signed byte plus 128.
    fn load_k(self, x: &[u8; 64]) -> Self::K;
    /// What [`Lanes::dot4`] starts from, given the sum of all `q` values that it will see: whatever cancels the 128.
    fn dot_start(self, q_sum: i32) -> Self::I;
    /// Adds to each lane the dot product of its group of 4 signed values and the 4 signed bytes of `q` (none is -128).
    fn dot4(self, acc: Self::I, k: Self::K, q: [u8; 4]) -> Self::I;
}

/// `x` as a full vector, `pad` behind its end.
#[inline(always)]
pub(crate) fn load_padded<S: Lanes>(s: S, x: &[f32], pad: f32) -> S::F {
    match x.first_chunk() {
        Some(full) => s.load(full),
        None => {
            let mut buf = [pad; LANES];
            buf[..x.len()].copy_from_slice(x);
            s.load(&buf)
        }
    }
}

/// The first `out.len()` lanes (16 at most).
#[inline(always)]
pub(crate) fn store_partial<S: Lanes>(s: S, x: S::F, out: &mut [f32]) {
    match out.first_chunk_mut() {
        Some(full) => s.store(x, full),
        None => {
            let mut buf = [0.0; LANES];
            s.store(x, &mut buf);
            out.copy_from_slice(&buf[..out.len()]);
        }
    }
}
