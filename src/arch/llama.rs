//! Llama (arXiv 2302.13971) and everything published in its shape: Llama 3, distilled reasoners, SOLAR, Mixtral; and the
//! families that change a word of it.

use super::experts::ExpertFacts;
use super::keys::Keys;
use super::{Activation, HeadWeights, Layer, Mixer, Pairing, ScoreBias, Spec, Temperature};
use crate::Result;
use crate::gguf::Gguf;

pub(super) fn llama(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    let llama_3_1 = spec.vocab == 128_256 && spec.context_train == 131_072;
    // Models of 1B and 3B (E 2048 and 3072) are scaled by 32, larger ones by 8.
    let factor = if spec.embd <= 3072 { 32.0 } else { 8.0 };
    if let Some(rope) = spec.main_rope().filter(|rope| llama_3_1 && rope.base == 500_000.0) {
        rope.restore_llama3_factors(factor);
    }
    mixtral(&keys, &mut spec)?;
    Ok(spec)
}

/// Experts if the file has some, as wide as the feed-forward.
fn mixtral(keys: &Keys<'_>, spec: &mut Spec) -> Result<()> {
    match keys.set_usize("expert_count")? {
        Some(_) => keys.set_experts(spec, &ExpertFacts::SOFTMAX),
        None => Ok(()),
    }
}

/// InternLM 2 (arXiv 2403.17297), XVERSE, ERNIE 4.5 without experts.
pub(super) fn adjacent(gguf: &Gguf) -> Result<Spec> {
    Keys::new(gguf)?.decoder(Pairing::Adjacent)
}

/// The text parts of PaddleOCR and CogVLM, openPangu Embedded.
pub(super) fn halves(gguf: &Gguf) -> Result<Spec> {
    Keys::new(gguf)?.decoder(Pairing::Halves)
}

/// SmolLM 3: every fourth layer has no positions.
pub(super) fn smollm3(gguf: &Gguf) -> Result<Spec> {
    let mut spec = adjacent(gguf)?;
    spec.unrotated(|layer| layer % 4 == 3);
    Ok(spec)
}

/// Ministral 3, Mistral Small 3 and Devstral 2: queries grow with their position beyond the original context.
pub(super) fn mistral3(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    if let Some(scale) = keys.set_f32("attention.temperature_scale")? {
        let length = keys.original_context()?;
        let temperature = Some(Temperature { scale, length, offset: 0 });
        spec.attentions().for_each(|attn| attn.temperature = temperature);
    }
    mixtral(&keys, &mut spec)?;
    Ok(spec)
}

/// Seed-OSS.
pub(super) fn seed_oss(gguf: &Gguf) -> Result<Spec> {
    let mut spec = halves(gguf)?;
    // The name says otherwise, but this is the norm before the feed-forward.
    spec.name_ffn_norm("post_attention_norm");
    Ok(spec)
}

/// AFM (Arcee): a feed-forward without a gate.
pub(super) fn arcee(gguf: &Gguf) -> Result<Spec> {
    let mut spec = adjacent(gguf)?;
    spec.ungated(Activation::ReluSquared);
    Ok(spec)
}

/// Maincoder: norms of rotated heads.
pub(super) fn maincoder(gguf: &Gguf) -> Result<Spec> {
    let mut spec = adjacent(gguf)?;
    spec.norm_heads();
    spec.attentions().for_each(|attn| attn.norm_after_rope = true);
    Ok(spec)
}

/// Nanbeige: the stack may be run several times, which none of the published files does.
pub(super) fn nanbeige(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    if keys.usize("num_loops")?.unwrap_or(1) > 1 {
        return Err(keys.wrong("num_loops", "1: a stack of layers that is run several times is not supported"));
    }
    keys.decoder(Pairing::Adjacent)
}

/// Baichuan (arXiv 2309.10305): the model of 40 layers has ALiBi instead of RoPE.
pub(super) fn baichuan(gguf: &Gguf) -> Result<Spec> {
    let mut spec = adjacent(gguf)?;
    let layers = spec.layers.len();
    spec.unrotated(|_| layers != 32);
    let bias = (layers == 40).then_some(ScoreBias::Alibi(8.0));
    spec.attentions().for_each(|attn| attn.bias = bias);
    Ok(spec)
}

/// Refact: ALiBi.
pub(super) fn refact(gguf: &Gguf) -> Result<Spec> {
    let mut spec = halves(gguf)?;
    spec.unrotated(|_| true);
    spec.attentions().for_each(|attn| attn.bias = Some(ScoreBias::Alibi(8.0)));
    Ok(spec)
}

/// Llama-Nemotron (arXiv 2411.19146): layers without attention, with a matrix in its place, or without a feed-forward.
pub(super) fn deci(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    let layers = spec.layers.len();
    let widths = keys.per_layer("feed_forward_length", layers)?.unwrap_or_default();
    for (layer, width) in spec.layers.iter_mut().zip(widths) {
        let (heads, kv_heads) = layer.attention().map_or((0, 0), |attn| (attn.heads, attn.kv_heads));
        if heads == 0 {
            layer.without_mixers();
        } else if kv_heads == 0 {
            layer.mixers = vec![Mixer::Linear];
        }
        if width == 0 {
            layer.feeds.clear();
        }
    }
    Ok(spec)
}

/// BitNet b1.58 (arXiv 2402.17764): norms before the last product of each branch.
pub(super) fn bitnet(gguf: &Gguf) -> Result<Spec> {
    let mut spec = halves(gguf)?;
    let norm = spec.norm();
    spec.attentions().for_each(|attn| attn.out_norm = Some(norm.of("attn_sub_norm")));
    spec.denses().for_each(|dense| dense.inner_norm = Some(norm.of("ffn_sub_norm")));
    spec.tie();
    Ok(spec)
}

/// Apertus (arXiv 2509.14233): xIELU without a gate.
pub(super) fn apertus(gguf: &Gguf) -> Result<Spec> {
    let mut spec = halves(gguf)?;
    spec.norm_heads();
    let layers = spec.layers.len();
    let value = |key: &str| -> Result<Vec<f32>> {
        let values = match gguf.value(key) {
            Some(crate::gguf::MetaValue::Array(_)) => gguf.f32s(key, layers)?.unwrap_or_default(),
            _ => vec![gguf.need_f32(key)?; layers],
        };
        if values.len() < layers { Err(gguf.wrong(key, format!("{layers} values, one per layer"))) } else { Ok(values) }
    };
    let [alpha_n, alpha_p] = [value("xielu.alpha_n")?, value("xielu.alpha_p")?];
    let [betas, epsilons] = [value("xielu.beta")?, value("xielu.eps")?];
    let softplus = |x: f32| if x > 20.0 { x } else { libm::log1pf(libm::expf(x)) };
    for (i, dense) in spec.denses().enumerate() {
        let (beta, eps) = (betas[i], epsilons[i]);
        let (positive, negative) = (softplus(alpha_p[i]), beta + softplus(alpha_n[i]));
        dense.act = Activation::Xielu { positive, negative, beta, eps };
        dense.gate = super::Gate::None;
    }
    Ok(spec)
}

/// OpenELM (arXiv 2404.14619): heads and widths per layer.
pub(super) fn openelm(gguf: &Gguf) -> Result<Spec> {
    let mut spec = halves(gguf)?;
    spec.norm_heads();
    Ok(spec)
}

/// PLaMo: both branches read the same norm.
pub(super) fn plamo(gguf: &Gguf) -> Result<Spec> {
    let mut spec = halves(gguf)?;
    spec.parallel("attn_norm");
    Ok(spec)
}

/// PLaMo 3: norms around both branches, a window in seven of eight layers.
pub(super) fn plamo3(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.fuse_gates();
    spec.norm_heads();
    spec.post_norms("post_attention_norm", "post_ffw_norm");
    if keys.set_usize("attention.sliding_window")?.is_some() {
        let pattern = keys.windowed(spec.layers.len(), 8, false)?;
        keys.set_windows(&mut spec, &pattern, 0)?;
    }
    Ok(spec)
}

/// OLMo 2 (arXiv 2501.00656) and OLMo 3: norms after each branch only, of queries and keys over all heads; windows rotate
/// without scaling.
pub(super) fn olmo2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    let norm = spec.norm();
    spec.without_pre_norms();
    spec.post_norms("post_attention_norm", "post_ffw_norm");
    spec.attentions().for_each(|attn| attn.norm_heads(norm, HeadWeights::Whole));
    if keys.set_usize("attention.sliding_window")?.is_some() {
        let pattern = keys.windowed(spec.layers.len(), 4, false)?;
        keys.set_windows(&mut spec, &pattern, 0)?;
        spec.unscaled_windows(&keys);
    }
    Ok(spec)
}

/// OLMo (arXiv 2402.00838): layer norms without weights.
pub(super) fn olmo(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder_with(Pairing::Adjacent, super::NormKind::Layer)?;
    spec.unweighted_norms();
    let clamp = keys.set_f32("attention.clamp_kqv")?.filter(|&c| c > 0.0);
    spec.attentions().for_each(|attn| attn.clamp = clamp);
    Ok(spec)
}

impl Layer {
    /// Nothing mixes positions here.
    pub(super) fn without_mixers(&mut self) {
        (self.attn_norm, self.attn_post_norm) = (None, None);
        self.mixers.clear();
    }
}
