//! Gemma (arXiv 2403.08295), Gemma 2 (arXiv 2408.00118), Gemma 3 (arXiv 2503.19786) and Gemma 4: GELU, local and global
//! layers.

use super::experts::{ExpertFacts, SharedWidth};
use super::keys::Keys;
use super::{
    Activation, End, Feed, Ffn, Output, Pairing, Rope, RopeScaling, RouterInput, Spec, Stream, StreamSpec, Values,
    Window,
};
use crate::Result;
use crate::gguf::Gguf;

/// The first one: neither norms after the branches nor caps nor windows.
pub(super) fn gemma(gguf: &Gguf) -> Result<Spec> {
    let mut spec = Keys::new(gguf)?.decoder(Pairing::Halves)?;
    spec.embedding.scale = (spec.embd as f32).sqrt();
    spec.activate(Activation::GeluTanh);
    spec.tie();
    Ok(spec)
}

/// Soft caps on scores and logits; every other layer sees a window of 4096.
pub(super) fn gemma2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = around(&keys, 46)?;
    let pattern = keys.windowed(spec.layers.len(), 2, false)?;
    keys.set_windows(&mut spec, &pattern, 4096)?;
    let cap = keys.f32("attn_logit_softcapping")?.unwrap_or(50.0);
    spec.attentions().for_each(|attn| attn.softcap = (cap > 0.0).then_some(cap));
    spec.cap_logits(Some(keys.f32("final_logit_softcapping")?.unwrap_or(30.0)));
    Ok(spec)
}

/// Norms of heads; five of six layers see a window and rotate with their own, unscaled base.
pub(super) fn gemma3(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = around(&keys, 62)?;
    spec.norm_heads();
    spec.cap_logits(keys.set_f32("final_logit_softcapping")?);
    let Some(window) = keys.set_usize("attention.sliding_window")? else { return Ok(spec) };
    let pattern = keys.windowed(spec.layers.len(), 6, false)?;
    keys.set_windows(&mut spec, &pattern, window)?;
    if let Some(main) = spec.ropes.first().cloned() {
        let base = keys.set_f32("rope.freq_base_swa")?.unwrap_or(10_000.0);
        keys.rotate_windows(&mut spec, Rope { base, scaling: RopeScaling::Linear { factor: 1.0 }, ..main });
    }
    Ok(spec)
}

/// The same for vectors of texts: windows on both sides.
pub(super) fn gemma_embedding(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = gemma3(gguf)?;
    spec.causal = keys.bool("attention.causal")?.unwrap_or(false);
    spec.output = Output::Vectors;
    for attn in spec.attentions() {
        attn.window = attn.window.map(|window| match window {
            Window::Last(window) => Window::Around(window),
            other => other,
        });
    }
    Ok(spec)
}

/// What Gemma 2 and 3 share. The largest model, of `largest` layers, scales its queries by `E / H` instead of the head's
/// length.
fn around(keys: &Keys<'_>, largest: usize) -> Result<Spec> {
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.embedding.scale = (spec.embd as f32).sqrt();
    spec.activate(Activation::GeluTanh);
    spec.post_norms("post_attention_norm", "post_ffw_norm");
    if spec.layers.len() == largest && keys.set_f32("attention.scale")?.is_none() {
        let embd = spec.embd as f32;
        spec.attentions().for_each(|attn| attn.scale = 1.0 / (embd / attn.heads.max(1) as f32).sqrt());
    }
    Ok(spec)
}

/// Heads as long as the kind of layer says, values normed, the last layers on the keys and values of earlier ones, values
/// of their own for each layer, experts beside the feed-forward: each where the file has it.
pub(super) fn gemma4(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.embedding.scale = (spec.embd as f32).sqrt();
    spec.activate(Activation::GeluTanh);
    spec.norm_heads();
    spec.post_norms("post_attention_norm", "post_ffw_norm");
    spec.cap_logits(Some(keys.f32("final_logit_softcapping")?.unwrap_or(30.0)));
    let (layers, norm) = (spec.layers.len(), spec.norm());
    let pattern = keys.windowed(layers, 6, false)?;
    keys.set_windows(&mut spec, &pattern, 512)?;
    local_heads(&keys, &mut spec)?;
    share_keys_and_values(&keys, &mut spec, &pattern, 0)?;
    for layer in &mut spec.layers {
        let block = layer.block;
        if let Some(attn) = layer.attention_mut() {
            (attn.scale, attn.v_norm) = (1.0, Some(norm.eps));
            if !keys.has(block, "attn_v.weight") && attn.kv_of.is_none() && keys.has(block, "attn_k.weight") {
                attn.values = Values::Keys;
            }
        }
    }
    spec.embedding.per_layer = keys.set_usize("embedding_length_per_layer_input")?;
    for layer in &mut spec.layers {
        layer.ends.extend(spec.embedding.per_layer.map(|_| End::PerLayer));
        layer.ends.extend(keys.has(layer.block, "layer_output_scale.weight").then_some(End::Scale));
    }
    if keys.set_usize("expert_count")?.is_some() {
        experts_beside(&keys, &mut spec)?;
    }
    Ok(spec)
}

/// Gemma 3n: four residual streams, a low-rank path beside attention, sparse activations in the first layers; all but the
/// first 20 layers attend to the keys and values of those.
pub(super) fn gemma3n(gguf: &Gguf) -> Result<Spec> {
    /// Layers with keys and values of their own, where the file does not say how many have none.
    const WITH_KEYS: usize = 20;
    /// Layers with sparse activations, and what these keep: the upper 5 % of a normal distribution.
    const SPARSE: usize = 10;
    const Z: f32 = 1.644_853_4;
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.embedding.scale = (spec.embd as f32).sqrt();
    spec.activate(Activation::GeluTanh);
    spec.norm_heads();
    for layer in &mut spec.layers {
        layer.attn_post_norm = layer.attn_norm.map(|norm| norm.of("post_attention_norm"));
        layer.ffn_post_norm = layer.attn_norm.map(|norm| norm.of("post_ffw_norm"));
    }
    spec.cap_logits(Some(keys.f32("final_logit_softcapping")?.unwrap_or(30.0)));
    let (layers, norm) = (spec.layers.len(), spec.norm());
    let pattern = keys.windowed(layers, 5, false)?;
    keys.set_windows(&mut spec, &pattern, 512)?;
    local_heads(&keys, &mut spec)?;
    spec.denses().take(SPARSE).for_each(|dense| dense.sparsity = Some(Z));
    for attn in spec.attentions() {
        (attn.scale, attn.v_norm) = (1.0, Some(norm.eps));
    }
    share_keys_and_values(&keys, &mut spec, &pattern, layers.saturating_sub(WITH_KEYS))?;
    let shape = |name: &str| gguf.tensor(name).map(|tensor| tensor.shape.as_slice());
    let rank = shape("blk.0.laurel_l.weight").and_then(|shape| shape.get(1)).copied().unwrap_or(64);
    let count = shape("altup_proj.weight").map_or(4, |shape| shape.get(2).copied().unwrap_or(1).saturating_add(1));
    spec.streams = Some(StreamSpec { count, rank });
    let per_layer = keys.set_usize("embedding_length_per_layer_input")?;
    let stored = shape("blk.0.inp_gate.weight").and_then(|shape| shape.get(1)).copied();
    spec.embedding.per_layer = Some(per_layer.or(stored).unwrap_or(256));
    Ok(spec)
}

/// Layers with a window have heads and a rotary embedding of their own; frequency divisors are those of the others.
fn local_heads(keys: &Keys<'_>, spec: &mut Spec) -> Result<()> {
    let Some(main) = spec.ropes.first().cloned() else { return Ok(()) };
    let k_dim = keys.set_usize("attention.key_length_swa")?;
    let v_dim = keys.set_usize("attention.value_length_swa")?;
    let dims = keys.set_usize("rope.dimension_count_swa")?.or(k_dim).unwrap_or(main.dims);
    let base = keys.set_f32("rope.freq_base_swa")?.unwrap_or(10_000.0);
    let scaling = RopeScaling::Linear { factor: 1.0 };
    keys.rotate_windows(spec, Rope { dims, base, scaling, magnitude: 1.0, factors: None, ..main });
    for attn in spec.attentions().filter(|attn| attn.window.is_some()) {
        (attn.k_dim, attn.v_dim) = (k_dim.unwrap_or(attn.k_dim), v_dim.unwrap_or(attn.v_dim));
    }
    Ok(())
}

/// The last layers attend to the keys and values of the last layer before them that is of their kind: as many as the file
/// says, or else `usual`.
fn share_keys_and_values(keys: &Keys<'_>, spec: &mut Spec, pattern: &[bool], usual: usize) -> Result<()> {
    let layers = spec.layers.len();
    let first = layers.saturating_sub(keys.count("attention.shared_kv_layers")?.unwrap_or(usual));
    if first < layers && first < 2 {
        return Err(
            keys.wrong("attention.shared_kv_layers", format!("at most {} of {layers}", layers.saturating_sub(2)))
        );
    }
    for (layer, &local) in spec.layers.iter_mut().zip(pattern).skip(first) {
        if let Some(attn) = layer.attention_mut() {
            attn.kv_of = Some(if local { first - 2 } else { first - 1 });
        }
    }
    Ok(())
}

/// Experts on a norm of their own beside the feed-forward, chosen by the rescaled stream.
fn experts_beside(keys: &Keys<'_>, spec: &mut Spec) -> Result<()> {
    let (norm, act) = (spec.norm(), Activation::GeluTanh);
    let mut experts = spec.clone();
    keys.set_experts(&mut experts, &ExpertFacts { act, shared: SharedWidth::None, ..ExpertFacts::SOFTMAX })?;
    experts.all_experts().for_each(|experts| experts.router.input = RouterInput::Rescaled { eps: norm.eps });
    for (layer, experts) in spec.layers.iter_mut().zip(experts.layers) {
        for feed in &mut layer.feeds {
            feed.post_norm = Some(norm.of("post_ffw_norm_1"));
        }
        let chosen = experts.feeds.into_iter().filter(|feed| matches!(feed.ffn, Ffn::Experts(_)));
        let (pre, post) = (norm.of("pre_ffw_norm_2"), norm.of("post_ffw_norm_2"));
        layer.feeds.extend(chosen.map(|feed| Feed {
            of: Stream::Mixed,
            norm: Some(pre),
            post_norm: Some(post),
            ..feed
        }));
    }
    Ok(())
}
