//! THE TENSOR LIST: every tensor of a specification with its shape. Weights are bound by it, files are checked against it,
//! and tests make models of it.

use super::list::{List, Tensor};
use super::mixers::{
    Attention, Delta, DeltaForm, GateSource, HeadNorm, HeadWeights, Latent, Mixer, Projection, ScoreBias, SsmForm,
    StateSpace, TimeMix, TimeMixForm, Values,
};
use super::role::Role;
use super::spec::{Classifier, End, Layer, Output, Pooling, RopeFactors, Spec, StreamSpec};

impl Spec {
    /// Every tensor that is used; what is not in this list is not read.
    pub fn tensor_list(&self) -> Vec<Tensor> {
        let mut list = List::new(self.embd, self.blocks, self.norm_biases);
        list.ends(self);
        for layer in &self.layers {
            list.prefix = format!("{}.{}.", self.blocks, layer.block);
            list.layer(layer, self.embedding.per_layer);
            if let (Some(streams), Some(len)) = (self.streams, self.embedding.per_layer) {
                list.streams(streams, len);
            }
        }
        list.tensors
    }

    /// Name and shape (the contiguous dimension first) of every tensor that the model cannot do without.
    pub fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let needed = self.tensor_list().into_iter().filter(|tensor| !tensor.optional);
        needed.map(|tensor| (tensor.name, tensor.shape.iter().map(|&n| n as u64).collect())).collect()
    }
}

impl List {
    fn ends(&mut self, spec: &Spec) {
        let e = spec.embd;
        self.add(Role::TokenEmbd, &[e, spec.vocab]);
        if let Some(rows) = spec.embedding.positions {
            self.add(Role::PositionEmbd, &[e, rows]);
        }
        if let Some(rows) = spec.embedding.types {
            self.add(Role::TokenTypes, &[e, rows]);
        }
        self.norm(spec.embedding.norm, e);
        if spec.embedding.second {
            self.add(Role::SecondInit, &[e]);
        }
        if let Some(len) = spec.embedding.per_layer {
            let all = len * spec.layers.len();
            self.add(Role::PerLayerTokenEmbd, &[all, spec.vocab]);
            self.add(Role::PerLayerModelProj, &[e, all]);
            self.add(Role::PerLayerProjNorm, &[len]);
        }
        if let Some(StreamSpec { count, .. }) = spec.streams {
            self.add(Role::AltupProj, &[e, e, count - 1]);
            self.add(Role::AltupUnembdProj, &[e, e, count - 1]);
        }
        self.norm(spec.output_norm, e);
        if let Output::Logits { tied: false, .. } = spec.output {
            self.maybe(Role::Output, &[e, spec.vocab]);
        }
        if matches!(spec.output, Output::Logits { .. }) {
            self.companions(Role::Output, &[e, spec.vocab]);
        }
        if let Pooling::Rank(Classifier { labels, single, .. }) = spec.pooling {
            let rows = if single { labels } else { e };
            self.maybe(Role::Cls, &[e, rows]);
            self.companions(Role::Cls, &[e, rows]);
            self.maybe(Role::ClsNorm, &[rows]);
            self.bias(Role::ClsNorm, rows);
            if !single {
                self.product(Role::ClsOutput, &[e, labels]);
            }
        }
        for rope in &spec.ropes {
            match &rope.factors {
                Some(RopeFactors::Fixed(name)) => self.push(Role::Divisors, name.clone(), &[rope.dims / 2], true),
                Some(RopeFactors::ByContext { .. }) => {
                    self.add(Role::RopeFactorsShort, &[rope.dims / 2]);
                    self.add(Role::RopeFactorsLong, &[rope.dims / 2]);
                }
                Some(RopeFactors::Given(_)) | None => {}
            }
        }
    }

    fn layer(&mut self, layer: &Layer, per_layer: Option<usize>) {
        let e = self.embd;
        self.norm(layer.attn_norm, e);
        for mixer in &layer.mixers {
            self.mixer(mixer);
        }
        let norms = [layer.attn_post_norm, layer.attn_sum_norm, layer.attn_again_norm];
        for norm in norms.into_iter().chain([layer.ffn_post_norm, layer.ffn_sum_norm]) {
            self.norm(norm, e);
        }
        for feed in &layer.feeds {
            feed.list(self);
        }
        for end in &layer.ends {
            match (end, per_layer) {
                (End::PerLayer, Some(len)) => {
                    self.product(Role::InpGate, &[e, len]);
                    self.product(Role::Proj, &[len, e]);
                    self.add(Role::PostNorm, &[e]);
                }
                (End::PerLayer, None) => {}
                (End::Scale | End::AddEmbedding, _) => self.add(Role::LayerOutputScale, &[1]),
            }
        }
    }

    fn streams(&mut self, StreamSpec { count, rank }: StreamSpec, own: usize) {
        let e = self.embd;
        self.add(Role::AltupRouter, &[e, count]);
        self.add(Role::AltupRouterNorm, &[e]);
        self.add(Role::AltupPredictCoef, &[count, count * count]);
        self.add(Role::AltupCorrectCoef, &[count, count]);
        self.add(Role::AltupCorrectScale, &[e]);
        self.add(Role::LaurelL, &[e, rank]);
        self.add(Role::LaurelR, &[rank, e]);
        self.add(Role::LaurelPostNorm, &[e]);
        self.product(Role::InpGate, &[e, own]);
        self.product(Role::Proj, &[own, e]);
        self.add(Role::PostNorm, &[e]);
    }

    fn mixer(&mut self, mixer: &Mixer) {
        let e = self.embd;
        match mixer {
            Mixer::Attention(attn) => self.attention(attn),
            Mixer::Linear => self.product(Role::AttnOutput, &[e, e]),
            Mixer::ShortConv(conv) => {
                self.product(Role::ShortconvIn, &[e, 3 * conv.width]);
                self.add(Role::ShortconvConv, &[conv.taps, conv.width]);
                self.bias(Role::ShortconvConv, conv.width);
                self.product(Role::ShortconvOut, &[conv.width, e]);
            }
            Mixer::StateSpace(ssm) => self.state_space(ssm),
            Mixer::Delta(delta) => self.delta(delta),
            Mixer::TimeMix(mix) => self.time_mix(mix),
            Mixer::ChannelMix(mix) => {
                self.add(Role::ChannelMixLerpK, &[e]);
                self.product(Role::ChannelMixKey, &[e, mix.width]);
                self.product(Role::ChannelMixValue, &[mix.width, e]);
                if mix.receptance {
                    self.add(Role::ChannelMixLerpR, &[e]);
                    self.product(Role::ChannelMixReceptance, &[e, e]);
                }
            }
            Mixer::Lightning(l) => {
                let all = l.heads * l.dim;
                self.product(Role::AttnQkv, &[e, 3 * all]);
                self.product(Role::AttnGate, &[e, all]);
                self.add(Role::AttnNorm2, &[all]);
                self.product(Role::AttnOutput, &[all, e]);
            }
        }
    }

    fn attention(&mut self, attn: &Attention) {
        let e = self.embd;
        let q = attn.q_rows();
        let (k, v) = (attn.kv_heads * attn.k_dim, attn.kv_heads * attn.v_dim);
        let mut values = attn.heads * attn.v_dim;
        match &attn.proj {
            Projection::Split => {
                self.product(Role::AttnQ, &[e, q]);
                if attn.kv_of.is_none() {
                    self.product(Role::AttnK, &[e, k]);
                    if attn.values == Values::Own {
                        self.product(Role::AttnV, &[e, v]);
                    }
                }
            }
            Projection::Fused => self.product(Role::AttnQkv, &[e, q + k + v]),
            Projection::Latent(latent) => {
                values = attn.heads * latent.v_dim;
                self.latent(attn.heads, latent);
            }
        }
        self.product(attn.output, &[values, e]);
        self.head_norm(attn.q_norm, attn.heads, attn.k_dim);
        if attn.kv_of.is_none() {
            self.head_norm(attn.k_norm, attn.kv_heads, attn.k_dim);
        }
        if attn.sinks {
            self.add(Role::AttnSinks, &[attn.heads]);
        }
        match attn.gate.map(|gate| gate.from) {
            Some(GateSource::Values) => self.product(Role::AttnGate, &[e, values]),
            Some(GateSource::Heads) => self.product(Role::AttnGate, &[e, attn.heads]),
            Some(GateSource::Query) | None => {}
        }
        if let Some(ScoreBias::Buckets { buckets, block }) = attn.bias {
            let name = format!("{}.{block}.{}", self.blocks, Role::AttnRelB.name());
            self.push(Role::AttnRelB, name, &[attn.heads, buckets], false);
        }
        self.norm(attn.out_norm, values);
    }

    fn head_norm(&mut self, norm: Option<HeadNorm>, heads: usize, dim: usize) {
        let Some(HeadNorm { tensor: Some(name), weights, kind, .. }) = norm else { return };
        let shape: &[usize] = match weights {
            HeadWeights::Shared => &[dim],
            HeadWeights::Each => &[dim, heads],
            HeadWeights::Whole => &[dim * heads],
            HeadWeights::Gains => &[1, heads],
        };
        self.norm_weights(name, kind, shape);
    }

    fn latent(&mut self, heads: usize, latent: &Latent) {
        let (e, q) = (self.embd, heads * (latent.nope + latent.rope));
        if let Some(rank) = latent.q_rank {
            self.product(Role::AttnQA, &[e, rank]);
            self.add(Role::AttnQANorm, &[rank]);
            self.product(Role::AttnQB, &[rank, q]);
        } else {
            self.product(Role::AttnQ, &[e, q]);
        }
        self.product(Role::AttnKvAMqa, &[e, latent.kv_rank + latent.rope]);
        self.add(Role::AttnKvANorm, &[latent.kv_rank]);
        if latent.joint_kv_b {
            self.add(Role::AttnKvB, &[latent.kv_rank, heads * (latent.nope + latent.v_dim)]);
        } else {
            self.add(Role::AttnKB, &[latent.nope, latent.kv_rank, heads]);
            self.add(Role::AttnVB, &[latent.kv_rank, latent.v_dim, heads]);
        }
    }

    fn state_space(&mut self, ssm: &StateSpace) {
        let (e, d, n) = (self.embd, ssm.inner, ssm.state);
        self.add(Role::SsmConv1d, &[ssm.taps, ssm.conv_width()]);
        self.bias(Role::SsmConv1d, ssm.conv_width());
        match ssm.form {
            SsmForm::Channels { rank, norms } => {
                self.product(Role::SsmIn, &[e, 2 * d]);
                self.add(Role::SsmX, &[d, rank + 2 * n]);
                self.add(Role::SsmDt, &[rank, d]);
                self.add(Role::SsmDtBias, &[d]);
                self.add(Role::SsmA, &[n, d]);
                self.add(Role::SsmD, &[d]);
                if norms.is_some_and(|(_, weights)| weights) {
                    self.add(Role::SsmDtNorm, &[rank]);
                    self.add(Role::SsmBNorm, &[n]);
                    self.add(Role::SsmCNorm, &[n]);
                }
            }
            SsmForm::Heads { heads, groups, norm } => {
                self.product(Role::SsmIn, &[e, d + ssm.conv_width() + heads]);
                self.add(Role::SsmDtBias, &[heads]);
                self.add(Role::SsmA, &[1, heads]);
                self.add(Role::SsmD, &[1, heads]);
                if norm.is_some() {
                    self.add(Role::SsmNorm, &[d / groups.max(1), groups]);
                }
            }
            SsmForm::Projected { heads, rank, .. } => {
                self.product(Role::SsmIn, &[e, 2 * d]);
                self.add(Role::SsmX, &[d, rank + 2 * n]);
                self.add(Role::SsmDt, &[rank, heads]);
                self.add(Role::SsmDtBias, &[heads]);
                self.add(Role::SsmA, &[heads]);
                self.add(Role::SsmD, &[heads]);
                self.add(Role::SsmDtNorm, &[rank]);
                self.add(Role::SsmBNorm, &[n]);
                self.add(Role::SsmCNorm, &[n]);
            }
        }
        self.product(Role::SsmOut, &[d, e]);
    }

    fn delta(&mut self, delta: &Delta) {
        let (e, k, v) = (self.embd, delta.k_heads * delta.k_dim, delta.v_heads * delta.v_dim);
        match delta.form {
            DeltaForm::Gated { joint, .. } => {
                self.product(Role::AttnQkv, &[e, 2 * k + v]);
                self.product(Role::AttnGate, &[e, v]);
                if joint {
                    self.product(Role::SsmBa, &[e, 2 * delta.v_heads]);
                } else {
                    self.product(Role::SsmBeta, &[e, delta.v_heads]);
                    self.product(Role::SsmAlpha, &[e, delta.v_heads]);
                }
                self.add(Role::SsmConv1d, &[delta.taps, delta.conv_width()]);
                self.bias(Role::SsmConv1d, delta.conv_width());
                self.add(Role::SsmDtBias, &[delta.v_heads]);
                self.product(Role::SsmOut, &[v, e]);
            }
            DeltaForm::PerChannel { fused, low_rank, .. } => {
                if fused {
                    self.product(Role::AttnQkv, &[e, 2 * k + v]);
                }
                for (own, conv, len) in [
                    (Role::AttnQ, Role::SsmConv1dQ, k),
                    (Role::AttnK, Role::SsmConv1dK, k),
                    (Role::AttnV, Role::SsmConv1dV, v),
                ] {
                    if !fused {
                        self.product(own, &[e, len]);
                    }
                    self.add(conv, &[delta.taps, 1, len]);
                    self.bias(conv, len);
                }
                self.product(Role::SsmBeta, &[e, delta.v_heads]);
                self.add(Role::SsmDtBias, &[k]);
                for (first, second, len) in [(Role::SsmFA, Role::SsmFB, k), (Role::SsmGA, Role::SsmGB, v)] {
                    self.product(first, &[e, low_rank.unwrap_or(len)]);
                    if let Some(rank) = low_rank {
                        self.product(second, &[rank, len]);
                    }
                }
                self.product(Role::AttnOutput, &[v, e]);
            }
        }
        self.add(Role::SsmA, &[delta.v_heads]);
        self.add(Role::SsmNorm, &[delta.v_dim]);
    }

    fn time_mix(&mut self, mix: &TimeMix) {
        let (e, kv) = (self.embd, mix.kv_heads * mix.dim);
        self.product(Role::TimeMixReceptance, &[e, e]);
        self.product(Role::TimeMixKey, &[e, kv]);
        self.product(Role::TimeMixValue, &[e, kv]);
        self.product(Role::TimeMixOutput, &[e, e]);
        // Files hold the weights of all heads in one row.
        self.head_norm(mix.norm.map(|norm| HeadNorm { weights: HeadWeights::Whole, ..norm }), mix.heads, mix.dim);
        let low_rank = |list: &mut Self, [first, second]: [Role; 2], rank: usize| {
            list.add(first, &[e, rank]);
            list.add(second, &[rank, e]);
        };
        match mix.form {
            TimeMixForm::Six { lerp, decay, linear } => {
                self.add(Role::TimeMixLerpX, &[e]);
                self.add(Role::TimeMixLerpFused, &[e, 1, 1, 5]);
                self.add(Role::TimeMixW1, &[e, 5 * lerp]);
                self.add(Role::TimeMixW2, &[lerp, e, 5]);
                self.add(Role::TimeMixDecay, &[e]);
                low_rank(self, [Role::TimeMixDecayW1, Role::TimeMixDecayW2], decay);
                self.product(Role::TimeMixGate, &[e, e]);
                if !linear {
                    self.add(Role::TimeMixFirst, &[mix.dim, mix.heads]);
                }
            }
            TimeMixForm::Seven { decay, rate, value, gate } => {
                self.add(Role::TimeMixLerpFused, &[e, 1, 1, if gate.is_some() { 6 } else { 5 }]);
                self.add(Role::TimeMixW0, &[e]);
                low_rank(self, [Role::TimeMixW1, Role::TimeMixW2], decay);
                self.add(Role::TimeMixA0, &[e]);
                low_rank(self, [Role::TimeMixA1, Role::TimeMixA2], rate);
                if let Some(rank) = value {
                    self.add(Role::TimeMixV0, &[e]);
                    low_rank(self, [Role::TimeMixV1, Role::TimeMixV2], rank);
                }
                if let Some(rank) = gate {
                    low_rank(self, [Role::TimeMixG1, Role::TimeMixG2], rank);
                }
                for role in [Role::TimeMixKK, Role::TimeMixKA, Role::TimeMixRK] {
                    self.add(role, &[e]);
                }
            }
        }
    }
}
