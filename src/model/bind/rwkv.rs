//! Binds the mixers of RWKV.

use super::scope::Scope;
use crate::Result;
use crate::arch::{ChannelMix, Role, TimeMix, TimeMixForm};
use crate::model::{ChannelMixWeights, SevenWeights, Stack, TimeMixPart, TimeMixWeights};

impl Scope<'_> {
    pub(super) fn time_mix(&self, mix: &TimeMix) -> Result<TimeMixWeights> {
        let (lerp_x, blend, decay, decay_bias, part) = match mix.form {
            TimeMixForm::Six { linear, .. } => {
                let bonus = (!linear).then(|| self.vector(Role::TimeMixFirst)).transpose()?;
                let part = TimeMixPart::Six { gate: Box::new(self.product(Role::TimeMixGate)?), bonus };
                let blend = Some((self.plain(Role::TimeMixW1)?, self.plain(Role::TimeMixW2)?));
                let decay_bias = self.vector(Role::TimeMixDecay)?;
                (
                    self.vector(Role::TimeMixLerpX)?,
                    blend,
                    self.low_rank([Role::TimeMixDecayW1, Role::TimeMixDecayW2])?,
                    decay_bias,
                    part,
                )
            }
            TimeMixForm::Seven { value, gate, .. } => {
                let value = value.map(|_| -> Result<_> {
                    Ok((self.low_rank([Role::TimeMixV1, Role::TimeMixV2])?, self.vector(Role::TimeMixV0)?))
                });
                let part = TimeMixPart::Seven(Box::new(SevenWeights {
                    rate: (self.low_rank([Role::TimeMixA1, Role::TimeMixA2])?, self.vector(Role::TimeMixA0)?),
                    value: value.transpose()?,
                    gate: gate.map(|_| self.low_rank([Role::TimeMixG1, Role::TimeMixG2])).transpose()?,
                    k_k: self.vector(Role::TimeMixKK)?,
                    k_a: self.vector(Role::TimeMixKA)?,
                    r_k: self.vector(Role::TimeMixRK)?,
                }));
                (
                    Vec::new(),
                    None,
                    self.low_rank([Role::TimeMixW1, Role::TimeMixW2])?,
                    self.vector(Role::TimeMixW0)?,
                    part,
                )
            }
        };
        Ok(TimeMixWeights {
            receptance: self.product(Role::TimeMixReceptance)?,
            key: self.product(Role::TimeMixKey)?,
            value: self.product(Role::TimeMixValue)?,
            output: self.product(Role::TimeMixOutput)?,
            lerps: self.vector(Role::TimeMixLerpFused)?,
            lerp_x,
            blend,
            decay,
            decay_bias,
            norm: self.head_norm(mix.norm, mix.heads, mix.dim)?,
            part,
        })
    }

    /// The two products of a low rank.
    fn low_rank(&self, [first, second]: [Role; 2]) -> Result<(Stack, Stack)> {
        Ok((self.plain(first)?, self.plain(second)?))
    }

    pub(super) fn channel_mix(&self, mix: &ChannelMix) -> Result<ChannelMixWeights> {
        let receptance =
            || -> Result<_> { Ok((self.vector(Role::ChannelMixLerpR)?, self.product(Role::ChannelMixReceptance)?)) };
        Ok(ChannelMixWeights {
            lerp_k: self.vector(Role::ChannelMixLerpK)?,
            key: self.product(Role::ChannelMixKey)?,
            value: self.product(Role::ChannelMixValue)?,
            receptance: mix.receptance.then(receptance).transpose()?,
        })
    }
}
