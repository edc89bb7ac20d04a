//! What the server counts, in Prometheus' text format.

use super::models::Models;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
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
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} histogram\n");
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
}

impl Metrics {
    pub(super) fn answered(&self, status: u16) {
        if let Some(counter) = self.answers.get(usize::from(status / 100)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Everything as text.
    pub(super) fn text(&self, models: &Models) -> String {
        let mut out = String::new();
        let _ = write!(
            out,
            "# HELP tokki_http_requests_total Requests answered\n# TYPE tokki_http_requests_total counter\n"
        );
        for (hundreds, counter) in self.answers.iter().enumerate().skip(1) {
            let _ = writeln!(
                out,
                "tokki_http_requests_total{{status=\"{hundreds}xx\"}} {}",
                counter.load(Ordering::Relaxed)
            );
        }
        type Row = (&'static str, &'static str, &'static str, fn(&crate::engine::Engine) -> f64);
        let rows: [Row; 9] = [
            ("requests_waiting", "gauge", "Requests in the queue", |e| {
                e.gauges().waiting.load(Ordering::Relaxed) as f64
            }),
            ("requests_running", "gauge", "Answers under way", |e| e.gauges().running.load(Ordering::Relaxed) as f64),
            ("cache_usage_ratio", "gauge", "Part of the key-value cache that is in use", |e| {
                e.cache().0 as f64 / e.cache().1.max(1) as f64
            }),
            ("requests_total", "counter", "Requests begun", |e| e.gauges().requests.load(Ordering::Relaxed) as f64),
            ("prompt_tokens_total", "counter", "Tokens of prompts", |e| {
                e.gauges().prompt_tokens.load(Ordering::Relaxed) as f64
            }),
            ("prompt_tokens_cached_total", "counter", "Tokens of prompts that were in the cache", |e| {
                e.gauges().cached_tokens.load(Ordering::Relaxed) as f64
            }),
            ("tokens_generated_total", "counter", "Tokens generated", |e| {
                e.gauges().generated_tokens.load(Ordering::Relaxed) as f64
            }),
            ("passes_total", "counter", "Passes over the model", |e| e.gauges().passes.load(Ordering::Relaxed) as f64),
            ("preemptions_total", "counter", "Times that a sequence gave its pages to others", |e| {
                e.gauges().preemptions.load(Ordering::Relaxed) as f64
            }),
        ];
        for (name, kind, help, value) in rows {
            let _ = write!(out, "# HELP tokki_{name} {help}\n# TYPE tokki_{name} {kind}\n");
            for model in models.all() {
                let label = model.name.replace(['\\', '"', '\n'], "_");
                let _ = writeln!(out, "tokki_{name}{{model=\"{label}\"}} {}", value(&model.engine));
            }
        }
        // The names under which gateways know the same numbers from llama-server.
        type Known = (&'static str, fn(&crate::engine::Engine) -> f64);
        let known: [Known; 6] = [
            ("prompt_tokens_total", |e| e.gauges().prompt_tokens.load(Ordering::Relaxed) as f64),
            ("prompt_tokens_cached_total", |e| e.gauges().cached_tokens.load(Ordering::Relaxed) as f64),
            ("tokens_predicted_total", |e| e.gauges().generated_tokens.load(Ordering::Relaxed) as f64),
            ("n_decode_total", |e| e.gauges().passes.load(Ordering::Relaxed) as f64),
            ("requests_processing", |e| e.gauges().running.load(Ordering::Relaxed) as f64),
            ("requests_deferred", |e| e.gauges().waiting.load(Ordering::Relaxed) as f64),
        ];
        for (name, value) in known {
            let sum: f64 = models.all().iter().map(|model| value(&model.engine)).sum();
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let _ = write!(out, "# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {sum}\n");
        }
        let first = "From a request to the first token of its answer";
        self.time_to_first_token.write(&mut out, "tokki_time_to_first_token_seconds", first);
        self.time_per_token.write(&mut out, "tokki_time_per_output_token_seconds", "Mean time per token of an answer");
        self.request_time.write(&mut out, "tokki_request_seconds", "From a request to the end of its answer");
        out
    }
}
