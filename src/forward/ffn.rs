//! The feed-forward, `down(act(gate x) * up x)` or `down(act(up x))`.

use super::pass::Pass;
use super::product::{self, Product};
use super::scratch::{Scratch, sized};
use super::{activation, norm};
use crate::arch::{Activation, Dense};
use crate::model::{DenseWeights, Gated};
use tokki_quant::gates;
use tokki_quant::share::Chunks;

impl Pass<'_> {
    /// From the branch's input to its output.
    pub(super) fn dense(&self, s: &mut Scratch, layer: usize, dense: &Dense, w: &DenseWeights) {
        let (n, width) = (self.n, w.gated.up.rows());
        match dense.sparsity {
            Some(z) => self.sparse(s, z, dense.act, &w.gated),
            None => self.first(s, dense.act, &w.gated),
        }
        self.tell(activation::name(dense.act, dense.gate), layer, width, &s.gate);
        if w.inner_norm.is_some() || w.factors.is_some() {
            let rows = Chunks::new(&mut s.gate[..n * width], width);
            self.lead.phase(n, &|_, t| {
                let row = rows.take(t);
                if let Some(factors) = &w.factors {
                    gates::mul(self.isa, row, factors);
                }
                if let Some(inner) = &w.inner_norm {
                    norm::in_place(self.isa, inner, row);
                }
            });
        }
        self.last(s, &w.gated);
    }

    /// A feed-forward with nothing between its products.
    pub(super) fn plain(&self, s: &mut Scratch, act: Activation, w: &Gated) {
        self.first(s, act, w);
        self.last(s, w);
    }

    fn first(&self, s: &mut Scratch, act: Activation, w: &Gated) {
        let (n, width) = (self.n, w.up.rows());
        let made = sized(&mut s.gate, n * width);
        let product = Product::gated((w, 0), act, &s.input, None, made, self.lead);
        product::run(self.lead, self.isa, &[product]);
    }

    /// The same after the gate's values below `z` standard deviations over their mean have become 0, and the others less by
    /// that.
    fn sparse(&self, s: &mut Scratch, z: f32, act: Activation, w: &Gated) {
        let Some(first) = &w.gate else { return self.first(s, act, w) };
        let (n, width) = (self.n, w.up.rows());
        let Scratch { input, gate, up, .. } = s;
        let (made, ups) = (sized(gate, n * width), sized(up, n * width));
        let products =
            [Product::new((first, 0), input, made, self.lead), Product::new((&w.up, 0), input, ups, self.lead)];
        product::run(self.lead, self.isa, &products);
        drop(products);
        let rows = Chunks::new(&mut gate[..n * width], width);
        let ups = &up[..n * width];
        self.lead.phase(n, &|_, t| {
            let row = rows.take(t);
            let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
            let square = |&x: &f32| (f64::from(x) - mean) * (f64::from(x) - mean);
            let squares: f64 = row.iter().map(square).sum();
            let deviation = (squares / (width.max(2) - 1) as f64).sqrt();
            let cut = (mean + f64::from(z) * deviation) as f32;
            row.iter_mut().for_each(|x| *x = (*x - cut).max(0.0));
            activation::gated(self.isa, act, row, &ups[t * width..][..width]);
        });
    }

    fn last(&self, s: &mut Scratch, w: &Gated) {
        let (n, width) = (self.n, w.up.rows());
        self.quantize(&s.gate[..n * width], width, product::kinds([&w.down]), &mut s.inner);
        self.product(&w.down, &s.inner, sized(&mut s.branch, n * self.model.spec.embd));
    }
}
