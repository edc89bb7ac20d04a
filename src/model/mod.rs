//! A model: its [`Spec`](crate::arch::Spec) and its weights, bound by name and checked for shape. Immutable, shared by all sessions.

mod bind;
mod cost;
mod linear;
mod weights;
mod whole;

pub use linear::Stack;
pub use weights::{
    AltUpWeights, AttentionWeights, ChannelMixWeights, ClassifierWeights, DeltaDecay, DeltaWeights, DenseWeights,
    ExpertWeights, FeedWeights, FfnWeights, FrequencyDivisors, Gated, HeadNormWeights, LatentWeights, LayerWeights,
    LightningWeights, MixerWeights, NormWeights, PerLayerGate, PerLayerWeights, Qkv, SevenWeights, ShortConvWeights,
    StateSpaceInput, StateSpaceWeights, Taps, TimeMixPart, TimeMixWeights,
};
pub use whole::Model;

use crate::Result;
use crate::arch;
use crate::gguf::Gguf;
use std::path::Path;

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
