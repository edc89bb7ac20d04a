//! Sixteen words in a 512-bit register.

use std::arch::asm;
use std::arch::x86_64::*;

use super::Avx512;
use crate::isa::safe::operations;
use crate::isa::simd::{Dots, MAX_ROWS, Words};
use crate::isa::unroll::first;

type V = __m512i;

/// Keeps operations in the order written, as in `avx2`.
#[target_feature(enable = "avx512f")]
#[inline]
fn pin(mut x: V) -> V {
    // SAFETY: it does nothing; the value goes through one register.
    unsafe { asm!("/* {x} */", x = inout(zmm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

/// `_mm512_dpwssd_epi32`, which the compiler would take apart into a multiplication and an addition.
#[target_feature(enable = "avx512vnni")]
#[inline]
fn dpwssd(mut acc: V, a: V, b: V) -> V {
    // SAFETY: it's one instruction on registers.
    unsafe {
        asm!("vpdpwssd {acc}, {a}, {b}", acc = inout(zmm_reg) acc, a = in(zmm_reg) a, b = in(zmm_reg) b,
            options(nomem, nostack, preserves_flags));
    }
    acc
}

/// Lane `r` of vector `i` is word `i` of row `r`, from rows `r`, `r + 4`, `r + 8`, `r + 12` in the quarters of vector `r`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(a: V, b: V, c: V, d: V) -> [V; 4] {
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (ef, gh) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ef, gh),
        _mm512_unpackhi_epi64(ef, gh),
    ]
}

// SAFETY: `V` is a register of integers.
unsafe impl Words for Avx512 {
    type V = V;

    const N: usize = 16;
    const DOTS: Dots = Dots::Quads32;
    const TILE_COLUMNS: usize = 6;

    operations! {
        splat_u32(x: u32) -> V = _mm512_set1_epi32(x as i32);
        load_u32(x: &[u32; MAX_ROWS]) -> V = _mm512_loadu_si512(x.as_ptr().cast());
        store_u32(x: V, out: &mut [u32; MAX_ROWS]) -> () = _mm512_storeu_si512(out.as_mut_ptr().cast(), x);
        and(a: V, b: V) -> V = _mm512_and_si512(a, b);
        or(a: V, b: V) -> V = _mm512_or_si512(a, b);
        shl(x: V, n: u32) -> V = _mm512_sllv_epi32(x, _mm512_set1_epi32(n as i32));
        shr(x: V, n: u32) -> V = _mm512_srlv_epi32(x, _mm512_set1_epi32(n as i32));
        sar(x: V, n: u32) -> V = _mm512_srav_epi32(x, _mm512_set1_epi32(n as i32));
        xor(a: V, b: V) -> V = _mm512_xor_si512(a, b);
        min_bytes(a: V, b: V) -> V = _mm512_min_epu8(a, b);
        spread(x: V, i: usize) -> V = {
            let first = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c));
            _mm512_shuffle_epi8(x, _mm512_or_si512(_mm512_set1_epi32(i as i32 * 0x0101_0101), first))
        };
        sub_bytes(a: V, b: V) -> V = _mm512_sub_epi8(a, b);
        lookup(x: V, table: &[i8; 16]) -> V =
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), x);
        even_bytes(x: V) -> V = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(x));
        odd_bytes(x: V) -> V = _mm512_srai_epi16::<8>(x);
        mul_halves(a: V, b: V) -> V = _mm512_mullo_epi16(a, b);
        add_u32(a: V, b: V) -> V = _mm512_add_epi32(a, b);
        sub_u32(a: V, b: V) -> V = _mm512_sub_epi32(a, b);
        mul_u32(a: V, b: V) -> V = _mm512_mullo_epi32(a, b);
        add_bytes(acc: V, x: V) -> V = _mm512_dpbusd_epi32(acc, _mm512_set1_epi8(1), x);
        f16_to_f32(x: V) -> V = _mm512_castps_si512(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(x)));
        halves(x: V) -> (V, V) = (
            _mm512_castps_si512(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(x))),
            _mm512_castps_si512(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(x)))),
        );
        load_words(x: &[u8]) -> V = _mm512_loadu_si512(first::<64>(x).as_ptr().cast());
        load_halves(x: &[u8]) -> V =
            _mm512_castps_si512(_mm512_cvtph_ps(_mm256_loadu_si256(first::<32>(x).as_ptr().cast())));
        i32_to_f32(x: V) -> V = _mm512_castps_si512(_mm512_cvtepi32_ps(x));
        mul_f32(a: V, b: V) -> V = _mm512_castps_si512(_mm512_mul_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
        add_f32(a: V, b: V) -> V = _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
        sub_f32(a: V, b: V) -> V = _mm512_castps_si512(_mm512_sub_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
        fma_f32(a: V, b: V, c: V) -> V = _mm512_castps_si512(_mm512_fmadd_ps(
            _mm512_castsi512_ps(a), _mm512_castsi512_ps(b), _mm512_castsi512_ps(c)));
        dot_halves(acc: V, a: V, b: V) -> V = dpwssd(acc, a, b);
    }

    #[inline(always)]
    fn gather(self, rows: &[&[u8; 4]; MAX_ROWS]) -> V {
        let mut words = [0; MAX_ROWS];
        for (word, row) in words.iter_mut().zip(rows) {
            *word = u32::from_le_bytes(**row);
        }
        self.load_u32(&words)
    }

    #[inline(always)]
    fn transpose_rows(self, rows: &[&[u8; 16]; MAX_ROWS]) -> [V; 4] {
        // No closures: they would be functions of their own, compiled without the instructions.
        macro_rules! row {
            ($r:expr) => {
                _mm_loadu_si128(rows[$r].as_ptr().cast())
            };
        }
        macro_rules! four {
            ($r:literal) => {{
                let x = _mm512_castsi128_si512(row!($r));
                let x = _mm512_inserti32x4::<1>(x, row!($r + 4));
                let x = _mm512_inserti32x4::<2>(x, row!($r + 8));
                _mm512_inserti32x4::<3>(x, row!($r + 12))
            }};
        }
        // SAFETY: `self` proves that the CPU has these instructions; each load reads 16 bytes from an array of 16.
        unsafe { transpose(four!(0), four!(1), four!(2), four!(3)) }
    }

    #[inline(always)]
    fn transpose_pairs(self, rows: &[[u64; 2]; MAX_ROWS]) -> [V; 4] {
        macro_rules! four {
            ($r:literal) => {{
                let (a, b, c, d) = (rows[$r], rows[$r + 4], rows[$r + 8], rows[$r + 12]);
                _mm512_setr_epi64(
                    a[0] as i64,
                    a[1] as i64,
                    b[0] as i64,
                    b[1] as i64,
                    c[0] as i64,
                    c[1] as i64,
                    d[0] as i64,
                    d[1] as i64,
                )
            }};
        }
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { transpose(four!(0), four!(1), four!(2), four!(3)) }
    }

    #[inline(always)]
    fn mul_bytes<const SIGNED: bool>(self, w: V, x: V) -> V {
        // SAFETY: `self` proves that the CPU has these instructions.
        self.dot_bytes::<SIGNED>(unsafe { _mm512_setzero_si512() }, w, x)
    }

    #[inline(always)]
    fn dot_bytes<const SIGNED: bool>(self, acc: V, w: V, x: V) -> V {
        let (unsigned, signed) = if SIGNED { (x, w) } else { (w, x) };
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { pin(_mm512_dpbusd_epi32(acc, unsigned, signed)) }
    }
}
