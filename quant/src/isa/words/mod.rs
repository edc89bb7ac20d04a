//! Vectors of 32-bit words, one row of weights per lane: what the panels of `gemm` are written on, once.
//!
//! [`dispatch`] runs [`Work`] on the vectors of an [`Isa`]; its inner loops are [`Task`]s. A word holds 4 bytes
//! (4 neighbouring weights of one row), two 16-bit halves, an `i32` or the bits of an `f32`. Every operation is exact or
//! rounded once, as IEEE says, so that all instruction sets give the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

#[cfg(target_arch = "x86_64")]
use super::caches::LINE;
use super::{Isa, Level};

/// The largest number of lanes of any instruction set.
pub(crate) const MOST_LANES: usize = 16;

/// How an instruction set multiplies bytes: it decides how a panel is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dots {
    /// No product of bytes worth using: weights are widened to 16 bits.
    None,
    /// Unsigned times signed bytes, pairs added up in 16 bits.
    Pairs16,
    /// Unsigned times signed bytes, four products added to 32 bits.
    Quads32,
}

/// A piece of work that runs on the vectors of any instruction set.
pub(crate) trait Work {
    /// What it returns.
    type Out;
    /// Does it.
    fn run<S: Words>(self, s: S) -> Self::Out;
}

/// A kernel with its arguments, on the vectors of `S`.
pub(crate) trait Task<S> {
    /// Runs it. Implementations are `#[inline(always)]`, so that they are compiled for the instruction set of `S`.
    fn run(self, s: S);
}

/// Runs `work` on the vectors of `isa`. It's compiled without the instructions of `isa`: its kernels go through
/// [`Words::vectorize`].
pub(crate) fn dispatch<W: Work>(isa: Isa, work: W) -> W::Out {
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` is made only for what this CPU has.
        Level::Avx2 => work.run(unsafe { avx2::Avx2::<false>::new() }),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::AvxVnni => work.run(unsafe { avx2::Avx2::<true>::new() }),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx512Vnni => work.run(unsafe { avx512::Avx512::new() }),
        _ => work.run(scalar::Scalar),
    }
}

/// Asks for the cache lines `ahead` bytes behind `memory`.
#[cfg(target_arch = "x86_64")]
#[inline]
fn fetch<T>(memory: &[T], ahead: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let start: *const i8 = memory.as_ptr().cast();
    for at in (0..size_of_val(memory)).step_by(LINE) {
        // SAFETY: every x86-64 CPU has it; fetching ahead has no effect that could be seen, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(ahead + at)) };
    }
}

/// Blocks of several rows, side by side: lane `i` is block number `block` of row `i`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// The bytes of each row; as many as there are lanes are used.
    pub(crate) rows: &'a [&'a [u8]; MOST_LANES],
    /// Where the block starts, in bytes.
    pub(crate) at: usize,
}

impl Rows<'_> {
    /// `N` bytes of the block of row `lane`, from byte `at` of the block on.
    #[inline(always)]
    pub(crate) fn bytes<const N: usize>(&self, lane: usize, at: usize) -> &[u8; N] {
        match self.rows[lane][self.at + at..].first_chunk() {
            Some(bytes) => bytes,
            None => panic!("byte {at} of the block at {} lies behind the row's end", self.at),
        }
    }

    /// Four bytes as a little-endian word.
    #[inline(always)]
    pub(crate) fn word(&self, lane: usize, at: usize) -> u32 {
        u32::from_le_bytes(*self.bytes(lane, at))
    }
}

/// Vectors of words on one instruction set. A value of the implementing type proves that the CPU has it.
pub(crate) trait Words: Copy {
    /// `N` words; any bits are a value.
    type V: Copy;

    /// Lanes.
    const N: usize;
    /// How bytes are multiplied.
    const DOTS: Dots;
    /// Columns that the register tile of a panel takes (of two vectors of rows), at most 8.
    const COLUMNS: usize;

    /// Calls `task` as a function of its own, compiled for this instruction set.
    fn vectorize<T: Task<Self>>(self, task: T);

    /// Asks for memory that will be read soon: what lies `ahead` bytes behind `memory`, wherever that is.
    fn prefetch<T>(self, memory: &[T], ahead: usize);
    /// `x` in every lane.
    fn splat(self, x: u32) -> Self::V;
    /// The first `N` of these words.
    fn load(self, x: &[u32; MOST_LANES]) -> Self::V;
    /// The inverse of [`Words::load`]; the rest stays.
    fn store(self, x: Self::V, out: &mut [u32; MOST_LANES]);
    /// The word at byte `at` of each row's block.
    fn word(self, rows: Rows<'_>, at: usize) -> Self::V;
    /// The four words at byte `at` of each row's block.
    fn quad(self, rows: Rows<'_>, at: usize) -> [Self::V; 4];

    /// `a & b`.
    fn and(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a | b`.
    fn or(self, a: Self::V, b: Self::V) -> Self::V;
    /// `x << n`.
    fn shl(self, x: Self::V, n: u32) -> Self::V;
    /// `x >> n`, zeros coming in.
    fn shr(self, x: Self::V, n: u32) -> Self::V;
    /// `x >> n`, copies of the sign coming in.
    fn sar(self, x: Self::V, n: u32) -> Self::V;
    /// Wrapping difference of bytes.
    fn sub_bytes(self, a: Self::V, b: Self::V) -> Self::V;
    /// `table[b]` for each byte `b < 16`.
    fn lookup(self, x: Self::V, table: &[i8; 16]) -> Self::V;
    /// Signed bytes 0 and 2 of each word, as 16-bit halves.
    fn even_bytes(self, x: Self::V) -> Self::V;
    /// Signed bytes 1 and 3 of each word, as 16-bit halves.
    fn odd_bytes(self, x: Self::V) -> Self::V;
    /// Wrapping products of 16-bit halves.
    fn mul_halves(self, a: Self::V, b: Self::V) -> Self::V;
    /// Wrapping sum of words.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// Wrapping product of words.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `acc` plus the sum of the word's signed bytes.
    fn add_bytes(self, acc: Self::V, x: Self::V) -> Self::V;

    /// The lower half of each word, an f16, as f32.
    fn f16_to_f32(self, x: Self::V) -> Self::V;
    /// `x as f32` of an `i32`, half to even.
    fn to_f32(self, x: Self::V) -> Self::V;
    /// `a * b` of `f32`.
    fn mul_f32(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a + b` of `f32`.
    fn add_f32(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b` of `f32`.
    fn sub_f32(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c` of `f32`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// `acc` plus the two products of signed 16-bit halves.
    fn dot_halves(self, acc: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Products of bytes: the weights `w` are signed and `x` unsigned if `SIGNED`, else the other way round. With
    /// [`Dots::Pairs16`] the result is two 16-bit sums, else one 32-bit sum.
    fn mul_bytes<const SIGNED: bool>(self, w: Self::V, x: Self::V) -> Self::V;
    /// [`Words::mul_bytes`] added to `acc`. The additions stay in the order written.
    fn dot_bytes<const SIGNED: bool>(self, acc: Self::V, w: Self::V, x: Self::V) -> Self::V;
}
