//! Rotary position embeddings: the tables of cosines and sines for the positions of one pass, and the rotation of a head.
//!
//! Angles are computed in f64 with a portable libm, so that every machine gets the same bits.

use crate::arch::{Attention, Pairing, Rope, RopeScaling, Spec};
use crate::model::{FrequencyDivisors, Model};
use std::f64::consts::PI;
use tokki_quant::isa::Isa;
use tokki_quant::ops;

/// Cosines and sines of the rows of a pass, `[n][dims / 2]` each.
pub(super) struct Angles {
    half: usize,
    halves: bool,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// RoPE of one head (or of the part of it that rotates) of the pass's row `t`, by the angles of its attention.
pub(super) fn rotate_head(isa: Isa, angles: &[Angles], a: &Attention, t: usize, head: &mut [f32]) {
    if let Some(rope) = a.rope {
        let angles = &angles[rope];
        let (cos, sin) = angles.of(t);
        ops::rope(isa, &mut head[..2 * angles.half], cos, sin, angles.halves);
    }
}

impl Angles {
    /// Cosines and sines of the pass's row `t`.
    fn of(&self, t: usize) -> (&[f32], &[f32]) {
        let range = t * self.half..(t + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

/// The angles of each of the model's rotary embeddings for a pass's rows at `positions`, each with whether its conversation
/// is far (see [`KvCache::aim`](crate::kv::KvCache::aim)).
pub(super) fn angles(model: &Model, positions: impl Iterator<Item = (usize, bool)> + Clone) -> Vec<Angles> {
    let Spec { ropes, .. } = &model.spec;
    let of = |(rope, divisors)| table(rope, divisors, positions.clone());
    ropes.iter().zip(&model.rope_factors).map(of).collect()
}

fn table(rope: &Rope, divisors: &FrequencyDivisors, positions: impl Iterator<Item = (usize, bool)>) -> Angles {
    let half = rope.dims / 2;
    let near = frequencies(rope, divisors.short.as_deref());
    let far = divisors.long.as_deref().map(|long| frequencies(rope, Some(long)));
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    for (position, is_far) in positions {
        for frequency in far.as_ref().filter(|_| is_far).unwrap_or(&near) {
            let (s, c) = libm::sincos(position as f64 * frequency);
            cos.push((c * f64::from(rope.magnitude)) as f32);
            sin.push((s * f64::from(rope.magnitude)) as f32);
        }
    }
    Angles { half, halves: rope.pairing == Pairing::Halves, cos, sin }
}

/// Radians per position of each pair.
fn frequencies(rope: &Rope, divisors: Option<&[f32]>) -> Vec<f64> {
    let half = rope.dims / 2;
    let base = f64::from(rope.base);
    let plain = |i: usize| {
        let divisor = divisors.map_or(1.0, |d| f64::from(d[i]));
        libm::pow(base, -2.0 * i as f64 / rope.dims as f64) / divisor
    };
    match rope.scaling {
        RopeScaling::Linear { factor } => (0..half).map(|i| plain(i) / f64::from(factor)).collect(),
        // YaRN, arXiv 2309.00071, section 3.2: a ramp over the pair's index between "rotates often: keep" and
        // "rotates seldom: divide".
        RopeScaling::Yarn { factor, original, beta_fast, beta_slow } => {
            let index = |rotations: f32| {
                let wavelengths = original as f64 / (2.0 * PI * f64::from(rotations));
                rope.dims as f64 * libm::log(wavelengths) / (2.0 * libm::log(base))
            };
            let low = libm::floor(index(beta_fast)).max(0.0);
            let high = libm::ceil(index(beta_slow)).min(rope.dims as f64 - 1.0);
            let keep = |i: usize| 1.0 - ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
            (0..half).map(|i| plain(i) * (keep(i) + (1.0 - keep(i)) / f64::from(factor))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(scaling: RopeScaling) -> Rope {
        Rope { pairing: Pairing::Halves, dims: 64, base: 10000.0, scaling, magnitude: 1.0, factors: None }
    }

    #[test]
    fn plain_frequencies_fall_from_one() {
        let f = frequencies(&rope(RopeScaling::Linear { factor: 1.0 }), None);
        assert_eq!(f[0], 1.0);
        assert!((f[16] - 0.01).abs() < 1e-12);
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_divides_slow_ones() {
        let plain = frequencies(&rope(RopeScaling::Linear { factor: 1.0 }), None);
        let scaling = RopeScaling::Yarn { factor: 40.0, original: 4096, beta_fast: 32.0, beta_slow: 1.0 };
        let yarn = frequencies(&rope(scaling), None);
        assert_eq!(yarn[0], plain[0]);
        assert!((yarn[31] - plain[31] / 40.0).abs() < 1e-15);
        assert!(yarn.windows(2).all(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn divisors_divide_and_long_ones_serve_long_conversations() {
        let mut long = vec![1.0; 32];
        long[0] = 4.0;
        let divisors = FrequencyDivisors { short: Some(vec![1.0; 32]), long: Some(long) };
        let rope = rope(RopeScaling::Linear { factor: 1.0 });
        let table = table(&rope, &divisors, [(1, false), (1, true)].into_iter());
        assert_eq!((table.cos[0], table.cos[32]), (1f64.cos() as f32, 0.25f64.cos() as f32));
    }
}
