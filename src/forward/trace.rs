//! Intermediates of a pass, told to an observer under the names that other engines use for them, so that two engines can be
//! compared step by step.
//!
//! Names: `inp_embd`, then per layer `attn_norm-0`, `Qcur-0`, `Kcur-0`, `Vcur-0` (after norms of heads and RoPE),
//! `kqv_out-0` (heads' results before the output product), `attn_out-0` (what the mixers add to the stream, recurrent ones
//! too), `ffn_norm-0`, `ffn_out-0`, `l_out-0` (the stream after the layer), and `result_norm`, `result_output`.

use super::Pass;

/// An observer of intermediates.
pub trait Trace: Send + Sync {
    /// Called by the thread that leads a pass, in the order of computation. `values` are rows of `row_len` values, one for
    /// each token of the pass (of `result_norm` and `result_output`: for each token whose logits are wanted).
    fn values(&self, name: &str, row_len: usize, values: &[f32]);
}

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
}
