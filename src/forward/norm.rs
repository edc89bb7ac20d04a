//! Norms of vectors and of heads.

use crate::arch::NormKind;
use crate::model::{HeadNormWeights, NormWeights};
use tokki_quant::isa::Isa;
use tokki_quant::{norms, ops};

/// `out = norm(x)`; a copy where there is none.
pub(super) fn apply(isa: Isa, norm: Option<&NormWeights>, x: &[f32], out: &mut [f32]) {
    match norm {
        Some(NormWeights { kind: NormKind::Rms, eps, weight, bias }) => {
            ops::rms_norm(isa, x, weight, *eps, out);
            add_bias(isa, out, bias.as_deref());
        }
        Some(norm) => {
            out.copy_from_slice(x);
            in_place(isa, norm, out);
        }
        None => out.copy_from_slice(x),
    }
}

/// `x = norm(x)`.
pub(super) fn in_place(isa: Isa, norm: &NormWeights, x: &mut [f32]) {
    with_weights(isa, norm, &norm.weight, norm.bias.as_deref(), x);
}

fn with_weights(isa: Isa, norm: &NormWeights, weight: &[f32], bias: Option<&[f32]>, x: &mut [f32]) {
    match norm.kind {
        NormKind::Rms => {
            ops::rms_norm_in_place(isa, x, weight, norm.eps);
            add_bias(isa, x, bias);
        }
        NormKind::Layer => norms::layer_norm_in_place(isa, x, weight, bias, norm.eps),
    }
}

fn add_bias(isa: Isa, x: &mut [f32], bias: Option<&[f32]>) {
    if let Some(bias) = bias {
        ops::add(isa, x, bias);
    }
}

/// Norms all heads of a row, each of `dim` values, or together where the weights say so.
pub(super) fn heads(isa: Isa, w: &HeadNormWeights, dim: usize, row: &mut [f32]) {
    if w.each {
        for (i, head) in row.chunks_exact_mut(dim).enumerate() {
            let own = i * dim..(i + 1) * dim;
            let bias = w.norm.bias.as_ref().map(|bias| &bias[own.clone()]);
            with_weights(isa, &w.norm, &w.norm.weight[own], bias, head);
        }
    } else {
        row.chunks_exact_mut(w.norm.weight.len()).for_each(|head| in_place(isa, &w.norm, head));
    }
}
