//! Intermediates of a pass, told to an observer under the names that other engines use for them, so that two engines can be
//! compared step by step.
//!
//! Names: `inp_embd`, then per layer `attn_norm-0`, what its mixers compute, `attn_out-0` (what the mixers add to the stream),
//! `ffn_inp-0` (the stream with it), `ffn_norm-0`, what its feed-forward computes, `ffn_out-0`, `l_out-0` (the stream after
//! the layer), and `result_norm`, `result_output`.
//!
//! | mixer or feed-forward | names |
//! |---|---|
//! | attention | `Qcur-0`, `Kcur-0`, `Vcur-0` (after norms of heads and RoPE), `kqv_out-0` (heads' results before the output product) |
//! | latent attention | `kv_cmpr-0` (normed), `k_pe-0`, `q-0` (not rotated), absorbed `q_nope_absorbed-0` and `q_pe-0`, `kqv_out-0` |
//! | convolutions, state spaces, delta rules, WKV | `conv_output_silu-0` where there is one, `beta-0`, `final_output-0` (before the output product) |
//! | feed-forward | `ffn_swiglu-0`, `ffn_geglu-0`, `ffn_silu-0` ... (between its products) |
//! | experts | `ffn_moe_logits-0`, `ffn_moe_probs-0`, `ffn_shexp-0` (of the shared one), `ffn_moe_out-0` (of the chosen ones) |
//!
//! The scores of attention (`kq_soft_max`) never exist as a whole: each tile's are gone when the next one's come.

use super::pass::Pass;
use std::ops::Range;

impl Pass<'_> {
    /// Tells the observer, if there is one, of the `rows` rows at the beginning of `values`.
    pub(super) fn tell_rows(&self, name: &str, rows: usize, row_len: usize, values: &[f32]) {
        if let Some(trace) = self.trace
            && let Some(values) = values.get(..rows * row_len)
        {
            trace.values(name, row_len, values);
        }
    }

    /// The same of a layer, with a row for each token of the pass.
    pub(super) fn tell(&self, name: &str, layer: usize, row_len: usize, values: &[f32]) {
        if self.trace.is_some() {
            self.tell_rows(&format!("{name}-{layer}"), self.n, row_len, values);
        }
    }

    /// The same of a part of each row; `rows` rows of `row_len` values for each token.
    pub(super) fn tell_part(
        &self,
        name: &str,
        layer: usize,
        (rows, row_len): (usize, usize),
        part: Range<usize>,
        values: &[f32],
    ) {
        if self.trace.is_some() {
            let all = values.chunks_exact(row_len).take(self.n * rows);
            let parts: Vec<f32> = all.flat_map(|row| &row[part.clone()]).copied().collect();
            self.tell(name, layer, rows * part.len(), &parts);
        }
    }
}
