//! Reads rotary embeddings: scaling, magnitude, and frequency divisors.

use super::keys::Keys;
use super::role::Role;
use super::{Pairing, Rope, RopeFactors, RopeScaling};
use crate::Result;

/// Most values of a head that rotate, far over any real model.
const MAX_DIMS: usize = 1 << 12;
/// Tensor of divisors that hold for every context.
const FREQS: &str = Role::RopeFreqs.name();
/// How much of YaRN's ramp is used.
const YARN_EXTRAPOLATION: &str = "rope.scaling.yarn_ext_factor";
/// What multiplies attention under YaRN.
const YARN_ATTENTION: &str = "rope.scaling.yarn_attn_factor";

impl Keys<'_> {
    /// The rotary embedding of the file's `rope.` keys for heads of `k_dim` values.
    pub(super) fn rope(&self, pairing: Pairing, k_dim: usize) -> Result<Rope> {
        let kind = self.str("rope.scaling.type")?.unwrap_or("linear");
        let factor = match self.set_f32("rope.scaling.factor")? {
            Some(factor) => factor,
            None => self.set_f32("rope.scale_linear")?.unwrap_or(1.0),
        };
        let original = self.original_context()?;
        let magnitude = self.set_f32("rope.scaling.attn_factor")?.unwrap_or(1.0);
        // Read for every kind: where they are of no use, they change nothing.
        let log_mul = self.set_f32("rope.scaling.yarn_log_multiplier")?;
        let beta_fast = self.set_f32("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0);
        let beta_slow = self.set_f32("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0);
        let _ = (self.f32(YARN_EXTRAPOLATION)?, self.f32(YARN_ATTENTION)?);
        let (scaling, magnitude) = match kind {
            // The scaling of longrope is all in its divisors.
            "none" | "longrope" => (RopeScaling::Linear { factor: 1.0 }, magnitude),
            "linear" => (RopeScaling::Linear { factor }, magnitude),
            "yarn" => {
                self.check_yarn(factor)?;
                let divisor = log_mul.map_or(1.0, |k| yarn_gain(factor, k));
                let scaling = RopeScaling::Yarn { factor, original, beta_fast, beta_slow };
                (scaling, magnitude * yarn_gain(factor, 1.0) / divisor)
            }
            _ => return Err(self.wrong("rope.scaling.type", "none, linear, yarn or longrope")),
        };
        Ok(Rope {
            pairing,
            dims: self.set_usize("rope.dimension_count")?.unwrap_or(k_dim),
            base: self.set_f32("rope.freq_base")?.unwrap_or(10_000.0),
            scaling,
            magnitude,
            factors: self.factors(original),
        })
    }

    /// YaRN's other two numbers have to be those that it is computed with: the whole ramp, and the gain of its paper.
    fn check_yarn(&self, factor: f32) -> Result<()> {
        // -1 is how engines say "as usual".
        if self.f32(YARN_EXTRAPOLATION)?.is_some_and(|x| x != 1.0 && x != -1.0) {
            return Err(self.wrong(YARN_EXTRAPOLATION, "1: no other extrapolation is supported"));
        }
        let gain = yarn_gain(factor, 1.0);
        if self.f32(YARN_ATTENTION)?.is_some_and(|x| ![-1.0, 0.0, 1.0].contains(&x) && (x - gain).abs() > 1e-3) {
            return Err(self.wrong(YARN_ATTENTION, format!("{gain}, the gain for a factor of {factor}")));
        }
        Ok(())
    }

    /// The context before scaling.
    pub(super) fn original_context(&self) -> Result<usize> {
        match self.set_usize("rope.scaling.original_context_length")? {
            Some(original) => Ok(original),
            None => self.context(),
        }
    }

    fn factors(&self, original: usize) -> Option<RopeFactors> {
        if self.gguf.tensor(FREQS).is_some() {
            return Some(RopeFactors::Fixed(FREQS.to_owned()));
        }
        self.gguf.tensor(Role::RopeFactorsLong.name()).map(|_| RopeFactors::ByContext { original })
    }
}

/// What YaRN multiplies attention by, per query and key: `0.1 k ln(factor) + 1`.
pub(super) fn yarn_gain(factor: f32, k: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { 0.1 * k * libm::logf(factor) + 1.0 }
}

impl Rope {
    /// Fills in the divisors of the Llama 3 scaling (low 1, high 4, original context 8192) where the file, made by an
    /// early converter, lacks them.
    pub(super) fn restore_llama3_factors(&mut self, factor: f64) {
        const ORIGINAL: f64 = 8192.0;
        const LOW: f64 = 1.0;
        const HIGH: f64 = 4.0;
        // A senseless length is refused later; nothing is allocated for it.
        if self.factors.is_some() || self.dims > MAX_DIMS {
            return;
        }
        let divisor = |i: usize| {
            let exponent = 2.0 * i as f64 / self.dims as f64;
            let wavelength = 2.0 * std::f64::consts::PI * libm::pow(f64::from(self.base), exponent);
            if wavelength < ORIGINAL / HIGH {
                1.0
            } else if wavelength > ORIGINAL / LOW {
                factor
            } else {
                let smooth = (ORIGINAL / wavelength - LOW) / (HIGH - LOW);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        self.factors = Some(RopeFactors::Given((0..self.dims / 2).map(|i| divisor(i) as f32).collect()));
    }
}
