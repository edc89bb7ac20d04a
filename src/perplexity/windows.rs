//! The windows that a text is cut into.

use crate::{Error, Result};

/// Which predictions of which windows count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Tokens of a window.
    pub len: usize,
    /// Predictions that count, the last ones of a window.
    pub scored: usize,
    /// Tokens from the start of a window to the start of the next.
    pub step: usize,
}

impl Windows {
    /// Windows of `len` tokens that follow each other, or that start `stride` tokens apart.
    ///
    /// # Errors
    /// [`Error::Input`] for windows without predictions, and for strides that skip predictions.
    pub fn new(len: usize, stride: Option<usize>) -> Result<Self> {
        if len < 4 {
            return Err(Error::input("`ctx`", "at least 4 tokens", len.to_string()));
        }
        match stride {
            None => Ok(Self { len, scored: len - len / 2 - 1, step: len }),
            Some(stride) if stride == 0 || stride >= len => {
                Err(Error::input("`stride`", format!("1 to {}, less than the window", len - 1), stride.to_string()))
            }
            Some(stride) => Ok(Self { len, scored: stride, step: stride }),
        }
    }

    /// How many windows `tokens` tokens hold.
    pub fn count(&self, tokens: usize) -> usize {
        if tokens < self.len { 0 } else { (tokens - self.len) / self.step + 1 }
    }

    /// Row of the first prediction that counts: the logits there predict the token after it.
    pub(super) fn first(&self) -> usize {
        self.len - 1 - self.scored
    }
}
