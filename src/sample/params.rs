//! What a sampler is told to do.

use crate::{Error, Result};

/// Parameters of sampling. The default takes the most likely token, always.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// Logits are divided by this; 0 = always the most likely token.
    pub temperature: f32,
    /// Only this many of the most likely tokens; 0 = all.
    pub top_k: usize,
    /// Only the most likely tokens that together have this probability; 1 = all.
    pub top_p: f32,
    /// Only tokens with at least this fraction of the most likely token's probability; 0 = all.
    pub min_p: f32,
    /// Logits of tokens in the window are divided (positive) or multiplied (negative) by this; 1 = off
    /// (CTRL, arXiv 1909.05858).
    pub repeat_penalty: f32,
    /// Subtracted from the logit of every token in the window; 0 = off.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit for each time that it is in the window; 0 = off.
    pub frequency_penalty: f32,
    /// How many of the last tokens (of prompt and answer) the penalties look at.
    pub penalty_window: usize,
    /// Added to the logits of single tokens; negative infinity bans one.
    pub logit_bias: Vec<(u32, f32)>,
}

/// Tokens that penalties look back at when nobody says otherwise.
pub const DEFAULT_WINDOW: usize = 64;

impl Default for Params {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_window: DEFAULT_WINDOW,
            logit_bias: Vec::new(),
        }
    }
}

impl Params {
    /// Checks every range.
    ///
    /// # Errors
    /// The parameter, its range, and the value.
    pub fn check(&self) -> Result<()> {
        let rows = [
            ("temperature", self.temperature, "a number from 0 to 100", 0.0..=100.0),
            ("top-p", self.top_p, "a number above 0, up to 1", f32::MIN_POSITIVE..=1.0),
            ("min-p", self.min_p, "a number from 0 to 1", 0.0..=1.0),
            ("repeat-penalty", self.repeat_penalty, "a number from 0.01 to 100", 0.01..=100.0),
            ("presence-penalty", self.presence_penalty, "a number from -100 to 100", -100.0..=100.0),
            ("frequency-penalty", self.frequency_penalty, "a number from -100 to 100", -100.0..=100.0),
        ];
        for (name, value, wanted, range) in rows {
            if !range.contains(&value) {
                return Err(Error::input(name, wanted, value.to_string()));
            }
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

    pub(super) fn has_penalties(&self) -> bool {
        self.penalty_window > 0
            && (self.repeat_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0)
    }
}
