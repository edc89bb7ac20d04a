//! The tensors of a shape, in the order of the file.

use crate::gguf::DType;

use super::recipe::{Recipe, Role, TensorPlace};
use super::shape::{Shape, ShapeExperts, ShapeLatent};

/// One tensor of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTensor {
    /// Its name.
    pub name: String,
    /// Its dimensions, the contiguous one first.
    pub shape: Vec<usize>,
    /// Its format.
    pub dtype: DType,
    /// What it is for.
    pub role: Role,
}

impl PlannedTensor {
    /// Number of values.
    pub fn values(&self) -> u64 {
        self.shape.iter().map(|&dim| dim as u64).product()
    }

    /// Bytes in its format.
    pub fn bytes(&self) -> u64 {
        self.values() / self.dtype.block_len() as u64 * self.dtype.block_bytes() as u64
    }
}

/// Collects tensors and decides their formats.
struct List<'a> {
    shape: &'a Shape,
    recipe: Recipe,
    layer: usize,
    tensors: Vec<PlannedTensor>,
}

/// All tensors of `shape` under `recipe`.
pub(super) fn list(shape: &Shape, recipe: Recipe) -> Vec<PlannedTensor> {
    let mut list = List { shape, recipe, layer: 0, tensors: Vec::new() };
    list.ends();
    for layer in 0..shape.layers {
        list.layer = layer;
        for &norm in shape.norms {
            list.vector(norm, "weight", shape.embd);
        }
        match shape.latent {
            Some(latent) => list.latent_attention(latent),
            None => list.attention(),
        }
        match shape.experts {
            Some(experts) if layer >= experts.dense_layers => list.experts(experts),
            _ => list.dense("", shape.ffn),
        }
    }
    list.tensors
}

impl List<'_> {
    fn add(&mut self, name: String, shape: &[usize], role: Role) {
        let place = TensorPlace {
            role,
            layer: self.layer,
            layers: self.shape.layers,
            heads_per_kv: self.shape.heads / self.shape.kv_heads,
            cols: shape[0],
        };
        let dtype = self.recipe.dtype(&place);
        self.tensors.push(PlannedTensor { name, shape: shape.to_vec(), dtype, role });
    }

    fn matrix(&mut self, name: &str, shape: &[usize], role: Role) {
        self.add(format!("blk.{}.{name}.weight", self.layer), shape, role);
    }

    fn vector(&mut self, name: &str, kind: &str, len: usize) {
        self.add(format!("blk.{}.{name}.{kind}", self.layer), &[len], Role::Vector);
    }

    fn ends(&mut self) {
        let shape = self.shape;
        let embedding = if shape.tied { Role::Head } else { Role::Other };
        self.add("token_embd.weight".into(), &[shape.embd, shape.vocab], embedding);
        if shape.rope_divisors.is_some() {
            self.add("rope_freqs.weight".into(), &[shape.head_dim / 2], Role::Vector);
        }
        self.add("output_norm.weight".into(), &[shape.embd], Role::Vector);
        if !shape.tied {
            self.add("output.weight".into(), &[shape.embd, shape.vocab], Role::Head);
        }
    }

    fn attention(&mut self) {
        let shape = self.shape;
        let (e, q, kv) = (shape.embd, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        self.matrix("attn_q", &[e, q], Role::Other);
        self.matrix("attn_k", &[e, kv], Role::Other);
        self.matrix("attn_v", &[e, kv], Role::Value);
        self.matrix("attn_output", &[q, e], Role::AttnOutput);
        if shape.qkv_bias {
            for (name, len) in [("attn_q", q), ("attn_k", kv), ("attn_v", kv)] {
                self.vector(name, "bias", len);
            }
        }
        if shape.output_bias {
            self.vector("attn_output", "bias", e);
        }
        if shape.qk_norm {
            self.vector("attn_q_norm", "weight", shape.head_dim);
            self.vector("attn_k_norm", "weight", shape.head_dim);
        }
        if shape.sinks {
            self.vector("attn_sinks", "weight", shape.heads);
        }
    }

    fn latent_attention(&mut self, latent: ShapeLatent) {
        let (e, h) = (self.shape.embd, self.shape.heads);
        self.matrix("attn_q_a", &[e, latent.q_rank], Role::Other);
        self.vector("attn_q_a_norm", "weight", latent.q_rank);
        self.matrix("attn_q_b", &[latent.q_rank, h * (latent.nope + latent.rope)], Role::Other);
        self.matrix("attn_kv_a_mqa", &[e, latent.kv_rank + latent.rope], Role::Other);
        self.vector("attn_kv_a_norm", "weight", latent.kv_rank);
        self.matrix("attn_k_b", &[latent.nope, latent.kv_rank, h], Role::Other);
        self.matrix("attn_v_b", &[latent.kv_rank, latent.v_dim, h], Role::Other);
        self.matrix("attn_output", &[h * latent.v_dim, e], Role::AttnOutput);
    }

    /// A gated feed-forward; `suffix` is empty or names the shared expert.
    fn dense(&mut self, suffix: &str, width: usize) {
        let e = self.shape.embd;
        self.matrix(&format!("ffn_gate{suffix}"), &[e, width], Role::Other);
        self.matrix(&format!("ffn_up{suffix}"), &[e, width], Role::Other);
        self.matrix(&format!("ffn_down{suffix}"), &[width, e], Role::Down);
    }

    fn experts(&mut self, experts: ShapeExperts) {
        let (e, n, width) = (self.shape.embd, experts.count, experts.width);
        self.matrix("ffn_gate_inp", &[e, n], Role::Router);
        self.matrix("ffn_gate_exps", &[e, width, n], Role::Experts);
        self.matrix("ffn_up_exps", &[e, width, n], Role::Experts);
        self.matrix("ffn_down_exps", &[width, e, n], Role::DownExperts);
        if experts.selection_bias {
            self.vector("exp_probs_b", "bias", n);
        }
        if experts.biases {
            self.vector("ffn_gate_inp", "bias", n);
            for (name, len) in [("ffn_gate_exps", width), ("ffn_up_exps", width), ("ffn_down_exps", e)] {
                self.add(format!("blk.{}.{name}.bias", self.layer), &[len, n], Role::Vector);
            }
        }
        if experts.shared > 0 {
            self.dense("_shexp", experts.shared * width);
        }
    }
}
