//! Sixteen lanes in one 512-bit register.

use std::arch::x86_64::*;

use super::Avx512;
use crate::isa::safe::methods;
use crate::isa::simd::{LANES, Lanes};

impl Lanes for Avx512 {
    type F = __m512;
    type I = __m512i;
    type K = __m512i;

    // 24 of 32 registers.
    const ACCS: usize = 24;
    const DOT_ACCS: usize = 24;

    #[inline(always)]
    fn shl_i<const N: i32>(self, x: __m512i) -> __m512i {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm512_sllv_epi32(x, _mm512_set1_epi32(N)) }
    }
    #[inline(always)]
    fn sar_i<const N: i32>(self, x: __m512i) -> __m512i {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm512_srav_epi32(x, _mm512_set1_epi32(N)) }
    }

    methods! {
        fn splat(x: f32) -> __m512 { _mm512_set1_ps(x) }
        fn load(x: &[f32; LANES]) -> __m512 { _mm512_loadu_ps(x.as_ptr()) }
        fn store(x: __m512, out: &mut [f32; LANES]) { _mm512_storeu_ps(out.as_mut_ptr(), x) }
        fn load_f32(x: &[u8; 64]) -> __m512 { _mm512_loadu_ps(x.as_ptr().cast()) }
        fn store_f32(x: __m512, out: &mut [u8; 64]) { _mm512_storeu_ps(out.as_mut_ptr().cast(), x) }
        fn load_f16(x: &[u8; 32]) -> __m512 { _mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())) }
        fn load_bf16(x: &[u8; 32]) -> __m512 {
            let x = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(x))
        }
        fn store_f16(x: __m512, out: &mut [u8; 32]) {
            const MODE: i32 = _MM_FROUND_TO_NEAREST_INT;
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_cvtps_ph::<MODE>(x))
        }
        fn load_i8(x: &[u8; LANES]) -> __m512 {
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(x.as_ptr().cast())))
        }
        fn load_nibbles(x: &[u8; 8], table: &[i8; 16]) -> __m512 {
            let x = _mm_loadl_epi64(x.as_ptr().cast());
            let q = _mm_and_si128(_mm_unpacklo_epi64(x, _mm_srli_epi16::<4>(x)), _mm_set1_epi8(15));
            let q = _mm_shuffle_epi8(_mm_loadu_si128(table.as_ptr().cast()), q);
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q))
        }

        fn add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn sub(a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
        fn mul(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn div(a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fn fma(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn max(a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        fn min(a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        fn if_less(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes)
        }
        fn sum(x: __m512) -> f32 {
            let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
        fn max_lane(x: __m512) -> f32 {
            let x = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
        fn unzip(a: __m512, b: __m512) -> (__m512, __m512) {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            (_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b))
        }
        fn zip(even: __m512, odd: __m512) -> (__m512, __m512) {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            (_mm512_permutex2var_ps(even, low, odd), _mm512_permutex2var_ps(even, high, odd))
        }
        fn transpose(x: &mut [__m512; LANES]) { *x = transpose(*x) }

        fn splat_i(x: i32) -> __m512i { _mm512_set1_epi32(x) }
        fn bits(x: __m512) -> __m512i { _mm512_castps_si512(x) }
        fn as_f32(x: __m512i) -> __m512 { _mm512_castsi512_ps(x) }
        fn add_i(a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi32(a, b) }
        fn sub_i(a: __m512i, b: __m512i) -> __m512i { _mm512_sub_epi32(a, b) }
        fn and_i(a: __m512i, b: __m512i) -> __m512i { _mm512_and_si512(a, b) }
        fn or_i(a: __m512i, b: __m512i) -> __m512i { _mm512_or_si512(a, b) }
        fn max_i(a: __m512i, b: __m512i) -> __m512i { _mm512_max_epi32(a, b) }
        fn max_lane_i(x: __m512i) -> i32 { _mm512_reduce_max_epi32(x) }
        fn to_f32(x: __m512i) -> __m512 { _mm512_cvtepi32_ps(x) }
        fn store_i8(x: __m512i, out: &mut [u8; LANES]) {
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(x))
        }
        fn if_within(start: i32, end: i32, yes: __m512, no: __m512) -> __m512 {
            let at = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let from_start = _mm512_cmpge_epi32_mask(at, _mm512_set1_epi32(start));
            let within = _mm512_mask_cmplt_epi32_mask(from_start, at, _mm512_set1_epi32(end));
            _mm512_mask_blend_ps(within, no, yes)
        }

        fn load_k(x: &[u8; 64]) -> __m512i { _mm512_loadu_si512(x.as_ptr().cast()) }
        fn dot_start(q_sum: i32) -> __m512i { _mm512_set1_epi32(-128 * q_sum) }
        fn dot4(acc: __m512i, k: __m512i, q: [u8; 4]) -> __m512i {
            _mm512_dpbusd_epi32(acc, k, _mm512_set1_epi32(i32::from_le_bytes(q)))
        }
    }
}

/// `x[i][j]` to `x[j][i]`: quads of rows are transposed within 128-bit parts, then the parts are.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(x: [__m512; LANES]) -> [__m512; LANES] {
    let mut quads = x;
    for i in (0..LANES).step_by(4) {
        let (a, b) = (_mm512_unpacklo_ps(x[i], x[i + 1]), _mm512_unpackhi_ps(x[i], x[i + 1]));
        let (c, d) = (_mm512_unpacklo_ps(x[i + 2], x[i + 3]), _mm512_unpackhi_ps(x[i + 2], x[i + 3]));
        quads[i] = _mm512_shuffle_ps::<0x44>(a, c);
        quads[i + 1] = _mm512_shuffle_ps::<0xee>(a, c);
        quads[i + 2] = _mm512_shuffle_ps::<0x44>(b, d);
        quads[i + 3] = _mm512_shuffle_ps::<0xee>(b, d);
    }
    let mut out = x;
    for i in 0..4 {
        // Part p of quads[4 g + i] holds row 4 p + i, columns 4 g ...
        let (a, b) = (quads[i], quads[4 + i]);
        let (c, d) = (quads[8 + i], quads[12 + i]);
        let (ab_even, ab_odd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        let (cd_even, cd_odd) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
        out[i] = _mm512_shuffle_f32x4::<0x88>(ab_even, cd_even);
        out[4 + i] = _mm512_shuffle_f32x4::<0x88>(ab_odd, cd_odd);
        out[8 + i] = _mm512_shuffle_f32x4::<0xdd>(ab_even, cd_even);
        out[12 + i] = _mm512_shuffle_f32x4::<0xdd>(ab_odd, cd_odd);
    }
    out
}
