//! Gemma 2 (arXiv 2408.00118) and Gemma 3 (arXiv 2503.19786): norms around both branches, GELU, local and global layers.

use super::keys::Keys;
use super::{Activation, Ffn, Pairing, Rope, RopeScaling, Spec};
use crate::Result;
use crate::gguf::Gguf;

/// Soft caps on scores and logits; every other layer sees a window of 4096.
pub(super) fn gemma2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = around(&keys, 46)?;
    let pattern = keys.windowed(spec.layers.len(), 2, false)?;
    keys.set_windows(&mut spec, &pattern, 4096)?;
    let cap = keys.f32("attn_logit_softcapping")?.unwrap_or(50.0);
    for layer in &mut spec.layers {
        layer.attn.softcap = (cap > 0.0).then_some(cap);
    }
    spec.logit_softcap = Some(keys.f32("final_logit_softcapping")?.unwrap_or(30.0)).filter(|&cap| cap > 0.0);
    Ok(spec)
}

/// Norms of heads; five of six layers see a window and rotate with their own, unscaled base.
pub(super) fn gemma3(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = around(&keys, 62)?;
    for layer in &mut spec.layers {
        layer.attn.qk_norm = true;
    }
    spec.logit_softcap = keys.set_f32("final_logit_softcapping")?.filter(|&cap| cap > 0.0);
    let Some(window) = keys.set_usize("attention.sliding_window")? else { return Ok(spec) };
    let pattern = keys.windowed(spec.layers.len(), 6, false)?;
    keys.set_windows(&mut spec, &pattern, window)?;
    if let Some(main) = spec.ropes.first().cloned() {
        let base = keys.set_f32("rope.freq_base_swa")?.unwrap_or(10_000.0);
        keys.rotate_windows(&mut spec, Rope { base, scaling: RopeScaling::Linear { factor: 1.0 }, ..main });
    }
    Ok(spec)
}

/// What both share. The largest model, of `largest` layers, scales its queries by `E / H` instead of the head's length.
fn around(keys: &Keys<'_>, largest: usize) -> Result<Spec> {
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.embed_scale = (spec.embd as f32).sqrt();
    let by_heads = spec.layers.len() == largest && keys.set_f32("attention.scale")?.is_none();
    for layer in &mut spec.layers {
        layer.attn_post_norm = Some("post_attention_norm");
        layer.ffn_post_norm = Some("post_ffw_norm");
        if by_heads {
            layer.attn.scale = 1.0 / (spec.embd as f32 / layer.attn.heads.max(1) as f32).sqrt();
        }
        if let Ffn::Dense { act, .. } = &mut layer.ffn {
            *act = Activation::GeluTanh;
        }
    }
    Ok(spec)
}
