//! The gated feed-forward, `down(act(gate x) * up x)`.

use super::Pass;
use super::product::{self, Product};
use super::scratch::{Scratch, sized};
use crate::arch::Ffn;
use crate::model::Gated;
use tokki_quant::activation::Activations;

impl Pass<'_> {
    /// From the branch's input to its output.
    pub(super) fn dense(&self, s: &mut Scratch, ffn: &Ffn, w: &Gated) {
        let (Ffn::Dense { act, .. } | Ffn::Experts { act, .. }) = ffn;
        let (n, width) = (self.n, w.gate.rows());
        let buffers = (sized(&mut s.gate, n * width), sized(&mut s.up, n * width));
        let product = Product::gated((w, 0), *act, &s.input, None, buffers, self.lead);
        product::run(self.lead, self.isa, &[product]);
        self.quantize(&s.gate[..n * width], width, product::kinds([&w.down]), &mut s.inner);
        self.product(&w.down, &s.inner, sized(&mut s.branch, n * self.model.spec.embd));
    }

    /// Quantizes rows of `width` values as the input of the next product.
    pub(super) fn quantize(
        &self,
        rows: &[f32],
        width: usize,
        kinds: tokki_quant::activation::ActKinds,
        into: &mut Activations,
    ) {
        let count = rows.len() / width;
        let writer = into.reset(kinds, count, width);
        self.lead.phase(count, &|_, r| writer.write(self.isa, r, &rows[r * width..][..width]));
    }
}
