//! The dimensions of a model.

/// The dimensions of a model, as its published configuration says.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// `exaone-deep-32b`, ...
    pub name: &'static str,
    /// The recipe that files of it commonly have.
    pub recipe: &'static str,
    /// `general.architecture`.
    pub arch: &'static str,
    /// `tokenizer.ggml.pre`.
    pub pre: &'static str,
    /// Number of layers.
    pub layers: usize,
    /// Embedding length.
    pub embd: usize,
    /// Width of a dense feed-forward.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// Tokens.
    pub vocab: usize,
    /// Context that the model was trained for.
    pub context: usize,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Epsilon of the norms.
    pub eps: f32,
    /// The embedding serves as the output head.
    pub tied: bool,
    pub(super) qkv_bias: bool,
    pub(super) output_bias: bool,
    /// Factor of the divisors in `rope_freqs.weight`.
    pub(super) rope_divisors: Option<f32>,
    pub(super) yarn: Option<Yarn>,
    /// Window and period of its pattern.
    pub(super) window: Option<(u32, u32)>,
    pub(super) experts: Option<ShapeExperts>,
    pub(super) latent: Option<ShapeLatent>,
    /// More keys of the architecture.
    pub(super) extra: &'static [(&'static str, f32)],
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Yarn {
    pub(super) factor: f32,
    pub(super) original: u32,
    pub(super) log_multiplier: Option<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ShapeExperts {
    pub(super) count: usize,
    pub(super) used: usize,
    pub(super) width: usize,
    pub(super) shared: usize,
    pub(super) dense_layers: usize,
    pub(super) gating: u32,
    pub(super) selection_bias: bool,
    pub(super) biases: bool,
    pub(super) scale: f32,
    pub(super) groups: Option<(u32, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ShapeLatent {
    pub(super) q_rank: usize,
    pub(super) kv_rank: usize,
    pub(super) nope: usize,
    pub(super) rope: usize,
    pub(super) v_dim: usize,
}

impl Shape {
    #[cfg(test)]
    /// The same model cut to fewer layers (at least one).
    #[must_use]
    pub fn with_layers(mut self, layers: usize) -> Self {
        self.layers = layers.clamp(1, self.layers);
        self
    }

    #[cfg(test)]
    /// Values that the cache holds per token, over all layers.
    pub fn kv_values_per_token(&self) -> usize {
        self.layers * self.latent.map_or(2 * self.kv_heads * self.head_dim, |latent| latent.kv_rank + latent.rope)
    }
}
