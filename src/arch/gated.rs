//! Families whose heads' results are gated: Trinity (Arcee), Laguna (Poolside), Step 3.5, Spark, Muse Glimmer; and MiMo V2.

use super::experts::{ExpertFacts, SharedWidth};
use super::keys::Keys;
use super::{
    Activation, GateSource, HeadGate, HeadWeights, Layer, NormKind, Pairing, Rope, RopeScaling, Skip, Spec, Window,
};
use crate::Result;
use crate::gguf::Gguf;

/// A gate of numbers per value or per head, whichever the file has.
fn gate_heads(keys: &Keys<'_>, spec: &mut Spec, softplus: bool) {
    for layer in &mut spec.layers {
        let name = format!("blk.{}.attn_gate.weight", layer.block);
        let Some(attn) = layer.attention_mut() else { continue };
        let Some(tensor) = keys.gguf.tensor(&name) else { continue };
        let rows = tensor.shape.get(1).copied().unwrap_or(1);
        let from = if rows == attn.heads { GateSource::Heads } else { GateSource::Values };
        attn.gate = Some(HeadGate { from, softplus });
    }
}

/// Layers with a window rotate so many values with a base of their own, without scaling.
fn rotate_windows_alone(keys: &Keys<'_>, spec: &mut Spec) -> Result<()> {
    let Some(main) = spec.ropes.first().cloned() else { return Ok(()) };
    let dims = keys.set_usize("rope.dimension_count_swa")?.unwrap_or(main.dims);
    let base = keys.set_f32("rope.freq_base_swa")?.unwrap_or(main.base);
    let scaling = RopeScaling::Linear { factor: 1.0 };
    keys.rotate_windows(spec, Rope { dims, base, scaling, magnitude: 1.0, factors: None, ..main });
    Ok(())
}

/// Trinity: norms around both branches, every fourth layer without positions.
pub(super) fn afmoe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.embedding.scale = (spec.embd as f32).sqrt();
    spec.norm_heads();
    spec.post_norms("post_attention_norm", "post_ffw_norm");
    let pattern = keys.windowed(spec.layers.len(), 4, false)?;
    keys.set_windows(&mut spec, &pattern, 2048)?;
    spec.unrotated(|layer| layer % 4 == 3);
    gate_heads(&keys, &mut spec, false);
    keys.set_experts(&mut spec, &ExpertFacts { shared: SharedWidth::Count, ..ExpertFacts::SIGMOID })?;
    Ok(spec)
}

/// Laguna: the first of four layers sees everything; only those rotate with scaling.
pub(super) fn laguna(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.norm_heads();
    if keys.set_usize("attention.sliding_window")?.is_some() {
        let pattern = keys.windowed(spec.layers.len(), 4, true)?;
        keys.set_windows(&mut spec, &pattern, 0)?;
        rotate_windows_alone(&keys, &mut spec)?;
    }
    gate_heads(&keys, &mut spec, true);
    keys.set_experts(&mut spec, &ExpertFacts::SIGMOID)?;
    Ok(spec)
}

/// Step 3.5: layers without a window rotate half as many values, by frequencies of their own.
pub(super) fn step35(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let layers = spec.layers.len();
    norm_heads_where_weights(&keys, &mut spec);
    let pattern = keys.windowed(layers, 4, true)?;
    keys.set_windows(&mut spec, &pattern, 512)?;
    rotate_windows_alone(&keys, &mut spec)?;
    if let Some(rope) = spec.main_rope() {
        rope.dims /= 2;
    }
    gate_heads(&keys, &mut spec, false);
    let routed = |layer| keys.has(layer, "ffn_gate_inp.weight");
    keys.set_experts_where(&mut spec, &ExpertFacts::SIGMOID, routed)?;
    let act = |limit: Option<f32>| limit.map_or(Activation::Silu, |limit| Activation::LimitedSilu { limit });
    let (chosen, shared) = (keys.limits("swiglu_clamp_exp", layers)?, keys.limits("swiglu_clamp_shexp", layers)?);
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        layer.denses().for_each(|dense| dense.act = act(shared[index]));
        for experts in layer.experts_mut() {
            experts.act = act(chosen[index]);
            experts.shared.iter_mut().for_each(|expert| expert.act = act(shared[index]));
        }
    }
    Ok(spec)
}

fn norm_heads_where_weights(keys: &Keys<'_>, spec: &mut Spec) {
    let norm = spec.norm();
    for layer in spec.layers.iter_mut().filter(|layer| keys.has(layer.block, "attn_q_norm.weight")) {
        if let Some(attn) = Layer::attention_mut(layer) {
            attn.norm_heads(norm, HeadWeights::Shared);
        }
    }
}

/// Spark: GELU, windows.
pub(super) fn spark(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.activate(Activation::GeluTanh);
    if keys.set_usize("attention.sliding_window")?.is_some() {
        let pattern = keys.windowed(spec.layers.len(), 4, false)?;
        keys.set_windows(&mut spec, &pattern, 0)?;
        rotate_windows_alone(&keys, &mut spec)?;
    }
    gate_heads(&keys, &mut spec, false);
    Ok(spec)
}

/// Muse Glimmer: a norm of the embedding, positions in layers with a window only.
pub(super) fn muse_glimmer(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    spec.embedding.norm = Some(spec.norm());
    spec.norm_heads();
    spec.post_norms("post_attention_norm", "post_ffw_norm");
    for layer in &mut spec.layers {
        for norm in [&mut layer.attn_post_norm, &mut layer.ffn_post_norm].into_iter().flatten() {
            norm.eps = 1e-8;
        }
    }
    let pattern = keys.windowed(spec.layers.len(), 4, false)?;
    keys.set_windows(&mut spec, &pattern, 4096)?;
    spec.rotated_in_windows_only();
    gate_heads(&keys, &mut spec, false);
    spec.scale_logits(keys.set_f32("logit_scale")?.unwrap_or(1.0));
    spec.cap_logits(Some(keys.f32("final_logit_softcapping")?.unwrap_or(30.0)));
    Ok(spec)
}

/// MiMo V2: sinks in some layers, experts where there is a router.
pub(super) fn mimo2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let pattern = keys.windowed(spec.layers.len(), 6, false)?;
    keys.set_windows(&mut spec, &pattern, 128)?;
    let scale = keys.set_f32("attention.value_scale")?.unwrap_or(1.0);
    for layer in &mut spec.layers {
        let sinks = ["attn_sinks", "attn_sinks.weight"].iter().any(|name| keys.has(layer.block, name));
        if let Some(attn) = layer.attention_mut() {
            (attn.sinks, attn.out_scale) = (sinks, scale);
        }
    }
    let facts = ExpertFacts { normalize: true, ..ExpertFacts::SIGMOID };
    keys.set_experts_where(&mut spec, &facts, |layer| keys.has(layer, "ffn_gate_inp.weight"))?;
    Ok(spec)
}

/// Talkie: no norm has weights, the embedding is normed and added again after each layer.
pub(super) fn talkie(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder_with(Pairing::Halves, NormKind::Rms)?;
    spec.unweighted_norms();
    let norm = spec.norm();
    spec.embedding.norm = Some(norm);
    for attn in spec.attentions() {
        attn.norm_heads(norm, HeadWeights::Gains);
        attn.k_norm = attn.k_norm.map(|norm| super::HeadNorm { tensor: None, weights: HeadWeights::Shared, ..norm });
        attn.norm_after_rope = true;
    }
    spec.layers.iter_mut().for_each(|layer| layer.ends.push(super::End::AddEmbedding));
    spec.scale_logits(keys.set_f32("logit_scale")?.unwrap_or(1.0));
    Ok(spec)
}

/// HRM-Text (arXiv 2506.21734): two stacks of layers are run in turn, each on the sum of both results, and each pass has keys and
/// values of its own. No norm has weights.
pub(super) fn hrm_text(gguf: &Gguf) -> Result<Spec> {
    /// Where the results of the higher and of the lower stack are kept.
    const HIGH: usize = 0;
    const LOW: usize = 1;
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let stack = keys.need_usize("hrm.layers_per_stack")?;
    let (high, low) = (keys.need_usize("hrm.h_cycles")?, keys.need_usize("hrm.l_cycles")?);
    let norm = spec.norm();
    let whole = low.checked_add(1).and_then(|runs| runs.checked_mul(high)?.checked_mul(stack));
    if whole != Some(spec.layers.len()) || stack == 0 {
        return Err(keys.wrong("block_count", format!("{high} times {low} + 1 runs of {stack} layers")));
    }
    spec.unweighted_norms();
    gate_heads(&keys, &mut spec, false);
    let blocks = std::mem::take(&mut spec.layers);
    for run in 0..high * (low + 1) {
        let second = run % (low + 1) == low;
        let first_block = if second { stack } else { 0 };
        let mut layers = blocks.iter().skip(first_block).take(stack).cloned().collect::<Vec<_>>();
        if let Some(layer) = layers.first_mut() {
            // What has just been made is kept, and what the other stack made is added.
            let (kept, added) = if run % (low + 1) == 0 { (HIGH, LOW) } else { (LOW, HIGH) };
            layer.skips.extend((run == 0).then_some(Skip::Fill(LOW)));
            layer.skips.extend([Skip::Save(kept), Skip::Add(added)]);
        }
        if let Some(layer) = layers.last_mut() {
            layer.ffn_sum_norm = Some(norm);
        }
        spec.layers.extend(layers);
    }
    spec.embedding.second = true;
    spec.embedding.scale = keys.set_f32("embedding_scale")?.unwrap_or(1.0);
    spec.output_norm = None;
    Ok(spec)
}

/// MiniMax M3: clamped activations everywhere; blocks of positions are chosen by an index.
pub(super) fn minimax_m3(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.norm_heads();
    let act = Activation::ClampedSwiglu { alpha: 1.702, limit: 7.0 };
    spec.activate(act);
    let facts = ExpertFacts { act, shared: SharedWidth::Count, ..ExpertFacts::SIGMOID };
    keys.set_experts(&mut spec, &facts)?;
    keys.within_index(&mut spec)?;
    Ok(spec)
}

/// Llama 4: three of four layers see a run of positions and norm their rotated heads; the fourth has no positions, but
/// queries that grow with them. Experts in every so many layers, their input weighted.
pub(super) fn llama4(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    let norm = spec.norm();
    let chunk = keys.set_usize("attention.sliding_window")?.or(keys.set_usize("attention.chunk_size")?);
    let norms = keys.usize("expert_count")? != Some(128);
    let temperature = super::Temperature { scale: 0.1, length: 8192, offset: 1 };
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        let Some(attn) = layer.attention_mut() else { continue };
        if index % 4 == 3 {
            (attn.rope, attn.temperature) = (None, Some(temperature));
            continue;
        }
        attn.window = Some(Window::Chunk(chunk.unwrap_or(8192)));
        if norms {
            attn.norm_heads(norm, HeadWeights::Shared);
            for norm in [&mut attn.q_norm, &mut attn.k_norm].into_iter().flatten() {
                norm.tensor = None;
            }
            attn.norm_after_rope = true;
        }
    }
    let step = keys.set_usize("interleave_moe_layer_step")?.unwrap_or(1);
    let facts = ExpertFacts { fixed: true, scaled: false, shared: SharedWidth::One, ..ExpertFacts::SIGMOID };
    keys.set_experts_where(&mut spec, &facts, |layer| (layer + 1) % step == 0)?;
    spec.all_experts().for_each(|experts| (experts.weigh_input, experts.router.normalize) = (true, false));
    Ok(spec)
}
