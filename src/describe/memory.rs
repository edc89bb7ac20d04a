//! How much memory a model's cache takes, by context and kind.

use crate::kv::KvKind;
use serde::Serialize;

use crate::arch::Spec;
use crate::kv::CacheShape;

/// Contexts that are listed wherever some are, as far as the model was trained for them; its own comes last.
pub const CONTEXTS: [usize; 5] = [2048, 8192, 32_768, 131_072, 524_288];

/// The cache at one context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryUse {
    /// Positions.
    pub context: usize,
    /// Kind of the cache (`q8_0`).
    pub kv_type: &'static str,
    /// Bytes of the cache of one conversation that fills the context.
    pub cache_bytes: u64,
}

/// Every context with every kind of cache, the smallest kind first.
pub(super) fn table(spec: &Spec) -> Vec<MemoryUse> {
    let mut contexts: Vec<usize> = CONTEXTS.into_iter().filter(|&context| context < spec.context_train).collect();
    contexts.push(spec.context_train);
    let mut shapes: Vec<CacheShape> = KvKind::NAMES.iter().map(|&(kind, _)| CacheShape::new(spec, kind)).collect();
    shapes.sort_by_key(CacheShape::page_bytes);
    let row = |context: usize| {
        shapes.iter().map(move |shape| MemoryUse {
            context,
            kv_type: shape.kind().name(),
            cache_bytes: shape.bytes(context) as u64,
        })
    };
    contexts.into_iter().flat_map(row).collect()
}
