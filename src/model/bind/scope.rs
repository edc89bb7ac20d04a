//! Tensors by the names and shapes of the list.

use crate::arch::{HeadNorm, HeadWeights, Norm, Role};
use crate::gguf::{Gguf, TensorView};
use crate::model::{HeadNormWeights, NormWeights, Stack};
use crate::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::ops::Range;

/// The tensors whose names begin with a prefix.
pub(super) struct Scope<'a> {
    pub(super) gguf: &'a Gguf,
    /// Of all tensors, by name.
    pub(super) shapes: &'a HashMap<String, Vec<usize>>,
    pub(super) prefix: String,
}

/// Columns, rows and number of matrices.
#[derive(Clone, Copy)]
pub(super) struct MatrixShape {
    pub(super) cols: usize,
    pub(super) rows: usize,
    pub(super) count: usize,
}

impl Scope<'_> {
    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn has(&self, role: Role) -> bool {
        self.gguf.tensor(&self.full(role.name())).is_some()
    }

    /// A tensor as it lies in the file; some converters leave the usual suffix of its name out.
    pub(super) fn view(&self, role: Role) -> Result<TensorView> {
        self.gguf.view(present(self.gguf, &self.full(role.name())))
    }

    /// What the tensor list says of a tensor.
    pub(super) fn shape(&self, role: Role) -> Result<MatrixShape> {
        let full = self.full(role.name());
        let Some(shape) = self.shapes.get(&full) else {
            let error = Error::input(format!("tensor {full}"), "a tensor of the model", "one that it does not have");
            return Err(error.of(ErrorKind::MissingTensor));
        };
        let axis = |i: usize| shape.get(i).copied().unwrap_or(1);
        Ok(MatrixShape { cols: axis(0), rows: axis(1), count: axis(2) })
    }

    /// A matrix as it is, without bias.
    pub(super) fn plain(&self, role: Role) -> Result<Stack> {
        let shape = self.shape(role)?;
        Stack::whole(self.view(role)?, shape.count, shape.rows, shape.cols)
    }

    /// A matrix with its factor and bias if the file has them: `scale * W x + bias`.
    pub(super) fn product(&self, role: Role) -> Result<Stack> {
        let shape = self.shape(role)?;
        let (scale, bias) = (self.scale(role, shape.count)?, self.bias(role, shape.rows * shape.count)?);
        Ok(self.plain(role)?.with_scale(scale).with_bias(bias))
    }

    /// Rows `part` of a matrix, with that part of its bias.
    pub(super) fn rows_of(&self, role: Role, part: Range<usize>) -> Result<Stack> {
        let shape = self.shape(role)?;
        let bias = self.bias(role, shape.rows)?.map(|bias| bias[part.clone()].to_vec());
        let stack = Stack::part(self.view(role)?, shape.count, shape.rows, part, shape.cols)?;
        Ok(stack.with_scale(self.scale(role, shape.count)?).with_bias(bias))
    }

    pub(super) fn scale(&self, role: Role, count: usize) -> Result<Option<Vec<f32>>> {
        self.optional(&format!("{}.scale", role.stem()), count)
    }

    pub(super) fn bias(&self, role: Role, len: usize) -> Result<Option<Vec<f32>>> {
        self.bias_of(role.stem(), len)
    }

    fn bias_of(&self, stem: &str, len: usize) -> Result<Option<Vec<f32>>> {
        self.optional(&format!("{stem}.bias"), len)
    }

    /// All values of a tensor that a file may have, if the list knows it and the file has it.
    fn optional(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
        let full = self.full(name);
        if self.shapes.contains_key(&full) { optional(self.gguf, &full, len) } else { Ok(None) }
    }

    /// All values of a tensor of the list.
    pub(super) fn vector(&self, role: Role) -> Result<Vec<f32>> {
        let full = self.full(role.name());
        let len = self.shapes.get(&full).map_or(1, |shape| shape.iter().product());
        vector(self.gguf, &full, len)
    }

    /// The first rows of a matrix, `len` values each.
    pub(super) fn rows(&self, role: Role, len: usize, rows: usize) -> Result<Vec<Vec<f32>>> {
        if rows == 0 {
            return Ok(Vec::new());
        }
        let matrix = self.plain(role)?;
        let row = |r| {
            let mut row = vec![0.0; len];
            matrix.matrix(0).decode_row(r, &mut row);
            row
        };
        Ok((0..rows).map(row).collect())
    }

    pub(super) fn norm(&self, norm: Option<Norm>, len: usize) -> Result<Option<NormWeights>> {
        let Some(norm) = norm else { return Ok(None) };
        let Some(tensor) = norm.tensor else { return Ok(Some(plain_norm(norm, len))) };
        let weight = vector(self.gguf, &self.full(&format!("{tensor}.weight")), len)?;
        Ok(Some(NormWeights { weight, bias: self.bias_of(tensor, len)?, ..plain_norm(norm, 0) }))
    }

    pub(super) fn head_norm(
        &self,
        norm: Option<HeadNorm>,
        heads: usize,
        dim: usize,
    ) -> Result<Option<HeadNormWeights>> {
        let Some(norm) = norm else { return Ok(None) };
        let plain = Norm { tensor: None, kind: norm.kind, eps: norm.eps };
        let Some(tensor) = norm.tensor else {
            return Ok(Some(HeadNormWeights { norm: plain_norm(plain, dim), each: false }));
        };
        let len = match norm.weights {
            HeadWeights::Shared => dim,
            HeadWeights::Each | HeadWeights::Whole => dim * heads,
            HeadWeights::Gains => heads,
        };
        let mut weight = vector(self.gguf, &self.full(&format!("{tensor}.weight")), len)?;
        if norm.weights == HeadWeights::Gains {
            weight = weight.into_iter().flat_map(|gain| std::iter::repeat_n(gain, dim)).collect();
        }
        let bias = self.bias_of(tensor, len)?;
        let each = matches!(norm.weights, HeadWeights::Each | HeadWeights::Gains);
        Ok(Some(HeadNormWeights { norm: NormWeights { weight, bias, ..plain_norm(plain, 0) }, each }))
    }
}

/// What norms are like where nothing says so.
pub(super) const NORM: Norm = Norm { tensor: None, kind: crate::arch::NormKind::Rms, eps: 1e-5 };

/// A norm of `len` values whose weights are ones.
pub(super) fn plain_norm(norm: Norm, len: usize) -> NormWeights {
    NormWeights { kind: norm.kind, eps: norm.eps, weight: vec![1.0; len], bias: None }
}

/// The name that a tensor has in the file: some converters leave the usual suffix out.
pub(super) fn present<'a>(gguf: &Gguf, name: &'a str) -> &'a str {
    let bare = name.strip_suffix(".weight").or(name.strip_suffix(".bias")).filter(|bare| gguf.tensor(bare).is_some());
    bare.filter(|_| gguf.tensor(name).is_none()).unwrap_or(name)
}

/// [`vector`], if the file has it.
pub(super) fn optional(gguf: &Gguf, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
    gguf.tensor(name).is_some().then(|| vector(gguf, name, len)).transpose()
}

/// A small tensor of `len` values, decoded to f32.
pub(super) fn vector(gguf: &Gguf, name: &str, len: usize) -> Result<Vec<f32>> {
    let name = present(gguf, name);
    if let Some(info) = gguf.tensor(name)
        && (info.elements() != len as u64 || len == 0)
    {
        let error = Error::input(format!("tensor {name}"), format!("{len} values"), format!("{:?}", info.shape));
        return Err(error.of(ErrorKind::InvalidTensor));
    }
    if let Some(values) = gguf.numbers(name) {
        return Ok(values);
    }
    let view = gguf.view(name)?;
    let mut values = vec![0.0; len];
    let cols = view.shape()[0];
    let stack = Stack::rows_as_they_lie(view, len / cols, cols)?;
    for (r, row) in values.chunks_mut(cols).enumerate() {
        stack.matrix(0).decode_row(r, row);
    }
    Ok(values)
}
