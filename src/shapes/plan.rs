//! A shape under a recipe.

use super::planned_tensor::PlannedTensor;
use super::recipe::Recipe;
#[cfg(test)]
use super::recipe::TensorClass;
use super::shape::Shape;
use super::tensors;
#[cfg(test)]
use crate::arch::Role;
use crate::{Error, Result};

/// A shape and a recipe: all that is to be known about a file before it exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The model.
    pub shape: Shape,
    /// How it is quantized.
    pub recipe: Recipe,
    /// Its tensors in the order of the file.
    pub tensors: Vec<PlannedTensor>,
}

/// The shape whose name is nearest to `SHAPE` or `SHAPE:RECIPE`, with the recipe, if one is near.
pub fn nearest(text: &str) -> Option<String> {
    let (name, recipe) = text.split_once(':').map_or((text, None), |(name, recipe)| (name, Some(recipe)));
    let near = crate::suggest::nearest(name, Shape::all().iter().map(|shape| shape.name))?;
    Some(recipe.map_or_else(|| near.to_owned(), |recipe| format!("{near}:{recipe}")))
}

impl Plan {
    /// The plan of a shape under a recipe.
    ///
    /// # Errors
    /// Dimensions that its family cannot use.
    pub fn new(shape: Shape, recipe: Recipe) -> Result<Self> {
        let tensors = tensors::list(&shape, recipe)?;
        Ok(Self { shape, recipe, tensors })
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
        Self::new(shape, recipe)
    }

    /// Whether `text` names a shape, so that [`Plan::parse`] is worth a try before the file system.
    pub fn is_shape(text: &str) -> bool {
        Shape::by_name(text.split_once(':').map_or(text, |(name, _)| name)).is_some()
    }

    /// `llama3-8b:q4_k_m`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.shape.name, self.recipe.name())
    }

    #[cfg(test)]
    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::values).sum()
    }

    /// Bytes of all tensors.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::bytes).sum()
    }

    #[cfg(test)]
    /// Bytes of weights that one generated token reads: everything, but one row of an embedding that is no head, and of
    /// the experts those that are used.
    pub fn bytes_per_token(&self) -> u64 {
        let share = |tensor: &PlannedTensor| match (tensor.class, self.shape.experts) {
            (TensorClass::Experts | TensorClass::DownExperts, Some(experts)) => {
                tensor.bytes() / experts.count as u64 * experts.used as u64
            }
            (TensorClass::Other, _) if tensor.role == Role::TokenEmbd => tensor.bytes() / self.shape.vocab as u64,
            _ => tensor.bytes(),
        };
        self.tensors.iter().map(share).sum()
    }
}
