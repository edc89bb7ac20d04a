//! Eight rows of weights side by side: the vectors that products of quantized weights are written on, once.
//!
//! A vector of bytes holds 4 bytes of each of 8 rows, a lane per row. Rows of the file become lanes by transposing words of
//! 4 bytes *before* they are unpacked; after that no sum ever crosses lanes, the 4 bytes of activations that all rows share
//! are one broadcast load, and integers become floats for eight rows at once.
//!
//! A [`Kernel`] is an operation with its arguments; [`dispatch`] runs it on the vectors of an [`Isa`]. All integers are exact
//! and every float operation is one IEEE operation per lane, so all instruction sets give the same bits.

#[cfg(target_arch = "x86_64")]
mod x86;

use super::Isa;

/// Rows side by side.
pub(crate) const ROWS: usize = 8;

/// An operation with its arguments, generic over the vectors that it runs on.
pub(crate) trait Kernel {
    /// Runs it. Implementations are `#[inline(always)]`, so that they are compiled for the instruction set of `S`.
    fn run<S: Ints>(self, s: S);
}

/// Whether an instruction set has such vectors.
pub(crate) fn on(isa: Isa) -> bool {
    isa != Isa::SCALAR
}

/// Runs `kernel` on the vectors of `isa`.
///
/// # Panics
/// When it has none: ask [`on`] before.
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) {
    #[cfg(target_arch = "x86_64")]
    x86::dispatch(isa, kernel);
    #[cfg(not(target_arch = "x86_64"))]
    none(isa, kernel);
}

/// There are no vectors to run `kernel` on.
fn none<K: Kernel>(isa: Isa, _kernel: K) {
    panic!("no vectors of rows side by side on {}", isa.name());
}

/// Vectors on one instruction set. A value of the implementing type proves that the CPU has it.
pub(crate) trait Ints: Copy {
    /// 8 x 4 bytes.
    type B: Copy;
    /// 8 x 2 i16.
    type W: Copy;
    /// 8 x i32.
    type I: Copy;
    /// 8 x f32.
    type F: Copy;
    /// A small integer for each lane, as [`Ints::dot_scaled`] wants it.
    type Scale: Copy;

    /// What [`Ints::signed`] adds to signed bytes: products come out too large by this times the sum of the activations.
    const SIGNED_BIAS: i32;

    /// Lane `r` of vector `g` is bytes `4 g..4 g + 4` of row `r`.
    fn transpose(self, rows: [&[u8; 16]; ROWS]) -> [Self::B; 4];
    /// Lane `r` is the 4 bytes of row `r`.
    fn words(self, rows: [&[u8; 4]; ROWS]) -> Self::B;
    /// `x` in every lane.
    fn splat(self, x: u32) -> Self::B;
    /// `a & b`.
    fn and(self, a: Self::B, b: Self::B) -> Self::B;
    /// `a | b`.
    fn or(self, a: Self::B, b: Self::B) -> Self::B;
    /// Wrapping `a - b`, byte by byte.
    fn sub_bytes(self, a: Self::B, b: Self::B) -> Self::B;
    /// The smaller, byte by byte, unsigned.
    fn min_bytes(self, a: Self::B, b: Self::B) -> Self::B;
    /// `x >> by`, lane by lane, zeros coming in.
    fn shr(self, x: Self::B, by: u32) -> Self::B;
    /// `x << by`, lane by lane.
    fn shl(self, x: Self::B, by: u32) -> Self::B;
    /// Byte `i` of each lane, in all four places.
    fn spread(self, x: Self::B, i: usize) -> Self::B;
    /// `table[i]` for every byte `i`, all of which are below 16.
    fn lookup(self, table: &[i8; 16], i: Self::B) -> Self::B;

    /// Signed bytes as [`Ints::dot_signed`] wants them.
    fn signed(self, x: Self::B) -> Self::B;
    /// `acc` plus the products of unsigned bytes, all at most `max`, and the activations.
    fn dot<const N: usize>(self, acc: Self::I, q: &[Self::B; N], max: u8, a: &[[i8; 4]; N]) -> Self::I;
    /// `acc` plus the products of [`Ints::signed`] bytes and the activations, none of which is -128.
    fn dot_signed<const N: usize>(self, acc: Self::I, q: &[Self::B; N], a: &[[i8; 4]; N]) -> Self::I;
    /// `acc` plus `scale` times [`Ints::dot`].
    fn dot_scaled<const N: usize>(
        self,
        acc: Self::I,
        q: &[Self::B; N],
        max: u8,
        a: &[[i8; 4]; N],
        scale: Self::Scale,
    ) -> Self::I;
    /// `acc` plus `scale` times [`Ints::dot_signed`].
    fn dot_signed_scaled<const N: usize>(
        self,
        acc: Self::I,
        q: &[Self::B; N],
        a: &[[i8; 4]; N],
        scale: Self::Scale,
    ) -> Self::I;
    /// The signed byte `i` of each lane.
    fn scale(self, x: Self::B, i: usize) -> Self::Scale;

    /// Signed bytes 0 and 2 of each lane.
    fn even(self, x: Self::B) -> Self::W;
    /// Signed bytes 1 and 3 of each lane.
    fn odd(self, x: Self::B) -> Self::W;
    /// `acc` plus the products with a pair of sums.
    fn weigh(self, acc: Self::I, x: Self::W, sums: [i16; 2]) -> Self::I;

    /// `x` in every lane.
    fn int(self, x: i32) -> Self::I;
    /// Wrapping `a - b`.
    fn sub(self, a: Self::I, b: Self::I) -> Self::I;
    /// Wrapping `a << by`.
    fn shl_int(self, a: Self::I, by: u32) -> Self::I;

    /// `x` in every lane.
    fn float(self, x: f32) -> Self::F;
    /// `x as f32`.
    fn to_float(self, x: Self::I) -> Self::F;
    /// The lanes' bits as floats.
    fn float_bits(self, x: Self::B) -> Self::F;
    /// Both halves of each lane, half-precision numbers, widened: lower, upper.
    fn halves(self, x: Self::B) -> (Self::F, Self::F);
    /// `a + b`.
    fn add_float(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub_float(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The lanes.
    fn store(self, x: Self::F) -> [f32; ROWS];

    /// `x`, which the compiler cannot look into before `sum` is known: what is loaded for a later step then stays behind an
    /// earlier one, rather than being loaded with all the rest, and spilled.
    fn pin<'a, T>(self, x: &'a T, sum: &mut Self::I) -> &'a T;
    /// Asks for the cache line `ahead` bytes behind `at`. Any address will do.
    fn prefetch(self, at: &[u8], ahead: usize);
}
