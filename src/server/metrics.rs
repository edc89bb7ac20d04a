//! What the server counts, in Prometheus' text format: THE TABLE OF METRICS.

use super::auth::ApiKeys;
use super::models::{Entry, Models};
use super::timings::{ENDS, Measure};
use crate::engine::Count;
use crate::platform::process::memory;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters of the whole server.
#[derive(Default)]
pub(super) struct Metrics {
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
    pub(super) fn text(&self, models: &Models, keys: &ApiKeys, as_vllm: bool) -> String {
        let mut out = String::new();
        self.of_server(&mut out, keys);
        of_caches(&mut out, models);
        for row in METRICS_OF_A_MODEL {
            row.write(&mut out, models, ("tokki_", "model"), row.tokki);
        }
        if as_vllm {
            for row in METRICS_OF_A_MODEL {
                row.vllm.split_whitespace().for_each(|name| row.write(&mut out, models, ("vllm:", "model_name"), name));
            }
        }
        self.llama_server(&mut out, models);
        out
    }

    /// What is told of the whole process.
    fn of_server(&self, out: &mut String, keys: &ApiKeys) {
        family(out, "tokki_http_requests_total", "counter", "Requests answered");
        for (hundreds, counter) in self.answers.iter().enumerate().skip(1) {
            let count = counter.load(Ordering::Relaxed);
            let _ = writeln!(out, "tokki_http_requests_total{{status=\"{hundreds}xx\"}} {count}");
        }
        let used = keys.used();
        if !used.is_empty() {
            family(out, "tokki_key_requests_total", "counter", "Requests by the key that they showed");
        }
        for (name, count) in used {
            let _ = writeln!(out, "tokki_key_requests_total{{key=\"{}\"}} {count}", label(&name));
        }
        let (resident, anonymous) = memory();
        for (name, help, bytes) in [
            ("resident", "Memory of the process, pages of models' files included", resident),
            ("anonymous", "The part of it that is no pages of files", anonymous),
        ] {
            let name = format!("tokki_process_{name}_memory_bytes");
            family(out, &name, "gauge", help);
            let _ = writeln!(out, "{name} {bytes}");
        }
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
        let longest = models.all().iter().map(|e| e.longest()).max().unwrap_or(0) as f64;
        let rows: [(&str, &str, &str, f64); 15] = [
            ("prompt_tokens_total", "counter", "Tokens of prompts that were read", read),
            ("prompt_tokens_cached_total", "counter", CACHED, sum(|e| e.total(Count::CachedTokens) as f64)),
            ("prompt_seconds_total", "counter", "Time of reading prompts", read_seconds),
            ("tokens_predicted_total", "counter", "Tokens generated", sum(|e| e.total(Count::GeneratedTokens) as f64)),
            ("tokens_predicted_seconds_total", "counter", "Time of generating", seconds),
            ("n_decode_total", "counter", "Passes over the model", passes),
            ("n_tokens_max", "counter", "Most tokens that a sequence has had", longest),
            ("spec_decode_num_draft_tokens_total", "counter", "Guessed tokens", NO_GUESSES),
            ("spec_decode_num_accepted_tokens_total", "counter", "Guessed tokens that were right", NO_GUESSES),
            ("spec_decode_num_drafts_total", "counter", "Guesses", NO_GUESSES),
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

/// The memory that the caches of all models share.
fn of_caches(out: &mut String, models: &Models) {
    let Some((used, limit)) = models.shared_cache() else { return };
    for (name, help, bytes) in [
        ("tokki_cache_budget_bytes", "Bytes that the caches of all models may have together", limit),
        ("tokki_cache_budget_used_bytes", "Bytes of them that are in use", used),
    ] {
        family(out, name, "gauge", help);
        let _ = writeln!(out, "{name} {bytes}");
    }
}

const CACHED: &str = "Tokens of prompts that were in the cache";
/// The engine computes every token: none is guessed, and none of these is accepted.
const NO_GUESSES: f64 = 0.0;

/// How a number of a model is got.
enum Value {
    Gauge(fn(&Entry) -> f64),
    Counter(fn(&Entry) -> f64),
    /// One of the engine's own counts.
    Count(Count),
    /// Several that differ in a label.
    Counters(fn(&Entry) -> Vec<(String, f64)>),
    /// Facts as labels of a number that says nothing.
    Facts(fn(&Entry) -> Option<String>),
    Histogram(Measure),
}

/// One row: the name after `tokki_` (none: it is not told), the names after `vllm:` (its documentation, "Production
/// metrics"), by which gateways choose a replica, what it is, and where it comes from.
struct Row {
    tokki: &'static str,
    vllm: &'static str,
    help: &'static str,
    value: Value,
}

const fn row(tokki: &'static str, vllm: &'static str, help: &'static str, value: Value) -> Row {
    Row { tokki, vllm, help, value }
}

/// What is told of every model.
const METRICS_OF_A_MODEL: &[Row] = &[
    row("model_open", "", "Whether the model is open", Value::Gauge(|e| f64::from(u8::from(e.served().is_some())))),
    row("requests_waiting", "num_requests_waiting", "Requests in the queue", Value::Gauge(Entry::waiting)),
    row("requests_running", "num_requests_running", "Answers under way", Value::Gauge(Entry::running)),
    row(
        "cache_usage_ratio",
        "kv_cache_usage_perc gpu_cache_usage_perc",
        "Part of the key-value cache that is in use, from 0 to 1",
        Value::Gauge(|e| e.cache().0 as f64 / e.cache().1.max(1) as f64),
    ),
    row("cache_bytes", "", "Bytes of the key-value cache that are in use", Value::Gauge(|e| e.cache().0 as f64)),
    row(
        "cache_limit_bytes",
        "",
        "Bytes that the cache may have, as far as the models beside it do not use them",
        Value::Gauge(|e| e.cache().1 as f64),
    ),
    row("", "cache_config_info", "Tokens of a page of the cache, and how many pages it has", Value::Facts(pages)),
    row("", "lora_requests_info", "Adapters in use: there are none", Value::Facts(adapters)),
    row("requests_total", "", "Requests begun", Value::Count(Count::Requests)),
    row(
        "answers_total",
        "request_success_total",
        "Answers that have ended, by why",
        Value::Counters(|e| {
            let count = |(name, n): (&str, &AtomicU64)| {
                (format!("finished_reason=\"{name}\""), n.load(Ordering::Relaxed) as f64)
            };
            ENDS.into_iter().zip(&e.measured.ends).map(count).collect()
        }),
    ),
    row(
        "prompt_tokens_total",
        "prompt_tokens_total prefix_cache_queries_total",
        "Tokens of prompts",
        Value::Count(Count::PromptTokens),
    ),
    row("prompt_tokens_cached_total", "prefix_cache_hits_total", CACHED, Value::Count(Count::CachedTokens)),
    row("tokens_generated_total", "generation_tokens_total", "Tokens generated", Value::Count(Count::GeneratedTokens)),
    row(
        "guessed_tokens_offered_total",
        "spec_decode_num_draft_tokens_total",
        "Tokens that were guessed ahead",
        Value::Counter(|_| NO_GUESSES),
    ),
    row(
        "guessed_tokens_accepted_total",
        "spec_decode_num_accepted_tokens_total",
        "Guessed tokens that were right",
        Value::Counter(|_| NO_GUESSES),
    ),
    row("passes_total", "", "Passes over the model", Value::Count(Count::Passes)),
    row("rows_total", "", "Sequences in all passes", Value::Count(Count::Rows)),
    row(
        "preemptions_total",
        "num_preemptions_total",
        "Times that a sequence gave its pages to others",
        Value::Count(Count::Preemptions),
    ),
    row(
        "time_to_first_token_seconds",
        "time_to_first_token_seconds",
        "From a request to the first token of its answer",
        Value::Histogram(Measure::FirstToken),
    ),
    row(
        "time_per_output_token_seconds",
        "time_per_output_token_seconds request_time_per_output_token_seconds inter_token_latency_seconds",
        "Mean time per token of an answer",
        Value::Histogram(Measure::PerToken),
    ),
    row(
        "request_seconds",
        "e2e_request_latency_seconds",
        "From a request to the end of its answer",
        Value::Histogram(Measure::Whole),
    ),
    row(
        "request_queue_seconds",
        "request_queue_time_seconds",
        "Time of an answer in the queue",
        Value::Histogram(Measure::Queue),
    ),
    row(
        "request_prefill_seconds",
        "request_prefill_time_seconds",
        "Time of reading an answer's prompt",
        Value::Histogram(Measure::Prefill),
    ),
    row(
        "request_decode_seconds",
        "request_decode_time_seconds",
        "Time of writing an answer after its first token",
        Value::Histogram(Measure::Decode),
    ),
    row(
        "request_inference_seconds",
        "request_inference_time_seconds",
        "Time of reading an answer's prompt and of writing the answer",
        Value::Histogram(Measure::Inference),
    ),
    row(
        "request_prompt_tokens",
        "request_prompt_tokens",
        "Tokens of an answer's prompt",
        Value::Histogram(Measure::PromptTokens),
    ),
    row(
        "request_generated_tokens",
        "request_generation_tokens",
        "Tokens of an answer",
        Value::Histogram(Measure::GeneratedTokens),
    ),
];

/// Pages of an open model's cache.
fn pages(entry: &Entry) -> Option<String> {
    let served = entry.served()?;
    let (tokens, pages) = served.engine.pages();
    Some(format!("block_size=\"{tokens}\",num_gpu_blocks=\"{pages}\",enable_prefix_caching=\"True\""))
}

/// Gateways that place requests by adapter look here first.
fn adapters(_: &Entry) -> Option<String> {
    Some("max_lora=\"0\",running_lora_adapters=\"\",waiting_lora_adapters=\"\"".to_owned())
}

impl Row {
    /// This number of every model, with this prefix, name of the label and name; none for an empty one.
    fn write(&self, out: &mut String, models: &Models, (prefix, of): (&str, &str), name: &str) {
        if name.is_empty() {
            return;
        }
        let name = format!("{prefix}{name}");
        let kind = match self.value {
            Value::Gauge(_) | Value::Facts(_) => "gauge",
            Value::Counter(_) | Value::Count(_) | Value::Counters(_) => "counter",
            Value::Histogram(_) => "histogram",
        };
        family(out, &name, kind, self.help);
        // Engines of vLLM are numbered; here each model has one.
        let engine = if prefix == "vllm:" { ",engine=\"0\"" } else { "" };
        for entry in models.all() {
            let labels = format!("{of}=\"{}\"{engine}", label(entry.name()));
            let mut one = |value: f64| {
                let _ = writeln!(out, "{name}{{{labels}}} {value}");
            };
            match &self.value {
                Value::Gauge(value) | Value::Counter(value) => one(value(entry)),
                Value::Count(count) => one(entry.total(*count) as f64),
                Value::Counters(values) => {
                    for (more, value) in values(entry) {
                        let _ = writeln!(out, "{name}{{{labels},{more}}} {value}");
                    }
                }
                Value::Facts(facts) => {
                    if let Some(more) = facts(entry) {
                        let _ = writeln!(out, "{name}{{{labels},{more}}} 1");
                    }
                }
                Value::Histogram(what) => {
                    entry.measured.histograms[*what as usize].write(out, what.bounds(), &name, &labels);
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_told_once() {
        for names in [|row: &Row| row.tokki.to_owned(), |row: &Row| row.vllm.to_owned()] {
            let all: Vec<String> = METRICS_OF_A_MODEL.iter().map(names).collect();
            let mut names: Vec<&str> = all.iter().flat_map(|names| names.split_whitespace()).collect();
            let before = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), before);
        }
    }
}
