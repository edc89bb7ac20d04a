//! The shapes of real models: a file with exactly the tensors, formats and bytes of a published model, and random
//! weights, for measuring speed and planning memory without a download. Its text is noise; its cost is the real one.
//!
//! `llama3-8b:q4_k_m` names a [`Plan`]: a row of the table of shapes and a row of the table of recipes.

mod blocks;
mod keys;
mod recipe;
mod table;
mod tensors;
#[cfg(test)]
mod tests;
mod write;

pub use recipe::Recipe;
pub use tensors::{Role, Tensor};
pub use write::{outline, temporary, write};

use crate::{Error, Result};

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
    /// Names of the norms of a layer.
    norms: &'static [&'static str],
    qkv_bias: bool,
    output_bias: bool,
    qk_norm: bool,
    sinks: bool,
    /// Factor of the divisors in `rope_freqs.weight`.
    rope_divisors: Option<f32>,
    yarn: Option<Yarn>,
    /// Window and period of its pattern.
    window: Option<(u32, u32)>,
    experts: Option<Experts>,
    latent: Option<Latent>,
    /// More keys of the architecture.
    extra: &'static [(&'static str, f32)],
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Yarn {
    factor: f32,
    original: u32,
    log_multiplier: Option<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Experts {
    count: usize,
    used: usize,
    width: usize,
    shared: usize,
    dense_layers: usize,
    gating: u32,
    selection_bias: bool,
    biases: bool,
    scale: f32,
    groups: Option<(u32, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Latent {
    q_rank: usize,
    kv_rank: usize,
    nope: usize,
    rope: usize,
    v_dim: usize,
}

impl Shape {
    /// All shapes.
    pub fn all() -> &'static [Self] {
        table::SHAPES
    }

    /// The shape of this name, if there is one.
    pub fn by_name(name: &str) -> Option<Self> {
        table::SHAPES.iter().find(|shape| shape.name.eq_ignore_ascii_case(name)).cloned()
    }

    /// The same model cut to fewer layers (at least one).
    #[must_use]
    pub fn with_layers(mut self, layers: usize) -> Self {
        self.layers = layers.clamp(1, self.layers);
        self
    }

    /// Values that the cache holds per token, over all layers.
    pub fn kv_values_per_token(&self) -> usize {
        self.layers * self.latent.map_or(2 * self.kv_heads * self.head_dim, |latent| latent.kv_rank + latent.rope)
    }
}

/// A shape and a recipe: all that is to be known about a file before it exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The model.
    pub shape: Shape,
    /// How it is quantized.
    pub recipe: Recipe,
    /// Its tensors in the order of the file.
    pub tensors: Vec<Tensor>,
}

/// The shape whose name is nearest to `SHAPE` or `SHAPE:RECIPE`, with the recipe, if one is near.
pub fn nearest(text: &str) -> Option<String> {
    let (name, recipe) = text.split_once(':').map_or((text, None), |(name, recipe)| (name, Some(recipe)));
    let near = crate::suggest::nearest(name, Shape::all().iter().map(|shape| shape.name))?;
    Some(recipe.map_or_else(|| near.to_owned(), |recipe| format!("{near}:{recipe}")))
}

impl Plan {
    /// The plan of a shape under a recipe.
    pub fn new(shape: Shape, recipe: Recipe) -> Self {
        let tensors = tensors::list(&shape, recipe);
        Self { shape, recipe, tensors }
    }

    /// Reads `SHAPE` (in the recipe that it is commonly had in) or `SHAPE:RECIPE`.
    ///
    /// # Errors
    /// [`Error::Input`] that lists what there is.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, recipe) = text.split_once(':').map_or((text, None), |(name, recipe)| (name, Some(recipe)));
        let shape = Shape::by_name(name).ok_or_else(|| {
            let known: Vec<_> = Shape::all().iter().map(|shape| shape.name).collect();
            Error::input(format!("shape {name}"), format!("one of {}", known.join(", ")), "none of them")
        })?;
        let recipe = recipe.unwrap_or(shape.recipe);
        let recipe = Recipe::by_name(recipe).ok_or_else(|| {
            let known: Vec<_> = Recipe::all().map(Recipe::name).collect();
            Error::input(format!("recipe {recipe}"), format!("one of {}", known.join(", ")), "none of them")
        })?;
        Ok(Self::new(shape, recipe))
    }

    /// Whether `text` names a shape, so that [`Plan::parse`] is worth a try before the file system.
    pub fn is_shape(text: &str) -> bool {
        Shape::by_name(text.split_once(':').map_or(text, |(name, _)| name)).is_some()
    }

    /// `llama3-8b:q4_k_m`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.shape.name, self.recipe.name())
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(Tensor::values).sum()
    }

    /// Bytes of all tensors.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors.iter().map(Tensor::bytes).sum()
    }

    /// Bytes of weights that one generated token reads: everything, but one row of an embedding that is no head, and of
    /// the experts those that are used.
    pub fn bytes_per_token(&self) -> u64 {
        let share = |tensor: &Tensor| match (tensor.role, self.shape.experts) {
            (Role::Experts | Role::DownExperts, Some(experts)) => {
                tensor.bytes() / experts.count as u64 * experts.used as u64
            }
            (Role::Other, _) if tensor.name == "token_embd.weight" => tensor.bytes() / self.shape.vocab as u64,
            _ => tensor.bytes(),
        };
        self.tensors.iter().map(share).sum()
    }
}
