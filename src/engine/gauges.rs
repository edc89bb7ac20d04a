//! What an engine counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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

/// Numbers about an engine that change as it runs.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Requests that wait.
    pub waiting: AtomicUsize,
    /// Answers that are being written or whose prompt is being read.
    pub running: AtomicUsize,
    /// Most tokens that a sequence has had.
    longest: AtomicUsize,
    counts: [AtomicU64; COUNTS],
}

impl Gauges {
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
