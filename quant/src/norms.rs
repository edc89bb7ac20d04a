//! Layer norm and lengths, beside the RMS norm of [`crate::ops`].

use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, LANES, Simd, load_padded, store_partial};
use crate::ops;

/// `x = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * w`, and `+ bias` where there is one.
///
/// # Panics
/// If the lengths differ.
pub fn layer_norm_in_place(isa: Isa, x: &mut [f32], w: &[f32], bias: Option<&[f32]>, eps: f32) {
    let mean = dispatch(isa, Sum(x)) / x.len() as f32;
    dispatch(isa, Shift { x, by: -mean });
    ops::rms_norm_in_place(isa, x, w, eps);
    if let Some(bias) = bias {
        ops::add(isa, x, bias);
    }
}

/// `x = x / sqrt(sum(x^2) + eps)`.
pub fn unit_in_place(isa: Isa, x: &mut [f32], eps: f32) {
    let squares = ops::dot(isa, x, x);
    ops::scale(isa, x, 1.0 / (squares + eps).sqrt());
}

struct Sum<'a>(&'a [f32]);
impl Kernel for Sum<'_> {
    type Out = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = s.splat(0.0);
        for x in self.0.chunks(LANES) {
            sums = s.add(sums, load_padded(s, x, 0.0));
        }
        s.sum(sums)
    }
}

struct Shift<'a> {
    x: &'a mut [f32],
    by: f32,
}
impl Kernel for Shift<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for x in self.x.chunks_mut(LANES) {
            store_partial(s, s.add(load_padded(s, x, 0.0), s.splat(self.by)), x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_each_isa;

    #[test]
    fn a_layer_norm_has_mean_0_and_variance_1() {
        let values: Vec<f32> = (0..37).map(|i| (i * i % 11) as f32 - 3.0).collect();
        let mut wanted: Option<Vec<f32>> = None;
        for_each_isa(|isa| {
            let mut x = values.clone();
            layer_norm_in_place(isa, &mut x, &[1.0; 37], None, 1e-6);
            let mean: f32 = x.iter().sum::<f32>() / 37.0;
            let variance: f32 = x.iter().map(|x| x * x).sum::<f32>() / 37.0;
            assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
            assert_eq!(wanted.get_or_insert_with(|| x.clone()), &x);
        });
    }

    #[test]
    fn a_unit_vector_has_length_1() {
        let mut x = vec![3.0, 4.0];
        unit_in_place(Isa::SCALAR, &mut x, 0.0);
        assert_eq!(x, [0.6, 0.8]);
    }
}
