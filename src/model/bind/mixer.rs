//! Binds what mixes positions.

use super::scope::{Scope, optional, plain_norm};
use crate::Result;
use crate::arch::{
    Attention, Delta, DeltaForm, GateSource, Latent, Lightning, Mixer, Norm, NormKind, Projection, Role, ScoreBias,
    SsmForm, StateSpace, Values,
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
            Mixer::Linear => MixerWeights::Linear(self.product(Role::AttnOutput)?),
            Mixer::ShortConv(conv) => MixerWeights::ShortConv(Box::new(ShortConvWeights {
                input: self.product(Role::ShortconvIn)?,
                taps: self.taps(&[Role::ShortconvConv], conv.taps)?,
                output: self.product(Role::ShortconvOut)?,
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
            Some(GateSource::Values | GateSource::Heads) => Some(self.product(Role::AttnGate)?),
            Some(GateSource::Query) | None => None,
        };
        let distances = match a.bias {
            Some(ScoreBias::Buckets { buckets, block }) => {
                // The prefix ends in the layer's own number.
                let blocks = self.prefix.trim_end_matches('.').rsplit_once('.').map_or("", |(blocks, _)| blocks);
                optional(self.gguf, &format!("{blocks}.{block}.{}", Role::AttnRelB.name()), buckets * a.heads)?
            }
            Some(ScoreBias::Alibi(_)) | None => None,
        };
        let k_norm = a.k_norm.filter(|_| a.kv_of.is_none());
        Ok(AttentionWeights {
            qkv: self.qkv(a)?,
            q_norm: self.head_norm(a.q_norm, a.heads, a.k_dim)?,
            k_norm: self.head_norm(k_norm, a.kv_heads, a.k_dim)?,
            sinks: a.sinks.then(|| self.vector(Role::AttnSinks)).transpose()?,
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
                    q: self.product(Role::AttnQ)?,
                    k: own.then(|| self.product(Role::AttnK)).transpose()?,
                    v: (own && a.values == Values::Own).then(|| self.product(Role::AttnV)).transpose()?,
                })
            }
            Projection::Fused => {
                let part = |rows| self.rows_of(Role::AttnQkv, rows);
                Ok(Qkv::Heads { q: part(0..q)?, k: Some(part(q..q + k)?), v: Some(part(q + k..q + k + v)?) })
            }
            Projection::Latent(latent) => self.latent(a.heads, latent).map(|w| Qkv::Latent(Box::new(w))),
        }
    }

    fn latent(&self, heads: usize, l: &Latent) -> Result<LatentWeights> {
        let (q_a, q_b) = match l.q_rank {
            Some(_) => {
                let q_a = (self.product(Role::AttnQA)?, self.vector(Role::AttnQANorm)?);
                (Some(q_a), self.product(Role::AttnQB)?)
            }
            None => (None, self.product(Role::AttnQ)?),
        };
        let (k_b, v_b) = if l.joint_kv_b {
            split_joint(self.view(Role::AttnKvB)?, heads, l)?
        } else {
            (Some(self.plain(Role::AttnKB)?), self.plain(Role::AttnVB)?)
        };
        Ok(LatentWeights {
            q_a,
            q_b,
            kv_a: self.product(Role::AttnKvAMqa)?,
            kv_a_norm: self.vector(Role::AttnKvANorm)?,
            k_b,
            v_b,
        })
    }

    /// Convolutions side by side; files hold the weights of each channel together.
    fn taps(&self, roles: &[Role], taps: usize) -> Result<Taps> {
        let (mut each, mut bias) = (Vec::new(), Vec::new());
        for &role in roles {
            let values = self.vector(role)?;
            bias.extend(self.bias(role, values.len() / taps)?.unwrap_or_default());
            each.extend(values);
        }
        let channels = each.len() / taps;
        let weights = (0..taps).flat_map(|j| each.iter().skip(j).step_by(taps).copied()).collect();
        Ok(Taps { channels, weights, bias: Some(bias).filter(|bias| bias.len() == channels) })
    }

    fn state_space(&self, ssm: &StateSpace) -> Result<StateSpaceWeights> {
        let mut norm = None;
        let rest = match ssm.form {
            SsmForm::Heads { norm: eps, .. } => {
                norm = eps.map(|_| self.vector(Role::SsmNorm)).transpose()?;
                StateSpaceInput::Joint
            }
            SsmForm::Channels { rank, norms } => self.projected(rank, ssm.state, norms)?,
            SsmForm::Projected { rank, eps, .. } => self.projected(rank, ssm.state, Some((eps, true)))?,
        };
        Ok(StateSpaceWeights {
            input: self.product(Role::SsmIn)?,
            taps: self.taps(&[Role::SsmConv1d], ssm.taps)?,
            rest,
            dt_bias: self.vector(Role::SsmDtBias)?,
            a: self.vector(Role::SsmA)?,
            d: self.vector(Role::SsmD)?,
            norm,
            output: self.product(Role::SsmOut)?,
        })
    }

    fn projected(&self, rank: usize, state: usize, given: Option<(f32, bool)>) -> Result<StateSpaceInput> {
        let norm = |role: Role, len: usize, eps: f32, weighted: bool| -> Result<NormWeights> {
            let tensor = weighted.then_some(role.stem());
            let norm = Norm { tensor, kind: NormKind::Rms, eps };
            Ok(self.norm(Some(norm), len)?.unwrap_or_else(|| plain_norm(norm, len)))
        };
        let norms = |(eps, weighted)| -> Result<_> {
            Ok(Box::new([
                norm(Role::SsmDtNorm, rank, eps, weighted)?,
                norm(Role::SsmBNorm, state, eps, weighted)?,
                norm(Role::SsmCNorm, state, eps, weighted)?,
            ]))
        };
        Ok(StateSpaceInput::Projected {
            x: Box::new(self.plain(Role::SsmX)?),
            dt: Box::new(self.plain(Role::SsmDt)?),
            norms: given.map(norms).transpose()?,
        })
    }

    fn delta(&self, delta: &Delta) -> Result<DeltaWeights> {
        let products = |roles: &[Role]| roles.iter().map(|&role| self.product(role)).collect::<Result<Vec<Stack>>>();
        let (qkv, convolutions, decay, output): (_, &[Role], _, _) = match delta.form {
            DeltaForm::Gated { joint, .. } => {
                let beta_alpha = products(if joint { &[Role::SsmBa] } else { &[Role::SsmBeta, Role::SsmAlpha] })?;
                let gate = Box::new(self.product(Role::AttnGate)?);
                let qkv = vec![self.product(Role::AttnQkv)?];
                (qkv, &[Role::SsmConv1d], DeltaDecay::PerHead { gate, beta_alpha }, Role::SsmOut)
            }
            DeltaForm::PerChannel { fused, low_rank, .. } => {
                let two = if low_rank.is_some() { 2 } else { 1 };
                let qkv: &[Role] = if fused { &[Role::AttnQkv] } else { &[Role::AttnQ, Role::AttnK, Role::AttnV] };
                let beta = Box::new(self.product(Role::SsmBeta)?);
                let f = products(&[Role::SsmFA, Role::SsmFB][..two])?;
                let g = products(&[Role::SsmGA, Role::SsmGB][..two])?;
                let convolutions = &[Role::SsmConv1dQ, Role::SsmConv1dK, Role::SsmConv1dV];
                (products(qkv)?, convolutions, DeltaDecay::PerChannel { beta, f, g }, Role::AttnOutput)
            }
        };
        Ok(DeltaWeights {
            qkv,
            taps: self.taps(convolutions, delta.taps)?,
            decay,
            dt_bias: self.vector(Role::SsmDtBias)?,
            a: self.vector(Role::SsmA)?,
            norm: self.vector(Role::SsmNorm)?,
            output: self.product(output)?,
        })
    }

    fn lightning(&self, l: &Lightning) -> Result<LightningWeights> {
        let norm = Norm { tensor: Some(Role::AttnNorm2.stem()), kind: NormKind::Rms, eps: l.eps };
        let len = l.heads * l.dim;
        Ok(LightningWeights {
            qkv: self.product(Role::AttnQkv)?,
            gate: self.product(Role::AttnGate)?,
            norm: self.norm(Some(norm), len)?.unwrap_or_else(|| plain_norm(norm, len)),
            output: self.product(Role::AttnOutput)?,
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
