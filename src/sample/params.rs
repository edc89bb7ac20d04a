//! What a sampler is told to do.

use super::table::{PARAMETERS, Params};
use crate::{Error, Result};

impl Params {
    /// Checks every range.
    ///
    /// # Errors
    /// The parameter, its range, and the value.
    pub fn check(&self) -> Result<()> {
        if let Some(row) = PARAMETERS.iter().find(|row| !(row.fits)(self)) {
            return Err(Error::input(row.name, row.wanted, row.get(self).to_string()));
        }
        match self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
            Some((token, bias)) => {
                Err(Error::input(format!("logit bias of token {token}"), "a number or -inf", bias.to_string()))
            }
            None => Ok(()),
        }
    }

    /// Whether the most likely token is taken without drawing.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 || self.top_k == 1
    }

    /// Whether tokens that were used are punished, of however many.
    pub fn is_penalizing(&self) -> bool {
        self.repeat_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// Whether repetitions are looked for.
    pub fn is_dry(&self) -> bool {
        self.dry_multiplier > 0.0 && self.dry_penalty_last_n > 0
    }
}

/// A seed that differs from answer to answer and from start to start; who reports it lets the answer be repeated.
#[cfg(any(feature = "cli", feature = "server"))]
pub(crate) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() >> 32
}
