//! e^x by operations that every processor rounds the same way, so that a seed draws the same token on every machine (the
//! system's own `exp` differs between libraries).

use std::f64::consts::LOG2_E;

/// ln 2 in two parts: the first has 33 significant bits, so that its product with an integer exponent is exact.
const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// 1/13!, .., 1/2!, 1, 1: the Taylor series on [-ln 2 / 2, ln 2 / 2] is exact to 2^-53 there.
const TERMS: [f64; 14] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    1.0 / 2.0,
    1.0,
    1.0,
];

/// 1.5 * 2^52: a small number added to it is rounded to an integer, half to even, which stands in the lowest bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// e^x for x <= 0; 0 below -700. Without branches or calls, since it is computed for all of a vocabulary: compilers make vectors
/// of it.
#[inline]
pub(super) fn exp_negative(x: f64) -> f64 {
    let inside = if x < -700.0 { -700.0 } else { x };
    let rounded = inside * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (inside - n * LN2_HIGH) - n * LN2_LOW;
    let series = TERMS[1..].iter().fold(TERMS[0], |sum, term| sum * r + term);
    // 2^n for -1010 <= n <= 0 is a normal number: its exponent is n + 1023, of which the lowest bits of `rounded` are n.
    let power = f64::from_bits((rounded.to_bits() << 52).wrapping_add(1023 << 52));
    if x < -700.0 { 0.0 } else { series * power }
}

#[cfg(test)]
mod tests {
    use super::exp_negative;

    #[test]
    fn close_to_the_truth() {
        for i in 0..200_000 {
            let x = -f64::from(i) * 0.0035;
            let (got, wanted) = (exp_negative(x), x.exp());
            assert!((got - wanted).abs() <= wanted * 4e-16, "{x}: {got} {wanted}");
        }
        assert_eq!(exp_negative(0.0), 1.0);
        assert_eq!(exp_negative(-1e9), 0.0);
    }
}
