//! Binds feed-forwards.

use super::scope::Scope;
use crate::Result;
use crate::arch::{Dense, Experts, Feed, Ffn, Gate, RouterInput};
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
        let divisors = if dense.divisors { Some(self.vector("ffn.act.scales")?) } else { None };
        Ok(DenseWeights {
            gated: self.gated("", dense.gate, dense.width)?,
            inner_norm: self.norm(dense.inner_norm, dense.width)?,
            factors: divisors.map(|divisors| divisors.into_iter().map(|divisor| 1.0 / divisor).collect()),
        })
    }

    fn gated(&self, suffix: &str, gate: Gate, width: usize) -> Result<Gated> {
        let [gate_name, up_name] = ["gate", "up"].map(|name| format!("ffn_{name}{suffix}"));
        let (gate, up) = match gate {
            Gate::None => (None, self.scaled(&up_name)?),
            Gate::Split => (Some(self.scaled(&gate_name)?), self.scaled(&up_name)?),
            Gate::Fused => (Some(self.rows_of(&up_name, 0..width)?), self.rows_of(&up_name, width..2 * width)?),
        };
        Ok(Gated { gate, up, down: self.scaled(&format!("ffn_down{suffix}"))? })
    }

    /// A matrix of a feed-forward without experts. Where the file scales its results, the bias is scaled along (as the
    /// ternary models that brought such factors do); a factor that belongs to the format of the weights is theirs alone.
    fn scaled(&self, name: &str) -> Result<Stack> {
        let stack = self.product(name)?;
        let bias = match (stack.scale(0), stack.bias(0)) {
            (Some(scale), Some(bias)) if !has_own_factor(stack.dtype()) => bias.iter().map(|b| b * scale).collect(),
            _ => return Ok(stack),
        };
        Ok(stack.with_bias(Some(bias)))
    }

    fn experts(&self, experts: &Experts) -> Result<ExpertWeights> {
        let (width, suffix) = (experts.width, experts.suffix);
        let (gate, up) = match experts.gate {
            Gate::None => (None, self.product(&format!("ffn_up{suffix}"))?),
            Gate::Split => {
                (Some(self.product(&format!("ffn_gate{suffix}"))?), self.product(&format!("ffn_up{suffix}"))?)
            }
            Gate::Fused => {
                let name = format!("ffn_gate_up{suffix}.weight");
                let shape = self.shape(&name)?;
                let part = |rows| Stack::part(self.view(&name)?, shape.count, shape.rows, rows, shape.cols);
                (Some(part(0..width)?), part(width..2 * width)?)
            }
        };
        let rescaled = matches!(experts.router.input, RouterInput::Rescaled { .. });
        let router = if rescaled { self.plain("ffn_gate_inp")? } else { self.product("ffn_gate_inp")? };
        let latent = |_| -> Result<_> { Ok((self.product("ffn_latent_down")?, self.product("ffn_latent_up")?)) };
        let shared = experts.shared.map(|shared| self.gated("_shexp", shared.gate, shared.width)).transpose()?;
        let weighted = experts.shared.is_some_and(|shared| shared.weighted);
        let bias = if experts.router.selection_bias { Some(self.vector("exp_probs_b.bias")?) } else { None };
        Ok(ExpertWeights {
            router,
            router_scale: if rescaled { Some(self.vector("ffn_gate_inp.scale")?) } else { None },
            selection_bias: bias,
            experts: Gated { gate, up, down: self.product(&format!("ffn_down{suffix}"))? },
            latent: experts.latent.map(latent).transpose()?,
            shared,
            shared_gate: weighted.then(|| self.plain("ffn_gate_inp_shexp")).transpose()?,
        })
    }
}

/// Whether a factor beside a matrix belongs to the format of its weights: to formats of blocks that are no integers.
fn has_own_factor(dtype: DType) -> bool {
    dtype.block_len() > 1 && dtype.act() == ActKind::F32
}
