//! What families do to the plain decoder, in words.

use super::keys::Keys;
use super::{
    Activation, Attention, Dense, Gate, HeadNorm, HeadWeights, Layer, Norm, NormKind, Output, Rope, RopeScaling,
    ScoreBias, Spec, Stream,
};
use crate::Result;
use crate::gguf::Gguf;

impl Spec {
    /// The rotary embedding that the plain decoder gives to all layers.
    pub(super) fn main_rope(&mut self) -> Option<&mut Rope> {
        self.ropes.first_mut()
    }

    /// All attentions, to be changed.
    pub(super) fn attentions(&mut self) -> impl Iterator<Item = &mut Attention> {
        self.layers.iter_mut().filter_map(Layer::attention_mut)
    }

    /// All feed-forwards that are no experts, to be changed.
    pub(super) fn denses(&mut self) -> impl Iterator<Item = &mut Dense> {
        self.layers.iter_mut().flat_map(Layer::denses)
    }

    /// The norm of the plain decoder's layers, without its tensor.
    pub(super) fn norm(&self) -> Norm {
        let none = Norm { tensor: None, kind: NormKind::Rms, eps: 1e-5 };
        self.output_norm.unwrap_or(none).plain()
    }

    /// The activation of every feed-forward.
    pub(super) fn activate(&mut self, act: Activation) {
        self.denses().for_each(|dense| dense.act = act);
    }

    /// Feed-forwards without a gate.
    pub(super) fn ungated(&mut self, act: Activation) {
        self.denses().for_each(|dense| (dense.act, dense.gate) = (act, Gate::None));
    }

    /// Gate and up of every feed-forward in one matrix.
    pub(super) fn fuse_gates(&mut self) {
        self.denses().for_each(|dense| dense.gate = Gate::Fused);
    }

    /// No rotary embedding in layers for which `none` says so.
    pub(super) fn unrotated(&mut self, none: impl Fn(usize) -> bool) {
        for attn in self.layers.iter_mut().filter(|layer| none(layer.block)).filter_map(Layer::attention_mut) {
            attn.rope = None;
        }
    }

    /// Positions only in layers with a window.
    pub(super) fn rotated_in_windows_only(&mut self) {
        self.attentions().for_each(|attn| attn.rope = attn.rope.filter(|_| attn.window.is_some()));
    }

    /// The norm before the feed-forward has another name.
    pub(super) fn name_ffn_norm(&mut self, tensor: &'static str) {
        for feed in self.layers.iter_mut().flat_map(|layer| &mut layer.feeds) {
            feed.norm = feed.norm.map(|norm| norm.of(tensor));
        }
    }

    /// Norms of the branches' results, by these names.
    pub(super) fn post_norms(&mut self, attn: &'static str, ffn: &'static str) {
        let norm = self.norm();
        for layer in &mut self.layers {
            (layer.attn_post_norm, layer.ffn_post_norm) = (Some(norm.of(attn)), Some(norm.of(ffn)));
        }
    }

    /// No norms before the branches.
    pub(super) fn without_pre_norms(&mut self) {
        for layer in &mut self.layers {
            layer.attn_norm = None;
            layer.feeds.iter_mut().for_each(|feed| feed.norm = None);
        }
    }

    /// The feed-forward reads what attention reads, normed by `tensor`.
    pub(super) fn parallel(&mut self, tensor: &'static str) {
        for feed in self.layers.iter_mut().flat_map(|layer| &mut layer.feeds) {
            (feed.of, feed.norm) = (Stream::Entering, feed.norm.map(|norm| norm.of(tensor)));
        }
    }

    /// RMS norms of query and key heads (`attn_q_norm`, `attn_k_norm`).
    pub(super) fn norm_heads(&mut self) {
        let norm = self.norm();
        self.attentions().for_each(|attn| attn.norm_heads(norm, HeadWeights::Shared));
    }

    /// No norm has weights.
    pub(super) fn unweighted_norms(&mut self) {
        self.output_norm = self.output_norm.map(Norm::plain);
        for layer in &mut self.layers {
            layer.attn_norm = layer.attn_norm.map(Norm::plain);
            layer.feeds.iter_mut().for_each(|feed| feed.norm = feed.norm.map(Norm::plain));
        }
    }

    /// Layers with a window rotate with the main base, without its scaling.
    pub(super) fn unscaled_windows(&mut self, keys: &Keys<'_>) {
        if let Some(main) = self.ropes.first().cloned() {
            let scaling = RopeScaling::Linear { factor: 1.0 };
            keys.rotate_windows(self, Rope { scaling, magnitude: 1.0, ..main });
        }
    }

    /// The head is the embedding, whatever else the file holds.
    pub(super) fn tie(&mut self) {
        if let Output::Logits { tied, .. } = &mut self.output {
            *tied = true;
        }
    }

    /// What multiplies the logits.
    pub(super) fn scale_logits(&mut self, by: f32) {
        if let Output::Logits { scale, .. } = &mut self.output {
            *scale = by;
        }
    }

    /// The soft cap of the logits, where it is over 0.
    pub(super) fn cap_logits(&mut self, cap: Option<f32>) {
        if let Output::Logits { softcap, .. } = &mut self.output {
            *softcap = cap.filter(|&cap| cap > 0.0);
        }
    }

    /// Both branches' results are multiplied by this.
    pub(super) fn scale_residuals(&mut self, by: f32) {
        self.layers.iter_mut().for_each(|layer| layer.residual_scale = by);
    }
}

impl Spec {
    /// Learned positions, where the file has them.
    pub(super) fn learned_positions(&mut self, gguf: &Gguf) {
        self.embedding.positions = gguf.tensor("position_embd.weight").and_then(|tensor| tensor.shape.get(1)).copied();
    }

    /// Types of tokens, where the file has them.
    pub(super) fn token_types(&mut self, gguf: &Gguf) {
        let shape = gguf.tensor("token_types.weight").map(|tensor| tensor.shape.as_slice());
        self.embedding.types = shape.map(|shape| shape.get(1).copied().unwrap_or(1));
    }
}

impl Keys<'_> {
    /// ALiBi where the file has its largest slope.
    pub(super) fn alibi(&self, spec: &mut Spec) -> Result<()> {
        let bias = self.set_f32("attention.max_alibi_bias")?.filter(|&max| max > 0.0).map(ScoreBias::Alibi);
        spec.attentions().for_each(|attn| attn.bias = bias);
        Ok(())
    }

    /// Limits of a feed-forward's values, one for all layers or one each; 0 = none.
    pub(super) fn limits(&self, key: &str, layers: usize) -> Result<Vec<Option<f32>>> {
        let limits = self.f32s_per_layer(key, layers)?.unwrap_or_default();
        let limits = limits.into_iter().map(|limit| Some(limit).filter(|&limit| limit > 0.0));
        Ok(limits.chain(std::iter::repeat(None)).take(layers).collect())
    }
}

impl Layer {
    /// The layer's feed-forwards that are no experts, to be changed.
    pub(super) fn denses(&mut self) -> impl Iterator<Item = &mut Dense> {
        self.feeds.iter_mut().filter_map(|feed| feed.ffn.dense_mut())
    }
}

impl Attention {
    /// Norms of query and key heads like `norm`.
    pub(super) fn norm_heads(&mut self, norm: Norm, weights: HeadWeights) {
        let of = |tensor| Some(HeadNorm { tensor: Some(tensor), kind: norm.kind, eps: norm.eps, weights });
        (self.q_norm, self.k_norm) = (of("attn_q_norm"), of("attn_k_norm"));
    }
}
