//! From the vectors of a text's positions to one vector, or to the scores of a classification head.

use crate::arch::{Pooled, Pooling};
use crate::model::{ClassifierWeights, Model, Stack};
use tokki_quant::activation::Activations;
use tokki_quant::isa::Isa;
use tokki_quant::matmul::matmul;
use tokki_quant::share::Tile;
use tokki_quant::{gates, ops};

use super::{norm, product};

/// The pooled vector (or scores) of `vectors`, `[positions][E]`; with [`Pooling::None`] all of them.
pub fn pool(model: &Model, isa: Isa, pooling: Pooling, vectors: &[f32]) -> Vec<f32> {
    let e = model.spec.embd;
    let pooled = match pooling {
        Pooling::None => return vectors.to_vec(),
        Pooling::One(which) => pick(which, isa, e, vectors),
        Pooling::Rank(classifier) => {
            let vector = pick(classifier.from, isa, e, vectors);
            let Some(w) = &model.classifier else { return vector };
            return classify(isa, w, (classifier.gelu, classifier.softmax), vector);
        }
    };
    model.projections.iter().fold(pooled, |vector, projection| multiply(isa, projection, &vector))
}

fn pick(which: Pooled, isa: Isa, e: usize, vectors: &[f32]) -> Vec<f32> {
    match which {
        Pooled::First => vectors[..e].to_vec(),
        Pooled::Last => vectors[vectors.len() - e..].to_vec(),
        Pooled::Mean => {
            let mut sum = vec![0.0; e];
            let share = 1.0 / (vectors.len() / e) as f32;
            vectors.chunks_exact(e).for_each(|vector| ops::add_scaled(isa, &mut sum, vector, share));
            sum
        }
    }
}

fn classify(isa: Isa, w: &ClassifierWeights, (gelu, softmax): (bool, bool), mut vector: Vec<f32>) -> Vec<f32> {
    if let Some(dense) = &w.dense {
        vector = multiply(isa, dense, &vector);
        if gelu { gates::gelu_tanh(isa, &mut vector) } else { gates::tanh(isa, &mut vector) }
    }
    if let Some(weights) = &w.norm {
        norm::in_place(isa, weights, &mut vector);
    }
    if let Some(output) = &w.output {
        vector = multiply(isa, output, &vector);
    }
    if softmax {
        ops::softmax(isa, &mut vector);
    }
    vector
}

/// One product with its bias.
fn multiply(isa: Isa, stack: &Stack, x: &[f32]) -> Vec<f32> {
    let mut input = Activations::default();
    input.reset(product::kinds([stack]), 1, x.len()).write(isa, 0, x);
    let mut out = vec![0.0; stack.rows()];
    matmul(isa, &stack.matrix(0), &input, &mut Tile::whole(&mut out, stack.rows()));
    if let Some(bias) = stack.bias(0) {
        ops::add(isa, &mut out, bias);
    }
    out
}
