//! An answer under way: from logits to the next token, and from tokens to pieces of text. It does not know where logits
//! come from, so that one sequence and many in a batch take the same steps.
//!
//! token -> stream decoder (whole characters) -> thought or answer -> stop texts -> piece.

use crate::Result;
use crate::chat::{Close, Kind, Part, Piece, Splitter, StopMatcher, ThoughtGuard};
use crate::sample::{Constraint, Mask, Sampler};
use crate::tokenizer::{Special, StreamDecoder, TokenKind, Tokenizer};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How an answer is made.
pub struct Wanted {
    /// Chooses the tokens.
    pub sampler: Sampler,
    /// Most tokens to generate, thoughts included; `None` = as many as fit.
    pub max_tokens: Option<usize>,
    /// Texts that end the answer (they do not count inside a thought).
    pub stop: Vec<String>,
    /// Tells thoughts from answers.
    pub splitter: Splitter,
    /// Watches the thought: its budget, and whether it repeats itself. It is then closed with the model's own text.
    pub guard: ThoughtGuard,
    /// Keeps the answer (not the thought) in a form.
    pub constraint: Option<Box<dyn Constraint>>,
    /// Set from outside to close a running thought now.
    pub end_thought: Arc<AtomicBool>,
    /// How many of the likeliest tokens are reported beside each chosen one; `None` = no probabilities at all.
    pub logprobs: Option<usize>,
    /// Whether these probabilities are those after bias, penalties and filters.
    pub after_filters: bool,
    /// Whether the answer goes on after end-of-generation tokens.
    pub ignore_eos: bool,
    /// Fewest tokens: before them neither the model nor a stop text ends the answer.
    pub min_tokens: usize,
    /// Tokens that end the answer beside those of the model.
    pub stop_tokens: Vec<u32>,
    /// Whether the text or token of these that ended the answer is part of it.
    pub keep_stop: bool,
    /// Whether control tokens are part of the answer's text.
    pub show_control: bool,
    /// Texts of control tokens that are part of the answer's text.
    pub shown: Vec<&'static str>,
}

impl Wanted {
    /// The plainest answer: text as it comes, from `sampler`.
    pub fn plain(sampler: Sampler) -> Self {
        Self {
            sampler,
            max_tokens: None,
            stop: Vec::new(),
            splitter: Splitter::plain(),
            guard: ThoughtGuard::new(None),
            constraint: None,
            end_thought: Arc::default(),
            logprobs: None,
            after_filters: false,
            ignore_eos: false,
            min_tokens: 0,
            stop_tokens: Vec::new(),
            keep_stop: false,
            show_control: false,
            shown: Vec::new(),
        }
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its answer, or a stop text did.
    Stop,
    /// The limit of tokens was reached.
    Length,
    /// The context is full.
    Context,
    /// The user interrupted.
    Interrupted,
}

/// What a generation took.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Stats {
    /// Seconds in the queue.
    #[serde(skip)]
    pub queue_s: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, how many were in the cache.
    pub cached_tokens: usize,
    /// Tokens generated, thoughts included.
    pub tokens: usize,
    /// Tokens of thoughts.
    pub reasoning_tokens: usize,
    /// Seconds until the prompt was read.
    pub prefill_s: f64,
    /// Seconds of generating.
    pub decode_s: f64,
    /// Why it ended; `None` while it runs.
    pub finish: Option<FinishReason>,
    /// Why the thought was closed, in words, if it was not the model that did.
    pub thought_closed: Option<String>,
    /// The model ended, or was cut, inside its thought: there is no answer.
    pub ended_in_thought: bool,
    /// The answer was cut before the form that it has to keep was complete.
    pub form_incomplete: bool,
    /// Which stop text ended the answer, if one did.
    #[serde(skip)]
    pub stopped_by: Option<String>,
}

/// A chosen token and how likely it was, before any filter unless [`Wanted::after_filters`] says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprob {
    /// The token.
    pub token: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The likeliest tokens, likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// An answer under way.
pub struct Answer {
    tokenizer: Arc<Tokenizer>,
    wanted: Wanted,
    decoder: StreamDecoder,
    /// Tokens that steer the splitter; other control tokens are not text.
    markers: HashMap<u32, &'static str>,
    /// Control tokens that are text.
    shown: HashMap<u32, &'static str>,
    stop: StopMatcher,
    /// Why the thought has to be closed.
    close: Option<String>,
    /// Tokens that are not chosen but given: the closing of a thought.
    given: VecDeque<u32>,
    ready: VecDeque<Part>,
    chosen: VecDeque<Logprob>,
    stats: Stats,
}

impl Answer {
    /// An answer to a prompt of which `stats` tells what it took.
    pub fn new(tokenizer: &Arc<Tokenizer>, mut wanted: Wanted, stats: Stats) -> Self {
        let stop = StopMatcher::new(wanted.stop.iter().cloned());
        let steers = |id: &u32| matches!(tokenizer.kind(*id), Some(TokenKind::Control | TokenKind::UserDefined));
        let token = |text: &str| tokenizer.token_id(text).filter(steers);
        let markers = wanted.splitter.markers().filter_map(|text| Some((token(text)?, text))).collect();
        let shown = wanted.shown.iter().filter_map(|&text| Some((tokenizer.token_id(text)?, text))).collect();
        wanted.splitter.by_token(|text| token(text).is_some());
        let close = wanted.guard.open().map(|why| why.to_string());
        let decoder = tokenizer.stream();
        let (given, ready, chosen) = Default::default();
        Self {
            tokenizer: Arc::clone(tokenizer),
            wanted,
            decoder,
            markers,
            shown,
            stop,
            close,
            given,
            ready,
            chosen,
            stats,
        }
    }

    /// What it took so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The same, to be added to.
    pub fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.stats.finish.is_some()
    }

    /// The next piece of text that is decided.
    pub fn take(&mut self) -> Option<Part> {
        self.ready.pop_front()
    }

    /// The next chosen token with its probability, where that was asked for.
    pub fn take_logprob(&mut self) -> Option<Logprob> {
        self.chosen.pop_front()
    }

    /// The token that follows `history`, of which `logits` (overwritten) tell; `room` positions are left. `None`: the
    /// answer has ended.
    ///
    /// # Errors
    /// Logits that are no numbers; a form that cannot go on.
    pub fn next(&mut self, logits: &mut [f32], history: &[u32], room: usize) -> Result<Option<u32>> {
        if self.is_finished() {
            return Ok(None);
        }
        if self.wanted.max_tokens.is_some_and(|most| self.stats.tokens >= most) {
            self.finish(FinishReason::Length);
            return Ok(None);
        }
        if room == 0 {
            self.finish(FinishReason::Context);
            return Ok(None);
        }
        let thinking = self.wanted.splitter.is_thinking();
        if thinking && self.given.is_empty() {
            self.close_thought();
        }
        let given = self.given.pop_front();
        let token = match given {
            Some(token) => token,
            None => self.choose(logits, history, thinking)?,
        };
        if given.is_none() && self.is_end(token) {
            if self.wanted.keep_stop && self.wanted.stop_tokens.contains(&token) {
                self.read(token, thinking);
            } else {
                // What is not a part of the answer has no probability in it.
                self.chosen.pop_back();
            }
            self.finish(FinishReason::Stop);
            return Ok(None);
        }
        self.count(token, thinking, given.is_some());
        self.read(token, thinking);
        Ok(Some(token))
    }

    /// Whether a token ends the answer.
    fn is_end(&self, token: u32) -> bool {
        let by_model = !self.wanted.ignore_eos && self.tokenizer.is_eog(token);
        by_model || self.wanted.stop_tokens.contains(&token)
    }

    /// Whether the answer, with the token that was counted last, may end by a stop text.
    fn may_stop(&self) -> bool {
        self.stats.tokens > self.wanted.min_tokens
    }

    /// Makes text of a token.
    fn read(&mut self, token: u32, thinking: bool) {
        let parts = if let Some(marker) = self.markers.get(&token) {
            // Half a character before a marker is none.
            let _ = self.decoder.finish();
            self.wanted.splitter.push_marker(marker)
        } else if let Some(text) = self.shown.get(&token) {
            self.wanted.splitter.push(text)
        } else if !self.tokenizer.is_control(token) {
            let text = self.decoder.push(token).unwrap_or_default();
            self.wanted.splitter.push(&text)
        } else {
            let name = self.tokenizer.token_text(token).unwrap_or_default().into_owned();
            if self.wanted.show_control {
                self.wanted.splitter.push(&name)
            } else {
                if !thinking && self.may_stop() {
                    let found = self.stop.push_hidden(&name);
                    self.found(found, false);
                }
                Vec::new()
            }
        };
        parts.into_iter().for_each(|part| self.pass_on(part));
    }

    /// Ends the answer if it has as many tokens as it may have.
    pub fn end_at_limit(&mut self) {
        if self.wanted.max_tokens.is_some_and(|most| self.stats.tokens >= most) {
            self.finish(FinishReason::Length);
        }
    }

    /// Counts a token, and watches the thought that it belongs to.
    fn count(&mut self, token: u32, thinking: bool, given: bool) {
        self.stats.tokens += 1;
        if thinking && !given {
            self.stats.reasoning_tokens += 1;
            let why = self.wanted.guard.push(token);
            if self.stats.thought_closed.is_none() {
                self.close = self.close.take().or(why.map(|why: Close| why.to_string()));
            }
        }
    }

    fn choose(&mut self, logits: &mut [f32], history: &[u32], thinking: bool) -> Result<u32> {
        // Rows beyond the vocabulary, which pad the matrix, are no tokens.
        let known = self.tokenizer.vocab_size().min(logits.len());
        let logits = &mut logits[..known];
        let before = self.wanted.logprobs.filter(|_| !self.wanted.after_filters);
        let likely = before.map(|top| likeliest(logits, top));
        // The form binds the answer only: a thought, and the head of a segment, are free.
        let answering = self.wanted.splitter.is_answering();
        let constraint = self.wanted.constraint.as_mut();
        let mut constraint = constraint.filter(|constraint| !thinking && (answering || constraint.is_of_calls()));
        let binding = constraint.as_mut().filter(|constraint| !constraint.is_free());
        let mut mask = binding.map(|constraint| constraint.allowed().cloned()).transpose()?;
        let opening = self.wanted.splitter.opening().and_then(|marker| self.tokenizer.token_id(marker));
        if let (Some(mask), Some(opening)) = (&mut mask, opening) {
            mask.insert(opening);
        }
        let total = likely.as_ref().map(|(total, _)| (*total, logits.to_vec()));
        if self.stats.tokens < self.wanted.min_tokens {
            let by_model = self.tokenizer.eog().iter().filter(|_| !self.wanted.ignore_eos);
            let ends: Vec<u32> = by_model.chain(&self.wanted.stop_tokens).copied().collect();
            forbid(&ends, logits, mask.as_ref());
        }
        let token = self.wanted.sampler.sample_masked(logits, history, history.len() as u64, mask.as_ref())?;
        if let Some(constraint) = constraint
            && Some(token) != opening
        {
            constraint.accept(token)?;
        }
        if let (Some((total, raw)), Some((_, top))) = (total, likely) {
            self.chosen.push_back(Logprob { token, logprob: raw[token as usize] - total, top });
        } else if let Some(count) = self.wanted.logprobs {
            let (logprob, top) = self.wanted.sampler.likeliest(token, count);
            self.chosen.push_back(Logprob { token, logprob, top });
        }
        Ok(token)
    }

    /// Closes the thought where its guard or the user wants that, with the model's own closing text.
    fn close_thought(&mut self) {
        if self.wanted.end_thought.swap(false, Ordering::Relaxed) {
            self.close = Some("the thought was ended on request".to_owned());
        }
        let Some(why) = self.close.take() else { return };
        if let Some(closing) = self.wanted.splitter.closing_text() {
            self.stats.thought_closed = Some(why);
            self.given.extend(self.tokenizer.encode(closing, Special::Parse));
        }
    }

    /// Answers go through the stop texts.
    fn pass_on(&mut self, part: Part) {
        if part.kind == Kind::Unsaid {
            let held = self.stop.finish();
            self.emit(Kind::Answer, held);
            return self.ready.push_back(part);
        }
        if part.kind != Kind::Answer {
            return self.emit(part.kind, part.text);
        }
        if !self.may_stop() {
            return self.emit(part.kind, part.text);
        }
        let found = self.stop.push(&part.text);
        // The text that ends it was a part of the form, and is not a part of the answer.
        let has_form = self.wanted.constraint.as_ref().is_some_and(|constraint| !constraint.is_of_calls());
        self.found(found, has_form && !self.wanted.keep_stop);
    }

    /// Shows what of the answer is decided, and ends it where a stop text was found, which may take a part of its form away.
    fn found(&mut self, found: Piece, takes_of_form: bool) {
        self.emit(Kind::Answer, found.text);
        if let Some(stop) = found.stopped.and_then(|index| self.wanted.stop.get(index).cloned()) {
            if self.wanted.keep_stop {
                self.emit(Kind::Answer, stop.clone());
            }
            self.stats.stopped_by = Some(stop);
            self.finish(FinishReason::Stop);
            self.stats.form_incomplete |= takes_of_form;
        }
    }

    fn emit(&mut self, kind: Kind, text: String) {
        if !text.is_empty() {
            self.ready.push_back(Part { kind, text });
        }
    }

    /// Whether the answer may end here, as far as its form goes.
    fn is_form_complete(&mut self) -> bool {
        let Some(constraint) = &mut self.wanted.constraint else { return true };
        let may_end = |constraint: &mut Box<dyn Constraint>| {
            constraint.allowed().is_ok_and(|mask| self.tokenizer.eog().iter().any(|&end| mask.contains(end)))
        };
        constraint.is_free() || constraint.is_finished() || may_end(constraint)
    }

    /// Ends the answer and releases what was held back.
    pub fn finish(&mut self, why: FinishReason) {
        if self.is_finished() {
            return;
        }
        self.stats.finish = Some(why);
        self.stats.ended_in_thought = self.wanted.splitter.is_thinking();
        let cut = matches!(why, FinishReason::Length | FinishReason::Context) || self.stats.stopped_by.is_some();
        self.stats.form_incomplete = cut && !self.is_form_complete();
        // Half a character at the end is none.
        let _ = self.decoder.finish();
        let parts = self.wanted.splitter.finish();
        parts.into_iter().for_each(|part| self.pass_on(part));
        let held = self.stop.finish();
        self.emit(Kind::Answer, held);
    }
}

/// Keeps tokens that would end an answer from being chosen, unless its form allows nothing else.
fn forbid(ends: &[u32], logits: &mut [f32], mask: Option<&Mask>) {
    let mut others = mask.cloned();
    others.iter_mut().for_each(|others| others.retain(|token| !ends.contains(&token)));
    if others.is_some_and(|others| others.is_empty()) {
        return;
    }
    for &end in ends {
        logits.get_mut(end as usize).into_iter().for_each(|logit| *logit = f32::NEG_INFINITY);
    }
}

/// The logarithm of the sum of `e^logit`, and the `count` likeliest tokens with the logarithms of their probabilities.
fn likeliest(logits: &[f32], count: usize) -> (f32, Vec<(u32, f32)>) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| libm::exp(f64::from(x - most))).sum();
    let total = most + libm::log(sum) as f32;
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let count = count.min(order.len());
    if count > 0 && count < order.len() {
        order.select_nth_unstable_by(count - 1, by_logit);
    }
    order.truncate(count);
    order.sort_by(by_logit);
    (total, order.into_iter().map(|token| (token, logits[token as usize] - total)).collect())
}

crate::text::opaque!(Wanted, Answer);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_before_any_filter() {
        let logits = [0.0, 2.0, -1.0, 2.0, f32::NEG_INFINITY];
        let (total, top) = likeliest(&logits, 3);
        let sum: f32 = logits.iter().map(|x| (x - total).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 3, 0]);
        assert!((top[2].1 - (0.0 - total)).abs() < 1e-6);
        assert_eq!(likeliest(&logits, 0).1, []);
        assert_eq!(likeliest(&logits, 99).1.len(), 5);
    }
}
