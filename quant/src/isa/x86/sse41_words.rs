//! Four words in a 128-bit register.

use std::arch::asm;
use std::arch::x86_64::*;

use super::Sse41;
use super::sse41_emulated::{f16_to_f32, fma};
use crate::isa::safe::operations;
use crate::isa::simd::{Dots, MAX_ROWS, Words};
use crate::isa::unroll::first;

type V = __m128i;

/// Keeps additions in the order written, as in `avx2`.
#[target_feature(enable = "ssse3,sse4.1")]
#[inline]
fn pin(mut x: V) -> V {
    // SAFETY: it does nothing; the value goes through one register.
    unsafe { asm!("/* {x} */", x = inout(xmm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

/// Lane `r` of vector `i` is word `i` of row `r`.
#[inline]
#[target_feature(enable = "ssse3,sse4.1")]
fn transpose(a: V, b: V, c: V, d: V) -> [V; 4] {
    let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
    let (ef, gh) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
    [_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd), _mm_unpacklo_epi64(ef, gh), _mm_unpackhi_epi64(ef, gh)]
}

/// Offsets of each lane's first byte, in each byte of the lane.
const FOUR: [i32; 4] = [0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c];

// SAFETY: `V` is a register of integers.
unsafe impl Words for Sse41 {
    type V = V;

    const N: usize = 4;
    const DOTS: Dots = Dots::Pairs16;
    const TILE_COLUMNS: usize = 3;

    operations! {
        splat_u32(x: u32) -> V = _mm_set1_epi32(x as i32);
        load_u32(x: &[u32; MAX_ROWS]) -> V = _mm_loadu_si128(x.as_ptr().cast());
        store_u32(x: V, out: &mut [u32; MAX_ROWS]) -> () = _mm_storeu_si128(out.as_mut_ptr().cast(), x);
        and(a: V, b: V) -> V = _mm_and_si128(a, b);
        or(a: V, b: V) -> V = _mm_or_si128(a, b);
        shl(x: V, n: u32) -> V = _mm_sll_epi32(x, _mm_cvtsi32_si128(n as i32));
        shr(x: V, n: u32) -> V = _mm_srl_epi32(x, _mm_cvtsi32_si128(n as i32));
        sar(x: V, n: u32) -> V = _mm_sra_epi32(x, _mm_cvtsi32_si128(n as i32));
        xor(a: V, b: V) -> V = _mm_xor_si128(a, b);
        min_bytes(a: V, b: V) -> V = _mm_min_epu8(a, b);
        spread(x: V, i: usize) -> V = {
            let first = _mm_setr_epi32(FOUR[0], FOUR[1], FOUR[2], FOUR[3]);
            _mm_shuffle_epi8(x, _mm_or_si128(_mm_set1_epi32(i as i32 * 0x0101_0101), first))
        };
        sub_bytes(a: V, b: V) -> V = _mm_sub_epi8(a, b);
        lookup(x: V, table: &[i8; 16]) -> V = _mm_shuffle_epi8(_mm_loadu_si128(table.as_ptr().cast()), x);
        even_bytes(x: V) -> V = _mm_srai_epi16::<8>(_mm_slli_epi16::<8>(x));
        odd_bytes(x: V) -> V = _mm_srai_epi16::<8>(x);
        mul_halves(a: V, b: V) -> V = _mm_mullo_epi16(a, b);
        add_u32(a: V, b: V) -> V = _mm_add_epi32(a, b);
        sub_u32(a: V, b: V) -> V = _mm_sub_epi32(a, b);
        mul_u32(a: V, b: V) -> V = _mm_mullo_epi32(a, b);
        add_bytes(acc: V, x: V) -> V = {
            let pairs = _mm_maddubs_epi16(_mm_set1_epi8(1), x);
            _mm_add_epi32(acc, _mm_madd_epi16(pairs, _mm_set1_epi16(1)))
        };
        f16_to_f32(x: V) -> V = _mm_castps_si128(f16_to_f32(x));
        halves(x: V) -> (V, V) =
            (_mm_castps_si128(f16_to_f32(x)), _mm_castps_si128(f16_to_f32(_mm_srli_epi32::<16>(x))));
        load_words(x: &[u8]) -> V = _mm_loadu_si128(first::<16>(x).as_ptr().cast());
        load_halves(x: &[u8]) -> V =
            _mm_castps_si128(f16_to_f32(_mm_cvtepu16_epi32(_mm_loadl_epi64(first::<8>(x).as_ptr().cast()))));
        i32_to_f32(x: V) -> V = _mm_castps_si128(_mm_cvtepi32_ps(x));
        mul_f32(a: V, b: V) -> V = _mm_castps_si128(_mm_mul_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b)));
        add_f32(a: V, b: V) -> V = _mm_castps_si128(_mm_add_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b)));
        sub_f32(a: V, b: V) -> V = _mm_castps_si128(_mm_sub_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b)));
        fma_f32(a: V, b: V, c: V) -> V =
            _mm_castps_si128(fma(_mm_castsi128_ps(a), _mm_castsi128_ps(b), _mm_castsi128_ps(c)));
        dot_halves(acc: V, a: V, b: V) -> V = pin(_mm_add_epi32(acc, _mm_madd_epi16(a, b)));
    }

    #[inline(always)]
    fn gather(self, rows: &[&[u8; 4]; MAX_ROWS]) -> V {
        // SAFETY: `self` proves that the CPU has these instructions; each row is read through its reference.
        unsafe {
            let x = _mm_cvtsi32_si128(i32::from_ne_bytes(*rows[0]));
            let x = _mm_insert_epi32::<1>(x, i32::from_ne_bytes(*rows[1]));
            let x = _mm_insert_epi32::<2>(x, i32::from_ne_bytes(*rows[2]));
            _mm_insert_epi32::<3>(x, i32::from_ne_bytes(*rows[3]))
        }
    }

    #[inline(always)]
    fn transpose_rows(self, rows: &[&[u8; 16]; MAX_ROWS]) -> [V; 4] {
        // No closures: they would be functions of their own, compiled without the instructions.
        macro_rules! row {
            ($r:literal) => {
                _mm_loadu_si128(rows[$r].as_ptr().cast())
            };
        }
        // SAFETY: `self` proves that the CPU has these instructions; each load reads 16 bytes from an array of 16.
        unsafe { transpose(row!(0), row!(1), row!(2), row!(3)) }
    }

    #[inline(always)]
    fn transpose_pairs(self, rows: &[[u64; 2]; MAX_ROWS]) -> [V; 4] {
        macro_rules! row {
            ($r:literal) => {
                _mm_set_epi64x(rows[$r][1] as i64, rows[$r][0] as i64)
            };
        }
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { transpose(row!(0), row!(1), row!(2), row!(3)) }
    }

    #[inline(always)]
    fn mul_bytes<const SIGNED: bool>(self, w: V, x: V) -> V {
        let (unsigned, signed) = if SIGNED { (x, w) } else { (w, x) };
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { pin(_mm_maddubs_epi16(unsigned, signed)) }
    }

    #[inline(always)]
    fn dot_bytes<const SIGNED: bool>(self, acc: V, w: V, x: V) -> V {
        let (unsigned, signed) = if SIGNED { (x, w) } else { (w, x) };
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { pin(_mm_add_epi16(acc, _mm_maddubs_epi16(unsigned, signed))) }
    }
}
