//! What is measured of answers.

use crate::engine::{FinishReason, Stats};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is measured of every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Measure {
    FirstToken,
    PerToken,
    Whole,
    Queue,
    Prefill,
    Decode,
    Inference,
    PromptTokens,
    GeneratedTokens,
}

const MEASURES: usize = Measure::GeneratedTokens as usize + 1;

/// Upper bounds of the buckets of times, in seconds.
const SECONDS: [f64; 20] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 960.0,
    1920.0, 7680.0,
];
/// The same of numbers of tokens.
const TOKENS: [f64; 18] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5];

impl Measure {
    pub(super) fn bounds(self) -> &'static [f64] {
        match self {
            Self::PromptTokens | Self::GeneratedTokens => &TOKENS,
            _ => &SECONDS,
        }
    }
}

/// Values, counted by size.
#[derive(Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; SECONDS.len()],
    count: AtomicU64,
    millionths: AtomicU64,
}

impl Histogram {
    fn record(&self, bounds: &[f64], value: f64) {
        if let Some(bucket) = bounds.iter().position(|&bound| value <= bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.millionths.fetch_add((value.max(0.0) * 1e6) as u64, Ordering::Relaxed);
    }

    pub(super) fn write(&self, out: &mut String, bounds: &[f64], name: &str, labels: &str) {
        let mut below = 0;
        for (bound, bucket) in bounds.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        let count = self.count.load(Ordering::Relaxed);
        let sum = self.millionths.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
    }
}

/// How answers end, in the words of vLLM.
pub(super) const ENDS: [&str; 4] = ["stop", "length", "abort", "error"];

/// How an answer ended that did not end by itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Broken {
    /// The client went away.
    Abort = 2,
    /// The work failed.
    Error = 3,
}

/// What was measured of the answers of one model.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) histograms: [Histogram; MEASURES],
    pub(super) ends: [AtomicU64; ENDS.len()],
}

impl Broken {
    /// In the words of vLLM.
    pub(super) fn name(self) -> &'static str {
        ENDS[self as usize]
    }
}

impl Measured {
    pub(super) fn record(&self, what: Measure, value: f64) {
        self.histograms[what as usize].record(what.bounds(), value);
    }

    /// An answer has ended, so many seconds after it was asked for.
    pub(super) fn ended(&self, stats: &Stats, seconds: f64) {
        let length = matches!(stats.finish, Some(FinishReason::Length | FinishReason::Context));
        self.ends[usize::from(length)].fetch_add(1, Ordering::Relaxed);
        self.record(Measure::Whole, seconds);
        self.record(Measure::Queue, stats.queue_s);
        self.record(Measure::Prefill, stats.prefill_s);
        self.record(Measure::Decode, stats.decode_s);
        self.record(Measure::Inference, stats.prefill_s + stats.decode_s);
        self.record(Measure::PromptTokens, stats.prompt_tokens as f64);
        self.record(Measure::GeneratedTokens, stats.tokens as f64);
        if stats.tokens > 1 {
            self.record(Measure::PerToken, stats.decode_s / (stats.tokens - 1) as f64);
        }
    }

    /// So many answers ended before their time.
    pub(super) fn broke(&self, why: Broken, answers: usize) {
        self.ends[why as usize].fetch_add(answers as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_in_the_smallest_bucket_that_holds_them() {
        let measured = Measured::default();
        for value in [0.0, 0.001, 0.002, 9000.0] {
            measured.record(Measure::Whole, value);
        }
        let mut out = String::new();
        measured.histograms[Measure::Whole as usize].write(&mut out, &SECONDS, "n", "model=\"m\"");
        let has = |line: &str| assert!(out.lines().any(|own| own == line), "{line} in {out}");
        has("n_bucket{model=\"m\",le=\"0.001\"} 2");
        has("n_bucket{model=\"m\",le=\"0.005\"} 3");
        has("n_bucket{model=\"m\",le=\"7680\"} 3");
        has("n_bucket{model=\"m\",le=\"+Inf\"} 4");
        has("n_count{model=\"m\"} 4");
    }
}
