//! How sessions and engines run.

use crate::forward::DEFAULT_BATCH;
use crate::kv::SharedBudget;
use std::path::PathBuf;
use std::sync::Arc;
use tokki_quant::attention::KvKind;

/// How a session runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Positions that fit.
    pub context: usize,
    /// Entries of the cache.
    pub kv: KvKind,
    /// Tokens of one prefill pass.
    pub batch: usize,
    /// Bytes of weights that the system is asked to read before they're used; they have to fit into memory beside
    /// everything else. 0 = none, best for a model that fits into memory.
    pub read_ahead: usize,
    /// Whether latent attention expands keys and values where it reads several tokens at once: faster for long prompts,
    /// but those then don't give the same bits as their tokens one by one.
    pub expand_latents: bool,
}

impl Default for Options {
    /// 4096 positions of 16-bit floats; no read-ahead.
    fn default() -> Self {
        Self { context: 4096, kv: KvKind::F16, batch: DEFAULT_BATCH, read_ahead: 0, expand_latents: false }
    }
}

/// How an [`Engine`](super::Engine) runs.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Of each conversation: its context above all.
    pub session: Options,
    /// Answers that are written at the same time.
    pub parallel: usize,
    /// Requests that wait at most besides those that are served; more are refused.
    pub queue: usize,
    /// Most bytes of the cache, all conversations and what is kept of past ones together.
    pub cache_bytes: usize,
    /// What that is a part of, where several models share it; none = it is this model's own.
    pub shared: Option<Arc<SharedBudget>>,
    /// Where pages go that the cache has no room for; none = they are computed again.
    pub disk: Option<DiskCache>,
}

/// Where pages are kept that the memory has no room for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskCache {
    /// The folder; each model has one of its own in it.
    pub folder: PathBuf,
    /// Bytes that the files of a model may have together.
    pub bytes: u64,
}
