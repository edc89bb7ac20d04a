//! RWKV-6 (arXiv 2404.05892), RWKV-7 (arXiv 2503.14456), and transformers whose attention was replaced by them.

use super::keys::Keys;
use super::{ChannelMix, HeadNorm, HeadWeights, Layer, Mixer, Norm, NormKind, Pairing, Spec, TimeMix, TimeMixForm};
use crate::Result;
use crate::gguf::Gguf;

/// Epsilon of the norms of heads.
const HEAD_EPS: f32 = 64e-5;

pub(super) fn rwkv6(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let six = six(&keys, false)?;
    recurrent(&keys, &|_| Ok(six), true)
}

pub(super) fn rwkv7(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    recurrent(&keys, &|block| seven(&keys, block), false)
}

/// Qwen 2 with RWKV-6 in place of attention.
pub(super) fn qwen2_six(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let form = six(&keys, true)?;
    let spec = converted(&keys, &|_| Ok(form))?;
    Ok(Spec { norm_biases: true, ..spec })
}

/// Qwen 2 with RWKV-7 in place of attention.
pub(super) fn qwen2_seven(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    converted(&keys, &|block| seven(&keys, block))
}

fn six(keys: &Keys<'_>, linear: bool) -> Result<TimeMixForm> {
    let (lerp, decay) = (keys.need_usize("time_mix_extra_dim")?, keys.need_usize("time_decay_extra_dim")?);
    Ok(TimeMixForm::Six { lerp, decay, linear })
}

fn seven(keys: &Keys<'_>, block: usize) -> Result<TimeMixForm> {
    let gate = keys.set_usize("attention.gate_lora_rank")?.filter(|_| keys.has(block, "time_mix_g1.weight"));
    Ok(TimeMixForm::Seven {
        decay: keys.need_usize("attention.decay_lora_rank")?,
        rate: keys.need_usize("attention.iclr_lora_rank")?,
        value: (block > 0).then(|| keys.need_usize("attention.value_residual_mix_lora_rank")).transpose()?,
        gate,
    })
}

type FormOf<'f> = &'f dyn Fn(usize) -> Result<TimeMixForm>;

fn time_mix(keys: &Keys<'_>, layer: &Layer, embd: usize, form: TimeMixForm) -> Result<Mixer> {
    let dim = keys.need_usize("wkv.head_size")?;
    let heads = embd.checked_div(dim).unwrap_or(0);
    let kv_heads = layer.attention().map_or(heads, |attn| attn.kv_heads);
    let kv_heads = if matches!(form, TimeMixForm::Six { linear: true, .. }) { kv_heads } else { heads };
    let norm = keys.has(layer.block, "time_mix_ln.weight").then_some(HeadNorm {
        tensor: Some("time_mix_ln"),
        kind: NormKind::Layer,
        eps: HEAD_EPS,
        weights: HeadWeights::Each,
    });
    Ok(Mixer::TimeMix(TimeMix { width: embd, heads, kv_heads, dim, form, norm }))
}

/// Each layer is two: one that mixes time, one that mixes channels.
fn recurrent(keys: &Keys<'_>, form: FormOf<'_>, receptance: bool) -> Result<Spec> {
    let mut spec = keys.decoder_with(Pairing::Halves, NormKind::Layer)?;
    let norm = Norm { tensor: None, kind: NormKind::Layer, eps: keys.norm_eps(NormKind::Layer)? };
    let widths = keys.per_layer("feed_forward_length", spec.layers.len())?.unwrap_or_default();
    spec.embedding.norm = Some(norm.of("token_embd_norm"));
    let mut halves = Vec::new();
    for (index, mut layer) in std::mem::take(&mut spec.layers).into_iter().enumerate() {
        layer.mixers = vec![time_mix(keys, &layer, spec.embd, form(layer.block)?)?];
        layer.feeds.clear();
        let mut second = layer.clone();
        second.attn_norm = Some(norm.of("attn_norm_2"));
        let width = widths.get(index).copied().unwrap_or(0);
        second.mixers = vec![Mixer::ChannelMix(ChannelMix { embd: spec.embd, width, receptance })];
        halves.extend([layer, second]);
    }
    spec.layers = halves;
    Ok(spec)
}

fn converted(keys: &Keys<'_>, form: FormOf<'_>) -> Result<Spec> {
    let mut spec = keys.decoder(Pairing::Halves)?;
    let embd = spec.embd;
    for layer in &mut spec.layers {
        layer.mixers = vec![time_mix(keys, layer, embd, form(layer.block)?)?];
    }
    Ok(spec)
}
