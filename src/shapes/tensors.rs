//! The tensors of a shape, in the order of the file.

use super::keys;
use super::planned_tensor::PlannedTensor;
use super::recipe::{Recipe, TensorClass, TensorPlace};
use super::shape::Shape;
use crate::Result;
use crate::arch::{self, Output, Role, Spec, Tensor, TensorPart};
use crate::gguf::{DType, Gguf};
use std::path::Path;

/// All tensors of `shape` under `recipe`: those of the specification that its keys make.
///
/// # Errors
/// Keys that the family cannot use.
pub(super) fn list(shape: &Shape, recipe: Recipe) -> Result<Vec<PlannedTensor>> {
    let there = |tensor: &Tensor| !tensor.optional || has(shape, tensor);
    let plan = |tensor: Tensor| {
        let place = TensorPlace {
            class: class(shape, &tensor),
            layer: layer(&tensor.name).unwrap_or(0),
            layers: shape.layers,
            heads_per_kv: shape.heads / shape.kv_heads,
            cols: tensor.shape[0],
        };
        let Tensor { name, role, shape, .. } = tensor;
        PlannedTensor { name, shape, dtype: recipe.dtype(&place), role, class: place.class }
    };
    let mut list: Vec<_> = spec(shape)?.tensor_list().into_iter().filter(there).map(plan).collect();
    // Small ones, which are read when a model is opened, lie together: the system reads ahead around each.
    list.sort_by_key(|tensor| tensor.class != TensorClass::Vector);
    Ok(list)
}

/// What the family makes of the keys of a shape, and of the small tensors whose presence it goes by.
fn spec(shape: &Shape) -> Result<Spec> {
    let vector = |prefix: &str, role: Role, len: usize| {
        let (dtype, class) = (DType::F32, TensorClass::Vector);
        PlannedTensor { name: format!("{prefix}{}", role.name()), shape: vec![len], dtype, role, class }
    };
    let in_layer = |layer: usize, role: Role, len: usize| vector(&format!("blk.{layer}."), role, len);
    let divisors = shape.rope_divisors.map(|_| vector("", Role::RopeFreqs, shape.head_dim / 2));
    let biased = shape.experts.filter(|experts| experts.selection_bias);
    let biases = biased.into_iter().flat_map(|experts| {
        (experts.dense_layers..shape.layers).map(move |layer| in_layer(layer, Role::ExpProbsB, experts.count))
    });
    // Newer files keep the two halves of a latent's products apart.
    let halves = shape.latent.into_iter().flat_map(|_| 0..shape.layers);
    let halves = halves.map(|layer| in_layer(layer, Role::AttnKB, 1));
    let small: Vec<_> = divisors.into_iter().chain(biases).chain(halves).collect();
    let gguf = Gguf::from_bytes(Path::new(shape.name), &keys::without_vocabulary(shape, &small))?;
    let mut spec = arch::spec(&gguf)?;
    if let Output::Logits { tied, .. } = &mut spec.output {
        *tied = shape.tied;
    }
    Ok(spec)
}

/// Whether a file of this shape has a tensor that others do without.
fn has(shape: &Shape, tensor: &Tensor) -> bool {
    match (tensor.role, tensor.part) {
        (Role::Output, TensorPart::Weight) => !shape.tied,
        (Role::Divisors, TensorPart::Weight) => shape.rope_divisors.is_some(),
        (Role::AttnQ | Role::AttnK | Role::AttnV, TensorPart::Bias) => shape.qkv_bias,
        (Role::AttnOutput, TensorPart::Bias) => shape.output_bias,
        (Role::FfnGateInp | Role::FfnGateExps | Role::FfnUpExps | Role::FfnDownExps, TensorPart::Bias) => {
            shape.experts.is_some_and(|experts| experts.biases)
        }
        _ => false,
    }
}

/// What the format of a tensor depends on.
fn class(shape: &Shape, tensor: &Tensor) -> TensorClass {
    if tensor.shape.len() < 2 || !tensor.name.ends_with(".weight") {
        return TensorClass::Vector;
    }
    match tensor.role {
        Role::Output => TensorClass::Head,
        Role::TokenEmbd if shape.tied => TensorClass::Head,
        Role::AttnV => TensorClass::Value,
        Role::AttnOutput => TensorClass::AttnOutput,
        Role::FfnDown | Role::FfnDownShexp => TensorClass::Down,
        Role::FfnDownExps => TensorClass::DownExperts,
        Role::FfnGateExps | Role::FfnUpExps => TensorClass::Experts,
        Role::FfnGateInp => TensorClass::Router,
        _ => TensorClass::Other,
    }
}

/// The layer of `blk.3.attn_q.weight`.
fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}
