//! What lists of models say of each, in the shape of Ollama, which others' lists show as well.

use super::infill::Fim;
use crate::chat::Thinking;
use crate::describe::quantization;
use crate::engine::Llm;
use serde_json::{Value, json};
use std::time::SystemTime;

/// A time as RFC 3339, UTC.
pub(super) fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |time| format!("{time:.6}"))
}

/// What a model is, in Ollama's words.
pub(super) fn details(llm: &Llm) -> Value {
    let gguf = &llm.model().gguf;
    let arch = &llm.model().spec.arch;
    let size = gguf.str("general.size_label").ok().flatten().unwrap_or_default();
    json!({ "parent_model": "", "format": "gguf", "family": arch, "families": [arch],
            "parameter_size": size, "quantization_level": quantization(gguf) })
}

/// What lists tell of a model, open or not.
pub(super) struct Card {
    /// Longest conversation, in tokens.
    pub(super) context: usize,
    /// What llama-server tells under `meta`.
    pub(super) meta: Value,
    details: Value,
    capabilities: Vec<&'static str>,
    bytes: u64,
}

impl Card {
    /// Of this model, with conversations of at most `context` tokens.
    pub(super) fn of(llm: &Llm, context: usize) -> Self {
        let spec = &llm.model().spec;
        let bytes = llm.model().gguf.file_bytes();
        let meta = json!({
            "n_vocab": spec.vocab,
            "n_ctx": context,
            "n_ctx_train": spec.context_train,
            "n_embd": spec.embd,
            "size": bytes,
        });
        Self { context, meta, details: details(llm), capabilities: capabilities(llm), bytes }
    }
}

/// One model in Ollama's lists, of so many bytes.
pub(super) fn entry(name: &str, bytes: u64, modified: SystemTime, card: Option<&Card>) -> Value {
    json!({
        "name": name,
        "model": name,
        "modified_at": rfc3339(modified),
        "size": card.map_or(bytes, |card| card.bytes),
        "digest": "",
        "capabilities": card.map_or_else(|| vec!["completion"], |card| card.capabilities.clone()),
        "details": card.map_or_else(|| json!({ "format": "gguf" }), |card| card.details.clone()),
    })
}

/// What a model can do, in Ollama's words.
pub(super) fn capabilities(llm: &Llm) -> Vec<&'static str> {
    let mut all = vec!["completion"];
    if llm.capabilities().is_some_and(|c| c.tools) {
        all.push("tools");
    }
    if llm.capabilities().is_some_and(|c| c.thinking != Thinking::None) {
        all.push("thinking");
    }
    if Fim::of(llm).is_ok() {
        all.push("insert");
    }
    all
}
