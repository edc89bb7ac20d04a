//! A model: its [`Spec`] and its weights, bound by name and checked for shape. Immutable, shared by all sessions.

mod bind;
mod cost;
mod linear;
mod weights;

pub use cost::{Cost, macs};
pub use linear::Stack;
pub use weights::{
    AltUpWeights, AttentionWeights, ChannelMixWeights, ClassifierWeights, DeltaDecay, DeltaWeights, DenseWeights,
    ExpertWeights, FeedWeights, FfnWeights, FrequencyDivisors, Gated, HeadNormWeights, LatentWeights, LayerWeights,
    LightningWeights, MixerWeights, NormWeights, PerLayerGate, PerLayerWeights, Qkv, SevenWeights, ShortConvWeights,
    StateSpaceInput, StateSpaceWeights, Taps, TimeMixPart, TimeMixWeights,
};

use crate::Result;
use crate::arch::{self, Spec};
use crate::gguf::Gguf;
use std::path::Path;

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

impl Model {
    /// Opens a GGUF file (the first of a split one) and binds its weights; nothing is copied but norms and biases.
    ///
    /// # Errors
    /// [`crate::Error::Input`] naming the file, key or tensor that is missing or of another shape.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_gguf(Gguf::open(path)?)
    }

    /// The same for a file that is open already.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_gguf(gguf: Gguf) -> Result<Self> {
        gguf.need_weights()?;
        let spec = arch::spec(&gguf)?;
        arch::check_tensors(&gguf, &spec)?;
        bind::bind(gguf, spec)
    }
}

crate::text::opaque!(Model);
