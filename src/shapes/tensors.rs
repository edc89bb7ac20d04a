//! The tensors of a shape, in the order of the file.

use super::keys;
use super::planned::PlannedTensor;
use super::recipe::{Recipe, Role, TensorPlace};
use super::shape::Shape;
use crate::Result;
use crate::arch::{self, Output, Spec, Tensor};
use crate::gguf::{DType, Gguf};
use std::path::Path;

/// All tensors of `shape` under `recipe`: those of the specification that its keys make.
///
/// # Errors
/// Keys that the family cannot use.
pub(super) fn list(shape: &Shape, recipe: Recipe) -> Result<Vec<PlannedTensor>> {
    let there = |tensor: &Tensor| !tensor.optional || has(shape, &tensor.name);
    let plan = |Tensor { name, shape: dims, .. }: Tensor| {
        let place = TensorPlace {
            role: role(shape, &name, dims.len()),
            layer: layer_and_rest(&name).map_or(0, |(layer, _)| layer),
            layers: shape.layers,
            heads_per_kv: shape.heads / shape.kv_heads,
            cols: dims[0],
        };
        PlannedTensor { dtype: recipe.dtype(&place), role: place.role, name, shape: dims }
    };
    let mut list: Vec<_> = spec(shape)?.tensor_list().into_iter().filter(there).map(plan).collect();
    // Small ones, which are read when a model is opened, lie together: the system reads ahead around each.
    list.sort_by_key(|tensor| tensor.role != Role::Vector);
    Ok(list)
}

/// What the family makes of the keys of a shape, and of the small tensors whose presence it goes by.
fn spec(shape: &Shape) -> Result<Spec> {
    let vector = |name: String, len: usize| {
        let (dtype, role) = (DType::F32, Role::Vector);
        PlannedTensor { name, shape: vec![len], dtype, role }
    };
    let divisors = shape.rope_divisors.map(|_| vector("rope_freqs.weight".to_owned(), shape.head_dim / 2));
    let biased = shape.experts.filter(|experts| experts.selection_bias);
    let biases = biased.into_iter().flat_map(|experts| {
        let name = |layer| format!("blk.{layer}.exp_probs_b.bias");
        (experts.dense_layers..shape.layers).map(move |layer| vector(name(layer), experts.count))
    });
    // Newer files keep the two halves of a latent's products apart.
    let halves = shape.latent.into_iter().flat_map(|_| 0..shape.layers);
    let halves = halves.map(|layer| vector(format!("blk.{layer}.attn_k_b.weight"), 1));
    let small: Vec<_> = divisors.into_iter().chain(biases).chain(halves).collect();
    let gguf = Gguf::from_bytes(Path::new(shape.name), &keys::without_vocabulary(shape, &small))?;
    let mut spec = arch::spec(&gguf)?;
    if let Output::Logits { tied, .. } = &mut spec.output {
        *tied = shape.tied;
    }
    Ok(spec)
}

/// Whether a file of this shape has a tensor that others do without.
fn has(shape: &Shape, name: &str) -> bool {
    match layer_and_rest(name).map_or(name, |(_, rest)| rest) {
        "output.weight" => !shape.tied,
        "rope_freqs.weight" => shape.rope_divisors.is_some(),
        "attn_q.bias" | "attn_k.bias" | "attn_v.bias" => shape.qkv_bias,
        "attn_output.bias" => shape.output_bias,
        "ffn_gate_inp.bias" | "ffn_gate_exps.bias" | "ffn_up_exps.bias" | "ffn_down_exps.bias" => {
            shape.experts.is_some_and(|experts| experts.biases)
        }
        _ => false,
    }
}

/// What a tensor of so many dimensions is for.
fn role(shape: &Shape, name: &str, dimensions: usize) -> Role {
    let name = layer_and_rest(name).map_or(name, |(_, rest)| rest);
    let Some(name) = name.strip_suffix(".weight").filter(|_| dimensions > 1) else { return Role::Vector };
    match name {
        "output" => Role::Head,
        "token_embd" if shape.tied => Role::Head,
        "attn_v" => Role::Value,
        "attn_output" => Role::AttnOutput,
        "ffn_down" | "ffn_down_shexp" => Role::Down,
        "ffn_down_exps" => Role::DownExperts,
        "ffn_gate_exps" | "ffn_up_exps" => Role::Experts,
        "ffn_gate_inp" => Role::Router,
        _ => Role::Other,
    }
}

/// The layer of `blk.3.attn_q.weight`, and the rest of its name.
fn layer_and_rest(name: &str) -> Option<(usize, &str)> {
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, rest))
}
