//! Binds feed-forwards.

use super::scope::Scope;
use crate::Result;
use crate::arch::{Dense, Experts, Feed, Ffn, Gate, GatedRoles, Role, RouterInput};
use crate::model::{DenseWeights, ExpertWeights, FeedWeights, FfnWeights, Gated, Stack};
use tokki_quant::activation::ActKind;
use tokki_quant::dtype::DType;

impl Scope<'_> {
    pub(super) fn feed(&self, feed: &Feed, embd: usize) -> Result<FeedWeights> {
        Ok(FeedWeights {
            norm: self.norm(feed.norm, embd)?,
            ffn: match &feed.ffn {
                Ffn::Dense(dense) => FfnWeights::Dense(Box::new(self.dense(dense)?)),
                Ffn::Experts(experts) => FfnWeights::Experts(Box::new(self.experts(experts)?)),
            },
            post_norm: self.norm(feed.post_norm, embd)?,
        })
    }

    fn dense(&self, dense: &Dense) -> Result<DenseWeights> {
        let divisors = if dense.divisors { Some(self.vector(Role::FfnActScales)?) } else { None };
        Ok(DenseWeights {
            gated: self.gated(GatedRoles::DENSE, dense.gate, dense.width)?,
            inner_norm: self.norm(dense.inner_norm, dense.width)?,
            factors: divisors.map(|divisors| divisors.into_iter().map(|divisor| 1.0 / divisor).collect()),
        })
    }

    fn gated(&self, roles: GatedRoles, gate: Gate, width: usize) -> Result<Gated> {
        let part = |rows| self.rows_of(roles.gate_up, rows);
        let (gate, up) = match gate {
            Gate::None => (None, self.scaled(roles.up)?),
            Gate::Split => (Some(self.scaled(roles.gate)?), self.scaled(roles.up)?),
            Gate::Fused => (Some(part(0..width)?), part(width..2 * width)?),
        };
        Ok(Gated { gate, up, down: self.scaled(roles.down)? })
    }

    /// A matrix of a feed-forward without experts. Where the file scales its results, the bias is scaled along (as the
    /// ternary models that brought such factors do); a factor that belongs to the format of the weights is theirs alone.
    fn scaled(&self, role: Role) -> Result<Stack> {
        let stack = self.product(role)?;
        let bias = match (stack.scale(0), stack.bias(0)) {
            (Some(scale), Some(bias)) if !has_own_factor(stack.dtype()) => bias.iter().map(|b| b * scale).collect(),
            _ => return Ok(stack),
        };
        Ok(stack.with_bias(Some(bias)))
    }

    fn experts(&self, experts: &Experts) -> Result<ExpertWeights> {
        let (width, roles) = (experts.width, experts.roles);
        let (gate, up) = match experts.gate {
            Gate::None => (None, self.product(roles.up)?),
            Gate::Split => (Some(self.product(roles.gate)?), self.product(roles.up)?),
            Gate::Fused => {
                let shape = self.shape(roles.gate_up)?;
                let part = |rows| Stack::part(self.view(roles.gate_up)?, shape.count, shape.rows, rows, shape.cols);
                (Some(part(0..width)?), part(width..2 * width)?)
            }
        };
        let rescaled = matches!(experts.router.input, RouterInput::Rescaled { .. });
        let router = if rescaled { self.plain(Role::FfnGateInp)? } else { self.product(Role::FfnGateInp)? };
        let latent = |_| -> Result<_> { Ok((self.product(Role::FfnLatentDown)?, self.product(Role::FfnLatentUp)?)) };
        let shared =
            experts.shared.map(|shared| self.gated(GatedRoles::SHARED, shared.gate, shared.width)).transpose()?;
        let weighted = experts.shared.is_some_and(|shared| shared.weighted);
        let bias = if experts.router.selection_bias { Some(self.vector(Role::ExpProbsB)?) } else { None };
        Ok(ExpertWeights {
            router,
            router_scale: if rescaled { Some(self.vector(Role::FfnGateInpScale)?) } else { None },
            selection_bias: bias,
            experts: Gated { gate, up, down: self.product(roles.down)? },
            latent: experts.latent.map(latent).transpose()?,
            shared,
            shared_gate: weighted.then(|| self.plain(Role::FfnGateInpShexp)).transpose()?,
        })
    }
}

/// Whether a factor beside a matrix belongs to the format of its weights: to formats of blocks that are no integers.
fn has_own_factor(dtype: DType) -> bool {
    dtype.block_len() > 1 && dtype.act() == ActKind::F32
}
