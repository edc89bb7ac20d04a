//! What follows from a pass: next tokens are chosen, and everyone is told what came of it.

use super::answer::Answer;
use super::gauges::Count;
use super::scheduler::Scheduler;
use super::sequence::{Event, Sequence};
use crate::Result;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tokki_quant::attention::TILE;

impl Scheduler {
    /// Chooses the next tokens, all sequences at the same time, and tells what happened.
    pub(super) fn advance(&mut self, rows: &[(usize, usize)], mut logits: Vec<f32>) {
        let vocab = self.llm.model().spec.vocab;
        let mut logits = logits.chunks_exact_mut(vocab);
        let (mut chosen, mut copies) = (Vec::new(), Vec::new());
        for &(index, n) in rows {
            if n > 1 || self.running[index].answer.stats().tokens == 0 {
                self.read(index);
            }
            if self.running[index].pending() > 0 {
                continue;
            }
            let Some(logits) = logits.next() else { break };
            copies.extend(self.fork(index).map(|fork| (fork, logits.to_vec())));
            chosen.push((index, logits));
        }
        chosen.extend(copies.iter_mut().map(|(index, logits)| (*index, logits.as_mut_slice())));
        let mut ended = Vec::new();
        for (index, next) in self.choose(chosen) {
            let id = self.running[index].job;
            if let Err(error) = next.map(|next| self.tell(index, next)) {
                ended.push((id, Some(error)));
            }
        }
        let done: Vec<u64> = self.jobs.iter().filter(|job| job.open == 0).map(|job| job.id).collect();
        ended.extend(done.into_iter().map(|id| (id, None)));
        for (id, error) in ended {
            match error {
                Some(error) => self.fail_job(id, error),
                None => self.end_job(id),
            }
        }
        self.retire(|sequence| sequence.answer.is_finished());
    }

    /// A piece of a prompt has been read.
    fn read(&mut self, index: usize) {
        let sequence = &mut self.running[index];
        if sequence.pending() <= TILE || sequence.cache.len() == sequence.branch {
            sequence.cache.checkpoint();
        }
        let whole = sequence.cache.len() / TILE * TILE;
        self.tree.keep(&sequence.tokens[..whole], &sequence.cache);
        if let Some(job) = self.jobs.iter_mut().find(|job| job.id == sequence.job) {
            let (total, cached) = (job.prompt.len(), sequence.answer.stats().cached_tokens);
            let done = sequence.cache.len().min(total);
            let seconds = job.started.elapsed().as_secs_f64();
            (job.events)(Event::Prefill { done, total, cached, seconds });
        }
    }

    /// Begins the other answers of a request whose prompt has just been read, on the same pages. Returns where they run.
    fn fork(&mut self, index: usize) -> Range<usize> {
        let (id, first) = (self.running[index].job, self.running.len());
        let Some(at) = self.jobs.iter().position(|job| job.id == id) else { return first..first };
        for (number, wanted) in std::mem::take(&mut self.jobs[at].choices).into_iter().enumerate() {
            let sequence = &self.running[index];
            let stats = sequence.answer.stats().clone();
            let answer = Answer::new(self.llm.tokenizer(), wanted, stats);
            let (tokens, cache) = (sequence.tokens.clone(), sequence.cache.clone());
            let (began, reuse, branch, untold) = (sequence.began, sequence.reuse, sequence.branch, Vec::new());
            let fork = Sequence { job: id, choice: number + 1, tokens, cache, reuse, branch, answer, untold, began };
            self.running.push(fork);
        }
        first..self.running.len()
    }

    /// The next token of each of these sequences, from the logits after its last one. Choosing takes as long as a part of a pass
    /// where vocabularies are large or answers have a form, so all threads of the pool take part.
    fn choose(&mut self, mut chosen: Vec<(usize, &mut [f32])>) -> Vec<(usize, Result<Option<u32>>)> {
        let now = Instant::now();
        chosen.sort_by_key(|(index, _)| *index);
        let mut chosen = chosen.into_iter().peekable();
        let mut turns = Vec::new();
        for (index, sequence) in self.running.iter_mut().enumerate() {
            let Some((_, logits)) = chosen.next_if(|(wanted, _)| *wanted == index) else { continue };
            let Some(job) = self.jobs.iter().find(|job| job.id == sequence.job) else { continue };
            let stats = sequence.answer.stats_mut();
            if stats.tokens == 0 {
                stats.prefill_s = (now - job.started).as_secs_f64();
                sequence.began = now;
            }
            stats.decode_s = (now - sequence.began).as_secs_f64();
            let room = self.options.session.context.saturating_sub(sequence.tokens.len());
            turns.push(Mutex::new(Turn { index, sequence, logits, room, next: Ok(None) }));
        }
        match turns.as_slice() {
            [] => {}
            [one] => Turn::take(one),
            turns => self.pool.run(|lead| lead.phase(turns.len(), &|_, turn| Turn::take(&turns[turn]))),
        }
        let turns = turns.into_iter().map(|turn| turn.into_inner().unwrap_or_else(PoisonError::into_inner));
        turns.map(|turn| (turn.index, turn.next)).collect()
    }

    /// Tells what came of a sequence's next token.
    fn tell(&mut self, index: usize, next: Option<u32>) {
        let sequence = &mut self.running[index];
        let Some(job) = self.jobs.iter_mut().find(|job| job.id == sequence.job) else { return };
        let choice = sequence.choice;
        if let Some(token) = next {
            self.gauges.add(Count::GeneratedTokens, 1);
            self.gauges.add(Count::Steps, u64::from(sequence.answer.stats().tokens > 1));
            sequence.untold.push(token);
            sequence.answer.end_at_limit();
            // Nothing is computed for a token after which nothing comes.
            if !sequence.answer.is_finished() {
                sequence.tokens.push(token);
            }
        }
        while let Some(chosen) = sequence.answer.take_logprob() {
            (job.events)(Event::Token { choice, chosen });
        }
        while let Some(part) = sequence.answer.take() {
            (job.events)(Event::Part { choice, part, tokens: std::mem::take(&mut sequence.untold) });
        }
        if sequence.answer.is_finished() {
            job.open -= 1;
            let stats = sequence.answer.stats();
            self.gauges.add(Count::PrefillMicros, (stats.prefill_s * 1e6) as u64);
            self.gauges.add(Count::DecodeMicros, (stats.decode_s * 1e6) as u64);
            self.gauges.note_length(sequence.tokens.len());
            let (stats, tokens) = (sequence.answer.stats().clone(), std::mem::take(&mut sequence.untold));
            // The observer that hears of it may ask for more: there is a place for that.
            self.gauges.change(|load| load.running -= 1);
            (job.events)(Event::Done { choice, stats, tokens });
        }
    }
}
/// A sequence that is to get its next token.
struct Turn<'a> {
    index: usize,
    sequence: &'a mut Sequence,
    logits: &'a mut [f32],
    /// Tokens for which the context has room.
    room: usize,
    next: Result<Option<u32>>,
}

impl Turn<'_> {
    fn take(turn: &Mutex<Self>) {
        let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Self { sequence, logits, room, next, .. } = &mut *turn;
        *next = sequence.answer.next(logits, &sequence.tokens, *room);
    }
}
