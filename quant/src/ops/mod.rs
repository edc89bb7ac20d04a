//! The f32 operations between matrix products: norms, activations, softmax, rotary positions, f16 conversions.
//!
//! Each is written once on 16 lanes, so every instruction set gives the same bits. Sums run in 16 strided
//! partial sums (element `i` into sum `i % 16`, a short last stretch padded with what doesn't change the result), which a
//! fixed tree adds up at the end. Multiply-adds are fused.

use crate::elementary;
use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, LANES, Lanes, Simd, load_padded, store_partial};

/// `out = x / sqrt(mean(x^2) + eps) * w`.
///
/// # Panics
/// If the lengths differ.
pub fn rms_norm(isa: Isa, x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!((x.len(), x.len()), (w.len(), out.len()), "rms_norm: x, w, out");
    dispatch(isa, RmsNorm { x, w, eps, out });
}

/// `x = x / sqrt(mean(x^2) + eps) * w`.
///
/// # Panics
/// If the lengths differ.
pub fn rms_norm_in_place(isa: Isa, x: &mut [f32], w: &[f32], eps: f32) {
    assert_eq!(x.len(), w.len(), "rms_norm_in_place: x, w");
    let factor = dispatch(isa, NormFactor { x, eps });
    dispatch(isa, Zip { x, y: w, op: Normed(factor) });
}

/// `x = e^x / sum(e^x)`, with the largest value subtracted first. Nothing happens to an empty slice.
pub fn softmax(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Softmax(x));
}

/// `gate = gate * sigmoid(gate) * up`.
///
/// # Panics
/// If the lengths differ.
pub fn silu_mul(isa: Isa, gate: &mut [f32], up: &[f32]) {
    zip(isa, gate, up, SiluMul);
}

/// `gate = gelu(gate) * up`, GELU by its tanh approximation.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_tanh_mul(isa: Isa, gate: &mut [f32], up: &[f32]) {
    zip(isa, gate, up, GeluTanhMul);
}

/// `g = min(gate, limit)`, `u = clamp(up, -limit, limit)`, `gate = g * sigmoid(alpha * g) * (u + 1)`.
///
/// # Panics
/// If the lengths differ.
pub fn clamped_swiglu_mul(isa: Isa, gate: &mut [f32], up: &[f32], alpha: f32, limit: f32) {
    zip(isa, gate, up, ClampedSwigluMul { alpha, limit });
}

/// `acc += x`.
///
/// # Panics
/// If the lengths differ.
pub fn add(isa: Isa, acc: &mut [f32], x: &[f32]) {
    zip(isa, acc, x, Add);
}

/// `acc += x * factor`, fused.
///
/// # Panics
/// If the lengths differ.
pub fn add_scaled(isa: Isa, acc: &mut [f32], x: &[f32], factor: f32) {
    zip(isa, acc, x, AddScaled(factor));
}

/// `x *= factor`.
pub fn scale(isa: Isa, x: &mut [f32], factor: f32) {
    dispatch(isa, Each { x, op: Scale(factor) });
}

/// The sum of `a[i] * b[i]`.
///
/// # Panics
/// If the lengths differ.
pub fn dot(isa: Isa, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "dot: a, b");
    dispatch(isa, Dot(a, b))
}

/// `x = cap * tanh(x / cap)`.
pub fn softcap(isa: Isa, x: &mut [f32], cap: f32) {
    dispatch(isa, Each { x, op: Softcap(cap) });
}

/// `x = 1 / (1 + e^-x)`.
pub fn sigmoid(isa: Isa, x: &mut [f32]) {
    dispatch(isa, Each { x, op: Sigmoid });
}

/// Rotates pairs of values of one head: `(a, b) = (a cos - b sin, a sin + b cos)`, by `cos[i]` and `sin[i]` for pair `i`.
/// Pair `i` is `(head[i], head[i + n])` if `halves`, else `(head[2 i], head[2 i + 1])`, where `n` is the length of `cos`;
/// what lies past the first `2 n` values stays.
///
/// # Panics
/// If `sin` isn't as long as `cos`, or `head` shorter than twice that.
pub fn rope(isa: Isa, head: &mut [f32], cos: &[f32], sin: &[f32], halves: bool) {
    assert_eq!(cos.len(), sin.len(), "rope: cos, sin");
    let head = &mut head[..2 * cos.len()];
    if halves { dispatch(isa, RopeHalves { head, cos, sin }) } else { dispatch(isa, RopeAdjacent { head, cos, sin }) }
}

/// Widens f16 bits, exactly.
///
/// # Panics
/// If the lengths differ.
pub fn f16_to_f32(isa: Isa, x: &[u16], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "f16_to_f32: x, out");
    dispatch(isa, Widen { x, out });
}

/// Narrows to f16 bits, rounding half to even; beyond the range of f16 to infinity.
///
/// # Panics
/// If the lengths differ.
pub fn f32_to_f16(isa: Isa, x: &[f32], out: &mut [u16]) {
    assert_eq!(x.len(), out.len(), "f32_to_f16: x, out");
    dispatch(isa, Narrow { x, out });
}

/// A function of one value, on lanes.
pub(crate) trait Unary {
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F;
}

/// A function of two values, on lanes.
pub(crate) trait Binary {
    fn at<S: Lanes>(&self, s: S, x: S::F, y: S::F) -> S::F;
}

/// `x[i] = op(x[i])`.
pub(crate) struct Each<'a, O> {
    pub(crate) x: &'a mut [f32],
    pub(crate) op: O,
}

/// `x[i] = op(x[i], y[i])`.
struct Zip<'a, O> {
    x: &'a mut [f32],
    y: &'a [f32],
    op: O,
}

pub(crate) fn zip<O: Binary>(isa: Isa, x: &mut [f32], y: &[f32], op: O) {
    assert_eq!(x.len(), y.len(), "elementwise operands");
    dispatch(isa, Zip { x, y, op });
}

impl<O: Unary> Kernel for Each<'_, O> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for x in self.x.chunks_mut(LANES) {
            store_partial(s, self.op.at(s, load_padded(s, x, 0.0)), x);
        }
    }
}

impl<O: Binary> Kernel for Zip<'_, O> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (x, y) in self.x.chunks_mut(LANES).zip(self.y.chunks(LANES)) {
            store_partial(s, self.op.at(s, load_padded(s, x, 0.0), load_padded(s, y, 0.0)), x);
        }
    }
}

struct Scale(f32);
impl Unary for Scale {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        s.mul(x, s.splat(self.0))
    }
}

struct Softcap(f32);
impl Unary for Softcap {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        elementary::softcap(s, x, self.0)
    }
}

struct Sigmoid;
impl Unary for Sigmoid {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        elementary::sigmoid(s, x)
    }
}

struct Add;
impl Binary for Add {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F, y: S::F) -> S::F {
        s.add(x, y)
    }
}

struct AddScaled(f32);
impl Binary for AddScaled {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F, y: S::F) -> S::F {
        s.fma(y, s.splat(self.0), x)
    }
}

struct SiluMul;
impl Binary for SiluMul {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F, y: S::F) -> S::F {
        s.mul(elementary::silu(s, x), y)
    }
}

struct GeluTanhMul;
impl Binary for GeluTanhMul {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F, y: S::F) -> S::F {
        s.mul(elementary::gelu_tanh(s, x), y)
    }
}

struct ClampedSwigluMul {
    alpha: f32,
    limit: f32,
}
impl Binary for ClampedSwigluMul {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F, y: S::F) -> S::F {
        let gate = s.min(s.splat(self.limit), x);
        let up = s.max(s.splat(-self.limit), s.min(s.splat(self.limit), y));
        s.mul(elementary::swish(s, gate, self.alpha), s.add(up, s.splat(1.0)))
    }
}

/// The multiplication by the norm's factor, then by the weight.
struct Normed(f32);
impl Binary for Normed {
    #[inline(always)]
    fn at<S: Lanes>(&self, s: S, x: S::F, y: S::F) -> S::F {
        s.mul(s.mul(x, s.splat(self.0)), y)
    }
}

struct Dot<'a>(&'a [f32], &'a [f32]);
impl Kernel for Dot<'_> {
    type Out = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = s.splat(0.0);
        for (a, b) in self.0.chunks(LANES).zip(self.1.chunks(LANES)) {
            sums = s.fma(load_padded(s, a, 0.0), load_padded(s, b, 0.0), sums);
        }
        s.sum(sums)
    }
}

/// `1 / sqrt(mean(x^2) + eps)`.
struct NormFactor<'a> {
    x: &'a [f32],
    eps: f32,
}
impl Kernel for NormFactor<'_> {
    type Out = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let squares = Dot(self.x, self.x).run(s);
        1.0 / (squares / self.x.len() as f32 + self.eps).sqrt()
    }
}

struct RmsNorm<'a> {
    x: &'a [f32],
    w: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}
impl Kernel for RmsNorm<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let op = Normed(NormFactor { x: self.x, eps: self.eps }.run(s));
        for ((x, w), out) in self.x.chunks(LANES).zip(self.w.chunks(LANES)).zip(self.out.chunks_mut(LANES)) {
            store_partial(s, op.at(s, load_padded(s, x, 0.0), load_padded(s, w, 0.0)), out);
        }
    }
}

struct Softmax<'a>(&'a mut [f32]);
impl Kernel for Softmax<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut max = s.splat(f32::NEG_INFINITY);
        for x in self.0.chunks(LANES) {
            max = s.max(load_padded(s, x, f32::NEG_INFINITY), max);
        }
        let max = s.splat(s.max_lane(max));
        let mut sums = s.splat(0.0);
        for x in self.0.chunks_mut(LANES) {
            let e = elementary::exp(s, s.sub(load_padded(s, x, f32::NEG_INFINITY), max));
            sums = s.add(sums, e);
            store_partial(s, e, x);
        }
        Each { x: self.0, op: Scale(1.0 / s.sum(sums)) }.run(s);
    }
}

/// `(a cos - b sin, a sin + b cos)`.
#[inline(always)]
fn rotate<S: Lanes>(s: S, a: S::F, b: S::F, cos: S::F, sin: S::F) -> (S::F, S::F) {
    let minus_b_sin = s.sub(s.splat(0.0), s.mul(b, sin));
    (s.fma(a, cos, minus_b_sin), s.fma(a, sin, s.mul(b, cos)))
}

struct RopeHalves<'a> {
    head: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
}
impl Kernel for RopeHalves<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (low, high) = self.head.split_at_mut(self.cos.len());
        let pairs = low.chunks_mut(LANES).zip(high.chunks_mut(LANES));
        for ((a, b), (cos, sin)) in pairs.zip(self.cos.chunks(LANES).zip(self.sin.chunks(LANES))) {
            let (cos, sin) = (load_padded(s, cos, 0.0), load_padded(s, sin, 0.0));
            let (x, y) = rotate(s, load_padded(s, a, 0.0), load_padded(s, b, 0.0), cos, sin);
            store_partial(s, x, a);
            store_partial(s, y, b);
        }
    }
}

struct RopeAdjacent<'a> {
    head: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
}
impl Kernel for RopeAdjacent<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let tables = self.cos.chunks(LANES).zip(self.sin.chunks(LANES));
        for (pairs, (cos, sin)) in self.head.chunks_mut(2 * LANES).zip(tables) {
            let (cos, sin) = (load_padded(s, cos, 0.0), load_padded(s, sin, 0.0));
            let (first, second) = pairs.split_at_mut(pairs.len().min(LANES));
            let (a, b) = s.unzip(load_padded(s, first, 0.0), load_padded(s, second, 0.0));
            let (x, y) = rotate(s, a, b, cos, sin);
            let (x, y) = s.zip(x, y);
            store_partial(s, x, first);
            store_partial(s, y, second);
        }
    }
}

struct Widen<'a> {
    x: &'a [u16],
    out: &'a mut [f32],
}
impl Kernel for Widen<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (x, out) in self.x.chunks(LANES).zip(self.out.chunks_mut(LANES)) {
            let mut bytes = [0; 2 * LANES];
            for (bytes, x) in bytes.as_chunks_mut().0.iter_mut().zip(x) {
                *bytes = x.to_le_bytes();
            }
            store_partial(s, s.load_f16(&bytes), out);
        }
    }
}

struct Narrow<'a> {
    x: &'a [f32],
    out: &'a mut [u16],
}
impl Kernel for Narrow<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (x, out) in self.x.chunks(LANES).zip(self.out.chunks_mut(LANES)) {
            let mut bytes = [0; 2 * LANES];
            s.store_f16(load_padded(s, x, 0.0), &mut bytes);
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = u16::from_le_bytes(*bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests;
