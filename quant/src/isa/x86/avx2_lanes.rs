//! Sixteen lanes in two 256-bit registers.

use std::arch::x86_64::*;

use super::Avx2;
use super::dots::dpbusd;
use crate::isa::safe::methods;
use crate::isa::simd::{LANES, Lanes};

type F = [__m256; 2];
type I = [__m256i; 2];

/// 64 bytes, each plus 128; as they are, and as sign and magnitude (what's unused isn't computed).
#[derive(Clone, Copy)]
pub(in crate::isa) struct Groups256 {
    offset: I,
    signed: I,
    magnitude: I,
}

impl<const DOT: u8> Lanes for Avx2<DOT> {
    type F = F;
    type I = I;
    type K = Groups256;

    // 5 are 10 of 16 registers; with 12, products would spill.
    const ACCS: usize = 5;
    const DOT_ACCS: usize = if Self::VNNI { 6 } else { 4 };

    methods! {
        fn splat(x: f32) -> F { [_mm256_set1_ps(x); 2] }
        fn load(x: &[f32; LANES]) -> F {
            [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x[8..].as_ptr())]
        }
        fn store(x: F, out: &mut [f32; LANES]) {
            _mm256_storeu_ps(out.as_mut_ptr(), x[0]);
            _mm256_storeu_ps(out[8..].as_mut_ptr(), x[1]);
        }
        fn load_f32(x: &[u8; 64]) -> F {
            [_mm256_loadu_ps(x.as_ptr().cast()), _mm256_loadu_ps(x[32..].as_ptr().cast())]
        }
        fn store_f32(x: F, out: &mut [u8; 64]) {
            _mm256_storeu_ps(out.as_mut_ptr().cast(), x[0]);
            _mm256_storeu_ps(out[32..].as_mut_ptr().cast(), x[1]);
        }
        fn load_f16(x: &[u8; 32]) -> F {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(x[16..].as_ptr().cast())),
            ]
        }
        fn load_bf16(x: &[u8; 32]) -> F {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(x.as_ptr().cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(x[16..].as_ptr().cast()));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            ]
        }
        fn store_f16(x: F, out: &mut [u8; 32]) {
            const MODE: i32 = _MM_FROUND_TO_NEAREST_INT;
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_cvtps_ph::<MODE>(x[0]));
            _mm_storeu_si128(out[16..].as_mut_ptr().cast(), _mm256_cvtps_ph::<MODE>(x[1]));
        }
        fn load_i8(x: &[u8; LANES]) -> F {
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(x.as_ptr().cast()))),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(x[8..].as_ptr().cast()))),
            ]
        }
        fn load_nibbles(x: &[u8; 8], table: &[i8; 16]) -> F {
            let x = _mm_loadl_epi64(x.as_ptr().cast());
            let q = _mm_and_si128(_mm_unpacklo_epi64(x, _mm_srli_epi16::<4>(x)), _mm_set1_epi8(15));
            let q = _mm_shuffle_epi8(_mm_loadu_si128(table.as_ptr().cast()), q);
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(q, q))),
            ]
        }

        fn add(a: F, b: F) -> F { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
        fn sub(a: F, b: F) -> F { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
        fn mul(a: F, b: F) -> F { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        fn div(a: F, b: F) -> F { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
        fn fma(a: F, b: F, c: F) -> F { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
        fn max(a: F, b: F) -> F { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
        fn min(a: F, b: F) -> F { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
        fn if_less(a: F, b: F, yes: F, no: F) -> F {
            let less = [_mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0]), _mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1])];
            [_mm256_blendv_ps(no[0], yes[0], less[0]), _mm256_blendv_ps(no[1], yes[1], less[1])]
        }
        fn sum(x: F) -> f32 {
            let x = _mm256_add_ps(x[0], x[1]);
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
        fn max_lane(x: F) -> f32 {
            let x = _mm256_max_ps(x[0], x[1]);
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
        fn unzip(a: F, b: F) -> (F, F) {
            let (even_a, odd_a) = unzip8(a);
            let (even_b, odd_b) = unzip8(b);
            ([even_a, even_b], [odd_a, odd_b])
        }
        fn zip(even: F, odd: F) -> (F, F) {
            (zip8(even[0], odd[0]), zip8(even[1], odd[1]))
        }
        fn transpose(x: &mut [F; LANES]) {
            let old = *x;
            for (rows, columns) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let block = transpose8(std::array::from_fn(|i| old[rows * 8 + i][columns]));
                for (i, row) in block.into_iter().enumerate() {
                    x[columns * 8 + i][rows] = row;
                }
            }
        }

        fn splat_i(x: i32) -> I { [_mm256_set1_epi32(x); 2] }
        fn bits(x: F) -> I { [_mm256_castps_si256(x[0]), _mm256_castps_si256(x[1])] }
        fn as_f32(x: I) -> F { [_mm256_castsi256_ps(x[0]), _mm256_castsi256_ps(x[1])] }
        fn add_i(a: I, b: I) -> I { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
        fn sub_i(a: I, b: I) -> I { [_mm256_sub_epi32(a[0], b[0]), _mm256_sub_epi32(a[1], b[1])] }
        fn and_i(a: I, b: I) -> I { [_mm256_and_si256(a[0], b[0]), _mm256_and_si256(a[1], b[1])] }
        fn or_i(a: I, b: I) -> I { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
        fn max_i(a: I, b: I) -> I { [_mm256_max_epi32(a[0], b[0]), _mm256_max_epi32(a[1], b[1])] }
        fn max_lane_i(x: I) -> i32 {
            let x = _mm256_max_epi32(x[0], x[1]);
            let x = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            let x = _mm_max_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
            _mm_cvtsi128_si32(_mm_max_epi32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x)))
        }
        fn shl_i<const N: i32>(x: I) -> I { [_mm256_slli_epi32::<N>(x[0]), _mm256_slli_epi32::<N>(x[1])] }
        fn sar_i<const N: i32>(x: I) -> I { [_mm256_srai_epi32::<N>(x[0]), _mm256_srai_epi32::<N>(x[1])] }
        fn to_f32(x: I) -> F { [_mm256_cvtepi32_ps(x[0]), _mm256_cvtepi32_ps(x[1])] }
        fn store_i8(x: I, out: &mut [u8; LANES]) {
            // The low bytes of each half's 4 lanes to the half's first 4 bytes, then the halves together.
            let pick = _mm256_set1_epi64x(0x0c08_0400);
            for (x, out) in x.into_iter().zip(out.as_chunks_mut::<8>().0) {
                let picked = _mm256_shuffle_epi8(x, pick);
                let (low, high) = (_mm256_castsi256_si128(picked), _mm256_extracti128_si256::<1>(picked));
                _mm_storel_epi64(out.as_mut_ptr().cast(), _mm_unpacklo_epi32(low, high));
            }
        }
        fn if_within(start: i32, end: i32, yes: F, no: F) -> F {
            let first = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            [
                if_within8(first, start, end, yes[0], no[0]),
                if_within8(_mm256_add_epi32(first, _mm256_set1_epi32(8)), start, end, yes[1], no[1]),
            ]
        }

        fn load_k(x: &[u8; 64]) -> Groups256 {
            let offset = [_mm256_loadu_si256(x.as_ptr().cast()), _mm256_loadu_si256(x[32..].as_ptr().cast())];
            let flip = _mm256_set1_epi8(-128);
            let signed = [_mm256_xor_si256(offset[0], flip), _mm256_xor_si256(offset[1], flip)];
            Groups256 { offset, signed, magnitude: [_mm256_abs_epi8(signed[0]), _mm256_abs_epi8(signed[1])] }
        }
        fn dot_start(q_sum: i32) -> I {
            if Self::VNNI { [_mm256_set1_epi32(-128 * q_sum); 2] } else { [_mm256_setzero_si256(); 2] }
        }
        fn dot4(acc: I, k: Groups256, q: [u8; 4]) -> I {
            let q = _mm256_set1_epi32(i32::from_le_bytes(q));
            if Self::VNNI {
                [
                    dpbusd::<DOT>(acc[0], k.offset[0], q),
                    dpbusd::<DOT>(acc[1], k.offset[1], q),
                ]
            } else {
                [
                    dot_signed(acc[0], k.magnitude[0], k.signed[0], q),
                    dot_signed(acc[1], k.magnitude[1], k.signed[1], q),
                ]
            }
        }
    }
}

/// `acc + |k| * (q with k's sign)`; a pair is at most 2 * 128 * 127, so the 16-bit sums don't saturate.
#[target_feature(enable = "avx2")]
#[inline]
fn dot_signed(acc: __m256i, magnitude: __m256i, signed: __m256i, q: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(q, signed));
    _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// `yes` where `start <= at < end`, else `no`.
#[target_feature(enable = "avx2")]
#[inline]
fn if_within8(at: __m256i, start: i32, end: i32, yes: __m256, no: __m256) -> __m256 {
    let outside_start = _mm256_cmpgt_epi32(_mm256_set1_epi32(start), at);
    let within = _mm256_andnot_si256(outside_start, _mm256_cmpgt_epi32(_mm256_set1_epi32(end), at));
    _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(within))
}

/// The even and the odd lanes of 16.
#[target_feature(enable = "avx2")]
#[inline]
fn unzip8(x: F) -> (__m256, __m256) {
    let sort = |x| _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(x)));
    (sort(_mm256_shuffle_ps::<0b10_00_10_00>(x[0], x[1])), sort(_mm256_shuffle_ps::<0b11_01_11_01>(x[0], x[1])))
}

/// `even[0], odd[0], even[1], ..`
#[target_feature(enable = "avx2")]
#[inline]
fn zip8(even: __m256, odd: __m256) -> F {
    let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
    [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
}

/// `x[i][j]` to `x[j][i]`.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose8(x: [__m256; 8]) -> [__m256; 8] {
    let mut pairs = x;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
    }
    let mut fours = pairs;
    for i in 0..2 {
        let at = 4 * i;
        fours[at] = _mm256_shuffle_ps::<0x44>(pairs[at], pairs[at + 2]);
        fours[at + 1] = _mm256_shuffle_ps::<0xee>(pairs[at], pairs[at + 2]);
        fours[at + 2] = _mm256_shuffle_ps::<0x44>(pairs[at + 1], pairs[at + 3]);
        fours[at + 3] = _mm256_shuffle_ps::<0xee>(pairs[at + 1], pairs[at + 3]);
    }
    let mut out = fours;
    for i in 0..4 {
        out[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
        out[i + 4] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
    }
    out
}
