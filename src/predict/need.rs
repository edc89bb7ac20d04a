//! How much memory a session takes, from the shapes of what it holds.

use crate::arch::{Attention, Layer};
use crate::forward::values_per_token;
use crate::kv::CacheShape;
use crate::model::{Model, Stack};
use tokki_quant::activation::ActKind;
use tokki_quant::attention::{KvKind, TILE};

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
            scratch: scratch(model, batch.min(context), context),
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
        (free.saturating_sub(self.anonymous()) / 4).clamp(*WINDOW.start(), *WINDOW.end()) as usize
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.copied + self.cache + self.scratch + self.program
    }
}

/// See [`Need::window`].
const WINDOW: std::ops::RangeInclusive<u64> = 8 << 20..=1 << 30;

/// The file but for an embedding that is no head: of that a token meets one row.
fn weights(model: &Model) -> u64 {
    let own_head = model.gguf.tensor("output.weight").is_some();
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

/// Buffers of a pass of `n` tokens in a session of `context`.
fn scratch(model: &Model, n: usize, context: usize) -> u64 {
    let spec = &model.spec;
    let partial = |attn: &Attention| {
        let tiles = context.min(attn.reach().unwrap_or(context)) / TILE + 1;
        attn.heads * tiles * (attn.v_dim + 2)
    };
    let partials = spec.layers.iter().filter_map(Layer::attention).map(partial).max().unwrap_or(0);
    (4 * (n * values_per_token(model) + partials + spec.vocab) + n * quantized(model)) as u64
}

/// Bytes per token of the quantized inputs of products: one buffer for what comes from the stream, one for what a
/// layer makes in between, each in every form that some weights ask for.
fn quantized(model: &Model) -> usize {
    let forms = [(ActKind::F32, 4.0), (ActKind::Block32, 1.25), (ActKind::Block256, 1.2)];
    let of = |(kind, bytes): (ActKind, f64)| {
        let reads = |stack: &Stack| stack.dtype().act() == kind;
        let mut inner = 0;
        let mut outer = if reads(&model.output) { model.spec.embd } else { 0 };
        for index in 0..model.layers.len() {
            let between = between(model, index);
            let own = between.iter().filter(|(stack, _)| reads(stack));
            inner = own.map(|(stack, rows)| stack.cols() * rows).max().unwrap_or(0).max(inner);
            let is_between = |stack: &Stack| between.iter().any(|(other, _)| std::ptr::eq(*other, stack));
            if model.layer_products(index).iter().any(|(stack, _)| reads(stack) && !is_between(stack)) {
                outer = model.spec.embd;
            }
        }
        (outer + inner) as f64 * bytes
    };
    forms.into_iter().map(of).sum::<f64>() as usize
}

/// The products of a layer that do not read the stream, and how many rows of each token they read.
fn between(model: &Model, layer: usize) -> Vec<(&Stack, usize)> {
    let w = &model.layers[layer];
    let mut products: Vec<(&Stack, usize)> =
        w.mixers.iter().flat_map(|mixer| mixer.between()).map(|stack| (stack, stack.count())).collect();
    let feeds = w.feeds.iter().zip(&model.spec.layers[layer].feeds);
    products.extend(feeds.flat_map(|(feed, spec)| feed.ffn.between(&spec.ffn)));
    products.extend(w.per_layer.iter().map(|w| (&w.proj, 1)));
    products
}
