//! All weights of a model.

use super::linear::Stack;
use super::weights::{ClassifierWeights, FrequencyDivisors, LayerWeights, NormWeights, PerLayerWeights};
use crate::arch::Spec;
use crate::gguf::Gguf;

/// Everything that `forward` reads.
pub struct Model {
    /// What is computed.
    pub spec: Spec,
    /// The file, for the keys that others read (tokenizer, template).
    pub gguf: Gguf,
    /// Token embedding, `vocab x E`.
    pub embed: Stack,
    /// Learned positions, `rows x E`.
    pub positions: Option<Stack>,
    /// What is added to the embeddings of a first and of a second text, `E` each; empty where the model has no types.
    pub token_types: Vec<Vec<f32>>,
    /// What a second stream begins as, `E`.
    pub second: Option<Vec<f32>>,
    /// Norm of the embedding.
    pub embed_norm: Option<NormWeights>,
    /// Values of each layer's own for each token.
    pub per_layer: Option<PerLayerWeights>,
    /// From the first residual stream to the others, and back at the end.
    pub streams: Option<(Stack, Stack)>,
    /// Weights of each layer of `spec.layers`.
    pub layers: Vec<LayerWeights>,
    /// The last norm.
    pub output_norm: Option<NormWeights>,
    /// The head, `vocab x E`; the embedding itself where the file has no head.
    pub output: Stack,
    /// Classification head of a reranker.
    pub classifier: Option<ClassifierWeights>,
    /// Products of the pooled vector, in order (`dense_2`, `dense_3`).
    pub projections: Vec<Stack>,
    /// Frequency divisors of each of `spec.ropes`.
    pub rope_factors: Vec<FrequencyDivisors>,
}

crate::text::opaque!(Model);
