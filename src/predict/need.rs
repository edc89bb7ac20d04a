//! How much memory a session takes, from the shapes of what it holds.

use crate::arch::Role;
use crate::forward::scratch_bytes;
use crate::kv::CacheShape;
use crate::model::Model;
use tokki_quant::attention::KvKind;

/// What a session needs, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Need {
    /// Positions.
    pub context: usize,
    /// Mapped weights that a token meets: pages of the file, which the system may drop and read again.
    pub weights: u64,
    /// Weights that are on the heap, and have no file to be read from again: put in another order, or made another way.
    pub copied: u64,
    /// The cache, when it is full.
    pub cache: u64,
    /// Buffers of a pass.
    pub scratch: u64,
    /// Vocabulary, metadata and code.
    pub program: u64,
}

/// Code that runs: pages of the program's own file.
const CODE: u64 = 10 << 20;

impl Need {
    /// Of a session of `context` positions with cache entries of `kind`, prefill in passes of `batch` tokens.
    pub fn new(model: &Model, context: usize, kind: KvKind, batch: usize) -> Self {
        Self {
            context,
            weights: if model.gguf.copied_bytes() > 0 { 0 } else { weights(model) },
            copied: model.gguf.copied_bytes() + model.heap_bytes(),
            cache: CacheShape::new(&model.spec, kind).bytes(context) as u64,
            scratch: scratch_bytes(model, batch.min(context), context),
            program: CODE + heap(model),
        }
    }

    /// Bytes that can't be dropped.
    pub fn anonymous(&self) -> u64 {
        self.copied + self.cache + self.scratch + self.program - CODE
    }

    /// Bytes of weights to read ahead where `free` bytes of memory don't hold all of them: enough to keep a disk busy, and
    /// only a part of what is left beside the rest, so that nothing is pushed out by what comes later.
    pub fn window(&self, free: u64) -> usize {
        (free.saturating_sub(self.anonymous()) / 4).clamp(*WINDOW_BYTES.start(), *WINDOW_BYTES.end()) as usize
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.copied + self.cache + self.scratch + self.program
    }
}

/// See [`Need::window`].
const WINDOW_BYTES: std::ops::RangeInclusive<u64> = 8 << 20..=1 << 30;

/// The file but for an embedding that is no head: of that a token meets one row.
fn weights(model: &Model) -> u64 {
    let own_head = model.gguf.tensor(Role::Output.name()).is_some();
    let embedding = if own_head { model.embed.matrix_bytes() as u64 } else { 0 };
    model.gguf.file_bytes().saturating_sub(embedding)
}

/// Tokenizer, sampler and the file's keys.
fn heap(model: &Model) -> u64 {
    /// A token's text in tables both ways, its logit and its place among the candidates.
    const TOKEN: u64 = 72;
    /// A merge of two tokens, in a hash table that has room to grow.
    const MERGE: u64 = 40;
    const REST: u64 = 1 << 20;
    let merges = model.gguf.array("tokenizer.ggml.merges").ok().flatten().map_or(0, |merges| merges.len() as u64);
    REST + model.spec.vocab as u64 * TOKEN + merges * MERGE
}
