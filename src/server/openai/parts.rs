//! What chat completions and plain ones have in common.

use super::super::body::Fields;
use super::super::common;
use super::super::error::ApiError;
use super::super::models::Served;
use super::super::request::Running;
use crate::engine::{Llm, Logprob, Stats};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

type Result<T> = std::result::Result<T, ApiError>;

/// Whether a stream ends with what it took.
pub(super) fn wants_usage(fields: &mut Fields) -> Result<bool> {
    let Some(mut options) = fields.within("stream_options")? else { return Ok(false) };
    let usage = options.bool("include_usage")?.unwrap_or(false);
    // Padding against listeners is not added; all numbers come at the end.
    options.skip(&["include_obfuscation", "continuous_usage_stats"]);
    fields.leave(options);
    Ok(usage)
}

/// What all chunks of an answer begin with.
pub(super) struct ChunkHead {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) served: Arc<Served>,
}

impl ChunkHead {
    pub(super) fn new(prefix: &str, running: &Running) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("{prefix}-{:x}{:08x}", now.as_micros(), running.seed as u32);
        Self { id, created: now.as_secs(), served: Arc::clone(&running.model) }
    }

    pub(super) fn object(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.served.name,
            "system_fingerprint": common::BUILD,
            "choices": choices,
        })
    }

    pub(super) fn llm(&self) -> &Llm {
        self.served.engine.llm()
    }
}

/// Tokens of a request, all answers together.
pub(super) fn usage<'a>(prompt: usize, stats: impl Iterator<Item = &'a Stats>) -> Value {
    let (mut tokens, mut reasoning, mut cached) = (0, 0, 0);
    for stats in stats {
        tokens += stats.tokens;
        reasoning += stats.reasoning_tokens;
        cached = stats.cached_tokens;
    }
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": tokens,
        "total_tokens": prompt + tokens,
        "prompt_tokens_details": { "cached_tokens": cached },
        "completion_tokens_details": { "reasoning_tokens": reasoning },
    })
}

/// What has been sent of one answer.
#[derive(Clone, Default)]
pub(super) struct ChoiceSent {
    pub(super) stats: Option<Stats>,
    pub(super) logprobs: Vec<Logprob>,
}
