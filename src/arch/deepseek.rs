//! DeepSeek V2, V3 and R1 (arXiv 2405.04434, 2412.19437): latent attention and many small experts.

use super::experts::Experts;
use super::keys::Keys;
use super::rope::yarn_gain;
use super::{Activation, Gating, Latent, Pairing, Projection, RopeScaling, Spec};
use crate::Result;
use crate::gguf::Gguf;

pub(super) fn deepseek2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    let latent = latent(&keys)?;
    let scale = positions(&keys, &mut spec, &latent)?;
    for layer in &mut spec.layers {
        let joint_kv_b = !keys.has(layer.block, "attn_k_b.weight");
        layer.attn.kv_heads = 1;
        layer.attn.k_dim = latent.kv_rank + latent.rope;
        layer.attn.v_dim = latent.kv_rank;
        layer.attn.scale = scale;
        layer.attn.proj = Projection::Latent(Latent { joint_kv_b, ..latent.clone() });
    }
    let gating = Gating::Softmax;
    keys.set_experts(&mut spec, &Experts { act: Activation::Silu, gating, fixed: false, normalize: false })?;
    Ok(spec)
}

/// Old files write the expanded head lengths where new ones write those of the latent, and the expanded ones apart.
fn latent(keys: &Keys<'_>) -> Result<Latent> {
    let rope = keys.need_usize("rope.dimension_count")?;
    let expanded = |new: &str, old: &str| match keys.set_usize(new)? {
        Some(length) => Ok(length),
        None => keys.need_usize(old),
    };
    let k_dim = expanded("attention.key_length_mla", "attention.key_length")?;
    let v_dim = expanded("attention.value_length_mla", "attention.value_length")?;
    let nope = k_dim.checked_sub(rope).filter(|&n| n > 0);
    let nope =
        nope.ok_or_else(|| keys.wrong("rope.dimension_count", format!("less than the head's {k_dim} values")))?;
    let q_rank = keys.set_usize("attention.q_lora_rank")?;
    let kv_rank = keys.need_usize("attention.kv_lora_rank")?;
    Ok(Latent { q_rank, kv_rank, nope, rope, v_dim, joint_kv_b: false })
}

/// The published models correct YaRN's gain in the scale of the scores instead of in the rotation. Returns that scale.
fn positions(keys: &Keys<'_>, spec: &mut Spec, latent: &Latent) -> Result<f32> {
    let plain = 1.0 / ((latent.nope + latent.rope) as f32).sqrt();
    // Files hold a tenth of the multiplier. Early ones lack it: it is 1 in the models that they were made of.
    let tenth = keys.f32("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.1);
    let Some(rope) = spec.main_rope().filter(|_| tenth != 0.0) else { return Ok(plain) };
    let RopeScaling::Yarn { factor, .. } = rope.scaling else { return Ok(plain) };
    rope.magnitude = keys.set_f32("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let gain = yarn_gain(factor, tenth / 0.1);
    Ok(gain * gain * plain)
}
