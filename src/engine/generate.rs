//! From a prompt's tokens to pieces of text, one at a time.
//!
//! token -> stream decoder (whole characters) -> thought or answer -> stop texts -> piece. A [`Generation`] is an iterator;
//! dropping it stops the work, and the session keeps what was computed.

use super::Session;
use crate::chat::{Close, Kind, Part, Splitter, ThoughtGuard};
use crate::sample::{Constraint, Sampler, StopMatcher};
use crate::tokenizer::{Special, StreamDecoder, TokenKind, Tokenizer};
use crate::{Error, Result};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What to generate.
pub struct Request {
    /// Tokens of the whole prompt; what the session already holds of it isn't computed again.
    pub prompt: Vec<u32>,
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
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
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
    pub finish: Option<Finish>,
    /// Why the thought was closed, in words, if it was not the model that did.
    pub thought_closed: Option<String>,
    /// The model ended, or was cut, inside its thought: there is no answer.
    pub ended_in_thought: bool,
    /// The answer was cut before the form that it has to keep was complete.
    pub form_incomplete: bool,
}

/// A running generation.
pub struct Generation<'a> {
    session: &'a mut Session,
    tokenizer: &'a Tokenizer,
    request: Request,
    decoder: StreamDecoder,
    /// Tokens that steer the splitter; other control tokens are not text.
    markers: HashMap<u32, &'static str>,
    stop: StopMatcher,
    /// Why the thought has to be closed.
    close: Option<String>,
    logits: Vec<f32>,
    /// Tokens that are not chosen but given: the closing of a thought.
    given: VecDeque<u32>,
    /// Chosen, and not yet in the cache.
    next: Option<u32>,
    ready: VecDeque<Part>,
    stats: Stats,
}

impl<'a> Generation<'a> {
    /// Reads the prompt; `progress` is told how many of its tokens are done.
    ///
    /// # Errors
    /// [`Error::ContextFull`] before anything is computed when the prompt leaves no room for an answer.
    pub fn start(
        session: &'a mut Session,
        tokenizer: &'a Tokenizer,
        mut request: Request,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let (prompt, context) = (&request.prompt, session.options().context);
        if prompt.is_empty() {
            return Err(Error::input("the prompt", "at least one token", "none"));
        }
        if prompt.len() >= context {
            return Err(Error::ContextFull { needed: prompt.len() + 1, available: context });
        }
        let start = Instant::now();
        let total = prompt.len();
        let cached_tokens = session.reuse(prompt);
        progress(cached_tokens, total);
        let logits =
            session.feed(&prompt[cached_tokens..], &mut |done| progress(cached_tokens + done, total))?.to_vec();
        let stats =
            Stats { prompt_tokens: total, cached_tokens, prefill_s: seconds(start.elapsed()), ..Stats::default() };
        let stop = StopMatcher::new(request.stop.iter().cloned());
        let steers = |id: &u32| matches!(tokenizer.kind(*id), Some(TokenKind::Control | TokenKind::UserDefined));
        let token = |text: &str| tokenizer.token_id(text).filter(steers);
        let markers = request.splitter.markers().filter_map(|text| Some((token(text)?, text))).collect();
        request.splitter.by_token(|text| token(text).is_some());
        let close = request.guard.open().map(|why| why.to_string());
        let decoder = tokenizer.stream();
        let (given, next, ready) = Default::default();
        Ok(Self { session, tokenizer, request, decoder, markers, stop, close, logits, given, next, ready, stats })
    }

    /// What it took so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// One step: a token, and the pieces that it completes.
    fn step(&mut self) -> Result<()> {
        if let Some(token) = self.next.take() {
            let logits = self.session.feed(&[token], &mut |_| {})?;
            self.logits.clear();
            self.logits.extend_from_slice(logits);
        }
        if self.request.max_tokens.is_some_and(|most| self.stats.tokens >= most) {
            self.finish(Finish::Length);
            return Ok(());
        }
        if self.session.room() == 0 {
            self.finish(Finish::Context);
            return Ok(());
        }
        let thinking = self.request.splitter.is_thinking();
        if thinking && self.given.is_empty() {
            self.close_thought();
        }
        let given = self.given.pop_front();
        let token = match given {
            Some(token) => token,
            None => self.choose(thinking)?,
        };
        if given.is_none() && self.tokenizer.is_eog(token) {
            self.finish(Finish::Stop);
            return Ok(());
        }
        self.count(token, thinking, given.is_some());
        self.next = Some(token);
        if let Some(marker) = self.markers.get(&token) {
            // Half a character before a marker is none.
            let _ = self.decoder.finish();
            let parts = self.request.splitter.push_marker(marker);
            parts.into_iter().for_each(|part| self.pass_on(part));
        } else if !self.tokenizer.is_control(token) {
            let text = self.decoder.push(token).unwrap_or_default();
            let parts = self.request.splitter.push(&text);
            parts.into_iter().for_each(|part| self.pass_on(part));
        } else if !thinking && self.tokenizer.token_text(token).is_some_and(|name| self.stop.is_stop(&name)) {
            self.next = None;
            self.finish(Finish::Stop);
        }
        Ok(())
    }

    /// Counts a token, and watches the thought that it belongs to.
    fn count(&mut self, token: u32, thinking: bool, given: bool) {
        self.stats.tokens += 1;
        if thinking && !given {
            self.stats.reasoning_tokens += 1;
            let why = self.request.guard.push(token);
            if self.stats.thought_closed.is_none() {
                self.close = self.close.take().or(why.map(|why: Close| why.to_string()));
            }
        }
    }

    fn choose(&mut self, thinking: bool) -> Result<u32> {
        let position = self.session.tokens().len() as u64;
        let history = self.session.tokens();
        // The form binds the answer only: a thought, and the head of a segment, are free.
        let splitter = &self.request.splitter;
        let mut constraint = self.request.constraint.as_mut().filter(|_| !thinking && splitter.is_answering());
        let mut mask = constraint.as_mut().map(|constraint| constraint.allowed().cloned()).transpose()?;
        let opening = splitter.opening().and_then(|marker| self.tokenizer.token_id(marker));
        if let (Some(mask), Some(opening)) = (&mut mask, opening) {
            mask.insert(opening);
        }
        // Rows beyond the vocabulary, which pad the matrix, are no tokens.
        let known = self.tokenizer.vocab_size().min(self.logits.len());
        let logits = &mut self.logits[..known];
        let token = self.request.sampler.sample_masked(logits, history, position, mask.as_ref())?;
        if let Some(constraint) = constraint
            && Some(token) != opening
        {
            constraint.accept(token)?;
        }
        Ok(token)
    }

    /// Closes the thought where its guard or the user wants that, with the model's own closing text.
    fn close_thought(&mut self) {
        if self.request.end_thought.swap(false, Ordering::Relaxed) {
            self.close = Some("the thought was closed as you wished".to_owned());
        }
        let Some(why) = self.close.take() else { return };
        if let Some(closing) = self.request.splitter.closing_text() {
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
        let found = self.stop.push(&part.text);
        self.emit(part.kind, found.text);
        if found.stopped.is_some() {
            self.finish(Finish::Stop);
        }
    }

    fn emit(&mut self, kind: Kind, text: String) {
        if !text.is_empty() {
            self.ready.push_back(Part { kind, text });
        }
    }

    /// Whether the answer may end here, as far as its form goes.
    fn is_form_complete(&mut self) -> bool {
        let Some(constraint) = &mut self.request.constraint else { return true };
        let may_end = |constraint: &mut Box<dyn Constraint>| {
            constraint.allowed().is_ok_and(|mask| self.tokenizer.eog().iter().any(|&end| mask.contains(end)))
        };
        constraint.is_finished() || may_end(constraint)
    }

    /// Ends the generation and releases what was held back.
    fn finish(&mut self, why: Finish) {
        if self.stats.finish.is_some() {
            return;
        }
        self.stats.finish = Some(why);
        self.stats.ended_in_thought = self.request.splitter.is_thinking();
        self.stats.form_incomplete = matches!(why, Finish::Length | Finish::Context) && !self.is_form_complete();
        // Half a character at the end is none.
        let _ = self.decoder.finish();
        let parts = self.request.splitter.finish();
        parts.into_iter().for_each(|part| self.pass_on(part));
        let held = self.stop.finish();
        self.emit(Kind::Answer, held);
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<Part>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Some(Ok(part));
            }
            if self.stats.finish.is_some() {
                return None;
            }
            let start = Instant::now();
            let step = self.step();
            self.stats.decode_s += seconds(start.elapsed());
            match step {
                Ok(()) => {}
                Err(Error::Interrupted) => {
                    self.next = None;
                    self.finish(Finish::Interrupted);
                }
                Err(error) => {
                    self.stats.finish = Some(Finish::Interrupted);
                    return Some(Err(error));
                }
            }
        }
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
