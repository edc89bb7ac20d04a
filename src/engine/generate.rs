//! From a prompt's tokens to pieces of text, one at a time, in one session. A [`Generation`] is an iterator; dropping it
//! stops the work, and the session keeps what was computed.

use super::Session;
use super::answer::{Answer, FinishReason, Stats, Wanted};
use crate::chat::Part;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What to generate.
pub struct Request {
    /// Tokens of the whole prompt; what the session already holds of it isn't computed again.
    pub prompt: Vec<u32>,
    /// How the answer is made.
    pub wanted: Wanted,
}

/// A running generation.
pub struct Generation<'a> {
    session: &'a mut Session,
    answer: Answer,
    logits: Vec<f32>,
    /// Chosen, and not yet in the cache.
    next: Option<u32>,
}

impl<'a> Generation<'a> {
    /// Reads the prompt; `progress` is told how many of its tokens are done.
    ///
    /// # Errors
    /// [`Error::ContextFull`] before anything is computed when the prompt leaves no room for an answer.
    pub fn start(
        session: &'a mut Session,
        tokenizer: &Arc<Tokenizer>,
        request: Request,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let prompt = &request.prompt;
        check_prompt(prompt, session.options().context)?;
        let start = Instant::now();
        let total = prompt.len();
        let cached_tokens = session.reuse(prompt);
        progress(cached_tokens, total);
        let logits =
            session.feed(&prompt[cached_tokens..], &mut |done| progress(cached_tokens + done, total))?.to_vec();
        let stats =
            Stats { prompt_tokens: total, cached_tokens, prefill_s: seconds(start.elapsed()), ..Stats::default() };
        Ok(Self { session, answer: Answer::new(tokenizer, request.wanted, stats), logits, next: None })
    }

    /// What it took so far.
    pub fn stats(&self) -> &Stats {
        self.answer.stats()
    }

    /// One step: a token, and the pieces that it completes.
    fn step(&mut self) -> Result<()> {
        if let Some(token) = self.next.take() {
            let logits = self.session.feed(&[token], &mut |_| {})?;
            self.logits.clear();
            self.logits.extend_from_slice(logits);
        }
        let room = self.session.room();
        self.next = self.answer.next(&mut self.logits, self.session.tokens(), room)?;
        Ok(())
    }
}

/// Whether an answer can follow `prompt` in a context of this length.
pub(super) fn check_prompt(prompt: &[u32], context: usize) -> Result<()> {
    if prompt.is_empty() {
        return Err(Error::input("the prompt", "at least one token", "none"));
    }
    if prompt.len() >= context {
        return Err(Error::ContextFull { needed: prompt.len() + 1, available: context });
    }
    Ok(())
}

impl Iterator for Generation<'_> {
    type Item = Result<Part>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(part) = self.answer.take() {
                return Some(Ok(part));
            }
            if self.answer.is_finished() {
                return None;
            }
            let start = Instant::now();
            let step = self.step();
            self.answer.stats_mut().decode_s += seconds(start.elapsed());
            match step {
                Ok(()) => {}
                Err(Error::Interrupted) => {
                    self.next = None;
                    self.answer.finish(FinishReason::Interrupted);
                }
                Err(error) => {
                    self.answer.stats_mut().finish = Some(FinishReason::Interrupted);
                    return Some(Err(error));
                }
            }
        }
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

crate::text::opaque!(Request, Generation<'_>);
