//! Binds the tensors of a file to a [`Spec`], by the names and shapes of its tensor list.

mod ffn;
mod mixer;
mod rest;
mod rwkv;

use super::{
    AltUpWeights, FrequencyDivisors, HeadNormWeights, LayerWeights, Model, NormWeights, PerLayerGate, PerLayerWeights,
    Stack,
};
use crate::arch::{End, HeadNorm, HeadWeights, Layer, Norm, Output, Rope, RopeFactors, Spec};
use crate::gguf::{Gguf, TensorView};
use crate::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::ops::Range;

/// Binds all weights.
pub(super) fn bind(gguf: Gguf, spec: Spec) -> Result<Model> {
    let shapes = spec.tensor_list().into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
    let scope = Scope { gguf: &gguf, shapes: &shapes, prefix: String::new() };
    let e = spec.embd;
    let embed = scope.plain("token_embd")?;
    let own_head = gguf.tensor("output.weight").filter(|_| matches!(spec.output, Output::Logits { tied: false, .. }));
    let output = if own_head.is_some() { scope.plain("output")? } else { embed.clone() };
    let output = output.with_scale(scope.scale("output", 1)?).with_bias(scope.bias("output", spec.vocab)?);
    let rope_factors = spec.ropes.iter().map(|rope| divisors(&gguf, rope)).collect::<Result<_>>()?;
    let layers = spec
        .layers
        .iter()
        .map(|layer| Scope { prefix: format!("{}.{}.", spec.blocks, layer.block), ..scope }.layer(layer, &spec))
        .collect::<Result<_>>()?;
    Ok(Model {
        positions: spec.embedding.positions.map(|_| scope.plain("position_embd")).transpose()?,
        token_types: scope.rows("token_types", e, spec.embedding.types.map_or(0, |rows| rows.min(2)))?,
        second: spec.embedding.second.then(|| scope.vector("hrm.z_l_init")).transpose()?,
        embed_norm: scope.norm(spec.embedding.norm, e)?,
        per_layer: spec.embedding.per_layer.map(|len| scope.per_layer(len, &spec)).transpose()?,
        streams: spec
            .streams
            .map(|_| -> Result<_> { Ok((scope.plain("altup_proj")?, scope.plain("altup_unembd_proj")?)) })
            .transpose()?,
        output_norm: scope.norm(spec.output_norm, e)?,
        classifier: scope.classifier(&spec)?,
        projections: scope.projections()?,
        embed,
        layers,
        output,
        rope_factors,
        spec,
        gguf,
    })
}

/// The tensors whose names begin with a prefix.
struct Scope<'a> {
    gguf: &'a Gguf,
    /// Of all tensors, by name.
    shapes: &'a HashMap<String, Vec<usize>>,
    prefix: String,
}

/// Columns, rows and number of matrices.
#[derive(Clone, Copy)]
struct Shape {
    cols: usize,
    rows: usize,
    count: usize,
}

impl Scope<'_> {
    fn layer(&self, layer: &Layer, spec: &Spec) -> Result<LayerWeights> {
        let e = spec.embd;
        let scaled = layer.ends.iter().any(|end| matches!(end, End::Scale | End::AddEmbedding));
        let per_layer = layer.ends.contains(&End::PerLayer);
        Ok(LayerWeights {
            attn_norm: self.norm(layer.attn_norm, e)?,
            mixers: layer.mixers.iter().map(|mixer| self.mixer(mixer)).collect::<Result<_>>()?,
            attn_post_norm: self.norm(layer.attn_post_norm, e)?,
            attn_sum_norm: self.norm(layer.attn_sum_norm, e)?,
            attn_again_norm: self.norm(layer.attn_again_norm, e)?,
            feeds: layer.feeds.iter().map(|feed| self.feed(feed, e)).collect::<Result<_>>()?,
            ffn_post_norm: self.norm(layer.ffn_post_norm, e)?,
            ffn_sum_norm: self.norm(layer.ffn_sum_norm, e)?,
            per_layer: per_layer.then(|| self.per_layer_gate(spec)).transpose()?,
            streams: spec.streams.map(|_| self.streams(spec).map(Box::new)).transpose()?,
            output_scale: if scaled { self.vector("layer_output_scale.weight")?[0] } else { 1.0 },
        })
    }

    fn per_layer_gate(&self, spec: &Spec) -> Result<PerLayerGate> {
        let norm = self.needed_norm("post_norm", spec)?;
        Ok(PerLayerGate { gate: self.product("inp_gate")?, proj: self.product("proj")?, norm })
    }

    /// A norm of `E` values like the last one.
    fn needed_norm(&self, tensor: &'static str, spec: &Spec) -> Result<NormWeights> {
        let norm = Norm { tensor: Some(tensor), ..spec.output_norm.unwrap_or(NORM) };
        Ok(self.norm(Some(norm), spec.embd)?.unwrap_or_else(|| plain_norm(norm, spec.embd)))
    }

    fn streams(&self, spec: &Spec) -> Result<AltUpWeights> {
        Ok(AltUpWeights {
            router: self.plain("altup_router")?,
            router_norm: self.needed_norm("altup_router_norm", spec)?,
            predict: self.vector("altup_predict_coef.weight")?,
            correct: self.vector("altup_correct_coef.weight")?,
            correct_scale: self.vector("altup_correct_scale.weight")?,
            laurel: (self.plain("laurel_l")?, self.plain("laurel_r")?),
            laurel_norm: self.needed_norm("laurel_post_norm", spec)?,
            own: self.per_layer_gate(spec)?,
        })
    }

    fn per_layer(&self, len: usize, spec: &Spec) -> Result<PerLayerWeights> {
        let norm = Norm { tensor: Some("per_layer_proj_norm"), ..spec.output_norm.unwrap_or(NORM) };
        Ok(PerLayerWeights {
            embed: self.plain("per_layer_token_embd")?,
            proj: self.plain("per_layer_model_proj")?,
            norm: self.norm(Some(norm), len)?.unwrap_or_else(|| plain_norm(norm, len)),
            len,
        })
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn has(&self, name: &str) -> bool {
        self.gguf.tensor(&self.full(name)).is_some()
    }

    /// A tensor by its full name; some converters leave the usual suffix out.
    fn view(&self, name: &str) -> Result<TensorView> {
        self.gguf.view(present(self.gguf, &self.full(name)))
    }

    /// What the tensor list says of a tensor.
    fn shape(&self, name: &str) -> Result<Shape> {
        let full = self.full(name);
        let Some(shape) = self.shapes.get(&full) else {
            let error = Error::input(format!("tensor {full}"), "a tensor of the model", "one that it does not have");
            return Err(error.of(ErrorKind::MissingTensor));
        };
        let axis = |i: usize| shape.get(i).copied().unwrap_or(1);
        Ok(Shape { cols: axis(0), rows: axis(1), count: axis(2) })
    }

    /// A matrix as it is, without bias.
    fn plain(&self, name: &str) -> Result<Stack> {
        let name = format!("{name}.weight");
        let shape = self.shape(&name)?;
        Stack::whole(self.view(&name)?, shape.count, shape.rows, shape.cols)
    }

    /// A matrix with its factor and bias if the file has them: `scale * W x + bias`.
    fn product(&self, name: &str) -> Result<Stack> {
        let shape = self.shape(&format!("{name}.weight"))?;
        let (scale, bias) = (self.scale(name, shape.count)?, self.bias(name, shape.rows * shape.count)?);
        Ok(self.plain(name)?.with_scale(scale).with_bias(bias))
    }

    /// Rows `part` of a matrix, with that part of its bias.
    fn rows_of(&self, name: &str, part: Range<usize>) -> Result<Stack> {
        let full = format!("{name}.weight");
        let shape = self.shape(&full)?;
        let bias = self.bias(name, shape.rows)?.map(|bias| bias[part.clone()].to_vec());
        let stack = Stack::part(self.view(&full)?, shape.count, shape.rows, part, shape.cols)?;
        Ok(stack.with_scale(self.scale(name, shape.count)?).with_bias(bias))
    }

    fn scale(&self, name: &str, count: usize) -> Result<Option<Vec<f32>>> {
        self.optional(&format!("{name}.scale"), count)
    }

    fn bias(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
        self.optional(&format!("{name}.bias"), len)
    }

    /// All values of a tensor that a file may have, if the list knows it and the file has it.
    fn optional(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
        let full = self.full(name);
        if self.shapes.contains_key(&full) { optional(self.gguf, &full, len) } else { Ok(None) }
    }

    /// All values of a tensor of the list, by its name with its suffix.
    fn vector(&self, name: &str) -> Result<Vec<f32>> {
        let full = self.full(name);
        let len = self.shapes.get(&full).map_or(1, |shape| shape.iter().product());
        vector(self.gguf, &full, len)
    }

    /// The first rows of a matrix, `len` values each.
    fn rows(&self, name: &str, len: usize, rows: usize) -> Result<Vec<Vec<f32>>> {
        if rows == 0 {
            return Ok(Vec::new());
        }
        let matrix = self.plain(name)?;
        let row = |r| {
            let mut row = vec![0.0; len];
            matrix.matrix(0).decode_row(r, &mut row);
            row
        };
        Ok((0..rows).map(row).collect())
    }

    fn norm(&self, norm: Option<Norm>, len: usize) -> Result<Option<NormWeights>> {
        let Some(norm) = norm else { return Ok(None) };
        let Some(tensor) = norm.tensor else { return Ok(Some(plain_norm(norm, len))) };
        let weight = vector(self.gguf, &self.full(&format!("{tensor}.weight")), len)?;
        Ok(Some(NormWeights { weight, bias: self.bias(tensor, len)?, ..plain_norm(norm, 0) }))
    }

    fn head_norm(&self, norm: Option<HeadNorm>, heads: usize, dim: usize) -> Result<Option<HeadNormWeights>> {
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
        let bias = self.bias(tensor, len)?;
        let each = matches!(norm.weights, HeadWeights::Each | HeadWeights::Gains);
        Ok(Some(HeadNormWeights { norm: NormWeights { weight, bias, ..plain_norm(plain, 0) }, each }))
    }
}

/// What norms are like where nothing says so.
const NORM: Norm = Norm { tensor: None, kind: crate::arch::NormKind::Rms, eps: 1e-5 };

/// A norm of `len` values whose weights are ones.
fn plain_norm(norm: Norm, len: usize) -> NormWeights {
    NormWeights { kind: norm.kind, eps: norm.eps, weight: vec![1.0; len], bias: None }
}

/// The name that a tensor has in the file: some converters leave the usual suffix out.
fn present<'a>(gguf: &Gguf, name: &'a str) -> &'a str {
    let bare = name.strip_suffix(".weight").or(name.strip_suffix(".bias")).filter(|bare| gguf.tensor(bare).is_some());
    bare.filter(|_| gguf.tensor(name).is_none()).unwrap_or(name)
}

/// [`vector`], if the file has it.
fn optional(gguf: &Gguf, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
    gguf.tensor(name).is_some().then(|| vector(gguf, name, len)).transpose()
}

/// A small tensor of `len` values, decoded to f32.
fn vector(gguf: &Gguf, name: &str, len: usize) -> Result<Vec<f32>> {
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

fn divisors(gguf: &Gguf, rope: &Rope) -> Result<FrequencyDivisors> {
    let len = rope.dims / 2;
    Ok(match &rope.factors {
        None => FrequencyDivisors::default(),
        Some(RopeFactors::Fixed(name)) => {
            let held = gguf.tensor(name).map_or(len, |tensor| tensor.shape.iter().product());
            let mut short = vector(gguf, name, held.max(len))?;
            // Layers that rotate fewer values use the first divisors.
            short.truncate(len);
            let short = Some(short);
            FrequencyDivisors { short, long: None }
        }
        Some(RopeFactors::ByContext { .. }) => FrequencyDivisors {
            short: Some(vector(gguf, "rope_factors_short.weight", len)?),
            long: Some(vector(gguf, "rope_factors_long.weight", len)?),
        },
        Some(RopeFactors::Given(values)) => FrequencyDivisors { short: Some(values.clone()), long: None },
    })
}
