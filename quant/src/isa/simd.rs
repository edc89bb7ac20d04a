//! The vectors that all kernels are written on, once.
//!
//! A *token* is a value that proves that the CPU has an instruction set. Its operations come in two sets: [`Lanes`], sixteen
//! `f32` or `i32` (norms, attention, float weights), and [`Words`], 4-byte words with one row of weights per lane (products of
//! quantized weights), to which [`RowDots`] adds the products for a few columns. Every operation has one exact meaning
//! (wrapping integers, IEEE single precision rounded once, each reduction one fixed tree): the scalar token's. So a kernel
//! gives the same bits on all of them.

use super::caches::LINE;

/// Values in a vector of [`Lanes`].
pub(crate) const LANES: usize = 16;

/// The largest number of rows that a vector of [`Words`] has on any instruction set.
pub(crate) const MAX_ROWS: usize = 16;

/// An operation with its arguments, generic over the token that it runs with.
pub(crate) trait Kernel {
    /// What it returns.
    type Out;
    /// Runs it. Implementations are `#[inline(always)]`, so that they are compiled for the instruction set of `S`.
    fn run<S: Simd>(self, s: S) -> Self::Out;
}

/// An operation with its arguments, for the token `S`.
pub(crate) trait Task<S> {
    /// What it returns.
    type Out;
    /// Runs it; `#[inline(always)]` as [`Kernel::run`].
    fn run(self, s: S) -> Self::Out;
}

impl<S: Simd, K: Kernel> Task<S> for K {
    type Out = K::Out;

    #[inline(always)]
    fn run(self, s: S) -> K::Out {
        Kernel::run(self, s)
    }
}

/// Proof that the CPU has an instruction set: only what has seen that it does makes one (`isa::levels`).
pub(crate) trait Token: Copy {
    /// What a computer lacks that has nothing better, and what comes of it, as a person is told; `None` where it lacks nothing.
    const LACKS: Option<&'static str> = None;

    /// Whether this CPU has it.
    fn supported() -> bool;

    /// The proof.
    ///
    /// # Safety
    /// The CPU must have what the type says.
    unsafe fn new() -> Self;

    /// Calls `task` as a function of its own, compiled for this instruction set.
    fn vectorize<T: Task<Self>>(self, task: T) -> T::Out;

    /// Prefetches a cache line. Any address will do.
    fn prefetch(self, line: *const u8);

    /// Prefetches the lines `ahead` bytes past those of `memory`, wherever that is.
    #[inline(always)]
    fn prefetch_all<T>(self, memory: &[T], ahead: usize) {
        let start: *const u8 = memory.as_ptr().cast();
        for at in (0..size_of_val(memory)).step_by(LINE) {
            self.prefetch(start.wrapping_add(ahead + at));
        }
    }

    /// Reads all of `buffer`, as fast as the CPU can.
    fn read(self, buffer: &[u8]) -> u64 {
        read_words(buffer)
    }

    /// See [`crate::ceiling::multiply`].
    fn multiply(self, rounds: usize) -> (u64, i32);
}

/// Accumulators that hide the latency of a multiply-add.
pub(super) const CHAINS: usize = 12;

/// The wrapping sum of the words of 8 bytes in `buffer`, and of the bytes left over.
pub(super) fn read_words(buffer: &[u8]) -> u64 {
    let (words, rest) = buffer.as_chunks::<8>();
    let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, &byte| sum.wrapping_add(u64::from(byte)))
}

/// A token with both sets of operations.
pub(crate) trait Simd: Lanes + Words {
    /// The token for products with a few columns of rows that lie one after the other.
    type Few: RowDots;
    /// That token.
    fn few(self) -> Self::Few;
}

/// Vectors of 16 lanes on one instruction set. A value of the implementing type proves that the CPU has it.
pub(crate) trait Lanes: Token {
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
    /// `table[q]` as f32, where `q` are the low nibbles of eight bytes, and then their high nibbles.
    fn load_nibbles(self, x: &[u8; 8], table: &[i8; 16]) -> Self::F;

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
    fn shl_i<const N: i32>(self, x: Self::I) -> Self::I;
    /// `x >> N`, copies of the sign coming in.
    fn sar_i<const N: i32>(self, x: Self::I) -> Self::I;
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

/// How an instruction set multiplies bytes: it decides how a panel is laid out.
#[allow(dead_code, reason = "no architecture has all of them")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dots {
    /// No product of bytes worth using: weights are widened to 16 bits.
    None,
    /// Unsigned times signed bytes, pairs added up in 16 bits.
    Pairs16,
    /// Unsigned times signed bytes, four products added to 32 bits.
    Quads32,
    /// Signed times signed bytes, four products added to 32 bits.
    Signed32,
    /// Signed times signed bytes, two rows times two columns of eight ([`Words::dot_tiles`]). Vectors have four words.
    Tiles32,
}

/// Vectors of words on one instruction set. A value of the implementing type proves that the CPU has it.
///
/// # Safety
/// [`Words::V`] is plain data: any initialized bytes are a value of it (buffers of bytes are seen as vectors), it has no
/// padding, and its alignment is at most a cache line.
pub(crate) unsafe trait Words: Token {
    /// `N` words; any bits are a value.
    type V: Copy;

    /// Lanes.
    const N: usize;
    /// How bytes are multiplied.
    const DOTS: Dots;
    /// Columns that the register tile of a panel takes (of two vectors of rows), at most 8.
    const TILE_COLUMNS: usize;

    /// `x` in every lane.
    fn splat_u32(self, x: u32) -> Self::V;
    /// The first `N` of these words.
    fn load_u32(self, x: &[u32; MAX_ROWS]) -> Self::V;
    /// The inverse of [`Words::load_u32`]; the rest stays.
    fn store_u32(self, x: Self::V, out: &mut [u32; MAX_ROWS]);
    /// Lane `r` is the 4 bytes of row `r`, for the first `N` rows.
    fn gather(self, rows: &[&[u8; 4]; MAX_ROWS]) -> Self::V;
    /// Lane `r` of vector `i` is bytes `4 i..4 i + 4` of row `r`, for the first `N` rows.
    fn transpose_rows(self, rows: &[&[u8; 16]; MAX_ROWS]) -> [Self::V; 4];
    /// As [`Words::transpose_rows`] of rows that were just put together from two little-endian halves.
    fn transpose_pairs(self, rows: &[[u64; 2]; MAX_ROWS]) -> [Self::V; 4];
    /// The `N` words at the start of `x`.
    ///
    /// # Panics
    /// When there are fewer; so do the halves.
    fn load_words(self, x: &[u8]) -> Self::V;
    /// The `N` f16 at the start of `x`, as f32.
    fn load_halves(self, x: &[u8]) -> Self::V;

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
    /// `a ^ b`.
    fn xor(self, a: Self::V, b: Self::V) -> Self::V;
    /// Wrapping difference of bytes.
    fn sub_bytes(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller byte, unsigned.
    fn min_bytes(self, a: Self::V, b: Self::V) -> Self::V;
    /// Byte `i` of each word, in all four places.
    fn spread(self, x: Self::V, i: usize) -> Self::V;
    /// `table[b]` for each byte `b < 16`.
    fn lookup(self, x: Self::V, table: &[i8; 16]) -> Self::V;
    /// Signed bytes 0 and 2 of each word, as 16-bit halves.
    fn even_bytes(self, x: Self::V) -> Self::V;
    /// Signed bytes 1 and 3 of each word, as 16-bit halves.
    fn odd_bytes(self, x: Self::V) -> Self::V;
    /// Wrapping products of 16-bit halves.
    fn mul_halves(self, a: Self::V, b: Self::V) -> Self::V;
    /// Wrapping sum of words.
    fn add_u32(self, a: Self::V, b: Self::V) -> Self::V;
    /// Wrapping difference of words.
    fn sub_u32(self, a: Self::V, b: Self::V) -> Self::V;
    /// Wrapping product of words.
    fn mul_u32(self, a: Self::V, b: Self::V) -> Self::V;
    /// `acc` plus the sum of the word's signed bytes.
    fn add_bytes(self, acc: Self::V, x: Self::V) -> Self::V;

    /// The lower half of each word, an f16, as f32.
    fn f16_to_f32(self, x: Self::V) -> Self::V;
    /// Both halves of each word, f16, as f32: lower, upper.
    fn halves(self, x: Self::V) -> (Self::V, Self::V);
    /// `x as f32` of an `i32`, half to even.
    fn i32_to_f32(self, x: Self::V) -> Self::V;
    /// `a * b` of `f32`.
    fn mul_f32(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a + b` of `f32`.
    fn add_f32(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b` of `f32`.
    fn sub_f32(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c` of `f32`, rounded once.
    fn fma_f32(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// `acc` plus the two products of signed 16-bit halves.
    fn dot_halves(self, acc: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Products of bytes: the weights `w` are signed and `x` unsigned if `SIGNED`, else the other way round; with
    /// [`Dots::Signed32`] and [`Dots::Tiles32`] both are signed. With [`Dots::Pairs16`] the result is two 16-bit sums, else one 32-bit sum.
    fn mul_bytes<const SIGNED: bool>(self, w: Self::V, x: Self::V) -> Self::V;
    /// [`Words::mul_bytes`] added to `acc`. The additions stay in the order written.
    fn dot_bytes<const SIGNED: bool>(self, acc: Self::V, w: Self::V, x: Self::V) -> Self::V;

    /// The words of `a` and `b` in turn: their first halves, their second halves.
    #[inline(always)]
    fn zip_words(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        let (a, b) = (words(self, a), words(self, b));
        [0, Self::N / 2].map(|from| {
            let word = |i: usize| if i.is_multiple_of(2) { a[from + i / 2] } else { b[from + i / 2] };
            self.load_u32(&std::array::from_fn(|i| if i < Self::N { word(i) } else { 0 }))
        })
    }
    /// The inverse of [`Words::zip_words`].
    #[inline(always)]
    fn unzip_words(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        let (a, b) = (words(self, a), words(self, b));
        [0, 1].map(|odd| {
            let word = |i: usize| if i < Self::N { a[i] } else { b[i - Self::N] };
            self.load_u32(&std::array::from_fn(|i| if i < Self::N { word(2 * i + odd) } else { 0 }))
        })
    }
    /// `acc` plus products of signed bytes: of every four words, the first two of `w` are a row and the others the next one, those of
    /// `x` two columns; the sums are (row 0, column 0), (row 0, column 1), (row 1, column 0), (row 1, column 1). The additions
    /// stay in the order written.
    #[inline(always)]
    fn dot_tiles(self, acc: Self::V, w: Self::V, x: Self::V) -> Self::V {
        tiles(self, acc, w, x)
    }
}

/// The words of a vector; the rest is zero.
#[inline(always)]
fn words<S: Words>(s: S, x: S::V) -> [u32; MAX_ROWS] {
    let mut out = [0; MAX_ROWS];
    s.store_u32(x, &mut out);
    out
}

/// What [`Words::dot_tiles`] means.
#[inline(always)]
pub(super) fn tiles<S: Words>(s: S, acc: S::V, w: S::V, x: S::V) -> S::V {
    let (mut acc, w, x) = (words(s, acc), words(s, w), words(s, x));
    let dot = |a: u32, b: u32| {
        let products =
            a.to_le_bytes().into_iter().zip(b.to_le_bytes()).map(|(a, b)| i32::from(a as i8) * i32::from(b as i8));
        products.sum::<i32>() as u32
    };
    for (i, acc) in acc.iter_mut().enumerate().take(S::N) {
        let (tile, row, column) = (i / 4 * 4, i % 4 / 2 * 2, i % 2 * 2);
        let sum = dot(w[tile + row], x[tile + column]).wrapping_add(dot(w[tile + row + 1], x[tile + column + 1]));
        *acc = acc.wrapping_add(sum);
    }
    s.load_u32(&acc)
}

/// Products of words of weights, in registers, with activations that all rows share: four bytes of a column, none of which
/// is -128.
pub(crate) trait RowDots: Words {
    /// What [`RowDots::signed`] adds to signed bytes: products come out too large by this times the sum of the activations.
    const SIGNED_BIAS: i32;

    /// Signed bytes as [`RowDots::dot_signed`] wants them.
    fn signed(self, x: Self::V) -> Self::V;
    /// `acc` plus the products of unsigned bytes, all at most `max`, and the activations.
    fn dot<const N: usize>(self, acc: Self::V, q: &[Self::V; N], max: u8, a: &[[i8; 4]; N]) -> Self::V;
    /// `acc` plus the products of [`RowDots::signed`] bytes and the activations.
    fn dot_signed<const N: usize>(self, acc: Self::V, q: &[Self::V; N], a: &[[i8; 4]; N]) -> Self::V;
    /// `acc` plus `scale` times [`RowDots::dot`].
    fn dot_scaled<const N: usize>(
        self,
        acc: Self::V,
        q: &[Self::V; N],
        max: u8,
        a: &[[i8; 4]; N],
        scale: Self::V,
    ) -> Self::V;
    /// `acc` plus `scale` times [`RowDots::dot_signed`].
    fn dot_signed_scaled<const N: usize>(
        self,
        acc: Self::V,
        q: &[Self::V; N],
        a: &[[i8; 4]; N],
        scale: Self::V,
    ) -> Self::V;
    /// The signed byte `i` of each lane, as [`RowDots::dot_scaled`] wants it.
    fn scale(self, x: Self::V, i: usize) -> Self::V;
    /// `acc` plus the products of both 16-bit halves with a pair of sums.
    fn weigh(self, acc: Self::V, x: Self::V, sums: [i16; 2]) -> Self::V;
    /// `x`, which the compiler cannot look into before `sum` is known: what is loaded for a later step then stays behind an
    /// earlier one, rather than being loaded with all the rest, and spilled.
    fn pin<'a, T>(self, x: &'a T, sum: &mut Self::V) -> &'a T;
}

/// `x` as a full vector, `pad` past its end.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::isa::dispatch::dispatch;
    use crate::testing::Rng;

    /// What products by tiles are made of, from two vectors and a sum.
    struct Tiled([[u32; MAX_ROWS]; 3]);

    impl Kernel for Tiled {
        type Out = (usize, [[u32; MAX_ROWS]; 5]);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Out {
            let [acc, a, b] = self.0.map(|words| s.load_u32(&words));
            let [low, high] = s.zip_words(a, b);
            let [even, odd] = s.unzip_words(a, b);
            (S::N, [low, high, even, odd, s.dot_tiles(acc, a, b)].map(|x| words(s, x)))
        }
    }

    #[test]
    fn tiles_are_products_of_two_rows_and_two_columns() {
        let mut rng = Rng::new(3);
        for isa in Isa::available() {
            for round in 0..50 {
                let mut random = || std::array::from_fn(|_| if round == 0 { 0x8081_807f } else { rng.bits() as u32 });
                let (acc, a, b): ([u32; MAX_ROWS], [u32; MAX_ROWS], [u32; MAX_ROWS]) = (random(), random(), random());
                let (n, [low, high, even, odd, sums]) = dispatch(isa, Tiled([acc, a, b]));
                let byte = |x: &[u32; MAX_ROWS], at: usize| i64::from(x[at / 4].to_le_bytes()[at % 4] as i8);
                for i in 0..n {
                    let from = |half: usize| if i % 2 == 0 { a[half + i / 2] } else { b[half + i / 2] };
                    assert_eq!((low[i], high[i]), (from(0), from(n / 2)), "{isa:?}: zipped word {i}");
                    let [from_even, from_odd] =
                        [0, 1].map(|odd| if i < n / 2 { a[2 * i + odd] } else { b[2 * i + odd - n] });
                    assert_eq!((even[i], odd[i]), (from_even, from_odd), "{isa:?}: unzipped word {i}");
                    let (tile, row, column) = (i / 4 * 16, i % 4 / 2 * 8, i % 2 * 8);
                    let dot: i64 = (0..8).map(|k| byte(&a, tile + row + k) * byte(&b, tile + column + k)).sum();
                    assert_eq!(sums[i], acc[i].wrapping_add(dot as u32), "{isa:?}: sum {i}");
                }
            }
        }
    }
}
