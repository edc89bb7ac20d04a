//! THE TENSOR LIST: every tensor of a specification with its shape. Weights are bound by it, files are checked against it,
//! and tests make models of it.

use super::feeds::{Dense, Experts, Feed, Ffn, Gate, RouterInput};
use super::mixers::{
    Attention, Delta, DeltaForm, GateSource, HeadNorm, HeadWeights, Latent, Mixer, Projection, ScoreBias, SsmForm,
    StateSpace, TimeMix, TimeMixForm, Values,
};
use super::norm::{Norm, NormKind};
use super::spec::{Classifier, End, Layer, Output, Pooling, RopeFactors, Spec, StreamSpec};

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its dimensions, the contiguous one first. Those of 1 may be left out in files.
    pub shape: Vec<usize>,
    /// The model can do without.
    pub optional: bool,
}

impl Spec {
    /// Every tensor that is used; what is not in this list is not read.
    pub fn tensor_list(&self) -> Vec<Tensor> {
        let mut list = List {
            embd: self.embd,
            blocks: self.blocks,
            prefix: String::new(),
            norm_biases: self.norm_biases,
            tensors: Vec::new(),
        };
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

/// Collects tensors.
struct List {
    embd: usize,
    /// Of all layers' names.
    blocks: &'static str,
    /// Of the layer's names.
    prefix: String,
    /// As in [`Spec`].
    norm_biases: bool,
    tensors: Vec<Tensor>,
}

impl List {
    fn push(&mut self, name: String, shape: &[usize], optional: bool) {
        self.tensors.push(Tensor { name, shape: shape.to_vec(), optional });
    }

    /// A tensor of the layer.
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.push(format!("{}{name}.weight", self.prefix), shape, false);
    }

    /// The same without the usual suffix.
    fn bare(&mut self, name: &str, shape: &[usize]) {
        self.push(format!("{}{name}", self.prefix), shape, false);
    }

    fn maybe(&mut self, name: &str, shape: &[usize]) {
        self.push(format!("{}{name}.weight", self.prefix), shape, true);
    }

    /// The matrices of a product, `[cols, rows]` or `[cols, rows, count]`, with the factor of each and the bias that files
    /// may have.
    fn product(&mut self, name: &str, shape: &[usize]) {
        self.add(name, shape);
        self.companions(name, shape);
    }

    /// Factors and biases of the matrices of a product.
    fn companions(&mut self, name: &str, shape: &[usize]) {
        let (rows, count) = (shape.get(1).copied().unwrap_or(1), shape.get(2).copied().unwrap_or(1));
        self.bias(name, rows * count);
        self.push(format!("{}{name}.scale", self.prefix), &[count], true);
    }

    fn bias(&mut self, name: &str, len: usize) {
        self.push(format!("{}{name}.bias", self.prefix), &[len], true);
    }

    fn norm(&mut self, norm: Option<Norm>, len: usize) {
        let Some(Norm { tensor: Some(name), kind, .. }) = norm else { return };
        self.add(name, &[len]);
        if kind == NormKind::Layer || self.norm_biases {
            self.bias(name, len);
        }
    }

    fn ends(&mut self, spec: &Spec) {
        let e = spec.embd;
        self.add("token_embd", &[e, spec.vocab]);
        if let Some(rows) = spec.embedding.positions {
            self.add("position_embd", &[e, rows]);
        }
        if let Some(rows) = spec.embedding.types {
            self.add("token_types", &[e, rows]);
        }
        self.norm(spec.embedding.norm, e);
        if spec.embedding.second {
            self.bare("hrm.z_l_init", &[e]);
        }
        if let Some(len) = spec.embedding.per_layer {
            let all = len * spec.layers.len();
            self.add("per_layer_token_embd", &[all, spec.vocab]);
            self.add("per_layer_model_proj", &[e, all]);
            self.add("per_layer_proj_norm", &[len]);
        }
        if let Some(StreamSpec { count, .. }) = spec.streams {
            self.add("altup_proj", &[e, e, count - 1]);
            self.add("altup_unembd_proj", &[e, e, count - 1]);
        }
        self.norm(spec.output_norm, e);
        if let Output::Logits { tied: false, .. } = spec.output {
            self.maybe("output", &[e, spec.vocab]);
        }
        if matches!(spec.output, Output::Logits { .. }) {
            self.companions("output", &[e, spec.vocab]);
        }
        if let Pooling::Rank(Classifier { labels, single, .. }) = spec.pooling {
            let rows = if single { labels } else { e };
            self.maybe("cls", &[e, rows]);
            self.companions("cls", &[e, rows]);
            self.maybe("cls.norm", &[rows]);
            self.bias("cls.norm", rows);
            if !single {
                self.product("cls.output", &[e, labels]);
            }
        }
        for rope in &spec.ropes {
            match &rope.factors {
                Some(RopeFactors::Fixed(name)) => self.push(name.clone(), &[rope.dims / 2], true),
                Some(RopeFactors::ByContext { .. }) => {
                    self.push("rope_factors_short.weight".into(), &[rope.dims / 2], true);
                    self.push("rope_factors_long.weight".into(), &[rope.dims / 2], true);
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
            self.feed(feed);
        }
        for end in &layer.ends {
            match (end, per_layer) {
                (End::PerLayer, Some(len)) => {
                    self.product("inp_gate", &[e, len]);
                    self.product("proj", &[len, e]);
                    self.add("post_norm", &[e]);
                }
                (End::PerLayer, None) => {}
                (End::Scale | End::AddEmbedding, _) => self.add("layer_output_scale", &[1]),
            }
        }
    }

    fn streams(&mut self, StreamSpec { count, rank }: StreamSpec, own: usize) {
        let e = self.embd;
        self.add("altup_router", &[e, count]);
        self.add("altup_router_norm", &[e]);
        self.add("altup_predict_coef", &[count, count * count]);
        self.add("altup_correct_coef", &[count, count]);
        self.add("altup_correct_scale", &[e]);
        self.add("laurel_l", &[e, rank]);
        self.add("laurel_r", &[rank, e]);
        self.add("laurel_post_norm", &[e]);
        self.product("inp_gate", &[e, own]);
        self.product("proj", &[own, e]);
        self.add("post_norm", &[e]);
    }

    fn mixer(&mut self, mixer: &Mixer) {
        let e = self.embd;
        match mixer {
            Mixer::Attention(attn) => self.attention(attn),
            Mixer::Linear => self.product("attn_output", &[e, e]),
            Mixer::ShortConv(conv) => {
                self.product("shortconv.in_proj", &[e, 3 * conv.width]);
                self.add("shortconv.conv", &[conv.taps, conv.width]);
                self.bias("shortconv.conv", conv.width);
                self.product("shortconv.out_proj", &[conv.width, e]);
            }
            Mixer::StateSpace(ssm) => self.state_space(ssm),
            Mixer::Delta(delta) => self.delta(delta),
            Mixer::TimeMix(mix) => self.time_mix(mix),
            Mixer::ChannelMix(mix) => {
                self.add("channel_mix_lerp_k", &[e]);
                self.product("channel_mix_key", &[e, mix.width]);
                self.product("channel_mix_value", &[mix.width, e]);
                if mix.receptance {
                    self.add("channel_mix_lerp_r", &[e]);
                    self.product("channel_mix_receptance", &[e, e]);
                }
            }
            Mixer::Lightning(l) => {
                let all = l.heads * l.dim;
                self.product("attn_qkv", &[e, 3 * all]);
                self.product("attn_gate", &[e, all]);
                self.add("attn_norm_2", &[all]);
                self.product("attn_output", &[all, e]);
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
                self.product("attn_q", &[e, q]);
                if attn.kv_of.is_none() {
                    self.product("attn_k", &[e, k]);
                    if attn.values == Values::Own {
                        self.product("attn_v", &[e, v]);
                    }
                }
            }
            Projection::Fused => self.product("attn_qkv", &[e, q + k + v]),
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
            self.add("attn_sinks", &[attn.heads]);
        }
        match attn.gate.map(|gate| gate.from) {
            Some(GateSource::Values) => self.product("attn_gate", &[e, values]),
            Some(GateSource::Heads) => self.product("attn_gate", &[e, attn.heads]),
            Some(GateSource::Query) | None => {}
        }
        if let Some(ScoreBias::Buckets { buckets, block }) = attn.bias {
            self.push(format!("{}.{block}.attn_rel_b.weight", self.blocks), &[attn.heads, buckets], false);
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
        self.add(name, shape);
        if kind == NormKind::Layer || self.norm_biases {
            self.bias(name, shape.iter().product());
        }
    }

    fn latent(&mut self, heads: usize, latent: &Latent) {
        let (e, q) = (self.embd, heads * (latent.nope + latent.rope));
        if let Some(rank) = latent.q_rank {
            self.product("attn_q_a", &[e, rank]);
            self.add("attn_q_a_norm", &[rank]);
            self.product("attn_q_b", &[rank, q]);
        } else {
            self.product("attn_q", &[e, q]);
        }
        self.product("attn_kv_a_mqa", &[e, latent.kv_rank + latent.rope]);
        self.add("attn_kv_a_norm", &[latent.kv_rank]);
        if latent.joint_kv_b {
            self.add("attn_kv_b", &[latent.kv_rank, heads * (latent.nope + latent.v_dim)]);
        } else {
            self.add("attn_k_b", &[latent.nope, latent.kv_rank, heads]);
            self.add("attn_v_b", &[latent.kv_rank, latent.v_dim, heads]);
        }
    }

    fn state_space(&mut self, ssm: &StateSpace) {
        let (e, d, n) = (self.embd, ssm.inner, ssm.state);
        self.add("ssm_conv1d", &[ssm.taps, ssm.conv_width()]);
        self.bias("ssm_conv1d", ssm.conv_width());
        match ssm.form {
            SsmForm::PerChannel { rank, norms } => {
                self.product("ssm_in", &[e, 2 * d]);
                self.add("ssm_x", &[d, rank + 2 * n]);
                self.add("ssm_dt", &[rank, d]);
                self.bare("ssm_dt.bias", &[d]);
                self.bare("ssm_a", &[n, d]);
                self.bare("ssm_d", &[d]);
                if norms.is_some_and(|(_, weights)| weights) {
                    self.add("ssm_dt_norm", &[rank]);
                    self.add("ssm_b_norm", &[n]);
                    self.add("ssm_c_norm", &[n]);
                }
            }
            SsmForm::PerHead { heads, groups, norm } => {
                self.product("ssm_in", &[e, d + ssm.conv_width() + heads]);
                self.bare("ssm_dt.bias", &[heads]);
                self.bare("ssm_a", &[1, heads]);
                self.bare("ssm_d", &[1, heads]);
                if norm.is_some() {
                    self.add("ssm_norm", &[d / groups.max(1), groups]);
                }
            }
            SsmForm::PerHeadProjected { heads, rank, .. } => {
                self.product("ssm_in", &[e, 2 * d]);
                self.add("ssm_x", &[d, rank + 2 * n]);
                self.add("ssm_dt", &[rank, heads]);
                self.bare("ssm_dt.bias", &[heads]);
                self.bare("ssm_a", &[heads]);
                self.bare("ssm_d", &[heads]);
                self.add("ssm_dt_norm", &[rank]);
                self.add("ssm_b_norm", &[n]);
                self.add("ssm_c_norm", &[n]);
            }
        }
        self.product("ssm_out", &[d, e]);
    }

    fn delta(&mut self, delta: &Delta) {
        let (e, k, v) = (self.embd, delta.k_heads * delta.k_dim, delta.v_heads * delta.v_dim);
        match delta.form {
            DeltaForm::Gated { joint, .. } => {
                self.product("attn_qkv", &[e, 2 * k + v]);
                self.product("attn_gate", &[e, v]);
                if joint {
                    self.product("ssm_ba", &[e, 2 * delta.v_heads]);
                } else {
                    self.product("ssm_beta", &[e, delta.v_heads]);
                    self.product("ssm_alpha", &[e, delta.v_heads]);
                }
                self.add("ssm_conv1d", &[delta.taps, delta.conv_width()]);
                self.bias("ssm_conv1d", delta.conv_width());
                self.bare("ssm_dt.bias", &[delta.v_heads]);
                self.product("ssm_out", &[v, e]);
            }
            DeltaForm::PerChannel { fused, low_rank, .. } => {
                if fused {
                    self.product("attn_qkv", &[e, 2 * k + v]);
                }
                for (name, len) in [("q", k), ("k", k), ("v", v)] {
                    if !fused {
                        self.product(&format!("attn_{name}"), &[e, len]);
                    }
                    self.add(&format!("ssm_conv1d_{name}"), &[delta.taps, 1, len]);
                    self.bias(&format!("ssm_conv1d_{name}"), len);
                }
                self.product("ssm_beta", &[e, delta.v_heads]);
                self.bare("ssm_dt.bias", &[k]);
                for (name, len) in [("f", k), ("g", v)] {
                    self.product(&format!("ssm_{name}_a"), &[e, low_rank.unwrap_or(len)]);
                    if let Some(rank) = low_rank {
                        self.product(&format!("ssm_{name}_b"), &[rank, len]);
                    }
                }
                self.product("attn_output", &[v, e]);
            }
        }
        self.bare("ssm_a", &[delta.v_heads]);
        self.add("ssm_norm", &[delta.v_dim]);
    }

    fn time_mix(&mut self, mix: &TimeMix) {
        let (e, kv) = (self.embd, mix.kv_heads * mix.dim);
        self.product("time_mix_receptance", &[e, e]);
        self.product("time_mix_key", &[e, kv]);
        self.product("time_mix_value", &[e, kv]);
        self.product("time_mix_output", &[e, e]);
        // Files hold the weights of all heads in one row.
        self.head_norm(mix.norm.map(|norm| HeadNorm { weights: HeadWeights::Whole, ..norm }), mix.heads, mix.dim);
        let low_rank = |list: &mut Self, name: &str, rank: usize| {
            list.add(&format!("{name}1"), &[e, rank]);
            list.add(&format!("{name}2"), &[rank, e]);
        };
        match mix.form {
            TimeMixForm::Six { lerp, decay, linear } => {
                self.add("time_mix_lerp_x", &[e]);
                self.add("time_mix_lerp_fused", &[e, 1, 1, 5]);
                self.add("time_mix_w1", &[e, 5 * lerp]);
                self.add("time_mix_w2", &[lerp, e, 5]);
                self.add("time_mix_decay", &[e]);
                low_rank(self, "time_mix_decay_w", decay);
                self.product("time_mix_gate", &[e, e]);
                if !linear {
                    self.add("time_mix_first", &[mix.dim, mix.heads]);
                }
            }
            TimeMixForm::Seven { decay, rate, value, gate } => {
                self.add("time_mix_lerp_fused", &[e, 1, 1, if gate.is_some() { 6 } else { 5 }]);
                self.add("time_mix_w0", &[e]);
                low_rank(self, "time_mix_w", decay);
                self.add("time_mix_a0", &[e]);
                low_rank(self, "time_mix_a", rate);
                if let Some(rank) = value {
                    self.add("time_mix_v0", &[e]);
                    low_rank(self, "time_mix_v", rank);
                }
                if let Some(rank) = gate {
                    low_rank(self, "time_mix_g", rank);
                }
                for name in ["time_mix_k_k", "time_mix_k_a", "time_mix_r_k"] {
                    self.add(name, &[e]);
                }
            }
        }
    }

    fn feed(&mut self, feed: &Feed) {
        let e = self.embd;
        self.norm(feed.norm, e);
        match &feed.ffn {
            Ffn::Dense(dense) => self.dense(dense),
            Ffn::Experts(experts) => self.experts(experts),
        }
        self.norm(feed.post_norm, e);
    }

    /// The two or three matrices of a feed-forward of `width` that reads `len` values; `count` for experts.
    fn gated(&mut self, suffix: &str, gate: Gate, (len, width): (usize, usize), count: Option<usize>) {
        let shape = |a: usize, b: usize| [Some(a), Some(b), count].into_iter().flatten().collect::<Vec<_>>();
        match (gate, count) {
            (Gate::Fused, Some(_)) => self.add(&format!("ffn_gate_up{suffix}"), &shape(len, 2 * width)),
            (Gate::Fused, None) => self.product(&format!("ffn_up{suffix}"), &shape(len, 2 * width)),
            (Gate::Split, _) => {
                self.product(&format!("ffn_gate{suffix}"), &shape(len, width));
                self.product(&format!("ffn_up{suffix}"), &shape(len, width));
            }
            (Gate::None, _) => self.product(&format!("ffn_up{suffix}"), &shape(len, width)),
        }
        self.product(&format!("ffn_down{suffix}"), &shape(width, len));
    }

    fn dense(&mut self, dense: &Dense) {
        self.gated("", dense.gate, (self.embd, dense.width), None);
        self.norm(dense.inner_norm, dense.width);
        if dense.divisors {
            self.bare("ffn.act.scales", &[dense.width]);
        }
    }

    fn experts(&mut self, experts: &Experts) {
        let e = self.embd;
        let routed = experts.count * experts.router.per_group.max(1);
        if matches!(experts.router.input, RouterInput::Rescaled { .. }) {
            self.add("ffn_gate_inp", &[e, routed]);
            self.bare("ffn_gate_inp.scale", &[e]);
        } else {
            self.product("ffn_gate_inp", &[e, routed]);
        }
        if experts.router.selection_bias {
            self.bare("exp_probs_b.bias", &[experts.count]);
        }
        self.gated(experts.suffix, experts.gate, (experts.latent.unwrap_or(e), experts.width), Some(experts.count));
        if let Some(latent) = experts.latent {
            self.product("ffn_latent_down", &[e, latent]);
            self.product("ffn_latent_up", &[latent, e]);
        }
        if let Some(shared) = experts.shared {
            self.gated("_shexp", shared.gate, (e, shared.width), None);
            if shared.weighted {
                self.add("ffn_gate_inp_shexp", &[e, 1]);
            }
        }
    }
}
