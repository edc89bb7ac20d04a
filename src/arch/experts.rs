//! Reads mixtures of experts: which layers have them, and how the router chooses and weighs.

use super::keys::Keys;
use super::{Activation, Ffn, Gating, Router, Spec};
use crate::Result;

/// What a family says about its experts; the keys say the rest.
pub(super) struct Experts {
    /// The elementwise function.
    pub(super) act: Activation,
    /// Gating where the file does not name one; a family with a fixed gating says so in `fixed`.
    pub(super) gating: Gating,
    /// `gating` holds whatever the file says.
    pub(super) fixed: bool,
    /// Weights are always divided by their sum; otherwise the file says.
    pub(super) normalize: bool,
}

impl Keys<'_> {
    /// Replaces the feed-forward of all layers after the leading dense ones by experts.
    pub(super) fn set_experts(&self, spec: &mut Spec, family: &Experts) -> Result<()> {
        let count = self.need_usize("expert_count")?;
        let used = self.need_usize("expert_used_count")?;
        let dense = self.usize("leading_dense_block_count")?.unwrap_or(0);
        let shared_count = self.usize("expert_shared_count")?.unwrap_or(0);
        let shared_width = self.set_usize("expert_shared_feed_forward_length")?;
        let own_width = self.set_usize("expert_feed_forward_length")?;
        let router = self.router(family)?;
        for layer in spec.layers.iter_mut().skip(dense) {
            let Ffn::Dense { width: dense_width, .. } = layer.ffn else { continue };
            let width = own_width.unwrap_or(dense_width);
            let shared = shared_width.or((shared_count > 0).then(|| width.saturating_mul(shared_count)));
            let selection_bias = self.has(layer.block, "exp_probs_b.bias");
            let fused = self.has(layer.block, "ffn_gate_up_exps.weight");
            let router = Router { selection_bias, ..router.clone() };
            layer.ffn = Ffn::Experts { count, used, width, fused, act: family.act, router, shared };
        }
        Ok(())
    }

    fn router(&self, family: &Experts) -> Result<Router> {
        let gating = match self.set_usize("expert_gating_func")?.filter(|_| !family.fixed) {
            None => family.gating,
            Some(1) => Gating::Softmax,
            Some(2) => Gating::Sigmoid,
            Some(3) => Gating::SoftmaxOfChosen,
            Some(_) => return Err(self.wrong("expert_gating_func", "1 (softmax), 2 (sigmoid) or 3 (of the chosen)")),
        };
        let groups = self.usize("expert_group_count")?.unwrap_or(0);
        let kept = self.usize("expert_group_used_count")?.unwrap_or(0);
        Ok(Router {
            gating,
            selection_bias: false,
            groups: (groups > 1 && kept > 0).then_some((groups, kept)),
            normalize: family.normalize || self.bool("expert_weights_norm")?.unwrap_or(false),
            scale: self.set_f32("expert_weights_scale")?.unwrap_or(1.0),
        })
    }
}
