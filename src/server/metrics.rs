//! What the server counts, in Prometheus' text format.

use super::auth::Keys;
use super::models::{Entry, Models};
use crate::engine::Count;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histograms' buckets in milliseconds.
const BOUNDS: [u64; 14] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000];

/// Durations, counted by size.
#[derive(Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    pub(super) fn record(&self, time: Duration) {
        let bucket = BOUNDS.iter().position(|&bound| time.as_millis() as u64 <= bound);
        if let Some(bucket) = bucket {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        family(out, name, "histogram", help);
        let mut below = 0;
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", *bound as f64 / 1000.0);
        }
        let count = self.count.load(Ordering::Relaxed);
        let sum = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = write!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}\n");
    }
}

/// Counters of the whole server.
#[derive(Default)]
pub(super) struct Metrics {
    pub(super) time_to_first_token: Histogram,
    pub(super) time_per_token: Histogram,
    pub(super) request_time: Histogram,
    /// Requests by hundreds of the status.
    pub(super) answers: [AtomicU64; 6],
    /// Tokens and seconds of reading and of writing when they were last read.
    last: Mutex<[f64; 4]>,
}

impl Metrics {
    pub(super) fn answered(&self, status: u16) {
        if let Some(counter) = self.answers.get(usize::from(status / 100)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Everything as text, with the names of vLLM if `as_vllm`.
    pub(super) fn text(&self, models: &Models, keys: &Keys, as_vllm: bool) -> String {
        let mut out = String::new();
        family(&mut out, "tokki_http_requests_total", "counter", "Requests answered");
        for (hundreds, counter) in self.answers.iter().enumerate().skip(1) {
            let count = counter.load(Ordering::Relaxed);
            let _ = writeln!(out, "tokki_http_requests_total{{status=\"{hundreds}xx\"}} {count}");
        }
        let used = keys.used();
        if !used.is_empty() {
            family(&mut out, "tokki_key_requests_total", "counter", "Requests by the key that they showed");
        }
        for (name, count) in used {
            let _ = writeln!(out, "tokki_key_requests_total{{key=\"{}\"}} {count}", label(&name));
        }
        of_models(&mut out, models, ("tokki_", "model"), &GAUGES);
        if as_vllm {
            of_models(&mut out, models, ("vllm:", "model_name"), &VLLM);
        }
        self.llama_server(&mut out, models);
        let first = "From a request to the first token of its answer";
        self.time_to_first_token.write(&mut out, "tokki_time_to_first_token_seconds", first);
        self.time_per_token.write(&mut out, "tokki_time_per_output_token_seconds", "Mean time per token of an answer");
        self.request_time.write(&mut out, "tokki_request_seconds", "From a request to the end of its answer");
        out
    }

    /// The names under which gateways know these numbers from llama-server.
    fn llama_server(&self, out: &mut String, models: &Models) {
        let sum = |value: fn(&Entry) -> f64| models.all().iter().map(|entry| value(entry)).sum::<f64>();
        let read = sum(|e| (e.total(Count::PromptTokens) - e.total(Count::CachedTokens)) as f64);
        let read_seconds = sum(|e| e.total(Count::PrefillMicros) as f64 / 1e6);
        let steps = sum(|e| e.total(Count::Steps) as f64);
        let seconds = sum(|e| e.total(Count::DecodeMicros) as f64 / 1e6);
        let (passes, rows) = (sum(|e| e.total(Count::Passes) as f64), sum(|e| e.total(Count::Rows) as f64));
        let now = [read, read_seconds, steps, seconds];
        // Speeds are those since they were last read.
        let before = std::mem::replace(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner), now);
        let since = |i: usize| now[i] - before[i];
        let rate = |tokens: f64, seconds: f64| if seconds > 0.0 { tokens / seconds } else { 0.0 };
        let rows: [(&str, &str, &str, f64); 15] = [
            ("prompt_tokens_total", "counter", "Tokens of prompts that were read", read),
            (
                "prompt_tokens_cached_total",
                "counter",
                "Tokens of prompts that were in the cache",
                sum(|e| e.total(Count::CachedTokens) as f64),
            ),
            ("prompt_seconds_total", "counter", "Time of reading prompts", read_seconds),
            ("tokens_predicted_total", "counter", "Tokens generated", sum(|e| e.total(Count::GeneratedTokens) as f64)),
            ("tokens_predicted_seconds_total", "counter", "Time of generating", seconds),
            ("n_decode_total", "counter", "Passes over the model", passes),
            (
                "n_tokens_max",
                "counter",
                "Most tokens that a sequence has had",
                models.all().iter().map(|e| e.longest()).max().unwrap_or(0) as f64,
            ),
            ("spec_decode_num_draft_tokens_total", "counter", "Guessed tokens", 0.0),
            ("spec_decode_num_accepted_tokens_total", "counter", "Guessed tokens that were right", 0.0),
            ("spec_decode_num_drafts_total", "counter", "Guesses", 0.0),
            ("prompt_tokens_seconds", "gauge", "Tokens of prompts per second", rate(since(0), since(1))),
            ("predicted_tokens_seconds", "gauge", "Generated tokens per second", rate(since(2), since(3))),
            ("requests_processing", "gauge", "Answers under way", sum(Entry::running)),
            ("requests_deferred", "gauge", "Requests in the queue", sum(Entry::waiting)),
            ("n_busy_slots_per_decode", "gauge", "Mean number of sequences in a pass", rate(rows, passes)),
        ];
        for (name, kind, help, value) in rows {
            family(out, &format!("llamacpp:{name}"), kind, help);
            let _ = writeln!(out, "llamacpp:{name} {value}");
        }
    }
}

/// Name after `tokki_`, kind, help, value.
type Row = (&'static str, &'static str, &'static str, fn(&Entry) -> f64);

/// What is told of every model.
const GAUGES: [Row; 11] = [
    ("model_open", "gauge", "Whether the model is open", |e| f64::from(u8::from(e.served().is_some()))),
    ("requests_waiting", "gauge", "Requests in the queue", Entry::waiting),
    ("requests_running", "gauge", "Answers under way", Entry::running),
    ("cache_usage_ratio", "gauge", "Part of the key-value cache that is in use", Entry::cache_usage),
    ("requests_total", "counter", "Requests begun", |e| e.total(Count::Requests) as f64),
    ("prompt_tokens_total", "counter", "Tokens of prompts", |e| e.total(Count::PromptTokens) as f64),
    ("prompt_tokens_cached_total", "counter", "Tokens of prompts that were in the cache", |e| {
        e.total(Count::CachedTokens) as f64
    }),
    ("tokens_generated_total", "counter", "Tokens generated", |e| e.total(Count::GeneratedTokens) as f64),
    ("passes_total", "counter", "Passes over the model", |e| e.total(Count::Passes) as f64),
    ("rows_total", "counter", "Sequences in all passes", |e| e.total(Count::Rows) as f64),
    ("preemptions_total", "counter", "Times that a sequence gave its pages to others", |e| {
        e.total(Count::Preemptions) as f64
    }),
];

/// The same numbers as vLLM calls them (its documentation, "Production metrics"): what gateways choose a replica by.
const VLLM: [Row; 6] = [
    ("num_requests_waiting", "gauge", "Requests in the queue", Entry::waiting),
    ("num_requests_running", "gauge", "Answers under way", Entry::running),
    ("kv_cache_usage_perc", "gauge", "Part of the key-value cache that is in use, from 0 to 1", Entry::cache_usage),
    ("gpu_cache_usage_perc", "gauge", "The same under its older name", Entry::cache_usage),
    ("prompt_tokens_total", "counter", "Tokens of prompts", |e| e.total(Count::PromptTokens) as f64),
    ("generation_tokens_total", "counter", "Tokens generated", |e| e.total(Count::GeneratedTokens) as f64),
];

/// Numbers of every model, with this prefix and this name of the label.
fn of_models(out: &mut String, models: &Models, (prefix, of): (&str, &str), rows: &[Row]) {
    for (name, kind, help, value) in rows {
        family(out, &format!("{prefix}{name}"), kind, help);
        for entry in models.all() {
            let _ = writeln!(out, "{prefix}{name}{{{of}=\"{}\"}} {}", label(entry.name()), value(entry));
        }
    }
}

/// A text that can stand in a label.
fn label(text: &str) -> String {
    text.replace(['\\', '"', '\n'], "_")
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}
