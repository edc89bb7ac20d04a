//! Sixteen lanes in four 128-bit registers.

use std::arch::x86_64::*;

use super::Sse41;
use super::sse41_emulated::{f16_to_f32, f32_to_f16, fma};
use crate::isa::safe::methods;
use crate::isa::simd::{LANES, Lanes};
use crate::isa::unroll::four;

type F = [__m128; 4];
type I = [__m128i; 4];

/// 64 signed bytes, and their magnitudes.
#[derive(Clone, Copy)]
pub(in crate::isa) struct Groups128 {
    signed: I,
    magnitude: I,
}

/// Sixteen signed bytes as f32.
#[target_feature(enable = "ssse3,sse4.1")]
#[inline]
fn bytes_to_f32(x: __m128i) -> F {
    [
        _mm_cvtepi32_ps(_mm_cvtepi8_epi32(x)),
        _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_srli_si128::<4>(x))),
        _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_srli_si128::<8>(x))),
        _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_srli_si128::<12>(x))),
    ]
}

impl Lanes for Sse41 {
    type F = F;
    type I = I;
    type K = Groups128;

    // 2 are 8 of 16 registers.
    const ACCS: usize = 2;
    const DOT_ACCS: usize = 2;

    methods! {
        fn splat(x: f32) -> F { [_mm_set1_ps(x); 4] }
        fn load(x: &[f32; LANES]) -> F { four!(i => _mm_loadu_ps(x[4 * i..].as_ptr())) }
        fn store(x: F, out: &mut [f32; LANES]) {
            four!(i => _mm_storeu_ps(out[4 * i..].as_mut_ptr(), x[i]));
        }
        fn load_f32(x: &[u8; 64]) -> F { four!(i => _mm_loadu_ps(x[16 * i..].as_ptr().cast())) }
        fn store_f32(x: F, out: &mut [u8; 64]) {
            four!(i => _mm_storeu_ps(out[16 * i..].as_mut_ptr().cast(), x[i]));
        }
        fn load_f16(x: &[u8; 32]) -> F {
            four!(i => f16_to_f32(_mm_cvtepu16_epi32(_mm_loadl_epi64(x[8 * i..].as_ptr().cast()))))
        }
        fn load_bf16(x: &[u8; 32]) -> F {
            four!(i => _mm_castsi128_ps(_mm_slli_epi32::<16>(_mm_cvtepu16_epi32(
                _mm_loadl_epi64(x[8 * i..].as_ptr().cast())))))
        }
        fn store_f16(x: F, out: &mut [u8; 32]) {
            let halves = four!(i => f32_to_f16(x[i]));
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_packus_epi32(halves[0], halves[1]));
            _mm_storeu_si128(out[16..].as_mut_ptr().cast(), _mm_packus_epi32(halves[2], halves[3]));
        }
        fn load_i8(x: &[u8; LANES]) -> F {
            bytes_to_f32(_mm_loadu_si128(x.as_ptr().cast()))
        }
        fn load_nibbles(x: &[u8; 8], table: &[i8; 16]) -> F {
            let x = _mm_loadl_epi64(x.as_ptr().cast());
            let q = _mm_and_si128(_mm_unpacklo_epi64(x, _mm_srli_epi16::<4>(x)), _mm_set1_epi8(15));
            let q = _mm_shuffle_epi8(_mm_loadu_si128(table.as_ptr().cast()), q);
            bytes_to_f32(q)
        }

        fn add(a: F, b: F) -> F { four!(i => _mm_add_ps(a[i], b[i])) }
        fn sub(a: F, b: F) -> F { four!(i => _mm_sub_ps(a[i], b[i])) }
        fn mul(a: F, b: F) -> F { four!(i => _mm_mul_ps(a[i], b[i])) }
        fn div(a: F, b: F) -> F { four!(i => _mm_div_ps(a[i], b[i])) }
        fn fma(a: F, b: F, c: F) -> F { four!(i => fma(a[i], b[i], c[i])) }
        fn max(a: F, b: F) -> F { four!(i => _mm_max_ps(a[i], b[i])) }
        fn min(a: F, b: F) -> F { four!(i => _mm_min_ps(a[i], b[i])) }
        fn if_less(a: F, b: F, yes: F, no: F) -> F {
            four!(i => _mm_blendv_ps(no[i], yes[i], _mm_cmplt_ps(a[i], b[i])))
        }
        fn sum(x: F) -> f32 {
            let x = _mm_add_ps(_mm_add_ps(x[0], x[2]), _mm_add_ps(x[1], x[3]));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
        fn max_lane(x: F) -> f32 {
            let x = _mm_max_ps(_mm_max_ps(x[0], x[2]), _mm_max_ps(x[1], x[3]));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
        fn unzip(a: F, b: F) -> (F, F) {
            const EVEN: i32 = 0b10_00_10_00;
            const ODD: i32 = 0b11_01_11_01;
            (
                [
                    _mm_shuffle_ps::<EVEN>(a[0], a[1]),
                    _mm_shuffle_ps::<EVEN>(a[2], a[3]),
                    _mm_shuffle_ps::<EVEN>(b[0], b[1]),
                    _mm_shuffle_ps::<EVEN>(b[2], b[3]),
                ],
                [
                    _mm_shuffle_ps::<ODD>(a[0], a[1]),
                    _mm_shuffle_ps::<ODD>(a[2], a[3]),
                    _mm_shuffle_ps::<ODD>(b[0], b[1]),
                    _mm_shuffle_ps::<ODD>(b[2], b[3]),
                ],
            )
        }
        fn zip(even: F, odd: F) -> (F, F) {
            let low = four!(i => _mm_unpacklo_ps(even[i], odd[i]));
            let high = four!(i => _mm_unpackhi_ps(even[i], odd[i]));
            ([low[0], high[0], low[1], high[1]], [low[2], high[2], low[3], high[3]])
        }
        fn transpose(x: &mut [F; LANES]) {
            let old = *x;
            for rows in 0..4 {
                for columns in 0..4 {
                    let block = transpose4(four!(i => old[rows * 4 + i][columns]));
                    for (i, row) in block.into_iter().enumerate() {
                        x[columns * 4 + i][rows] = row;
                    }
                }
            }
        }

        fn splat_i(x: i32) -> I { [_mm_set1_epi32(x); 4] }
        fn bits(x: F) -> I { four!(i => _mm_castps_si128(x[i])) }
        fn as_f32(x: I) -> F { four!(i => _mm_castsi128_ps(x[i])) }
        fn add_i(a: I, b: I) -> I { four!(i => _mm_add_epi32(a[i], b[i])) }
        fn sub_i(a: I, b: I) -> I { four!(i => _mm_sub_epi32(a[i], b[i])) }
        fn and_i(a: I, b: I) -> I { four!(i => _mm_and_si128(a[i], b[i])) }
        fn or_i(a: I, b: I) -> I { four!(i => _mm_or_si128(a[i], b[i])) }
        fn max_i(a: I, b: I) -> I { four!(i => _mm_max_epi32(a[i], b[i])) }
        fn max_lane_i(x: I) -> i32 {
            let x = _mm_max_epi32(_mm_max_epi32(x[0], x[2]), _mm_max_epi32(x[1], x[3]));
            let x = _mm_max_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
            _mm_cvtsi128_si32(_mm_max_epi32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x)))
        }
        fn shl_i<const N: i32>(x: I) -> I { four!(i => _mm_slli_epi32::<N>(x[i])) }
        fn sar_i<const N: i32>(x: I) -> I { four!(i => _mm_srai_epi32::<N>(x[i])) }
        fn to_f32(x: I) -> F { four!(i => _mm_cvtepi32_ps(x[i])) }
        fn store_i8(x: I, out: &mut [u8; LANES]) {
            // The low bytes of each vector's lanes to its first 4 bytes, then all together.
            let pick = _mm_set1_epi32(0x0c08_0400);
            let x = four!(i => _mm_shuffle_epi8(x[i], pick));
            let (low, high) = (_mm_unpacklo_epi32(x[0], x[1]), _mm_unpacklo_epi32(x[2], x[3]));
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_unpacklo_epi64(low, high));
        }
        fn if_within(start: i32, end: i32, yes: F, no: F) -> F {
            let first = _mm_setr_epi32(0, 1, 2, 3);
            four!(i => if_within4(_mm_add_epi32(first, _mm_set1_epi32(4 * i as i32)), start, end, yes[i], no[i]))
        }

        fn load_k(x: &[u8; 64]) -> Groups128 {
            let flip = _mm_set1_epi8(-128);
            let signed = four!(i => _mm_xor_si128(_mm_loadu_si128(x[16 * i..].as_ptr().cast()), flip));
            Groups128 { signed, magnitude: four!(i => _mm_abs_epi8(signed[i])) }
        }
        fn dot_start(_q_sum: i32) -> I { [_mm_setzero_si128(); 4] }
        fn dot4(acc: I, k: Groups128, q: [u8; 4]) -> I {
            let q = _mm_set1_epi32(i32::from_le_bytes(q));
            four!(i => dot_signed(acc[i], k.magnitude[i], k.signed[i], q))
        }
    }
}

/// `acc + |k| * (q with k's sign)`; a pair is at most 2 * 128 * 127, so the 16-bit sums don't saturate.
#[target_feature(enable = "ssse3,sse4.1")]
#[inline]
fn dot_signed(acc: __m128i, magnitude: __m128i, signed: __m128i, q: __m128i) -> __m128i {
    let pairs = _mm_maddubs_epi16(magnitude, _mm_sign_epi8(q, signed));
    _mm_add_epi32(acc, _mm_madd_epi16(pairs, _mm_set1_epi16(1)))
}

/// `yes` where `start <= at < end`, else `no`.
#[target_feature(enable = "ssse3,sse4.1")]
#[inline]
fn if_within4(at: __m128i, start: i32, end: i32, yes: __m128, no: __m128) -> __m128 {
    let outside_start = _mm_cmpgt_epi32(_mm_set1_epi32(start), at);
    let within = _mm_andnot_si128(outside_start, _mm_cmpgt_epi32(_mm_set1_epi32(end), at));
    _mm_blendv_ps(no, yes, _mm_castsi128_ps(within))
}

/// `x[i][j]` to `x[j][i]`.
#[target_feature(enable = "ssse3,sse4.1")]
#[inline]
fn transpose4(x: [__m128; 4]) -> [__m128; 4] {
    let (ab, cd) = (_mm_unpacklo_ps(x[0], x[1]), _mm_unpacklo_ps(x[2], x[3]));
    let (ef, gh) = (_mm_unpackhi_ps(x[0], x[1]), _mm_unpackhi_ps(x[2], x[3]));
    [_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab), _mm_movelh_ps(ef, gh), _mm_movehl_ps(gh, ef)]
}
