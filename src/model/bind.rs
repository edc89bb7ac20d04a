//! Binds the tensors of a file to a [`Spec`]: every name and shape is written here once.

use super::{ExpertWeights, FfnWeights, FrequencyDivisors, Gated, LatentWeights, LayerWeights, Model, Qkv, Stack};
use crate::arch::{Attention, Ffn, Latent, Layer, Projection, Rope, RopeFactors, Router, Spec};
use crate::gguf::{Gguf, TensorView};
use crate::{Error, Result};
use tokki_quant::dtype::DType;

/// Binds all weights.
pub(super) fn bind(gguf: Gguf, spec: Spec) -> Result<Model> {
    let (e, vocab) = (spec.embd, spec.vocab);
    let embed = Stack::whole(gguf.view("token_embd.weight")?, 1, vocab, e)?;
    let output = match gguf.tensor("output.weight") {
        Some(_) => Stack::whole(gguf.view("output.weight")?, 1, vocab, e)?,
        None => embed.clone(),
    };
    let output = output.with_bias(optional(&gguf, "output.bias", vocab)?);
    let output_norm = vector(&gguf, "output_norm.weight", e)?;
    let rope_factors = spec.ropes.iter().map(|rope| divisors(&gguf, rope)).collect::<Result<_>>()?;
    let layers = spec
        .layers
        .iter()
        .map(|layer| Block { gguf: &gguf, layer, embd: e, ffn_scales: spec.ffn_scales }.bind())
        .collect::<Result<_>>()?;
    Ok(Model { spec, embed, layers, output_norm, output, rope_factors, gguf })
}

/// The tensors of one layer.
struct Block<'a> {
    gguf: &'a Gguf,
    layer: &'a Layer,
    embd: usize,
    ffn_scales: bool,
}

impl Block<'_> {
    fn bind(&self) -> Result<LayerWeights> {
        let (layer, a, e) = (self.layer, &self.layer.attn, self.embd);
        let norms =
            || -> Result<_> { Ok((self.vector("attn_q_norm", a.k_dim)?, self.vector("attn_k_norm", a.k_dim)?)) };
        let qk_norm = a.qk_norm.then(norms);
        let v_dim = match &a.proj {
            Projection::Latent(latent) => latent.v_dim,
            Projection::Split | Projection::Fused => a.v_dim,
        };
        Ok(LayerWeights {
            attn_norm: self.norm(layer.attn_norm)?,
            qkv: self.qkv(a)?,
            qk_norm: qk_norm.transpose()?,
            sinks: a.sinks.then(|| self.sinks(a.heads)).transpose()?,
            attn_output: self.product("attn_output", e, a.heads * v_dim)?,
            attn_post_norm: self.norm(layer.attn_post_norm)?,
            ffn_norm: self.norm(layer.ffn_norm)?,
            ffn: self.ffn()?,
            ffn_post_norm: self.norm(layer.ffn_post_norm)?,
        })
    }

    fn qkv(&self, a: &Attention) -> Result<Qkv> {
        let (e, q, k, v) = (self.embd, a.heads * a.k_dim, a.kv_heads * a.k_dim, a.kv_heads * a.v_dim);
        match &a.proj {
            Projection::Split => Ok(Qkv::Heads {
                q: self.product("attn_q", q, e)?,
                k: self.product("attn_k", k, e)?,
                v: self.product("attn_v", v, e)?,
            }),
            Projection::Fused => {
                let scale = self.scale("attn_qkv", 1)?;
                let part =
                    |rows| -> Result<_> { Ok(self.rows_of("attn_qkv", q + k + v, rows, e)?.with_scale(scale.clone())) };
                Ok(Qkv::Heads { q: part(0..q)?, k: part(q..q + k)?, v: part(q + k..q + k + v)? })
            }
            Projection::Latent(latent) => self.latent(a, latent).map(|w| Qkv::Latent(Box::new(w))),
        }
    }

    fn latent(&self, a: &Attention, l: &Latent) -> Result<LatentWeights> {
        let (e, heads) = (self.embd, a.heads);
        let q_rows = heads * (l.nope + l.rope);
        let (q_a, q_b) = match l.q_rank {
            Some(rank) => {
                let q_a = (self.product("attn_q_a", rank, e)?, self.vector("attn_q_a_norm", rank)?);
                (Some(q_a), self.product("attn_q_b", q_rows, rank)?)
            }
            None => (None, self.product("attn_q", q_rows, e)?),
        };
        let (k_b, v_b) = if l.joint_kv_b {
            let view = self.view("attn_kv_b.weight")?;
            split_joint(view, heads, l)?
        } else {
            let k_b = Stack::whole(self.view("attn_k_b.weight")?, heads, l.kv_rank, l.nope)?;
            (k_b, Stack::whole(self.view("attn_v_b.weight")?, heads, l.v_dim, l.kv_rank)?)
        };
        Ok(LatentWeights {
            q_a,
            q_b,
            kv_a: self.product("attn_kv_a_mqa", l.kv_rank + l.rope, e)?,
            kv_a_norm: self.vector("attn_kv_a_norm", l.kv_rank)?,
            k_b,
            v_b,
        })
    }

    fn ffn(&self) -> Result<FfnWeights> {
        let e = self.embd;
        match &self.layer.ffn {
            Ffn::Dense { width, fused: false, .. } => self.gated("", *width).map(FfnWeights::Dense),
            Ffn::Dense { width, fused: true, .. } => Ok(FfnWeights::Dense(Gated {
                gate: self.rows_of("ffn_up", 2 * width, 0..*width, e)?,
                up: self.rows_of("ffn_up", 2 * width, *width..2 * width, e)?,
                down: self.stack("ffn_down", 1, e, *width)?,
            })),
            Ffn::Experts { count, width, router, shared, .. } => {
                let weights = self.experts(*count, *width, router, *shared)?;
                Ok(FfnWeights::Experts(Box::new(weights)))
            }
        }
    }

    fn gated(&self, suffix: &str, width: usize) -> Result<Gated> {
        let e = self.embd;
        Ok(Gated {
            gate: self.stack(&format!("ffn_gate{suffix}"), 1, width, e)?,
            up: self.stack(&format!("ffn_up{suffix}"), 1, width, e)?,
            down: self.stack(&format!("ffn_down{suffix}"), 1, e, width)?,
        })
    }

    /// A stack of a feed-forward: where the file scales its results, the bias is scaled along.
    fn stack(&self, name: &str, count: usize, rows: usize, cols: usize) -> Result<Stack> {
        let scale = if self.ffn_scales { self.scale(name, count)? } else { None };
        let mut bias = self.bias(name, count * rows)?;
        if let (Some(scale), Some(bias)) = (&scale, &mut bias) {
            bias.chunks_mut(rows).zip(scale).for_each(|(bias, scale)| bias.iter_mut().for_each(|b| *b *= scale));
        }
        let stack = Stack::whole(self.view(&format!("{name}.weight"))?, count, rows, cols)?;
        Ok(stack.with_scale(scale).with_bias(bias))
    }

    fn experts(&self, count: usize, width: usize, router: &Router, shared: Option<usize>) -> Result<ExpertWeights> {
        let e = self.embd;
        let merged = self.name("ffn_gate_up_exps.weight");
        let (gate, up) = if self.gguf.tensor(&merged).is_some() {
            let part = |rows| Stack::part(self.gguf.view(&merged)?, count, 2 * width, rows, e);
            (part(0..width)?, part(width..2 * width)?)
        } else {
            (self.stack("ffn_gate_exps", count, width, e)?, self.stack("ffn_up_exps", count, width, e)?)
        };
        Ok(ExpertWeights {
            router: self.product("ffn_gate_inp", count, e)?,
            selection_bias: if router.selection_bias { self.bias("exp_probs_b", count)? } else { None },
            experts: Gated { gate, up, down: self.stack("ffn_down_exps", count, e, width)? },
            shared: shared.map(|width| self.gated("_shexp", width)).transpose()?,
        })
    }

    fn name(&self, name: &str) -> String {
        format!("blk.{}.{name}", self.layer.block)
    }

    fn view(&self, name: &str) -> Result<TensorView> {
        self.gguf.view(&self.name(name))
    }

    /// `rows x cols`, with its factor and bias if the file has them.
    fn product(&self, name: &str, rows: usize, cols: usize) -> Result<Stack> {
        Ok(self.rows_of(name, rows, 0..rows, cols)?.with_scale(self.scale(name, 1)?))
    }

    /// Rows `part` of a tensor of `rows x cols`, with that part of its bias.
    fn rows_of(&self, name: &str, rows: usize, part: std::ops::Range<usize>, cols: usize) -> Result<Stack> {
        let bias = self.bias(name, rows)?.map(|bias| bias[part.clone()].to_vec());
        Ok(Stack::part(self.view(&format!("{name}.weight"))?, 1, rows, part, cols)?.with_bias(bias))
    }

    fn scale(&self, name: &str, count: usize) -> Result<Option<Vec<f32>>> {
        optional(self.gguf, &self.name(&format!("{name}.scale")), count)
    }

    fn bias(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
        optional(self.gguf, &self.name(&format!("{name}.bias")), len)
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        vector(self.gguf, &self.name(&format!("{name}.weight")), len)
    }

    fn norm(&self, name: Option<&str>) -> Result<Option<Vec<f32>>> {
        name.map(|name| self.vector(name, self.embd)).transpose()
    }

    /// Files name them with and without the usual suffix.
    fn sinks(&self, heads: usize) -> Result<Vec<f32>> {
        let plain = self.name("attn_sinks");
        let name = if self.gguf.tensor(&plain).is_some() { plain } else { self.name("attn_sinks.weight") };
        vector(self.gguf, &name, heads)
    }
}

/// [`vector`], if the file has it.
fn optional(gguf: &Gguf, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
    gguf.tensor(name).is_some().then(|| vector(gguf, name, len)).transpose()
}

/// A small tensor of `len` values, decoded to f32.
fn vector(gguf: &Gguf, name: &str, len: usize) -> Result<Vec<f32>> {
    let view = gguf.view(name)?;
    let found: usize = view.shape().iter().product();
    if found != len {
        return Err(Error::input(format!("tensor {name}"), format!("{len} values"), format!("{:?}", view.shape())));
    }
    let mut values = vec![0.0; len];
    let (cols, rows, count) = (view.shape()[0], view.shape().get(1).copied().unwrap_or(1), 1);
    let stack = Stack::whole(view, count, rows, cols)?;
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
            let short = Some(vector(gguf, name, len)?);
            FrequencyDivisors { short, long: None, original: usize::MAX }
        }
        Some(RopeFactors::ByContext { original }) => FrequencyDivisors {
            short: Some(vector(gguf, "rope_factors_short.weight", len)?),
            long: Some(vector(gguf, "rope_factors_long.weight", len)?),
            original: *original,
        },
        Some(RopeFactors::Given(values)) => {
            FrequencyDivisors { short: Some(values.clone()), long: None, original: usize::MAX }
        }
    })
}

/// Old files hold keys and values of all heads in one tensor `{kv_rank, H * (nope + v)}`: per head `nope` key rows, then
/// `v` value rows. The absorbed form needs the key part transposed, so that part is copied, in f32.
fn split_joint(view: TensorView, heads: usize, l: &Latent) -> Result<(Stack, Stack)> {
    let per_head = l.nope + l.v_dim;
    // The same bytes, seen as one matrix per head.
    let joint = Stack::part(view, 1, heads * per_head, 0..heads * per_head, l.kv_rank)?;
    let mut keys = vec![0.0; heads * l.kv_rank * l.nope];
    let mut row = vec![0.0; l.kv_rank];
    for head in 0..heads {
        for i in 0..l.nope {
            joint.matrix(0).decode_row(head * per_head + i, &mut row);
            for (j, &value) in row.iter().enumerate() {
                keys[(head * l.kv_rank + j) * l.nope + i] = value;
            }
        }
    }
    let keys = keys.iter().flat_map(|value: &f32| value.to_le_bytes()).collect();
    let k_b = Stack::owned(DType::F32, keys, heads, l.kv_rank, l.nope)?;
    Ok((k_b, joint.restack(heads, per_head, l.nope..per_head)))
}
