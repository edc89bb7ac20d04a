//! Every buffer of a pass, allocated once and reused. `n` = tokens of the pass.

use std::sync::Mutex;
use tokki_quant::activation::Activations;
use tokki_quant::attention::{Partial, Queries};

/// Buffers of one session.
#[derive(Default)]
pub struct Scratch {
    /// The residual stream, `[n][E]`.
    pub(super) x: Vec<f32>,
    /// A branch's input after its norm, `[n][E]`.
    pub(super) h: Vec<f32>,
    /// A branch's output before it's added, `[n][E]`.
    pub(super) branch: Vec<f32>,
    /// Kept streams of block skips, `[n][E]` each.
    pub(super) kept: Vec<Vec<f32>>,
    /// Queries, `[n][H][k_dim]`.
    pub(super) q: Vec<f32>,
    /// Keys, `[n][KV][k_dim]`.
    pub(super) k: Vec<f32>,
    /// Values, `[n][KV][v_dim]`.
    pub(super) v: Vec<f32>,
    /// Attention's mix of values, `[n][H][v_dim]`.
    pub(super) mix: Vec<f32>,
    /// A second mix, for latent attention's expansion of it.
    pub(super) expanded: Vec<f32>,
    /// Cached entries that are being expanded, `[positions of a run][k_dim]`.
    pub(super) latents: Vec<f32>,
    /// Low-rank queries of latent attention.
    pub(super) low: Vec<f32>,
    /// Gate and up of a feed-forward, `[n][F]` (of experts: one row per chosen expert).
    pub(super) gate: Vec<f32>,
    pub(super) up: Vec<f32>,
    /// Outputs of chosen experts, `[n * used][E]`.
    pub(super) expert_out: Vec<f32>,
    /// Router logits, `[n][count]`.
    pub(super) router: Vec<f32>,
    /// Quantized input of a branch, and of its second product.
    pub(super) input: Activations,
    pub(super) inner: Activations,
    /// Attention's state: queries of each head, partial results of each tile, one set of buffers per thread.
    pub(super) queries: Vec<Queries>,
    pub(super) partials: Vec<Partial>,
    pub(super) workers: Vec<Mutex<AttendScratch>>,
    /// Logits of the rows asked for, `[rows][vocab]`.
    pub(super) logits: Vec<f32>,
}

impl Scratch {
    /// The first `len` logits of the last pass.
    pub(crate) fn logits(&self, len: usize) -> &[f32] {
        &self.logits[..len]
    }
}

/// Buffers of one thread while it attends a block of tokens.
#[derive(Default)]
pub(super) struct AttendScratch {
    pub(super) queries: Queries,
    pub(super) partial: Partial,
    pub(super) total: Partial,
    pub(super) visible: Vec<std::ops::Range<u32>>,
    /// Of latent attention's expanded form: the transposed weights of a head's keys, keys, values, and a tile of them.
    pub(super) key_weights: Vec<u8>,
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
    pub(super) tile: Vec<u8>,
}

/// `buffer` with room for `len` values; what it held is of no interest.
pub(super) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        // New memory that comes as zeros, rather than the old copied and the rest written.
        *buffer = vec![0.0; len];
    }
    &mut buffer[..len]
}
