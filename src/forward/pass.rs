//! One pass: what all of its steps read.

use super::rope::Angles;
use crate::kv::CacheShape;
use crate::model::Model;
use tokki_quant::isa::Isa;
use tokki_quant::team::Lead;

/// Where the rows of a span lie in the pass.
#[derive(Clone, Copy)]
pub(super) struct RowPlace {
    /// Row of its first token.
    pub(super) row: usize,
    /// How many tokens.
    pub(super) n: usize,
    /// Position of the first in its sequence.
    pub(super) from: usize,
}

/// One pass: what its steps read.
pub(super) struct Pass<'a> {
    pub(super) model: &'a Model,
    pub(super) lead: &'a Lead<'a>,
    pub(super) isa: Isa,
    /// Rows of the pass: tokens of all its spans.
    pub(super) n: usize,
    pub(super) places: &'a [RowPlace],
    pub(super) shape: &'a CacheShape,
    pub(super) angles: &'a [Angles],
    /// Bytes of weights that are asked for ahead of their use.
    pub(super) read_ahead: usize,
    /// Whether latent attention expands keys and values in this pass.
    pub(super) expand_latents: bool,
    /// Ids of the rows.
    pub(super) tokens: &'a [u32],
    /// The position from which on tokens are of a second text.
    pub(super) second_text: usize,
    /// Told of the intermediates.
    pub(super) trace: Option<&'a dyn Trace>,
}

/// An observer of intermediates.
pub trait Trace: Send + Sync {
    /// Called by the thread that leads a pass, in the order of computation. `values` are rows of `row_len` values, one for
    /// each token of the pass (of `result_norm` and `result_output`: for each token whose logits are wanted).
    fn values(&self, name: &str, row_len: usize, values: &[f32]);
}
