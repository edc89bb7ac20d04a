//! Which tensors a specification needs: what a file is checked against before its model is loaded, and what tests make
//! models of.

use super::{Ffn, Layer, Projection, Spec};

impl Spec {
    /// Name and shape (the contiguous dimension first) of every tensor that the model cannot do without.
    pub fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        tensors(self)
    }

    /// Whether a tensor of this name is used where it is there, though the model can do without.
    pub fn uses_optionally(&self, name: &str) -> bool {
        let last = name.rsplit('.').next().unwrap_or_default();
        let block = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        block.is_none_or(|block| block < self.layers.len())
            && (matches!(last, "bias" | "scale")
                || name.starts_with("rope_f")
                || name.ends_with("bskcn_tv.weight")
                || name == "output.weight")
    }
}

fn tensors(spec: &Spec) -> Vec<(String, Vec<u64>)> {
    let embd = spec.embd as u64;
    let mut out = vec![
        ("token_embd.weight".to_owned(), vec![embd, spec.vocab as u64]),
        ("output_norm.weight".to_owned(), vec![embd]),
    ];
    for layer in &spec.layers {
        let mut add = |name: &str, shape: &[usize]| {
            let shape = shape.iter().map(|&n| n as u64).collect();
            out.push((format!("blk.{}.{name}", layer.block), shape));
        };
        for norm in [layer.attn_norm, layer.attn_post_norm, layer.ffn_norm, layer.ffn_post_norm].into_iter().flatten() {
            add(&format!("{norm}.weight"), &[spec.embd]);
        }
        attention(layer, spec.embd, &mut add);
        feed_forward(layer, spec.embd, &mut add);
    }
    out
}

fn attention(layer: &Layer, embd: usize, add: &mut impl FnMut(&str, &[usize])) {
    let attn = &layer.attn;
    let (q, k, v) = (attn.heads * attn.k_dim, attn.kv_heads * attn.k_dim, attn.kv_heads * attn.v_dim);
    let mut values = attn.heads * attn.v_dim;
    match &attn.proj {
        Projection::Split => {
            add("attn_q.weight", &[embd, q]);
            add("attn_k.weight", &[embd, k]);
            add("attn_v.weight", &[embd, v]);
        }
        Projection::Fused => add("attn_qkv.weight", &[embd, q + k + v]),
        Projection::Latent(latent) => {
            let q = attn.heads * (latent.nope + latent.rope);
            values = attn.heads * latent.v_dim;
            if let Some(rank) = latent.q_rank {
                add("attn_q_a.weight", &[embd, rank]);
                add("attn_q_a_norm.weight", &[rank]);
                add("attn_q_b.weight", &[rank, q]);
            } else {
                add("attn_q.weight", &[embd, q]);
            }
            add("attn_kv_a_mqa.weight", &[embd, latent.kv_rank + latent.rope]);
            add("attn_kv_a_norm.weight", &[latent.kv_rank]);
            if latent.joint_kv_b {
                add("attn_kv_b.weight", &[latent.kv_rank, attn.heads * (latent.nope + latent.v_dim)]);
            } else {
                add("attn_k_b.weight", &[latent.nope, latent.kv_rank, attn.heads]);
                add("attn_v_b.weight", &[latent.kv_rank, latent.v_dim, attn.heads]);
            }
        }
    }
    add("attn_output.weight", &[values, embd]);
    if attn.qk_norm {
        add("attn_q_norm.weight", &[attn.k_dim]);
        add("attn_k_norm.weight", &[attn.k_dim]);
    }
    if attn.sinks {
        add("attn_sinks.weight", &[attn.heads]);
    }
}

fn feed_forward(layer: &Layer, embd: usize, add: &mut impl FnMut(&str, &[usize])) {
    match &layer.ffn {
        Ffn::Dense { width, fused, .. } => {
            if *fused {
                add("ffn_up.weight", &[embd, 2 * width]);
            } else {
                add("ffn_gate.weight", &[embd, *width]);
                add("ffn_up.weight", &[embd, *width]);
            }
            add("ffn_down.weight", &[*width, embd]);
        }
        Ffn::Experts { count, width, fused, router, shared, .. } => {
            add("ffn_gate_inp.weight", &[embd, *count]);
            if router.selection_bias {
                add("exp_probs_b.bias", &[*count]);
            }
            if *fused {
                add("ffn_gate_up_exps.weight", &[embd, 2 * width, *count]);
            } else {
                add("ffn_gate_exps.weight", &[embd, *width, *count]);
                add("ffn_up_exps.weight", &[embd, *width, *count]);
            }
            add("ffn_down_exps.weight", &[*width, embd, *count]);
            if let Some(width) = shared {
                add("ffn_gate_shexp.weight", &[embd, *width]);
                add("ffn_up_shexp.weight", &[embd, *width]);
                add("ffn_down_shexp.weight", &[*width, embd]);
            }
        }
    }
}
