//! Binds the mixers of RWKV.

use super::scope::Scope;
use crate::Result;
use crate::arch::{ChannelMix, TimeMix, TimeMixForm};
use crate::model::{ChannelMixWeights, SevenWeights, Stack, TimeMixPart, TimeMixWeights};

impl Scope<'_> {
    pub(super) fn time_mix(&self, mix: &TimeMix) -> Result<TimeMixWeights> {
        let (lerp_x, blend, decay, decay_bias, part) = match mix.form {
            TimeMixForm::Six { linear, .. } => {
                let bonus = (!linear).then(|| self.vector("time_mix_first.weight")).transpose()?;
                let part = TimeMixPart::Six { gate: Box::new(self.product("time_mix_gate")?), bonus };
                let blend = Some((self.plain("time_mix_w1")?, self.plain("time_mix_w2")?));
                let decay_bias = self.vector("time_mix_decay.weight")?;
                (self.vector("time_mix_lerp_x.weight")?, blend, self.low_rank("decay_w")?, decay_bias, part)
            }
            TimeMixForm::Seven { value, gate, .. } => {
                let value =
                    value.map(|_| -> Result<_> { Ok((self.low_rank("v")?, self.vector("time_mix_v0.weight")?)) });
                let part = TimeMixPart::Seven(Box::new(SevenWeights {
                    rate: (self.low_rank("a")?, self.vector("time_mix_a0.weight")?),
                    value: value.transpose()?,
                    gate: gate.map(|_| self.low_rank("g")).transpose()?,
                    k_k: self.vector("time_mix_k_k.weight")?,
                    k_a: self.vector("time_mix_k_a.weight")?,
                    r_k: self.vector("time_mix_r_k.weight")?,
                }));
                (Vec::new(), None, self.low_rank("w")?, self.vector("time_mix_w0.weight")?, part)
            }
        };
        Ok(TimeMixWeights {
            receptance: self.product("time_mix_receptance")?,
            key: self.product("time_mix_key")?,
            value: self.product("time_mix_value")?,
            output: self.product("time_mix_output")?,
            lerps: self.vector("time_mix_lerp_fused.weight")?,
            lerp_x,
            blend,
            decay,
            decay_bias,
            norm: self.head_norm(mix.norm, mix.heads, mix.dim)?,
            part,
        })
    }

    /// The two products of a low rank.
    fn low_rank(&self, name: &str) -> Result<(Stack, Stack)> {
        Ok((self.plain(&format!("time_mix_{name}1"))?, self.plain(&format!("time_mix_{name}2"))?))
    }

    pub(super) fn channel_mix(&self, mix: &ChannelMix) -> Result<ChannelMixWeights> {
        let receptance = || -> Result<_> {
            Ok((self.vector("channel_mix_lerp_r.weight")?, self.product("channel_mix_receptance")?))
        };
        Ok(ChannelMixWeights {
            lerp_k: self.vector("channel_mix_lerp_k.weight")?,
            key: self.product("channel_mix_key")?,
            value: self.product("channel_mix_value")?,
            receptance: mix.receptance.then(receptance).transpose()?,
        })
    }
}
