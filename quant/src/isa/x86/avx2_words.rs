//! Eight words in a 256-bit register.

use std::arch::asm;
use std::arch::x86_64::*;

use super::Avx2;
use super::dots::{dpbusd, dpwssd_whole};
use crate::isa::safe::operations;
use crate::isa::simd::{Dots, MAX_ROWS, Words};
use crate::isa::unroll::{eight, first};

type V = __m256i;

/// Keeps additions in the order written (the assembler code counts as having an effect): otherwise the compiler rearranges
/// them into trees, or column by column, and spills.
#[target_feature(enable = "avx2")]
#[inline]
fn pin(mut x: V) -> V {
    // SAFETY: it does nothing; the value goes through one register.
    unsafe { asm!("/* {x} */", x = inout(ymm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

/// `x`, without the compiler knowing how it was made. Broadcast loads that are blended afterwards are else taken apart into
/// insertions one by one, and those into registers that hold the sums of the last block: blocks would wait for each other.
#[inline]
#[target_feature(enable = "avx2")]
fn opaque(mut x: __m256i) -> __m256i {
    // SAFETY: no instruction is emitted.
    unsafe { asm!("/* {0} */", inout(ymm_reg) x, options(pure, nomem, nostack, preserves_flags)) };
    x
}

/// Lane `r` of vector `i` is word `i` of row `r`, from rows `r` and `r + 4` in the two halves of vector `r`.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(a: V, b: V, c: V, d: V) -> [V; 4] {
    let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
    let (ef, gh) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(ab, cd),
        _mm256_unpackhi_epi64(ab, cd),
        _mm256_unpacklo_epi64(ef, gh),
        _mm256_unpackhi_epi64(ef, gh),
    ]
}

/// In each half of the register: the four lower halves of the words, then the four upper ones.
#[inline]
#[target_feature(enable = "avx2")]
fn order() -> V {
    _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15))
}

/// Offsets of a lane's first byte inside its half register, in each byte of the lane.
const FOUR: [i32; 4] = [0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c];

// SAFETY: `V` is a register of integers.
unsafe impl<const DOT: u8> Words for Avx2<DOT> {
    type V = V;

    const N: usize = 8;
    const DOTS: Dots = if Self::VNNI { Dots::Quads32 } else { Dots::Pairs16 };
    const TILE_COLUMNS: usize = 3;

    operations! {
        splat_u32(x: u32) -> V = _mm256_set1_epi32(x as i32);
        load_u32(x: &[u32; MAX_ROWS]) -> V = _mm256_loadu_si256(x.as_ptr().cast());
        store_u32(x: V, out: &mut [u32; MAX_ROWS]) -> () = _mm256_storeu_si256(out.as_mut_ptr().cast(), x);
        and(a: V, b: V) -> V = _mm256_and_si256(a, b);
        or(a: V, b: V) -> V = _mm256_or_si256(a, b);
        shl(x: V, n: u32) -> V = _mm256_sllv_epi32(x, _mm256_set1_epi32(n as i32));
        shr(x: V, n: u32) -> V = _mm256_srlv_epi32(x, _mm256_set1_epi32(n as i32));
        sar(x: V, n: u32) -> V = _mm256_srav_epi32(x, _mm256_set1_epi32(n as i32));
        xor(a: V, b: V) -> V = _mm256_xor_si256(a, b);
        min_bytes(a: V, b: V) -> V = _mm256_min_epu8(a, b);
        spread(x: V, i: usize) -> V = {
            let first = _mm256_setr_epi32(FOUR[0], FOUR[1], FOUR[2], FOUR[3], FOUR[0], FOUR[1], FOUR[2], FOUR[3]);
            _mm256_shuffle_epi8(x, _mm256_or_si256(_mm256_set1_epi32(i as i32 * 0x0101_0101), first))
        };
        sub_bytes(a: V, b: V) -> V = _mm256_sub_epi8(a, b);
        lookup(x: V, table: &[i8; 16]) -> V =
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())), x);
        even_bytes(x: V) -> V = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x));
        odd_bytes(x: V) -> V = _mm256_srai_epi16::<8>(x);
        mul_halves(a: V, b: V) -> V = _mm256_mullo_epi16(a, b);
        add_u32(a: V, b: V) -> V = _mm256_add_epi32(a, b);
        sub_u32(a: V, b: V) -> V = _mm256_sub_epi32(a, b);
        mul_u32(a: V, b: V) -> V = _mm256_mullo_epi32(a, b);
        add_bytes(acc: V, x: V) -> V = {
            let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), x);
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        };
        f16_to_f32(x: V) -> V = {
            let x = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(x, order()));
            _mm256_castps_si256(_mm256_cvtph_ps(_mm256_castsi256_si128(x)))
        };
        halves(x: V) -> (V, V) = {
            let x = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(x, order()));
            (
                _mm256_castps_si256(_mm256_cvtph_ps(_mm256_castsi256_si128(x))),
                _mm256_castps_si256(_mm256_cvtph_ps(_mm256_extracti128_si256::<1>(x))),
            )
        };
        load_words(x: &[u8]) -> V = _mm256_loadu_si256(first::<32>(x).as_ptr().cast());
        load_halves(x: &[u8]) -> V =
            _mm256_castps_si256(_mm256_cvtph_ps(_mm_loadu_si128(first::<16>(x).as_ptr().cast())));
        i32_to_f32(x: V) -> V = _mm256_castps_si256(_mm256_cvtepi32_ps(x));
        mul_f32(a: V, b: V) -> V = _mm256_castps_si256(_mm256_mul_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)));
        add_f32(a: V, b: V) -> V = _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)));
        sub_f32(a: V, b: V) -> V = _mm256_castps_si256(_mm256_sub_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)));
        fma_f32(a: V, b: V, c: V) -> V = _mm256_castps_si256(_mm256_fmadd_ps(
            _mm256_castsi256_ps(a), _mm256_castsi256_ps(b), _mm256_castsi256_ps(c)));
        dot_halves(acc: V, a: V, b: V) -> V = if Self::VNNI {
            dpwssd_whole::<DOT>(acc, a, b)
        } else {
            pin(_mm256_add_epi32(acc, _mm256_madd_epi16(a, b)))
        };
    }

    #[inline(always)]
    fn gather(self, rows: &[&[u8; 4]; MAX_ROWS]) -> V {
        // SAFETY: `self` proves that the CPU has these instructions; each row is read through its reference.
        unsafe {
            // Broadcast loads and blends: neither needs the port that shuffles do.
            let w = eight!(r => opaque(_mm256_set1_epi32(i32::from_ne_bytes(*rows[r]))));
            let (a, b) = (_mm256_blend_epi32::<2>(w[0], w[1]), _mm256_blend_epi32::<8>(w[2], w[3]));
            let (c, d) = (_mm256_blend_epi32::<32>(w[4], w[5]), _mm256_blend_epi32::<128>(w[6], w[7]));
            let (ab, cd) = (_mm256_blend_epi32::<12>(a, b), _mm256_blend_epi32::<192>(c, d));
            _mm256_blend_epi32::<240>(ab, cd)
        }
    }

    #[inline(always)]
    fn transpose_rows(self, rows: &[&[u8; 16]; MAX_ROWS]) -> [V; 4] {
        // No closures: they would be functions of their own, compiled without the instructions.
        macro_rules! two {
            ($r:literal) => {
                _mm256_loadu2_m128i(rows[$r + 4].as_ptr().cast(), rows[$r].as_ptr().cast())
            };
        }
        // SAFETY: `self` proves that the CPU has these instructions; each load reads 16 bytes from an array of 16.
        unsafe { transpose(two!(0), two!(1), two!(2), two!(3)) }
    }

    #[inline(always)]
    fn transpose_pairs(self, rows: &[[u64; 2]; MAX_ROWS]) -> [V; 4] {
        macro_rules! two {
            ($r:literal) => {{
                let (a, b) = (rows[$r], rows[$r + 4]);
                _mm256_set_epi64x(b[1] as i64, b[0] as i64, a[1] as i64, a[0] as i64)
            }};
        }
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { transpose(two!(0), two!(1), two!(2), two!(3)) }
    }

    #[inline(always)]
    fn mul_bytes<const SIGNED: bool>(self, w: V, x: V) -> V {
        let (unsigned, signed) = if SIGNED { (x, w) } else { (w, x) };
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            if Self::VNNI {
                pin(dpbusd::<DOT>(_mm256_setzero_si256(), unsigned, signed))
            } else {
                pin(_mm256_maddubs_epi16(unsigned, signed))
            }
        }
    }

    #[inline(always)]
    fn dot_bytes<const SIGNED: bool>(self, acc: V, w: V, x: V) -> V {
        let (unsigned, signed) = if SIGNED { (x, w) } else { (w, x) };
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            if Self::VNNI {
                pin(dpbusd::<DOT>(acc, unsigned, signed))
            } else {
                pin(_mm256_add_epi16(acc, _mm256_maddubs_epi16(unsigned, signed)))
            }
        }
    }
}
