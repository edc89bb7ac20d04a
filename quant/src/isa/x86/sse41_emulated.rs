//! What SSE4.1 has no instruction for: multiply-add with one rounding, and half precision.

use std::arch::x86_64::*;

/// `a * b + c`, rounded once.
///
/// In double precision the product of two singles is exact. The sum with `c` is *rounded to odd*: where it is not exact, to
/// the neighbour whose last bit is set, so that rounding it again, to single precision, cannot take a value near the middle
/// for the middle (Boldo, Melquiond: Emulation of a FMA and correctly rounded sums, 2008; 53 bits are more than 24 + 2).
#[target_feature(enable = "ssse3,sse4.1")]
#[inline]
pub(super) fn fma(a: __m128, b: __m128, c: __m128) -> __m128 {
    let low = fma_to_odd(_mm_cvtps_pd(a), _mm_cvtps_pd(b), _mm_cvtps_pd(c));
    let high = fma_to_odd(upper(a), upper(b), upper(c));
    _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high))
}

/// Lanes 2 and 3 in double precision.
#[target_feature(enable = "ssse3,sse4.1")]
#[inline]
fn upper(x: __m128) -> __m128d {
    _mm_cvtps_pd(_mm_movehl_ps(x, x))
}

/// `a * b + c` of singles, rounded to odd.
#[target_feature(enable = "ssse3,sse4.1")]
#[inline]
fn fma_to_odd(a: __m128d, b: __m128d, c: __m128d) -> __m128d {
    let product = _mm_mul_pd(a, b);
    let sum = _mm_add_pd(product, c);
    // What rounding took away (Knuth's two-sum); NaN where something is infinite.
    let added = _mm_sub_pd(sum, product);
    let error = _mm_add_pd(_mm_sub_pd(product, _mm_sub_pd(sum, added)), _mm_sub_pd(c, added));
    let inexact = _mm_castpd_si128(_mm_and_pd(_mm_cmpneq_pd(error, _mm_setzero_pd()), _mm_cmpord_pd(error, error)));
    let bits = _mm_castpd_si128(sum);
    // 1 where the sum is not exact and its last bit is not set.
    let step = _mm_and_si128(_mm_andnot_si128(bits, _mm_set1_epi64x(1)), inexact);
    // One unit away from zero where the error has the sign of the sum, else one towards it.
    let signs = _mm_xor_si128(bits, _mm_castpd_si128(error));
    let towards_zero = _mm_shuffle_epi32::<0b11_11_01_01>(_mm_srai_epi32::<31>(signs));
    let step = _mm_sub_epi64(_mm_xor_si128(step, towards_zero), towards_zero);
    _mm_castsi128_pd(_mm_add_epi64(bits, step))
}

/// The lower half of each word, an f16, as f32: exact.
#[target_feature(enable = "ssse3,sse4.1")]
#[inline]
pub(super) fn f16_to_f32(x: __m128i) -> __m128 {
    let magnitude = _mm_and_si128(x, _mm_set1_epi32(0x7fff));
    let sign = _mm_slli_epi32::<16>(_mm_and_si128(x, _mm_set1_epi32(0x8000)));
    let shifted = _mm_slli_epi32::<13>(magnitude);
    let normal = _mm_add_epi32(shifted, _mm_set1_epi32((127 - 15) << 23));
    // 2^-24 times the integer: exact, and denormal halves are normal singles.
    let scale = _mm_castsi128_ps(_mm_set1_epi32(0x3380_0000));
    let denormal = _mm_castps_si128(_mm_mul_ps(_mm_cvtepi32_ps(magnitude), scale));
    let quiet = _mm_and_si128(_mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7c00)), _mm_set1_epi32(0x0040_0000));
    let special = _mm_or_si128(_mm_or_si128(shifted, _mm_set1_epi32(0x7f80_0000)), quiet);
    let bits = _mm_blendv_epi8(normal, denormal, _mm_cmplt_epi32(magnitude, _mm_set1_epi32(0x0400)));
    let bits = _mm_blendv_epi8(bits, special, _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7bff)));
    _mm_castsi128_ps(_mm_or_si128(sign, bits))
}

/// Rounded to f16, half to even, in the lower half of each word.
#[target_feature(enable = "ssse3,sse4.1")]
#[inline]
pub(super) fn f32_to_f16(x: __m128) -> __m128i {
    let bits = _mm_castps_si128(x);
    let magnitude = _mm_and_si128(bits, _mm_set1_epi32(0x7fff_ffff));
    let sign = _mm_and_si128(_mm_srli_epi32::<16>(bits), _mm_set1_epi32(0x8000));
    // Rebias, then add just under half a unit, and the last bit kept so that ties go to even.
    let odd = _mm_and_si128(_mm_srli_epi32::<13>(magnitude), _mm_set1_epi32(1));
    let rebias = _mm_set1_epi32(0xfff - ((127 - 15) << 23));
    let normal = _mm_srli_epi32::<13>(_mm_add_epi32(_mm_add_epi32(magnitude, rebias), odd));
    // Adding 0.5 puts the unit of the sum at 2^-24, so the addition itself rounds.
    let half = _mm_set1_ps(0.5);
    let denormal = _mm_castps_si128(_mm_add_ps(_mm_castsi128_ps(magnitude), half));
    let denormal = _mm_sub_epi32(denormal, _mm_castps_si128(half));
    let nan =
        _mm_or_si128(_mm_set1_epi32(0x7e00), _mm_and_si128(_mm_srli_epi32::<13>(magnitude), _mm_set1_epi32(0x3ff)));
    let out = _mm_blendv_epi8(normal, denormal, _mm_cmplt_epi32(magnitude, _mm_set1_epi32(0x3880_0000)));
    let out = _mm_blendv_epi8(out, _mm_set1_epi32(0x7c00), _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x477f_efff)));
    let out = _mm_blendv_epi8(out, nan, _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7f80_0000)));
    _mm_or_si128(sign, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::half_float;
    use crate::testing::Rng;

    /// Calls `f` where the CPU has the instructions.
    fn each(f: impl Fn()) {
        if is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3") {
            f();
        }
    }

    fn floats(x: [u32; 4]) -> __m128 {
        // SAFETY: both are 16 bytes that any bits are a value of.
        unsafe { std::mem::transmute(x) }
    }

    fn bits<T>(x: T) -> [u32; 4] {
        const { assert!(size_of::<T>() == 16) };
        // SAFETY: `T` is a vector of 16 bytes.
        unsafe { std::mem::transmute_copy(&x) }
    }

    /// Any bits, and often ones that make sums cancel, ties, denormals and infinities.
    fn number(rng: &mut Rng) -> u32 {
        let any = rng.bits();
        let (bits, kind) = (any as u32, any >> 32 & 7);
        match kind {
            0..3 => bits,
            // Few bits set: products and sums that end in a tie.
            3 => bits & 0xff80_0000 | 1 << (any >> 40 & 31).min(22),
            4 => bits & 0x807f_ffff | 0x3f80_0000,
            5 => bits & 0x807f_ffff,
            6 => bits & 0x8000_0fff | (0x3f80_0000 + (((any >> 40 & 7) as u32) << 23)),
            _ => bits & 0x8000_0000 | [0, 0x7f80_0000, 0x3f80_0000, 0x0080_0000][(any >> 40 & 3) as usize],
        }
    }

    #[test]
    fn multiply_add_is_rounded_once() {
        each(|| {
            let mut rng = Rng::new(4);
            for _ in 0..400_000 {
                let [a, mut b, mut c] = std::array::from_fn(|_| std::array::from_fn(|_| number(&mut rng)));
                // Half of the sums nearly cancel, or meet in the last bits.
                for i in 0..4 {
                    let product = f32::from_bits(a[i]) * f32::from_bits(b[i]);
                    if i % 2 == 0 {
                        c[i] = (-product).to_bits() ^ (rng.bits() as u32 & 1);
                    } else if rng.bits() & 1 == 0 {
                        b[i] = (product * 5.960_464_5e-8).to_bits();
                    }
                }
                // SAFETY: `each` has seen that the CPU has the instructions.
                let found: [u32; 4] = bits(unsafe { fma(floats(a), floats(b), floats(c)) });
                for i in 0..4 {
                    let [a, b, c]: [f32; 3] = [a[i], b[i], c[i]].map(f32::from_bits);
                    let (wanted, found) = (a.mul_add(b, c), f32::from_bits(found[i]));
                    let same = wanted.to_bits() == found.to_bits() || wanted.is_nan() && found.is_nan();
                    assert!(same, "{a:e} * {b:e} + {c:e} is {wanted:e}, not {found:e}");
                }
            }
        });
    }

    #[test]
    fn halves_equal_the_definition_both_ways() {
        each(|| {
            for x in 0..=u16::MAX {
                let half = u32::from(x);
                // SAFETY: as above.
                let wide: [u32; 4] = bits(unsafe { f16_to_f32(std::mem::transmute::<[u32; 4], __m128i>([half; 4])) });
                assert_eq!(wide, [half_float::to_f32(x).to_bits(); 4], "{x:#x}");
                let near = half_float::to_f32(x).to_bits();
                // At, around and in the middle between two halves.
                for value in [near, near.wrapping_sub(1), near + 1, near + 0x0fff, near + 0x1000, near + 0x1001] {
                    // SAFETY: as above.
                    let half: [u32; 4] = bits(unsafe { f32_to_f16(floats([value; 4])) });
                    let wanted = u32::from(half_float::from_f32(f32::from_bits(value)));
                    assert_eq!(half, [wanted; 4], "{value:#x}");
                }
            }
        });
    }
}
