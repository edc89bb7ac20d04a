//! Models of text vectors: BERT (arXiv 1810.04805) and its successors, encoders of T5 (arXiv 1910.10683), and decoders that
//! see the whole text.

use super::experts::{ExpertFacts, SharedWidth};
use super::keys::Keys;
use super::{
    Activation, Classifier, Gate, Layer, NormKind, Output, Pairing, Pooled, Pooling, Projection, Role, ScoreBias, Spec,
    Window,
};
use crate::Result;
use crate::gguf::Gguf;

/// Learned positions, layer norms of the sums.
pub(super) fn bert(gguf: &Gguf) -> Result<Spec> {
    let mut spec = without_positions(&Keys::new(gguf)?)?;
    spec.learned_positions(gguf);
    spec.unrotated(|_| true);
    spec.ungated(Activation::GeluTanh);
    Ok(spec)
}

/// The same with rotary positions: Jina v3.
pub(super) fn jina_v3(gguf: &Gguf) -> Result<Spec> {
    let mut spec = without_positions(&Keys::new(gguf)?)?;
    spec.ungated(Activation::GeluTanh);
    Ok(spec)
}

/// Nomic (arXiv 2402.01613): rotary positions, SwiGLU.
pub(super) fn nomic(gguf: &Gguf) -> Result<Spec> {
    without_positions(&Keys::new(gguf)?)
}

/// Nomic v2 (arXiv 2502.07972): experts in every so many layers.
pub(super) fn nomic_moe(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = jina_v3(gguf)?;
    let step = keys.set_usize("moe_every_n_layers")?.unwrap_or(2);
    let facts = ExpertFacts {
        act: Activation::GeluTanh,
        normalize: false,
        dense_width: true,
        gated: false,
        shared: SharedWidth::None,
        ..ExpertFacts::SOFTMAX
    };
    keys.set_experts_where(&mut spec, &facts, |layer| layer % step == 1 % step)?;
    Ok(spec)
}

/// Jina v2 (arXiv 2310.19923): ALiBi, GELU with a gate, norms of queries and keys.
pub(super) fn jina_v2(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = without_positions(&keys)?;
    spec.unrotated(|_| true);
    spec.activate(Activation::GeluTanh);
    let norm = layer_norm(&keys)?;
    for layer in &mut spec.layers {
        let (block, split) = (layer.block, keys.has(layer.block, "ffn_gate.weight"));
        layer.denses().for_each(|dense| dense.gate = if split { Gate::Split } else { Gate::Fused });
        layer.attn_again_norm = keys.has(block, "attn_norm_2.weight").then_some(norm.of("attn_norm_2"));
        let Some(attn) = layer.attention_mut() else { continue };
        attn.bias = Some(ScoreBias::Alibi(8.0));
        if keys.has(block, "attn_q_norm.weight") {
            attn.norm_heads(norm, super::HeadWeights::Whole);
        }
    }
    Ok(spec)
}

fn layer_norm(keys: &Keys<'_>) -> Result<super::Norm> {
    Ok(super::Norm { tensor: None, kind: NormKind::Layer, eps: keys.norm_eps(NormKind::Layer)? })
}

/// What the successors of BERT share: norms of the embedding and of each sum, none at the end.
fn without_positions(keys: &Keys<'_>) -> Result<Spec> {
    let mut spec = keys.decoder_with(Pairing::Halves, NormKind::Layer)?;
    let norm = layer_norm(keys)?;
    spec.without_pre_norms();
    for layer in &mut spec.layers {
        layer.attn_sum_norm = Some(norm.of("attn_output_norm"));
        layer.ffn_sum_norm = Some(norm.of("layer_output_norm"));
    }
    spec.token_types(keys.gguf);
    spec.embedding.norm = Some(norm.of("token_embd_norm"));
    spec.output_norm = None;
    encoder(keys, &mut spec)?;
    Ok(spec)
}

/// Vectors come out, and a position sees all others.
fn encoder(keys: &Keys<'_>, spec: &mut Spec) -> Result<()> {
    spec.causal = keys.bool("attention.causal")?.unwrap_or(false);
    spec.output = Output::Vectors;
    if let Pooling::Rank(Classifier { from, softmax, .. }) = &mut spec.pooling {
        if *from == Pooled::Last {
            *from = Pooled::First;
        }
        *softmax = false;
    }
    Ok(())
}

/// ModernBERT (arXiv 2412.13663): the first of three layers sees everything, the others a window on both sides.
pub(super) fn modern(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder_with(Pairing::Halves, NormKind::Layer)?;
    spec.embedding.norm = Some(spec.norm().of("token_embd_norm"));
    spec.fuse_gates();
    let silu = keys.str("hidden_activation")?.is_some_and(|name| name == "silu");
    spec.activate(if silu { Activation::Silu } else { Activation::GeluTanh });
    let pattern = keys.windowed(spec.layers.len(), 3, true)?;
    keys.set_windows(&mut spec, &pattern, 128)?;
    for layer in &mut spec.layers {
        layer.attn_norm = layer.attn_norm.filter(|_| keys.has(layer.block, "attn_norm.weight"));
        if let Some(attn) = layer.attention_mut() {
            attn.window = attn.window.and(attn.reach()).map(Window::Around);
        }
    }
    encoder(&keys, &mut spec)?;
    if let Pooling::Rank(classifier) = &mut spec.pooling {
        classifier.gelu = true;
        if keys.usize("classifier.pooling_type")?.is_none() {
            classifier.from = Pooled::Mean;
        }
    }
    Ok(spec)
}

/// EuroBERT (arXiv 2503.05500): the Llama graph.
pub(super) fn euro(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    encoder(&keys, &mut spec)?;
    Ok(spec)
}

/// NeoBERT (arXiv 2502.19587): the Llama graph with gate and up in one matrix.
pub(super) fn neo(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Adjacent)?;
    spec.fuse_gates();
    spec.output_norm = spec.output_norm.map(|norm| norm.of("enc.output_norm"));
    encoder(&keys, &mut spec)?;
    Ok(spec)
}

/// Llama for vectors: causal unless the file says otherwise.
pub(super) fn llama_embed(gguf: &Gguf) -> Result<Spec> {
    let mut spec = super::llama::llama(gguf)?;
    spec.output = Output::Vectors;
    Ok(spec)
}

/// The encoder of T5: distances choose a bias of the scores, which are not scaled.
pub(super) fn t5(gguf: &Gguf) -> Result<Spec> {
    let keys = Keys::new(gguf)?;
    let mut spec = keys.decoder(Pairing::Halves)?;
    spec.blocks = "enc.blk";
    spec.output_norm = spec.output_norm.map(|norm| norm.of("enc.output_norm"));
    spec.unrotated(|_| true);
    let buckets = keys.need_usize("attention.relative_buckets_count")?;
    let has = |block: usize, name: &str| gguf.tensor(&format!("enc.blk.{block}.{name}.weight")).is_some();
    for layer in &mut spec.layers {
        let block = layer.block;
        let gated = has(block, "ffn_gate");
        for dense in layer.denses() {
            dense.gate = if gated { Gate::Split } else { Gate::None };
            dense.act = if gated { Activation::GeluTanh } else { Activation::Relu };
        }
        let Some(attn) = Layer::attention_mut(layer) else { continue };
        let block = if has(block, "attn_rel_b") { block } else { 0 };
        attn.bias = Some(ScoreBias::Buckets { buckets, block });
        (attn.scale, attn.output, attn.proj) = (1.0, Role::AttnO, Projection::Split);
    }
    encoder(&keys, &mut spec)?;
    // Files say that it is causal, which holds for the decoder.
    spec.causal = false;
    Ok(spec)
}
