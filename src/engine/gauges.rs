//! What an engine counts.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use sync::{Mutex, MutexGuard};

#[cfg(not(loom))]
mod sync {
    pub(super) use std::sync::{Mutex, MutexGuard};
}

/// In a model that `loom` goes through in every order (`tests/loom/engine.rs`).
#[cfg(loom)]
mod sync {
    pub(super) use loom::sync::{Mutex, MutexGuard};
}

/// What is counted, from the start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Count {
    /// Requests admitted.
    Requests,
    /// Tokens of prompts, those from the cache included.
    PromptTokens,
    /// Of these, how many came from the cache.
    CachedTokens,
    /// Tokens generated.
    GeneratedTokens,
    /// Generated tokens that took a step of their own: the first of an answer comes with its prompt.
    Steps,
    /// Passes over the model.
    Passes,
    /// Sequences in all passes.
    Rows,
    /// Times that a sequence lost its pages to others.
    Preemptions,
    /// Microseconds of reading prompts, over all requests.
    PrefillMicros,
    /// Microseconds of writing answers, over all requests.
    DecodeMicros,
}

/// How many there are.
const COUNTS: usize = Count::DecodeMicros as usize + 1;

/// How busy an engine is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that wait.
    pub waiting: usize,
    /// Answers of the requests that are served, as far as they have not ended.
    pub running: usize,
    /// Answers that the requests wait for.
    pub(super) wanted: usize,
    /// Of those that wait, how many follow another one into the queue, and take no place of their own in it.
    pub(super) following: usize,
}

impl Load {
    /// A request for so many answers waits no more.
    pub(super) fn leave(&mut self, answers: usize, follows: bool) {
        self.waiting -= 1;
        self.wanted -= answers;
        self.following -= usize::from(follows);
    }
}

/// Numbers about an engine that change as it runs.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Both numbers change at once: a request that is admitted never counts twice.
    load: Mutex<Load>,
    /// Most tokens that a sequence has had.
    longest: AtomicUsize,
    counts: [AtomicU64; COUNTS],
}

impl Gauges {
    /// How busy the engine is.
    pub fn load(&self) -> Load {
        *self.locked()
    }

    fn locked(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Load)) {
        change(&mut self.locked());
    }

    /// Lets a request for so many answers in, to be served at once or to wait where fewer than `queue` others do; how many
    /// wait, where it may not.
    pub(super) fn enter(&self, answers: usize, parallel: usize, queue: usize) -> Result<(), usize> {
        let mut load = self.locked();
        let free = parallel.saturating_sub(load.running);
        // Those that have just come and will be served in the next pass take free places, not those of the queue.
        let queued = (load.waiting - load.following).saturating_sub(free);
        if load.wanted + answers > free && queued >= queue {
            return Err(queued);
        }
        load.waiting += 1;
        load.wanted += answers;
        Ok(())
    }

    /// Lets a request in that belongs to the one before it.
    pub(super) fn follow(&self, answers: usize) {
        self.change(|load| {
            load.waiting += 1;
            load.following += 1;
            load.wanted += answers;
        });
    }

    /// Counts `n` more.
    pub fn add(&self, what: Count, n: u64) {
        self.counts[what as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn total(&self, what: Count) -> u64 {
        self.counts[what as usize].load(Ordering::Relaxed)
    }

    /// A sequence has so many tokens.
    pub fn note_length(&self, tokens: usize) {
        self.longest.fetch_max(tokens, Ordering::Relaxed);
    }

    /// Most tokens that a sequence has had.
    pub fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    /// Adds what another engine, which has ended, has counted.
    pub fn absorb(&self, ended: &Self) {
        for (count, more) in self.counts.iter().zip(&ended.counts) {
            count.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.note_length(ended.longest());
    }
}
