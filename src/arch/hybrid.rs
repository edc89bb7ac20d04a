//! Families with a recurrent state: in place of attention (Mamba, LFM2, Qwen 3.5, Nemotron-H, Jamba, Kimi Linear) or beside it
//! (Falcon-H1).

use super::experts::{ExpertFacts, SharedWidth};
use super::keys::Keys;
use super::{
    Activation, Delta, DeltaForm, Ffn, Gate, GateSource, HeadGate, HeadWeights, Lightning, Mixer, NormKind, Pairing,
    Projection, Residual, ShortConv, Spec, SsmForm, StateSpace, Window,
};
use crate::Result;
use crate::gguf::Gguf;

impl Keys<'_> {
    /// The state space of Mamba-2.
    pub(super) fn state_space_per_head(&self, block: usize) -> Result<Mixer> {
        let eps = self.norm_eps(NormKind::Rms)?;
        let form = SsmForm::Heads {
            heads: self.need_usize("ssm.time_step_rank")?,
            groups: self.set_usize("ssm.group_count")?.unwrap_or(1),
            norm: self.has(block, "ssm_norm.weight").then_some(eps),
        };
        self.state_space(form)
    }

    /// The state space of the first Mamba; `weighted` for norms of its inputs that have weights.
    fn state_space_per_channel(&self, weighted: bool) -> Result<Mixer> {
        let plain = self.bool("ssm.dt_b_c_rms")?.unwrap_or(false);
        let norms = (weighted || plain).then_some((self.norm_eps(NormKind::Rms)?, weighted));
        self.state_space(SsmForm::Channels { rank: self.need_usize("ssm.time_step_rank")?, norms })
    }

    fn state_space(&self, form: SsmForm) -> Result<Mixer> {
        Ok(Mixer::StateSpace(StateSpace {
            inner: self.need_usize("ssm.inner_size")?,
            taps: self.need_usize("ssm.conv_kernel")?,
            state: self.need_usize("ssm.state_size")?,
            form,
        }))
    }

    /// Which layers have a state instead of attention: the file's array, or all but every `period`th.
    fn recurrent(&self, layers: usize, period: usize) -> Result<Vec<bool>> {
        let marks = self.marks("attention.recurrent_layers", layers)?;
        let period = self.set_usize("full_attention_interval")?.unwrap_or(period);
        Ok(marks.unwrap_or_else(|| (0..layers).map(|layer| (layer + 1) % period != 0).collect()))
    }
}

/// Mamba (arXiv 2312.00752): state spaces only.
pub(super) fn mamba(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let mixer = keys.state_space_per_channel(false)?;
    for layer in &mut spec.layers {
        layer.mixers = vec![mixer.clone()];
        layer.feeds.clear();
    }
    Ok(spec)
}

/// Mamba-2 (arXiv 2405.21060).
pub(super) fn mamba2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    for layer in &mut spec.layers {
        layer.mixers = vec![keys.state_space_per_head(layer.block)?];
        layer.feeds.clear();
    }
    Ok(spec)
}

/// Jamba (arXiv 2403.19887): attention without positions where the layer has keys and values, experts where it has a router.
pub(super) fn jamba(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.unrotated(|_| true);
    let mixer = keys.state_space_per_channel(true)?;
    for layer in spec.layers.iter_mut().filter(|layer| layer.attention().is_none_or(|attn| attn.kv_heads == 0)) {
        layer.mixers = vec![mixer.clone()];
    }
    if keys.set_usize("expert_count")?.is_some() {
        let facts = ExpertFacts { normalize: false, shared: SharedWidth::None, ..ExpertFacts::SOFTMAX };
        let routed = |layer| keys.has(layer, "ffn_gate_inp.weight");
        keys.set_experts_where(&mut spec, &ExpertFacts { dense_width: true, ..facts }, routed)?;
    }
    Ok(spec)
}

/// Falcon-H1 (arXiv 2507.22448): attention and a state space on the same input.
pub(super) fn falcon_h1(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    for layer in &mut spec.layers {
        layer.mixers.push(keys.state_space_per_head(layer.block)?);
    }
    Ok(spec)
}

/// Nemotron-H (arXiv 2504.03624): each layer is a state space, attention without positions, or a feed-forward.
pub(super) fn nemotron_h(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let layers = spec.layers.len();
    let widths = keys.per_layer("feed_forward_length", layers)?.unwrap_or_else(|| vec![0; layers]);
    spec.unrotated(|_| true);
    spec.ungated(Activation::ReluSquared);
    let experts = keys.set_usize("expert_count")?.is_some();
    let routed = |layer: usize| keys.has(layer, "ffn_gate_inp.weight");
    if experts {
        let facts = ExpertFacts { act: Activation::ReluSquared, gated: false, ..ExpertFacts::SIGMOID };
        keys.set_experts_where(&mut spec, &facts, routed)?;
    }
    for layer in &mut spec.layers {
        let attention = layer.attention().is_some_and(|attn| attn.kv_heads > 0);
        if widths[layer.block] > 0 || routed(layer.block) {
            let norm = layer.attn_norm;
            layer.without_mixers();
            layer.feeds.iter_mut().for_each(|feed| feed.norm = norm);
            let shape = gguf.tensor(&format!("blk.{}.ffn_latent_down.weight", layer.block)).map(|t| &t.shape);
            let latent = shape.and_then(|shape| shape.get(1)).copied();
            layer.experts_mut().for_each(|experts| experts.latent = latent);
            continue;
        }
        layer.feeds.clear();
        if !attention {
            layer.mixers = vec![keys.state_space_per_head(layer.block)?];
        }
    }
    Ok(spec)
}

/// LFM2 (arXiv 2511.23404): gated short convolutions where the layer has no keys and values.
pub(super) fn lfm2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let (width, taps) = (spec.embd, keys.need_usize("shortconv.l_cache")?);
    let window = keys.set_usize("attention.sliding_window")?;
    spec.norm_heads();
    for layer in &mut spec.layers {
        if let Some(attn) = layer.attention_mut().filter(|attn| attn.kv_heads > 0) {
            attn.window = window.map(Window::Last);
        } else {
            layer.mixers = vec![Mixer::ShortConv(ShortConv { width, taps })];
        }
    }
    // Early files name the last norm like one of the embedding.
    if gguf.tensor("token_embd_norm.weight").is_some() {
        spec.output_norm = spec.output_norm.map(|norm| norm.of("token_embd_norm"));
    }
    if keys.set_usize("expert_count")?.is_some() {
        let facts = ExpertFacts { normalize: true, shared: SharedWidth::None, scaled: false, ..ExpertFacts::SIGMOID };
        keys.set_experts(&mut spec, &facts)?;
    }
    Ok(spec)
}

/// Qwen 3.5: gated delta nets, and every fourth layer gated attention.
pub(super) fn qwen35(gguf: &Gguf) -> Result<Spec> {
    delta_decoder(&Keys::new(gguf)?, true)
}

/// The same with experts.
pub(super) fn qwen35moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = delta_decoder(&keys, true)?;
    keys.set_experts(&mut spec, &ExpertFacts { shared_weighted: true, ..ExpertFacts::SOFTMAX })?;
    Ok(spec)
}

/// Qwen 3 Next: the same with the heads in another order.
pub(super) fn qwen3next(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = delta_decoder(&keys, false)?;
    keys.set_experts(&mut spec, &ExpertFacts { shared_weighted: true, ..ExpertFacts::SOFTMAX })?;
    Ok(spec)
}

/// Interleaved sections of the rotated pairs belong to the axes of an image, and all of them to a text's one position; a pair
/// beyond the sections' ends belongs to a fourth axis, on which a text does not move. (Published files have no such pair.)
fn still_pairs(keys: &Keys<'_>, spec: &mut Spec) -> Result<()> {
    let sections = keys.u32s("rope.dimension_sections", 3)?.unwrap_or_default();
    let (&[t, h, w], Some(rope)) = (&sections[..], spec.main_rope()) else { return Ok(()) };
    let ends = [t, h, w].map(|n| (n as usize).saturating_mul(3));
    let still = |i: usize| i >= ends[i % 3];
    let pairs = (rope.dims / 2).min(1 << 11);
    if (0..pairs).any(still) && rope.factors.is_none() {
        let divisor = |i| if still(i) { f32::INFINITY } else { 1.0 };
        rope.factors = Some(super::RopeFactors::Given((0..pairs).map(divisor).collect()));
    }
    Ok(())
}

fn delta_decoder(keys: &Keys<'_>, tiled: bool) -> Result<Spec> {
    let mut spec = keys.decoder(Pairing::Halves)?;
    still_pairs(keys, &mut spec)?;
    // The name says otherwise, but this is the norm before the feed-forward.
    spec.name_ffn_norm("post_attention_norm");
    spec.norm_heads();
    let eps = spec.norm().eps;
    let v_heads = keys.need_usize("ssm.time_step_rank")?;
    let inner = keys.need_usize("ssm.inner_size")?;
    let delta = Delta {
        k_heads: keys.need_usize("ssm.group_count")?,
        v_heads,
        k_dim: keys.need_usize("ssm.state_size")?,
        v_dim: inner.checked_div(v_heads).unwrap_or(0),
        taps: keys.need_usize("ssm.conv_kernel")?,
        eps,
        form: DeltaForm::Gated { tiled, joint: false },
    };
    let recurrent = keys.recurrent(spec.layers.len(), 4)?;
    for (layer, recurrent) in spec.layers.iter_mut().zip(recurrent) {
        let block = layer.block;
        if recurrent {
            if keys.has(block, "ssm_in.weight") && !keys.has(block, "attn_qkv.weight") {
                return Err(keys.wrong("block_count", "a file with attn_qkv: this one was made by an early converter"));
            }
            let joint = keys.has(block, "ssm_ba.weight");
            layer.mixers = vec![Mixer::Delta(Delta { form: DeltaForm::Gated { tiled, joint }, ..delta })];
        } else if let Some(attn) = layer.attention_mut() {
            attn.gate = Some(HeadGate { from: GateSource::Query, softplus: false });
        }
    }
    Ok(spec)
}

/// Kimi Linear (arXiv 2510.26692): delta rules with a decay per channel, and latent attention without positions.
pub(super) fn kimi_linear(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = super::deepseek::latent_decoder(&keys, Pairing::Adjacent)?;
    spec.unrotated(|_| true);
    // Without positions there is nothing that YaRN could correct.
    for attn in spec.attentions() {
        if let Projection::Latent(latent) = &attn.proj {
            attn.scale = 1.0 / ((latent.nope + latent.rope) as f32).sqrt();
        }
    }
    delta_per_channel(&keys, &mut spec, None)?;
    let facts = ExpertFacts { normalize: true, shared: SharedWidth::Count, ..ExpertFacts::SIGMOID };
    keys.set_experts(&mut spec, &facts)?;
    Ok(spec)
}

/// Ling 3: the same with positions, a bounded decay, and gated heads.
pub(super) fn ling3(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let sections = keys.u32s("rope.dimension_sections", 2)?.unwrap_or_default();
    let sectioned = sections.len() == 2 && sections.iter().all(|&n| n > 0);
    let pairing = if sectioned { Pairing::Halves } else { Pairing::Adjacent };
    let mut spec = super::deepseek::latent_decoder(&keys, pairing)?;
    let layers = spec.layers.len();
    for attn in spec.attentions() {
        attn.gate = Some(HeadGate { from: GateSource::Heads, softplus: false });
    }
    delta_per_channel(&keys, &mut spec, keys.f32("kda.gate_lower_bound")?)?;
    let facts = ExpertFacts { shared: SharedWidth::Key, ..ExpertFacts::SIGMOID };
    keys.set_experts(&mut spec, &facts)?;
    let act = |limit: Option<f32>| limit.map_or(Activation::Silu, |limit| Activation::LimitedSilu { limit });
    let (chosen, shared) = (keys.limits("swiglu_clamp_exp", layers)?, keys.limits("swiglu_clamp_shexp", layers)?);
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        for experts in layer.experts_mut() {
            experts.act = act(chosen[index]);
            experts.shared.iter_mut().for_each(|expert| expert.act = act(shared[index]));
        }
    }
    Ok(spec)
}

/// Layers whose number of key-value heads is 0 get a delta rule with a decay per channel.
fn delta_per_channel(keys: &Keys<'_>, spec: &mut Spec, bound: Option<f32>) -> Result<()> {
    let layers = spec.layers.len();
    let kv_heads = keys.per_layer("attention.head_count_kv", layers)?.unwrap_or_else(|| vec![0; layers]);
    let dim = keys.need_usize("kda.head_dim")?;
    let eps = spec.norm().eps;
    let heads = spec.layers.iter().filter_map(|layer| Some(layer.attention()?.heads)).max().unwrap_or(0);
    for (layer, _) in spec.layers.iter_mut().zip(kv_heads).filter(|(_, kv_heads)| *kv_heads == 0) {
        let rows = |name: &str| {
            let shape = keys.gguf.tensor(&format!("blk.{}.{name}.weight", layer.block)).map(|t| t.shape.as_slice());
            shape.and_then(|shape| shape.get(1)).copied()
        };
        // The number of heads is that of the tensors; a header alone has that of the other layers.
        let fused = keys.has(layer.block, "attn_qkv.weight");
        let q_rows = if fused { rows("attn_qkv").map(|rows| rows / 3) } else { rows("attn_q") };
        let heads = q_rows.and_then(|rows| rows.checked_div(dim)).unwrap_or(heads);
        let low_rank = rows("ssm_f_a").filter(|_| keys.has(layer.block, "ssm_f_b.weight"));
        layer.mixers = vec![Mixer::Delta(Delta {
            k_heads: heads,
            v_heads: heads,
            k_dim: dim,
            v_dim: dim,
            taps: keys.need_usize("ssm.conv_kernel")?,
            eps,
            form: DeltaForm::PerChannel { fused, low_rank, bound },
        })];
    }
    Ok(())
}

/// MiniMax-01 (arXiv 2501.08313): linear attention in seven of eight layers; branches are added to the normed stream.
pub(super) fn minimax_01(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let layers = spec.layers.len();
    let scale = keys.set_f32("residual_scale")?.unwrap_or(1.0);
    let eps = spec.norm().eps;
    let recurrent = keys.recurrent(layers, 8)?;
    for (layer, recurrent) in spec.layers.iter_mut().zip(recurrent) {
        layer.residual = Residual::Normed(scale);
        let Some(attn) = layer.attention().filter(|_| recurrent) else { continue };
        let depth = layer.block as f32 / (layers.max(2) - 1) as f32;
        let (heads, dim) = (attn.heads, attn.k_dim);
        layer.mixers = vec![Mixer::Lightning(Lightning { heads, dim, slope: 1.0 - depth + 1e-5, eps })];
    }
    keys.set_experts(&mut spec, &ExpertFacts { dense_width: true, scaled: false, ..ExpertFacts::SOFTMAX })?;
    Ok(spec)
}

/// PLaMo 2: state spaces with projected inputs, norms around both branches.
pub(super) fn plamo2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.post_norms("post_attention_norm", "post_ffw_norm");
    let norm = spec.norm();
    let mixer = keys.state_space(SsmForm::Projected {
        heads: keys.need_usize("ssm.time_step_rank")?,
        rank: (spec.embd / 16).max(64),
        eps: norm.eps,
    })?;
    for layer in &mut spec.layers {
        match layer.attention_mut().filter(|attn| attn.kv_heads > 0) {
            Some(attn) => attn.norm_heads(norm, HeadWeights::Each),
            None => layer.mixers = vec![mixer.clone()],
        }
        for feed in &mut layer.feeds {
            if let Ffn::Dense(dense) = &mut feed.ffn {
                dense.gate = Gate::Fused;
            }
        }
    }
    Ok(spec)
}
