//! How well a model predicts a text, and how far its predictions are from saved ones.
//!
//! The text's tokens are cut into windows. Each is computed from an empty cache, and only the predictions of its end
//! count, where every token has seen a good part of the window: in plain mode the second half of windows that follow each
//! other (the community's definition: `window - window / 2 - 1` predictions each), with a stride the last `stride`
//! predictions of windows that start `stride` tokens apart. Perplexity is `exp` of the mean of `-ln p(next token)`.

mod compare;
mod logits_file;
mod windows;

#[cfg(test)]
mod tests;

pub use compare::{Comparison, Divergence};
pub use logits_file::{LogitsReader, LogitsWriter};
pub use windows::Windows;

use std::path::Path;

use crate::engine::Session;
use crate::{Error, Result};

/// The mean of `-ln p` so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    /// Predictions that counted.
    pub predictions: usize,
    sum: f64,
    squares: f64,
}

impl Score {
    /// Adds one `-ln p`.
    pub fn add(&mut self, loss: f64) {
        self.predictions += 1;
        self.sum += loss;
        self.squares += loss * loss;
    }

    /// The mean of `-ln p` (natural logarithm).
    pub fn loss(&self) -> f64 {
        self.sum / self.predictions as f64
    }

    /// `exp` of the mean.
    pub fn perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// Standard error of [`Score::perplexity`], as if predictions were independent.
    pub fn error(&self) -> f64 {
        let n = self.predictions as f64;
        let variance = (self.squares / n - self.loss() * self.loss()).max(0.0);
        (variance / (n - 1.0).max(1.0)).sqrt() * self.perplexity()
    }
}

/// What a run does with each prediction besides counting it.
pub struct Outputs<'a> {
    /// Saves all log-probabilities.
    pub save: Option<&'a mut LogitsWriter>,
    /// Compares with saved ones.
    pub against: Option<(&'a mut LogitsReader, &'a mut Comparison)>,
}

/// Computes all windows of `tokens`. `bos`, where the model starts texts with it, takes the place of each window's first
/// token. `progress` is told the number of finished windows and the score so far.
///
/// # Errors
/// [`Error::Input`] for a text shorter than a window and for saved log-probabilities of something else, and all errors
/// of the session and of the files.
pub fn run(
    session: &mut Session,
    tokens: &[u32],
    windows: Windows,
    bos: Option<u32>,
    outputs: &mut Outputs<'_>,
    progress: &mut dyn FnMut(usize, &Score) -> Result<()>,
) -> Result<Score> {
    let path = session.model().gguf.path().to_path_buf();
    let mut score = Score::default();
    let mut row = Vec::new();
    for number in 0..windows.count(tokens.len()) {
        let mut window = tokens[number * windows.step..][..windows.len].to_vec();
        if let Some(bos) = bos {
            window[0] = bos;
        }
        let first = windows.first();
        session.truncate(0);
        session.feed(&window[..first], &mut |_| {})?;
        session.feed_all(&window[first..windows.len - 1], &mut |index, logits| {
            let target = window[first + index + 1];
            if !logits.iter().all(|logit| logit.is_finite()) {
                let place = path.display().to_string();
                return Err(Error::failed(place, "the model's logits are no numbers")
                    .hint("the file is damaged, or is computed in another way than it should be"));
            }
            log_softmax(logits, &mut row);
            score.add(-row[target as usize]);
            if let Some(save) = &mut outputs.save {
                save.row(&row)?;
            }
            if let Some((reader, comparison)) = &mut outputs.against {
                comparison.add(reader.row()?, &row, target);
            }
            Ok(())
        })?;
        progress(number + 1, &score)?;
    }
    Ok(score)
}

/// Fails early, and in the user's words, where there is nothing to compute.
///
/// # Errors
/// [`Error::Usage`] that says how many tokens are needed.
pub fn check_length(text: &Path, tokens: usize, windows: Windows) -> Result<()> {
    if windows.count(tokens) > 0 {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{} has {tokens} tokens, fewer than one window of {}. Use a longer text or a smaller context.",
        text.display(),
        windows.len
    )))
}

/// The natural logarithms of the probabilities, in double precision.
fn log_softmax(logits: &[f32], out: &mut Vec<f64>) {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - top).exp()).sum();
    let shift = f64::from(top) + sum.ln();
    out.clear();
    out.extend(logits.iter().map(|&x| f64::from(x) - shift));
}

crate::text::opaque!(Outputs<'_>);
