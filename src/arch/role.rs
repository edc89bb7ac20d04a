//! THE TENSORS' NAMES: what a tensor is for, with the name that it has in files. Everything else names the
//! role; the files of families beside this one also ask by name what a file has, where that decides a fact.

macro_rules! roles {
    ($($(#[doc = $doc:literal])+ $role:ident $name:literal)+) => {
        /// What a tensor is for. Those of a layer are named below its prefix (`blk.3.`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Role {
            $($(#[doc = $doc])+ $role,)+
            /// The weights of a norm, which the specification names.
            Norm,
            /// The divisors of a rope's frequencies, which the specification names.
            Divisors,
        }

        impl Role {
            /// All with names of their own.
            pub const ALL: &[Self] = &[$(Self::$role),+];

            /// Its tensor's name in files.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$role => $name,)+
                    Self::Norm | Self::Divisors => "",
                }
            }
        }
    };
}

roles! {
    /// Embedding of each token.
    TokenEmbd "token_embd.weight"
    /// Embedding of each position.
    PositionEmbd "position_embd.weight"
    /// Embedding of a first and of a second text.
    TokenTypes "token_types.weight"
    /// What a second stream begins as.
    SecondInit "hrm.z_l_init"
    /// Embedding of each token, for each layer.
    PerLayerTokenEmbd "per_layer_token_embd.weight"
    /// From the embedding to the values for each layer.
    PerLayerModelProj "per_layer_model_proj.weight"
    /// Norm of these.
    PerLayerProjNorm "per_layer_proj_norm.weight"
    /// From the first residual stream to the others.
    AltupProj "altup_proj.weight"
    /// Back at the end.
    AltupUnembdProj "altup_unembd_proj.weight"
    /// The head.
    Output "output.weight"
    /// The first matrix of a classification head.
    Cls "cls.weight"
    /// Norm after it.
    ClsNorm "cls.norm.weight"
    /// Its last matrix.
    ClsOutput "cls.output.weight"
    /// The first product of a pooled vector.
    Dense2 "dense_2.weight"
    /// The second.
    Dense3 "dense_3.weight"
    /// Divisors of a rope's frequencies.
    RopeFreqs "rope_freqs.weight"
    /// The same, up to the original context.
    RopeFactorsShort "rope_factors_short.weight"
    /// The same, for sessions beyond it.
    RopeFactorsLong "rope_factors_long.weight"

    /// Gate of a layer's own values for a token.
    InpGate "inp_gate.weight"
    /// From these back to the stream.
    Proj "proj.weight"
    /// Norm of the result.
    PostNorm "post_norm.weight"
    /// Factor of a layer's result.
    LayerOutputScale "layer_output_scale.weight"
    /// Mixes residual streams.
    AltupRouter "altup_router.weight"
    /// Norm of its input.
    AltupRouterNorm "altup_router_norm.weight"
    /// Coefficients of the streams before a layer.
    AltupPredictCoef "altup_predict_coef.weight"
    /// Coefficients of the streams after it.
    AltupCorrectCoef "altup_correct_coef.weight"
    /// Factors of the corrected stream.
    AltupCorrectScale "altup_correct_scale.weight"
    /// The first product of a low rank beside attention.
    LaurelL "laurel_l.weight"
    /// The second.
    LaurelR "laurel_r.weight"
    /// Norm of its result.
    LaurelPostNorm "laurel_post_norm.weight"

    /// Queries.
    AttnQ "attn_q.weight"
    /// Keys.
    AttnK "attn_k.weight"
    /// Values.
    AttnV "attn_v.weight"
    /// Queries, keys and values in one.
    AttnQkv "attn_qkv.weight"
    /// The output projection.
    AttnOutput "attn_output.weight"
    /// The same, in encoders of text to text.
    AttnO "attn_o.weight"
    /// Gate of what attention gives.
    AttnGate "attn_gate.weight"
    /// Scores of no position.
    AttnSinks "attn_sinks.weight"
    /// Scores of distances.
    AttnRelB "attn_rel_b.weight"
    /// Queries of a low rank.
    AttnQA "attn_q_a.weight"
    /// Norm of these.
    AttnQANorm "attn_q_a_norm.weight"
    /// From that rank to the heads.
    AttnQB "attn_q_b.weight"
    /// Keys and values of a low rank, with the rotated part.
    AttnKvAMqa "attn_kv_a_mqa.weight"
    /// Norm of these.
    AttnKvANorm "attn_kv_a_norm.weight"
    /// From that rank to keys and values of the heads.
    AttnKvB "attn_kv_b.weight"
    /// The part of keys, transposed.
    AttnKB "attn_k_b.weight"
    /// The part of values.
    AttnVB "attn_v_b.weight"
    /// Norm of what linear attention gives.
    AttnNorm2 "attn_norm_2.weight"

    /// Input of a short convolution.
    ShortconvIn "shortconv.in_proj.weight"
    /// Its weights.
    ShortconvConv "shortconv.conv.weight"
    /// Its output.
    ShortconvOut "shortconv.out_proj.weight"

    /// Input of a state space.
    SsmIn "ssm_in.weight"
    /// Weights of its convolution.
    SsmConv1d "ssm_conv1d.weight"
    /// The same, of queries.
    SsmConv1dQ "ssm_conv1d_q.weight"
    /// Of keys.
    SsmConv1dK "ssm_conv1d_k.weight"
    /// Of values.
    SsmConv1dV "ssm_conv1d_v.weight"
    /// To step, input and output of the state.
    SsmX "ssm_x.weight"
    /// From the step's rank to the channels or heads.
    SsmDt "ssm_dt.weight"
    /// Added to the step.
    SsmDtBias "ssm_dt.bias"
    /// Norm of the step.
    SsmDtNorm "ssm_dt_norm.weight"
    /// Norm of the state's input.
    SsmBNorm "ssm_b_norm.weight"
    /// Norm of its output.
    SsmCNorm "ssm_c_norm.weight"
    /// Decay of the state.
    SsmA "ssm_a"
    /// What goes past the state.
    SsmD "ssm_d"
    /// Norm of what the state gives.
    SsmNorm "ssm_norm.weight"
    /// Its output projection.
    SsmOut "ssm_out.weight"
    /// Rate and decay of a delta rule in one.
    SsmBa "ssm_ba.weight"
    /// Rate of a delta rule.
    SsmBeta "ssm_beta.weight"
    /// Its decay.
    SsmAlpha "ssm_alpha.weight"
    /// The first product of its decay for each channel.
    SsmFA "ssm_f_a.weight"
    /// The second.
    SsmFB "ssm_f_b.weight"
    /// The first product of its gate.
    SsmGA "ssm_g_a.weight"
    /// The second.
    SsmGB "ssm_g_b.weight"

    /// Receptance of time mixing.
    TimeMixReceptance "time_mix_receptance.weight"
    /// Its key.
    TimeMixKey "time_mix_key.weight"
    /// Its value.
    TimeMixValue "time_mix_value.weight"
    /// Its output.
    TimeMixOutput "time_mix_output.weight"
    /// Its gate.
    TimeMixGate "time_mix_gate.weight"
    /// Blend of its input.
    TimeMixLerpX "time_mix_lerp_x.weight"
    /// Blends of what is made of it.
    TimeMixLerpFused "time_mix_lerp_fused.weight"
    /// The first product of the blends, or of the decay.
    TimeMixW1 "time_mix_w1.weight"
    /// The second.
    TimeMixW2 "time_mix_w2.weight"
    /// Added to the decay.
    TimeMixW0 "time_mix_w0.weight"
    /// The same, in older models.
    TimeMixDecay "time_mix_decay.weight"
    /// The first product of the decay, in older models.
    TimeMixDecayW1 "time_mix_decay_w1.weight"
    /// The second.
    TimeMixDecayW2 "time_mix_decay_w2.weight"
    /// Factors of the own position.
    TimeMixFirst "time_mix_first.weight"
    /// Added to the rate.
    TimeMixA0 "time_mix_a0.weight"
    /// The first product of the rate.
    TimeMixA1 "time_mix_a1.weight"
    /// The second.
    TimeMixA2 "time_mix_a2.weight"
    /// Added to the share of the first layer's values.
    TimeMixV0 "time_mix_v0.weight"
    /// The first product of that share.
    TimeMixV1 "time_mix_v1.weight"
    /// The second.
    TimeMixV2 "time_mix_v2.weight"
    /// The first product of the gate.
    TimeMixG1 "time_mix_g1.weight"
    /// The second.
    TimeMixG2 "time_mix_g2.weight"
    /// Factors of keys for removal.
    TimeMixKK "time_mix_k_k.weight"
    /// How much of a key follows the rate.
    TimeMixKA "time_mix_k_a.weight"
    /// Factors of the own position, in newer models.
    TimeMixRK "time_mix_r_k.weight"
    /// Blend of the key's input of channel mixing.
    ChannelMixLerpK "channel_mix_lerp_k.weight"
    /// Its key.
    ChannelMixKey "channel_mix_key.weight"
    /// Its value.
    ChannelMixValue "channel_mix_value.weight"
    /// Blend of the receptance's input.
    ChannelMixLerpR "channel_mix_lerp_r.weight"
    /// Its receptance.
    ChannelMixReceptance "channel_mix_receptance.weight"

    /// Gate of a feed-forward.
    FfnGate "ffn_gate.weight"
    /// Its other matrix that reads the input; both in one where the gate is fused.
    FfnUp "ffn_up.weight"
    /// Its second matrix.
    FfnDown "ffn_down.weight"
    /// Divisors of the values between.
    FfnActScales "ffn.act.scales"
    /// Chooses experts.
    FfnGateInp "ffn_gate_inp.weight"
    /// Factors of its input.
    FfnGateInpScale "ffn_gate_inp.scale"
    /// Added to the scores for the choice only.
    ExpProbsB "exp_probs_b.bias"
    /// Gates of experts.
    FfnGateExps "ffn_gate_exps.weight"
    /// Their other matrices that read the input.
    FfnUpExps "ffn_up_exps.weight"
    /// Both in one.
    FfnGateUpExps "ffn_gate_up_exps.weight"
    /// Their second matrices.
    FfnDownExps "ffn_down_exps.weight"
    /// Gates of small experts, of which each is there for several of the others.
    FfnGateChexps "ffn_gate_chexps.weight"
    /// Their other matrices that read the input.
    FfnUpChexps "ffn_up_chexps.weight"
    /// Both in one.
    FfnGateUpChexps "ffn_gate_up_chexps.weight"
    /// Their second matrices.
    FfnDownChexps "ffn_down_chexps.weight"
    /// Gate of the expert of every token.
    FfnGateShexp "ffn_gate_shexp.weight"
    /// Its other matrix that reads the input.
    FfnUpShexp "ffn_up_shexp.weight"
    /// Its second matrix.
    FfnDownShexp "ffn_down_shexp.weight"
    /// What weighs that expert's result.
    FfnGateInpShexp "ffn_gate_inp_shexp.weight"
    /// Into the space of the experts.
    FfnLatentDown "ffn_latent_down.weight"
    /// And back.
    FfnLatentUp "ffn_latent_up.weight"
}

impl Role {
    /// Its name without the usual suffix: what the bias and the factors beside it are named by.
    pub fn stem(self) -> &'static str {
        let name = self.name();
        name.strip_suffix(".weight").unwrap_or(name)
    }
}

/// The matrices of a feed-forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatedRoles {
    /// Its gate.
    pub gate: Role,
    /// What else reads its input.
    pub up: Role,
    /// Both in one.
    pub gate_up: Role,
    /// What reads the values between.
    pub down: Role,
}

impl GatedRoles {
    /// Of a feed-forward for all tokens.
    pub const DENSE: Self = Self { gate: Role::FfnGate, up: Role::FfnUp, gate_up: Role::FfnUp, down: Role::FfnDown };
    /// Of the expert of every token.
    pub const SHARED: Self =
        Self { gate: Role::FfnGateShexp, up: Role::FfnUpShexp, gate_up: Role::FfnUpShexp, down: Role::FfnDownShexp };
    /// Of experts.
    pub const EXPERTS: Self =
        Self { gate: Role::FfnGateExps, up: Role::FfnUpExps, gate_up: Role::FfnGateUpExps, down: Role::FfnDownExps };
    /// Of small experts beside those.
    pub const SMALL_EXPERTS: Self = Self {
        gate: Role::FfnGateChexps,
        up: Role::FfnUpChexps,
        gate_up: Role::FfnGateUpChexps,
        down: Role::FfnDownChexps,
    };
}
