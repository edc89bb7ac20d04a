//! Activations of feed-forwards without a gate, and gates of what other layers make.

use crate::elementary;
use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::Lanes;
use crate::ops::{Binary, Each, Unary, zip};

/// `x = x * sigmoid(x)`.
pub fn silu(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Each { x, op: Silu });
}

/// `x = gelu(x)`, by its tanh approximation.
pub fn gelu_tanh(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Each { x, op: GeluTanh });
}

/// `x = tanh(x)`.
pub fn tanh(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Each { x, op: Tanh });
}

/// `x = max(x, 0)`.
pub fn relu(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Each { x, op: Relu });
}

/// `x = max(x, 0)^2`.
pub fn relu_squared(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Each { x, op: ReluSquared });
}

/// `x = e^x`.
pub fn exp(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Each { x, op: Exp });
}

/// `x = min(max(x, -limit), limit)`.
pub fn clamp(isa: Isa, x: &mut [f32], limit: f32) {
    dispatch(isa, Each { x, op: Clamp(limit) });
}

/// `x = min(x, limit)`.
pub fn cap(isa: Isa, x: &mut [f32], limit: f32) {
    dispatch(isa, Each { x, op: Cap(limit) });
}

/// xIELU (arXiv 2411.13010): `positive * x^2 + beta * x` for `x > 0`, else
/// `negative * (e^min(x, eps) - 1 - x) + beta * x`.
pub fn xielu(isa: Isa, x: &mut [f32], (positive, negative, beta, eps): (f32, f32, f32, f32)) {
    dispatch(isa, Each { x, op: Xielu { positive, negative, beta, eps } });
}

/// `x *= y`.
///
/// # Panics
/// If the lengths differ.
pub fn mul(isa: Isa, x: &mut [f32], y: &[f32]) {
    zip(isa, x, y, Mul);
}

/// `x *= min(max(y, -limit), limit)`.
///
/// # Panics
/// If the lengths differ.
pub fn mul_clamped(isa: Isa, x: &mut [f32], y: &[f32], limit: f32) {
    zip(isa, x, y, MulClamped(limit));
}

/// `x *= sigmoid(gate)`.
///
/// # Panics
/// If the lengths differ.
pub fn mul_sigmoid(isa: Isa, x: &mut [f32], gate: &[f32]) {
    zip(isa, x, gate, MulSigmoid);
}

/// `x *= gate * sigmoid(gate)`.
///
/// # Panics
/// If the lengths differ.
pub fn mul_silu(isa: Isa, x: &mut [f32], gate: &[f32]) {
    zip(isa, x, gate, MulSilu);
}

struct Silu;
impl Unary for Silu {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        elementary::silu(s, x)
    }
}

struct GeluTanh;
impl Unary for GeluTanh {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        elementary::gelu_tanh(s, x)
    }
}

struct Tanh;
impl Unary for Tanh {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        elementary::tanh(s, x)
    }
}

struct Relu;
impl Unary for Relu {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        s.max(s.splat(0.0), x)
    }
}

struct ReluSquared;
impl Unary for ReluSquared {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        let x = s.max(s.splat(0.0), x);
        s.mul(x, x)
    }
}

struct Exp;
impl Unary for Exp {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        elementary::exp(s, x)
    }
}

struct Clamp(f32);
impl Unary for Clamp {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        s.max(s.splat(-self.0), s.min(s.splat(self.0), x))
    }
}

struct Cap(f32);
impl Unary for Cap {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        s.min(s.splat(self.0), x)
    }
}

struct Xielu {
    positive: f32,
    negative: f32,
    beta: f32,
    eps: f32,
}
impl Unary for Xielu {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        let linear = s.mul(x, s.splat(self.beta));
        let above = s.fma(s.mul(x, x), s.splat(self.positive), linear);
        let e = elementary::exp(s, s.min(s.splat(self.eps), x));
        let curve = s.sub(s.sub(e, s.splat(1.0)), x);
        let below = s.fma(curve, s.splat(self.negative), linear);
        s.if_less(s.splat(0.0), x, above, below)
    }
}

struct Mul;
impl Binary for Mul {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F, y: S::F) -> S::F {
        s.mul(x, y)
    }
}

struct MulClamped(f32);
impl Binary for MulClamped {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F, y: S::F) -> S::F {
        s.mul(x, Clamp(self.0).at(s, y))
    }
}

struct MulSigmoid;
impl Binary for MulSigmoid {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F, y: S::F) -> S::F {
        s.mul(x, elementary::sigmoid(s, y))
    }
}

struct MulSilu;
impl Binary for MulSilu {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F, y: S::F) -> S::F {
        s.mul(x, elementary::silu(s, y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_each_isa;

    /// Each function against its formula in f64.
    #[test]
    fn activations_are_their_formulas() {
        type Case = (fn(Isa, &mut [f32]), fn(f64) -> f64);
        let cases: [Case; 5] = [
            (silu, |x| x / (1.0 + (-x).exp())),
            (relu, |x| x.max(0.0)),
            (relu_squared, |x| x.max(0.0) * x.max(0.0)),
            (tanh, f64::tanh),
            (
                |isa, x| xielu(isa, x, (0.8, 1.3, 0.5, -1e-6)),
                |x| {
                    if x > 0.0 { 0.8 * x * x + 0.5 * x } else { (x.min(-1e-6).exp_m1() - x) * 1.3 + 0.5 * x }
                },
            ),
        ];
        let values: Vec<f32> = (0..67).map(|i| (i as f32 - 33.0) / 7.0).collect();
        for (number, (function, formula)) in cases.into_iter().enumerate() {
            for_each_isa(|isa| {
                let mut x = values.clone();
                function(isa, &mut x);
                for (got, x) in x.iter().zip(&values) {
                    let wanted = formula(f64::from(*x));
                    let off = (f64::from(*got) - wanted).abs();
                    assert!(off < 1e-6 * wanted.abs().max(1.0), "{number}: {x}: {got}, wanted {wanted}");
                }
            });
        }
    }
}
