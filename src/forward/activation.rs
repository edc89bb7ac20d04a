//! The functions of feed-forwards: what each computes alone and with a second product, and its name in a trace.

use crate::arch::{Activation, Gate};
use tokki_quant::isa::Isa;
use tokki_quant::{gates, ops};

/// `x = act(x)`; the limits of functions that have one hold for `x`.
pub(super) fn alone(isa: Isa, act: Activation, x: &mut [f32]) {
    match act {
        Activation::Silu => gates::silu(isa, x),
        Activation::GeluTanh => gates::gelu_tanh(isa, x),
        Activation::Relu => gates::relu(isa, x),
        Activation::ReluSquared => gates::relu_squared(isa, x),
        Activation::Xielu { positive, negative, beta, eps } => {
            gates::xielu(isa, x, (positive, negative, beta, eps));
        }
        Activation::ClampedSwiglu { limit, .. } | Activation::SiluOfLimited { limit } => {
            gates::cap(isa, x, limit);
            gates::silu(isa, x);
        }
        Activation::LimitedSilu { limit } => {
            gates::silu(isa, x);
            gates::cap(isa, x, limit);
        }
    }
}

/// `gate = act(gate) * up`. Only functions that treat `up` in a way of their own, or do both at once, have an arm here.
pub(super) fn gated(isa: Isa, act: Activation, gate: &mut [f32], up: &[f32]) {
    match act {
        Activation::Silu => ops::silu_mul(isa, gate, up),
        Activation::GeluTanh => ops::gelu_tanh_mul(isa, gate, up),
        Activation::ClampedSwiglu { alpha, limit } => ops::clamped_swiglu_mul(isa, gate, up, alpha, limit),
        Activation::LimitedSilu { limit } | Activation::SiluOfLimited { limit } => {
            alone(isa, act, gate);
            gates::mul_clamped(isa, gate, up, limit);
        }
        _ => {
            alone(isa, act, gate);
            gates::mul(isa, gate, up);
        }
    }
}

/// The name of what lies between the products of a feed-forward, as other engines call it.
pub(super) fn name(act: Activation, gate: Gate) -> &'static str {
    match (act, gate) {
        (Activation::Silu, Gate::None) => "ffn_silu",
        (Activation::GeluTanh, Gate::None) => "ffn_gelu",
        (Activation::GeluTanh, _) => "ffn_geglu",
        (Activation::Relu, _) => "ffn_relu",
        (Activation::ReluSquared, _) => "ffn_sqr(relu)",
        (Activation::Xielu { .. }, _) => "ffn_xielu",
        (
            Activation::Silu
            | Activation::ClampedSwiglu { .. }
            | Activation::LimitedSilu { .. }
            | Activation::SiluOfLimited { .. },
            _,
        ) => "ffn_swiglu",
    }
}
