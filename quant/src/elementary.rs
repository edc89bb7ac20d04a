//! exp, tanh, sigmoid and GELU on 16 lanes: our own polynomials, the same operations on every instruction set.

use crate::isa::simd::Lanes;

/// Adding and subtracting this rounds to an integer, half to even, which its low bits hold in between.
const ROUNDER: f32 = 12_582_912.0; // 1.5 * 2^23

/// `e^x` within 1 unit in the last place: `2^n * e^r` with `r = x - n ln 2`, `|r| <= ln(2) / 2`; `e^r` by a polynomial of
/// degree 6 whose relative error is 3.1e-9. Infinity, 0, denormals and NaN come out as they should.
#[inline(always)]
pub(crate) fn exp<S: Lanes>(s: S, x: S::F) -> S::F {
    // Beyond these the result is infinity or 0 anyway; with them, n fits two exponents. A NaN passes both.
    let x = s.max(s.splat(-104.0), s.min(s.splat(89.0), x));
    let rounder = s.splat(ROUNDER);
    let shifted = s.fma(x, s.splat(std::f32::consts::LOG2_E), rounder);
    let n = s.sub(shifted, rounder);
    // ln 2 in two parts, the first with trailing zeros so that n times it is exact.
    let r = s.fma(n, s.splat(-355.0 / 512.0), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.381_458_4e-3);
    for c in [8.368_724e-3, 4.166_839e-2, 0.166_665_21, 0.499_999_94, 1.0, 1.0] {
        p = s.fma(p, r, s.splat(c));
    }
    // Two steps, because 2^n alone may be out of range; only the last multiplication can round.
    let n = rounded_bits(s, shifted);
    let half = s.sar_i::<1>(n);
    s.mul(s.mul(p, power_of_two(s, half)), power_of_two(s, s.sub_i(n, half)))
}

/// The integer in the low bits of `x + ROUNDER`.
#[inline(always)]
fn rounded_bits<S: Lanes>(s: S, shifted: S::F) -> S::I {
    s.sub_i(s.bits(shifted), s.splat_i(ROUNDER.to_bits() as i32))
}

/// `x` to the nearest integer, half to even, for `|x| < 2^22`.
#[inline(always)]
pub(crate) fn round_small<S: Lanes>(s: S, x: S::F) -> S::I {
    rounded_bits(s, s.add(x, s.splat(ROUNDER)))
}

/// `2^n` for `-126 <= n <= 127`.
#[inline(always)]
fn power_of_two<S: Lanes>(s: S, n: S::I) -> S::F {
    s.as_f32(s.shl_i::<23>(s.add_i(n, s.splat_i(127))))
}

/// `|x|`.
#[inline(always)]
pub(crate) fn abs<S: Lanes>(s: S, x: S::F) -> S::F {
    s.as_f32(s.and_i(s.bits(x), s.splat_i(i32::MAX)))
}

/// `1 / (1 + e^-x)`, from `e^-|x|` so that nothing overflows and small results keep their precision.
#[inline(always)]
pub(crate) fn sigmoid<S: Lanes>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let e = exp(s, s.sub(s.splat(0.0), abs(s, x)));
    s.div(s.if_less(x, s.splat(0.0), e, one), s.add(one, e))
}

/// `x * sigmoid(slope * x)`, 0 at minus infinity.
#[inline(always)]
pub(crate) fn swish<S: Lanes>(s: S, x: S::F, slope: f32) -> S::F {
    s.mul(finite_below(s, x), sigmoid(s, s.mul(x, s.splat(slope))))
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu<S: Lanes>(s: S, x: S::F) -> S::F {
    s.mul(finite_below(s, x), sigmoid(s, x))
}

/// `x / 2 * (1 + tanh(u))` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`, computed as the equal `x * sigmoid(2 u)`.
#[inline(always)]
pub(crate) fn gelu_tanh<S: Lanes>(s: S, x: S::F) -> S::F {
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
    let inner = s.fma(s.mul(x, x), s.splat(0.044_715), s.splat(1.0));
    let u = s.mul(s.mul(x, s.splat(TWICE_SQRT_2_OVER_PI)), inner);
    s.mul(finite_below(s, x), sigmoid(s, u))
}

/// Minus infinity becomes the lowest finite value, so that a product with 0 is 0.
#[inline(always)]
fn finite_below<S: Lanes>(s: S, x: S::F) -> S::F {
    s.max(s.splat(f32::MIN), x)
}

/// `tanh x`: an odd polynomial below 0.625 (relative error 4.5e-9), else `1 - 2 / (e^2|x| + 1)` with the sign of x.
#[inline(always)]
pub(crate) fn tanh<S: Lanes>(s: S, x: S::F) -> S::F {
    let (one, two) = (s.splat(1.0), s.splat(2.0));
    let z = s.mul(x, x);
    let mut p = s.splat(-5.697_33e-3);
    for c in [2.063_25e-2, -5.373_778_6e-2, 0.133_314_2, -0.333_332_8] {
        p = s.fma(p, z, s.splat(c));
    }
    let small = s.fma(s.mul(p, z), x, x);
    let magnitude = abs(s, x);
    let e = exp(s, s.mul(magnitude, two));
    let large = s.sub(one, s.div(two, s.add(e, one)));
    let sign = s.and_i(s.bits(x), s.splat_i(i32::MIN));
    s.if_less(magnitude, s.splat(0.625), small, s.as_f32(s.or_i(sign, s.bits(large))))
}

/// `cap * tanh(x / cap)`.
#[inline(always)]
pub(crate) fn softcap<S: Lanes>(s: S, x: S::F, cap: f32) -> S::F {
    s.mul(tanh(s, s.mul(x, s.splat(1.0 / cap))), s.splat(cap))
}
