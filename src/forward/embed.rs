//! What the residual stream begins as, and the values that each layer has of its own for a token.

use super::pass::Pass;
use super::scratch::{Scratch, sized};
use super::{norm, product};
use tokki_quant::ops;
use tokki_quant::share::Chunks;

impl Pass<'_> {
    /// The stream begins as the tokens' embeddings.
    pub(super) fn embed(&self, s: &mut Scratch) {
        let (model, isa) = (self.model, self.isa);
        let (e, scale) = (model.spec.embd, model.spec.embedding.scale);
        let matrix = model.embed.matrix(0);
        let rows = Chunks::new(sized(&mut s.x, self.n * e), e);
        let others = Chunks::new(sized(&mut s.h, self.n * e), e);
        self.lead.phase(self.n, &|_, t| {
            let (row, other) = (rows.take(t), others.take(t));
            matrix.decode_row(self.tokens[t] as usize, row);
            if scale != 1.0 {
                ops::scale(isa, row, scale);
            }
            if let Some(last) = model.token_types.len().checked_sub(1) {
                let second = self.position(t) >= self.second_text;
                ops::add(isa, row, &model.token_types[usize::from(second).min(last)]);
            }
            if let Some(positions) = &model.positions {
                // A context beyond the table is refused when a session is made.
                positions.matrix(0).decode_row(self.position(t).min(positions.rows() - 1), other);
                ops::add(isa, row, other);
            }
            if let Some(weights) = &model.embed_norm {
                norm::in_place(isa, weights, row);
            }
        });
        self.embed_per_layer(s);
        self.begin_streams(s);
        if model.spec.layers.iter().any(|layer| layer.ends.contains(&crate::arch::End::AddEmbedding)) {
            let len = self.n * e;
            sized(&mut s.began, len).copy_from_slice(&s.x[..len]);
        }
    }

    /// `(norm(proj x / sqrt(E)) + embedding * sqrt(P)) / sqrt(2)` for each layer, into `s.per_layer` of `[n][layers][P]`.
    fn embed_per_layer(&self, s: &mut Scratch) {
        let Some(w) = &self.model.per_layer else { return };
        let (isa, e, all) = (self.isa, self.model.spec.embd, w.proj.rows());
        let Scratch { x, input, per_layer, gate, .. } = s;
        self.quantize(&x[..self.n * e], e, product::kinds([&w.proj]), input);
        self.product(&w.proj, input, sized(per_layer, self.n * all));
        let rows = Chunks::new(&mut per_layer[..self.n * all], all);
        let others = Chunks::new(sized(gate, self.n * all), all);
        let matrix = w.embed.matrix(0);
        self.lead.phase(self.n, &|_, t| {
            let (row, other) = (rows.take(t), others.take(t));
            ops::scale(isa, row, 1.0 / (e as f32).sqrt());
            row.chunks_exact_mut(w.len).for_each(|part| norm::in_place(isa, &w.norm, part));
            matrix.decode_row(self.tokens[t] as usize, other);
            ops::add_scaled(isa, row, other, (w.len as f32).sqrt());
            ops::scale(isa, row, std::f32::consts::FRAC_1_SQRT_2);
        });
    }
}
