//! A mixture of experts: one router for all gating rules, tokens grouped by expert, results added in the order of the
//! experts' numbers.

use super::ahead::Ahead;
use super::mixer::curves::softplus;
use super::pass::Pass;
use super::product::{self, Product};
use super::routing::Routing;
use super::scratch::{Scratch, sized};
use crate::arch::{Experts, Gating, Router, RouterInput};
use crate::model::{ExpertWeights, Gated};
use tokki_quant::activation::Activations;
use tokki_quant::isa::Isa;
use tokki_quant::ops;
use tokki_quant::share::{Chunks, OutTiles};

/// Smallest divisor of normalized weights: the smallest normal f16, as the models were trained with.
const MIN_WEIGHT_SUM: f32 = 6.103_515_6e-5;

impl Pass<'_> {
    /// From the branch's input to its output.
    pub(super) fn experts(&self, s: &mut Scratch, layer: usize, experts: &Experts, w: &ExpertWeights) {
        let (n, e) = (self.n, self.model.spec.embd);
        let count = w.router.rows();
        self.route(s, experts, w);
        if experts.router.input != RouterInput::Before {
            self.tell("ffn_moe_logits", layer, count, &s.router);
        }
        let bias = w.selection_bias.as_deref();
        let mut plan = plan(self.isa, &mut s.router[..n * count], count, experts, bias);
        self.tell("ffn_moe_probs", layer, count, &s.router);
        let ahead = Ahead::new(self.read_ahead, &plan, &w.experts);
        self.read_ahead_of(&ahead.at_once());
        self.read_layer_ahead(layer + 1);
        match (&w.shared, experts.shared) {
            (Some(shared), Some(facts)) => {
                self.plain(s, facts.act, shared);
                self.weigh_shared(s, w);
                self.tell("ffn_shexp", layer, e, &s.branch);
            }
            _ => sized(&mut s.branch, n * e).fill(0.0),
        }
        let width = experts.latent.unwrap_or(e);
        if let Some((down, _)) = &w.latent {
            let Scratch { input, low, inner, .. } = s;
            self.product(down, input, sized(low, n * width));
            self.quantize(&low[..n * width], width, product::kinds(w.experts.first()), inner);
            std::mem::swap(input, inner);
        }
        self.chosen(s, &mut plan, experts, &w.experts, &ahead);
        let Some((_, up)) = &w.latent else {
            if self.trace.is_some() {
                let mut alone = vec![0.0; n * e];
                self.add_chosen(&plan, &s.expert_out, &mut alone, e);
                self.tell("ffn_moe_out", layer, e, &alone);
            }
            return self.add_chosen(&plan, &s.expert_out, &mut s.branch, e);
        };
        let Scratch { low, expert_out, inner, side, branch, .. } = s;
        sized(low, n * width).fill(0.0);
        self.add_chosen(&plan, expert_out, low, width);
        self.quantize(&low[..n * width], width, product::kinds([up]), inner);
        self.product(up, inner, sized(side, n * e));
        self.tell("ffn_moe_out", layer, e, side);
        ops::add(self.isa, &mut branch[..n * e], &side[..n * e]);
    }

    /// The router's logits into `s.router`.
    fn route(&self, s: &mut Scratch, experts: &Experts, w: &ExpertWeights) {
        let (n, e, isa) = (self.n, self.model.spec.embd, self.isa);
        let logits = n * w.router.rows();
        let kinds = product::kinds([&w.router]);
        let Scratch { x, entering, input, inner, router, side, .. } = s;
        match experts.router.input {
            // The scores by which the experts before were chosen are still there.
            RouterInput::Before => {}
            RouterInput::Input => self.product(&w.router, input, sized(router, logits)),
            RouterInput::Entering => {
                self.quantize(&entering[..n * e], e, kinds, inner);
                self.product(&w.router, inner, sized(router, logits));
            }
            RouterInput::Rescaled { eps } => {
                let Some(scale) = &w.router_scale else { return };
                let rows = Chunks::new(sized(side, n * e), e);
                let writer = inner.reset(kinds, n, e);
                self.lead.phase(n, &|_, t| {
                    let row = rows.take(t);
                    ops::rms_norm(isa, &x[t * e..][..e], scale, eps, row);
                    ops::scale(isa, row, 1.0 / (e as f32).sqrt());
                    writer.write(isa, t, row);
                });
                drop(writer);
                self.product(&w.router, inner, sized(router, logits));
            }
        }
    }

    /// The shared expert's result in `s.branch` times the sigmoid of its weight.
    fn weigh_shared(&self, s: &mut Scratch, w: &ExpertWeights) {
        let Some(gate) = &w.shared_gate else { return };
        let (n, e) = (self.n, self.model.spec.embd);
        let Scratch { input, k, branch, .. } = s;
        let weights = sized(k, n);
        self.product(gate, input, weights);
        ops::sigmoid(self.isa, weights);
        branch.chunks_exact_mut(e).zip(weights.iter()).for_each(|(row, weight)| ops::scale(self.isa, row, *weight));
    }

    /// Adds the results of each token's experts, in the order of their numbers, to rows of `width` values.
    fn add_chosen(&self, plan: &Routing, outputs: &[f32], to: &mut [f32], width: usize) {
        let rows = Chunks::new(&mut to[..self.n * width], width);
        self.lead.phase(self.n, &|_, t| {
            let sum = rows.take(t);
            for &(row, weight) in &plan.routes[t] {
                ops::add_scaled(self.isa, sum, &outputs[row * width..][..width], weight);
            }
        });
    }

    /// Every chosen expert on its tokens, into `s.expert_out`: `[rows of expert a | rows of expert b | ...][E]`.
    fn chosen(&self, s: &mut Scratch, plan: &mut Routing, facts: &Experts, w: &Gated, ahead: &Ahead<'_>) {
        let (width, e, lead) = (w.up.rows(), w.down.rows(), self.lead);
        let total: usize = plan.experts.iter().map(|(_, tokens)| tokens.len()).sum();
        let all: Vec<u32> = (0..total as u32).collect();
        if facts.weigh_input {
            self.weigh_inputs(s, plan, w);
        }
        let Scratch { input, weighted, gate, .. } = s;
        let input: &Activations = if facts.weigh_input { weighted } else { input };
        let mut gates = sized(gate, total * width);
        let mut left = &all[..];
        let mut products = Vec::with_capacity(plan.experts.len());
        for (i, (expert, tokens)) in plan.experts.iter().enumerate() {
            let gate = take(&mut gates, tokens.len() * width);
            let (own, rest) = left.split_at(tokens.len());
            left = rest;
            let rows = if facts.weigh_input { own } else { tokens };
            let product = Product::gated((w, *expert), facts.act, input, Some(rows), gate, lead);
            products.push(product.reading_ahead(ahead.at_product(i)));
        }
        product::run(lead, self.isa, &products);
        drop(products);
        self.quantize(&s.gate[..total * width], width, product::kinds([&w.down]), &mut s.inner);
        let (mut rows, mut outputs) = (&all[..], sized(&mut s.expert_out, total * e));
        let mut products = Vec::with_capacity(plan.experts.len());
        for (i, (expert, tokens)) in plan.experts.iter().enumerate() {
            let (own, rest) = rows.split_at(tokens.len());
            rows = rest;
            let band = product::band(&w.down, own.len(), lead.threads());
            let out = OutTiles::new(take(&mut outputs, own.len() * e), e, band);
            let product = Product::of((&w.down, *expert), &s.inner, own, out);
            products.push(product.reading_ahead(ahead.at_product(plan.experts.len() + i)));
        }
        product::run(lead, self.isa, &products);
    }

    /// The inputs of the chosen experts, each times its weight, in the order of the plan's rows. Results then count as they
    /// are.
    fn weigh_inputs(&self, s: &mut Scratch, plan: &mut Routing, w: &Gated) {
        let e = self.model.spec.embd;
        let mut rows: Vec<(usize, f32)> = vec![(0, 0.0); plan.routes.iter().map(Vec::len).sum()];
        for (t, routes) in plan.routes.iter_mut().enumerate() {
            for (row, weight) in routes {
                rows[*row] = (t, std::mem::replace(weight, 1.0));
            }
        }
        let Scratch { h, weighted, side, .. } = s;
        let scaled = Chunks::new(sized(side, rows.len() * e), e);
        let writer = weighted.reset(product::kinds(w.first()), rows.len(), e);
        self.lead.phase(rows.len(), &|_, index| {
            let (t, weight) = rows[index];
            let row = scaled.take(index);
            row.copy_from_slice(&h[t * e..][..e]);
            ops::scale(self.isa, row, weight);
            writer.write(self.isa, index, row);
        });
    }
}

/// Splits the first `len` values off.
fn take<'a>(buffer: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (head, rest) = std::mem::take(buffer).split_at_mut(len);
    *buffer = rest;
    head
}

/// Groups tokens by expert from the router's logits `[n][count]` (overwritten with the scores).
fn plan(isa: Isa, logits: &mut [f32], count: usize, experts: &Experts, bias: Option<&[f32]>) -> Routing {
    let (used, router) = (experts.used, &experts.router);
    let mut tokens_of = vec![Vec::new(); count];
    let mut choices = Vec::new();
    for (t, logits) in logits.chunks_exact_mut(count).enumerate() {
        let chosen = choose(isa, logits, used, router, bias);
        chosen.iter().for_each(|&(expert, _)| tokens_of[expert].push(t as u32));
        choices.push(chosen);
    }
    let experts: Vec<(usize, Vec<u32>)> =
        tokens_of.into_iter().enumerate().filter(|(_, tokens)| !tokens.is_empty()).collect();
    let mut routes = vec![Vec::with_capacity(used); choices.len()];
    let mut row = 0;
    for (expert, tokens) in &experts {
        for &t in tokens {
            let weight = choices[t as usize].iter().find(|(e, _)| e == expert).map_or(0.0, |&(_, weight)| weight);
            routes[t as usize].push((row, weight));
            row += 1;
        }
    }
    Routing { experts, routes }
}

/// The experts of one token and their weights. Ties go to the lower number.
fn choose(isa: Isa, logits: &mut [f32], used: usize, router: &Router, bias: Option<&[f32]>) -> Vec<(usize, f32)> {
    match router.gating {
        // They are scores already.
        _ if router.input == RouterInput::Before => {}
        Gating::Softmax => ops::softmax(isa, logits),
        Gating::Sigmoid => ops::sigmoid(isa, logits),
        Gating::SoftmaxOfChosen => {}
        Gating::SqrtSoftplus => logits.iter_mut().for_each(|x| *x = softplus(*x).sqrt()),
    }
    let mut scores: Vec<f32> = match bias {
        Some(bias) => logits.iter().zip(bias).map(|(score, bias)| score + bias).collect(),
        None => logits.to_vec(),
    };
    if let Some((groups, kept)) = router.groups {
        keep_groups(&mut scores, groups, kept);
    }
    let mut chosen = best(&scores, used);
    chosen.iter_mut().for_each(|expert| *expert /= router.per_group.max(1));
    let mut weights: Vec<f32> = chosen.iter().map(|&expert| logits[expert]).collect();
    if router.gating == Gating::SoftmaxOfChosen {
        ops::softmax(isa, &mut weights);
    }
    if router.normalize {
        let sum: f32 = weights.iter().sum();
        let sum = sum.max(MIN_WEIGHT_SUM);
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    weights.iter_mut().for_each(|weight| *weight *= router.scale);
    chosen.into_iter().zip(weights).collect()
}

/// Indices of the `k` largest values, largest first.
fn best(values: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
    order.truncate(k);
    order
}

/// Experts outside the best `kept` of `groups` equal groups can't be chosen; a group's score is the sum of its two best.
fn keep_groups(scores: &mut [f32], groups: usize, kept: usize) {
    let size = scores.len() / groups.max(1);
    if size == 0 {
        return;
    }
    let of_group: Vec<f32> =
        scores.chunks(size).map(|group| best(group, 2).into_iter().map(|i| group[i]).sum()).collect();
    let keep = best(&of_group, kept);
    for (index, group) in scores.chunks_mut(size).enumerate() {
        if !keep.contains(&index) {
            group.fill(f32::NEG_INFINITY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(gating: Gating) -> Router {
        let input = RouterInput::Input;
        Router { gating, input, selection_bias: false, groups: None, normalize: false, scale: 1.0, per_group: 1 }
    }

    fn experts(used: usize, gating: Gating) -> Experts {
        Experts {
            count: 3,
            used,
            width: 1,
            gate: crate::arch::Gate::Split,
            roles: crate::arch::GatedRoles::EXPERTS,
            act: crate::arch::Activation::Silu,
            router: router(gating),
            shared: None,
            latent: None,
            weigh_input: false,
        }
    }

    #[test]
    fn the_bias_chooses_but_does_not_weigh() {
        let mut logits = [0.0, 1.0, 2.0, 3.0];
        let bias = [9.0, 0.0, 0.0, 0.0];
        let chosen = choose(Isa::SCALAR, &mut logits, 2, &router(Gating::Sigmoid), Some(&bias));
        assert_eq!(chosen.iter().map(|c| c.0).collect::<Vec<_>>(), [0, 3]);
        assert!((chosen[0].1 - 0.5).abs() < 1e-6);
    }

    #[test]
    fn normalized_weights_sum_to_the_scale() {
        for gating in [Gating::Softmax, Gating::Sigmoid, Gating::SoftmaxOfChosen] {
            let mut logits = [0.3, -1.0, 2.0, 0.7, 0.1];
            let rule = Router { normalize: true, scale: 2.5, ..router(gating) };
            let sum: f32 = choose(Isa::SCALAR, &mut logits, 3, &rule, None).iter().map(|c| c.1).sum();
            assert!((sum - 2.5).abs() < 1e-5, "{gating:?}: {sum}");
        }
    }

    #[test]
    fn only_the_best_groups_are_eligible() {
        // Groups (0,1) (2,3) (4,5): sums 5.0, 6.0, 4.1; the single best expert is in the worst group.
        let mut scores = [2.5, 2.5, 3.0, 3.0, 4.0, 0.1];
        keep_groups(&mut scores, 3, 2);
        assert_eq!(best(&scores, 4), [2, 3, 0, 1]);
    }

    #[test]
    fn tokens_are_grouped_by_expert_in_rising_order() {
        let mut logits = [0.0, 1.0, 5.0, 0.0, 9.0, 1.0];
        let plan = plan(Isa::SCALAR, &mut logits, 3, &experts(2, Gating::SoftmaxOfChosen), None);
        assert_eq!(plan.experts, [(1, vec![0, 1]), (2, vec![0, 1])]);
        assert_eq!(plan.routes[1].iter().map(|r| r.0).collect::<Vec<_>>(), [1, 3]);
    }
}
