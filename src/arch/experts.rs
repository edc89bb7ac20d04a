//! Reads mixtures of experts: which layers have them, and how the router chooses and weighs.

use super::keys::Keys;
use super::{Activation, Dense, Experts, Ffn, Gate, GatedRoles, Gating, Router, RouterInput, Shared, Spec};
use crate::Result;

/// What a family says about its experts; the keys say the rest.
#[derive(Clone, Copy)]
pub(super) struct ExpertFacts {
    /// The elementwise function.
    pub(super) act: Activation,
    /// Gating where the file does not name one; a family with a fixed gating says so in `fixed`.
    pub(super) gating: Gating,
    /// `gating` holds whatever the file says.
    pub(super) fixed: bool,
    /// Weights are always divided by their sum; otherwise the file says.
    pub(super) normalize: bool,
    /// The width of experts is `feed_forward_length`, whatever `expert_feed_forward_length` says.
    pub(super) dense_width: bool,
    /// Experts, the shared one included, have a gate.
    pub(super) gated: bool,
    /// Whether there can be a shared expert, and where its width comes from.
    pub(super) shared: SharedWidth,
    /// The shared expert's result is weighted.
    pub(super) shared_weighted: bool,
    /// The weights are multiplied by what the key says.
    pub(super) scaled: bool,
}

/// Where the width of the shared expert comes from.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum SharedWidth {
    /// There is none.
    None,
    /// Its own key, or else the experts' width times their number.
    Key,
    /// The experts' width times their number.
    Count,
    /// Its own key times their number, or else the experts' width times their number.
    KeyTimesCount,
    /// One expert's width.
    One,
}

impl ExpertFacts {
    /// Softmax over all, normalized, no shared expert.
    pub(super) const SOFTMAX: Self = Self {
        act: Activation::Silu,
        gating: Gating::Softmax,
        fixed: true,
        normalize: true,
        dense_width: false,
        gated: true,
        shared: SharedWidth::Key,
        shared_weighted: false,
        scaled: true,
    };

    /// The sigmoid, unless the file says otherwise; normalized if the file says so.
    pub(super) const SIGMOID: Self = Self { gating: Gating::Sigmoid, fixed: false, normalize: false, ..Self::SOFTMAX };
}

impl Keys<'_> {
    /// Replaces the feed-forward of all layers after the leading dense ones by experts.
    pub(super) fn set_experts(&self, spec: &mut Spec, facts: &ExpertFacts) -> Result<()> {
        let dense = self.usize("leading_dense_block_count")?.unwrap_or(0);
        self.set_experts_where(spec, facts, |layer| layer >= dense)
    }

    /// Replaces the feed-forward of the layers for which `chosen` says so by experts.
    pub(super) fn set_experts_where(
        &self,
        spec: &mut Spec,
        facts: &ExpertFacts,
        chosen: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let layers = spec.layers.len();
        let count = self.need_usize("expert_count")?;
        let used = self.per_layer("expert_used_count", layers)?;
        let used = used.ok_or_else(|| self.wrong("expert_used_count", "a number of experts"))?;
        let own_width = self.per_layer("expert_feed_forward_length", layers)?;
        let router = self.router(facts)?;
        for (index, layer) in spec.layers.iter_mut().enumerate().filter(|(index, _)| chosen(*index)) {
            let Some(feed) = layer.feeds.first_mut() else { continue };
            let Ffn::Dense(Dense { width: dense_width, .. }) = feed.ffn else { continue };
            let own = own_width.as_ref().map(|widths| widths[index]).filter(|&width| width != 0 && !facts.dense_width);
            let width = own.unwrap_or(dense_width);
            let selection_bias = ["exp_probs_b.bias", "exp_probs_b"].iter().any(|name| self.has(layer.block, name));
            let split = if self.has(layer.block, "ffn_gate_up_exps.weight") { Gate::Fused } else { Gate::Split };
            feed.ffn = Ffn::Experts(Experts {
                count,
                used: used[index],
                width,
                gate: if facts.gated { split } else { Gate::None },
                roles: GatedRoles::EXPERTS,
                act: facts.act,
                router: Router { selection_bias, ..router.clone() },
                shared: self.shared(facts, width)?,
                latent: None,
                weigh_input: false,
            });
        }
        Ok(())
    }

    fn shared(&self, facts: &ExpertFacts, width: usize) -> Result<Option<Shared>> {
        let count = self.usize("expert_shared_count")?.unwrap_or(0);
        let key = self.set_usize("expert_shared_feed_forward_length")?;
        let by_count = (count > 0).then(|| width.saturating_mul(count));
        let width = match facts.shared {
            SharedWidth::None => None,
            SharedWidth::Key => key.or(by_count),
            SharedWidth::Count => by_count,
            SharedWidth::KeyTimesCount => (count > 0).then(|| key.unwrap_or(width).saturating_mul(count)),
            SharedWidth::One => Some(width),
        };
        let gate = if facts.gated { Gate::Split } else { Gate::None };
        Ok(width.map(|width| Shared { width, gate, act: facts.act, weighted: facts.shared_weighted }))
    }

    fn router(&self, facts: &ExpertFacts) -> Result<Router> {
        let gating = match self.set_usize("expert_gating_func")?.filter(|_| !facts.fixed) {
            None => facts.gating,
            Some(1) => Gating::Softmax,
            Some(2) => Gating::Sigmoid,
            Some(3) => Gating::SoftmaxOfChosen,
            Some(4) => Gating::SqrtSoftplus,
            Some(_) => {
                let wanted = "1 (softmax), 2 (sigmoid), 3 (of the chosen) or 4 (root of softplus)";
                return Err(self.wrong("expert_gating_func", wanted));
            }
        };
        let groups = self.usize("expert_group_count")?.unwrap_or(0);
        let kept = self.usize("expert_group_used_count")?.unwrap_or(0);
        let scale = self.set_f32("expert_weights_scale")?.filter(|_| facts.scaled);
        Ok(Router {
            gating,
            input: RouterInput::Input,
            selection_bias: false,
            groups: (groups > 1 && kept > 0).then_some((groups, kept)),
            normalize: facts.normalize || self.bool("expert_weights_norm")?.unwrap_or(false),
            scale: scale.unwrap_or(1.0),
            per_group: 1,
        })
    }
}

impl Spec {
    /// All experts, to be changed.
    pub(super) fn all_experts(&mut self) -> impl Iterator<Item = &mut Experts> {
        self.layers.iter_mut().flat_map(super::Layer::experts_mut)
    }
}
