//! Binds what mixes positions.

use super::scope::{Scope, optional, plain_norm};
use crate::Result;
use crate::arch::{
    Attention, Delta, DeltaForm, GateSource, Latent, Lightning, Mixer, Norm, NormKind, Projection, ScoreBias, SsmForm,
    StateSpace, Values,
};
use crate::gguf::TensorView;
use crate::model::{
    AttentionWeights, DeltaDecay, DeltaWeights, LatentWeights, LightningWeights, MixerWeights, NormWeights, Qkv,
    ShortConvWeights, Stack, StateSpaceInput, StateSpaceWeights, Taps,
};
use tokki_quant::dtype::DType;

impl Scope<'_> {
    pub(super) fn mixer(&self, mixer: &Mixer) -> Result<MixerWeights> {
        Ok(match mixer {
            Mixer::Attention(attn) => MixerWeights::Attention(Box::new(self.attention(attn)?)),
            Mixer::Linear => MixerWeights::Linear(self.product("attn_output")?),
            Mixer::ShortConv(conv) => MixerWeights::ShortConv(Box::new(ShortConvWeights {
                input: self.product("shortconv.in_proj")?,
                taps: self.taps(&["shortconv.conv"], conv.taps)?,
                output: self.product("shortconv.out_proj")?,
            })),
            Mixer::StateSpace(ssm) => MixerWeights::StateSpace(Box::new(self.state_space(ssm)?)),
            Mixer::Delta(delta) => MixerWeights::Delta(Box::new(self.delta(delta)?)),
            Mixer::Lightning(l) => MixerWeights::Lightning(Box::new(self.lightning(l)?)),
            Mixer::TimeMix(mix) => MixerWeights::TimeMix(Box::new(self.time_mix(mix)?)),
            Mixer::ChannelMix(mix) => MixerWeights::ChannelMix(Box::new(self.channel_mix(mix)?)),
        })
    }

    fn attention(&self, a: &Attention) -> Result<AttentionWeights> {
        let gate = match a.gate.map(|gate| gate.from) {
            Some(GateSource::Values | GateSource::Heads) => Some(self.product("attn_gate")?),
            Some(GateSource::Query) | None => None,
        };
        let distances = match a.bias {
            Some(ScoreBias::Buckets { buckets, block }) => {
                // The prefix ends in the layer's own number.
                let blocks = self.prefix.trim_end_matches('.').rsplit_once('.').map_or("", |(blocks, _)| blocks);
                optional(self.gguf, &format!("{blocks}.{block}.attn_rel_b.weight"), buckets * a.heads)?
            }
            Some(ScoreBias::Alibi(_)) | None => None,
        };
        let k_norm = a.k_norm.filter(|_| a.kv_of.is_none());
        Ok(AttentionWeights {
            qkv: self.qkv(a)?,
            q_norm: self.head_norm(a.q_norm, a.heads, a.k_dim)?,
            k_norm: self.head_norm(k_norm, a.kv_heads, a.k_dim)?,
            sinks: a.sinks.then(|| self.vector("attn_sinks.weight")).transpose()?,
            distances,
            gate,
            out_norm: self.norm(a.out_norm, a.heads * a.v_dim)?,
            output: self.product(a.output)?,
        })
    }

    fn qkv(&self, a: &Attention) -> Result<Qkv> {
        let (q, k, v) = (a.q_rows(), a.kv_heads * a.k_dim, a.kv_heads * a.v_dim);
        match &a.proj {
            Projection::Split => {
                let own = a.kv_of.is_none();
                Ok(Qkv::Heads {
                    q: self.product("attn_q")?,
                    k: own.then(|| self.product("attn_k")).transpose()?,
                    v: (own && a.values == Values::Own).then(|| self.product("attn_v")).transpose()?,
                })
            }
            Projection::Fused => {
                let part = |rows| self.rows_of("attn_qkv", rows);
                Ok(Qkv::Heads { q: part(0..q)?, k: Some(part(q..q + k)?), v: Some(part(q + k..q + k + v)?) })
            }
            Projection::Latent(latent) => self.latent(a.heads, latent).map(|w| Qkv::Latent(Box::new(w))),
        }
    }

    fn latent(&self, heads: usize, l: &Latent) -> Result<LatentWeights> {
        let (q_a, q_b) = match l.q_rank {
            Some(_) => {
                let q_a = (self.product("attn_q_a")?, self.vector("attn_q_a_norm.weight")?);
                (Some(q_a), self.product("attn_q_b")?)
            }
            None => (None, self.product("attn_q")?),
        };
        let (k_b, v_b) = if l.joint_kv_b {
            split_joint(self.view("attn_kv_b.weight")?, heads, l)?
        } else {
            (Some(self.plain("attn_k_b")?), self.plain("attn_v_b")?)
        };
        Ok(LatentWeights {
            q_a,
            q_b,
            kv_a: self.product("attn_kv_a_mqa")?,
            kv_a_norm: self.vector("attn_kv_a_norm.weight")?,
            k_b,
            v_b,
        })
    }

    /// Convolutions side by side; files hold the weights of each channel together.
    fn taps(&self, names: &[&str], taps: usize) -> Result<Taps> {
        let (mut each, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            let values = self.vector(&format!("{name}.weight"))?;
            bias.extend(self.bias(name, values.len() / taps)?.unwrap_or_default());
            each.extend(values);
        }
        let channels = each.len() / taps;
        let weights = (0..taps).flat_map(|j| each.iter().skip(j).step_by(taps).copied()).collect();
        Ok(Taps { channels, weights, bias: Some(bias).filter(|bias| bias.len() == channels) })
    }

    fn state_space(&self, ssm: &StateSpace) -> Result<StateSpaceWeights> {
        let mut norm = None;
        let rest = match ssm.form {
            SsmForm::PerHead { norm: eps, .. } => {
                norm = eps.map(|_| self.vector("ssm_norm.weight")).transpose()?;
                StateSpaceInput::Joint
            }
            SsmForm::PerChannel { rank, norms } => self.projected(rank, ssm.state, norms)?,
            SsmForm::PerHeadProjected { rank, eps, .. } => self.projected(rank, ssm.state, Some((eps, true)))?,
        };
        Ok(StateSpaceWeights {
            input: self.product("ssm_in")?,
            taps: self.taps(&["ssm_conv1d"], ssm.taps)?,
            rest,
            dt_bias: self.vector("ssm_dt.bias")?,
            a: self.vector("ssm_a")?,
            d: self.vector("ssm_d")?,
            norm,
            output: self.product("ssm_out")?,
        })
    }

    fn projected(&self, rank: usize, state: usize, given: Option<(f32, bool)>) -> Result<StateSpaceInput> {
        let norm = |name: &'static str, len: usize, eps: f32, weighted: bool| -> Result<NormWeights> {
            let tensor = weighted.then_some(name);
            let norm = Norm { tensor, kind: NormKind::Rms, eps };
            Ok(self.norm(Some(norm), len)?.unwrap_or_else(|| plain_norm(norm, len)))
        };
        let norms = |(eps, weighted)| -> Result<_> {
            Ok(Box::new([
                norm("ssm_dt_norm", rank, eps, weighted)?,
                norm("ssm_b_norm", state, eps, weighted)?,
                norm("ssm_c_norm", state, eps, weighted)?,
            ]))
        };
        Ok(StateSpaceInput::Projected {
            x: Box::new(self.plain("ssm_x")?),
            dt: Box::new(self.plain("ssm_dt")?),
            norms: given.map(norms).transpose()?,
        })
    }

    fn delta(&self, delta: &Delta) -> Result<DeltaWeights> {
        let pair = |name: &str, two: bool| -> Result<Vec<Stack>> {
            let mut products = vec![self.product(&format!("{name}_a"))?];
            if two {
                products.push(self.product(&format!("{name}_b"))?);
            }
            Ok(products)
        };
        let (qkv, convolutions, decay, output): (_, &[&str], _, _) = match delta.form {
            DeltaForm::Gated { joint, .. } => {
                let names: &[&str] = if joint { &["ssm_ba"] } else { &["ssm_beta", "ssm_alpha"] };
                let beta_alpha = names.iter().map(|name| self.product(name)).collect::<Result<_>>()?;
                let gate = Box::new(self.product("attn_gate")?);
                let qkv = vec![self.product("attn_qkv")?];
                (qkv, &["ssm_conv1d"], DeltaDecay::PerHead { gate, beta_alpha }, "ssm_out")
            }
            DeltaForm::PerChannel { fused, low_rank, .. } => {
                let qkv: &[&str] = if fused { &["attn_qkv"] } else { &["attn_q", "attn_k", "attn_v"] };
                let beta = Box::new(self.product("ssm_beta")?);
                let (f, g) = (pair("ssm_f", low_rank.is_some())?, pair("ssm_g", low_rank.is_some())?);
                let names = &["ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v"];
                let qkv = qkv.iter().map(|name| self.product(name)).collect::<Result<_>>()?;
                (qkv, names, DeltaDecay::PerChannel { beta, f, g }, "attn_output")
            }
        };
        Ok(DeltaWeights {
            qkv,
            taps: self.taps(convolutions, delta.taps)?,
            decay,
            dt_bias: self.vector("ssm_dt.bias")?,
            a: self.vector("ssm_a")?,
            norm: self.vector("ssm_norm.weight")?,
            output: self.product(output)?,
        })
    }

    fn lightning(&self, l: &Lightning) -> Result<LightningWeights> {
        let norm = Norm { tensor: Some("attn_norm_2"), kind: NormKind::Rms, eps: l.eps };
        let len = l.heads * l.dim;
        Ok(LightningWeights {
            qkv: self.product("attn_qkv")?,
            gate: self.product("attn_gate")?,
            norm: self.norm(Some(norm), len)?.unwrap_or_else(|| plain_norm(norm, len)),
            output: self.product("attn_output")?,
        })
    }
}

/// Old files hold keys and values of all heads in one tensor `{kv_rank, H * (nope + v)}`: per head `nope` key rows, then
/// `v` value rows. The absorbed form needs the key part transposed, so that part is copied, in f32.
fn split_joint(view: TensorView, heads: usize, l: &Latent) -> Result<(Option<Stack>, Stack)> {
    let per_head = l.nope + l.v_dim;
    // The same bytes, seen as one matrix per head.
    let joint = Stack::part(view, 1, heads * per_head, 0..heads * per_head, l.kv_rank)?;
    let mut keys = vec![0.0; heads * l.kv_rank * l.nope];
    let mut row = vec![0.0; l.kv_rank];
    for head in 0..heads {
        for i in 0..l.nope {
            joint.matrix(0).decode_row(head * per_head + i, &mut row);
            for (j, &value) in row.iter().enumerate() {
                keys[(head * l.kv_rank + j) * l.nope + i] = value;
            }
        }
    }
    let keys: Vec<u8> = keys.iter().flat_map(|value: &f32| value.to_le_bytes()).collect();
    let k_b = (l.nope > 0).then(|| Stack::owned(DType::F32, keys, heads, l.kv_rank, l.nope)).transpose()?;
    Ok((k_b, joint.restack(heads, per_head, l.nope..per_head)))
}
