//! How the list of tensors is made: by the roles of what is there.

use super::norm::{Norm, NormKind};
use super::role::Role;

/// Which part of a linear map a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorPart {
    /// Its weights, or the only tensor of its role.
    Weight,
    /// What is added to the result.
    Bias,
    /// What the result is multiplied by.
    Factor,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name in the file.
    pub name: String,
    /// What it, or what it belongs to, is for.
    pub role: Role,
    /// Which part of that it is.
    pub part: TensorPart,
    /// Its dimensions, the contiguous one first. Those of 1 may be left out in files.
    pub shape: Vec<usize>,
    /// The model can do without.
    pub optional: bool,
}

/// Collects tensors.
pub(super) struct List {
    pub(super) embd: usize,
    /// Of all layers' names.
    pub(super) blocks: &'static str,
    /// Of the layer's names.
    pub(super) prefix: String,
    /// As in [`Spec`].
    norm_biases: bool,
    pub(super) tensors: Vec<Tensor>,
}

impl List {
    pub(super) fn new(embd: usize, blocks: &'static str, norm_biases: bool) -> Self {
        Self { embd, blocks, prefix: String::new(), norm_biases, tensors: Vec::new() }
    }

    /// A tensor of this whole name.
    pub(super) fn push(&mut self, role: Role, name: String, shape: &[usize], optional: bool) {
        self.tensors.push(Tensor { name, role, part: TensorPart::Weight, shape: shape.to_vec(), optional });
    }

    /// A tensor of the layer.
    pub(super) fn add(&mut self, role: Role, shape: &[usize]) {
        self.push(role, format!("{}{}", self.prefix, role.name()), shape, false);
    }

    pub(super) fn maybe(&mut self, role: Role, shape: &[usize]) {
        self.push(role, format!("{}{}", self.prefix, role.name()), shape, true);
    }

    /// What a file may have beside the weights of a map.
    fn beside(&mut self, role: Role, stem: &str, part: TensorPart, len: usize) {
        let suffix = if part == TensorPart::Bias { "bias" } else { "scale" };
        let name = format!("{}{stem}.{suffix}", self.prefix);
        self.tensors.push(Tensor { name, role, part, shape: vec![len], optional: true });
    }

    /// The matrices of a product, `[cols, rows]` or `[cols, rows, count]`, with the factor of each and the bias that files
    /// may have.
    pub(super) fn product(&mut self, role: Role, shape: &[usize]) {
        self.add(role, shape);
        self.companions(role, shape);
    }

    /// Factors and biases of the matrices of a product.
    pub(super) fn companions(&mut self, role: Role, shape: &[usize]) {
        let (rows, count) = (shape.get(1).copied().unwrap_or(1), shape.get(2).copied().unwrap_or(1));
        self.bias(role, rows * count);
        self.beside(role, role.stem(), TensorPart::Factor, count);
    }

    pub(super) fn bias(&mut self, role: Role, len: usize) {
        self.beside(role, role.stem(), TensorPart::Bias, len);
    }

    /// The weights of a norm, which the specification names, and their biases.
    pub(super) fn norm_weights(&mut self, name: &str, kind: NormKind, shape: &[usize]) {
        self.push(Role::Norm, format!("{}{name}.weight", self.prefix), shape, false);
        if kind == NormKind::Layer || self.norm_biases {
            self.beside(Role::Norm, name, TensorPart::Bias, shape.iter().product());
        }
    }

    pub(super) fn norm(&mut self, norm: Option<Norm>, len: usize) {
        let Some(Norm { tensor: Some(name), kind, .. }) = norm else { return };
        self.norm_weights(name, kind, &[len]);
    }
}
