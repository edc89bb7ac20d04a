//! A mixture of experts: one router for all gating rules, tokens grouped by expert, results added in the order of the
//! experts' numbers.

use super::Pass;
use super::ahead::Ahead;
use super::product::{self, Product};
use super::scratch::{Scratch, sized};
use crate::arch::{Activation, Ffn, Gating, Router};
use crate::model::{ExpertWeights, Gated};
use tokki_quant::activation::ActKinds;
use tokki_quant::isa::Isa;
use tokki_quant::ops;
use tokki_quant::share::{Chunks, OutTiles};

/// Smallest divisor of normalized weights: the smallest normal f16, as the models were trained with.
const MIN_WEIGHT_SUM: f32 = 6.103_515_6e-5;

/// The kinds of activations that a layer of experts reads.
pub(super) fn input_kinds(w: &ExpertWeights) -> ActKinds {
    let shared = w.shared.iter().flat_map(|gated| [&gated.gate, &gated.up]);
    product::kinds([&w.router, &w.experts.gate, &w.experts.up].into_iter().chain(shared))
}

/// Which tokens go to which expert.
pub(super) struct Plan {
    /// `(expert, tokens)` of each expert that has any, in rising order.
    pub(super) experts: Vec<(usize, Vec<u32>)>,
    /// For each token its `(output row, weight)` in rising order of the expert.
    routes: Vec<Vec<(usize, f32)>>,
}

impl Pass<'_> {
    /// From the branch's input to its output.
    pub(super) fn experts(&self, s: &mut Scratch, layer: usize, w: &ExpertWeights) {
        let ffn = &self.model.spec.layers[layer].ffn;
        let Ffn::Experts { count, used, act, router, .. } = ffn else { return };
        let (n, e) = (self.n, self.model.spec.embd);
        self.product(&w.router, &s.input, sized(&mut s.router, n * count));
        let plan = plan(self.isa, &mut s.router[..n * count], *count, *used, router, w.selection_bias.as_deref());
        let ahead = Ahead::new(self.read_ahead, &plan, &w.experts);
        self.ask_for(&ahead.at_once());
        self.ask_for_layer(layer + 1);
        match &w.shared {
            Some(shared) => self.dense(s, ffn, shared),
            None => sized(&mut s.branch, n * e).fill(0.0),
        }
        self.chosen(s, &plan, *act, &w.experts, &ahead);
        let branches = Chunks::new(&mut s.branch[..n * e], e);
        let outputs = &s.expert_out;
        self.lead.phase(n, &|_, t| {
            let branch = branches.take(t);
            for &(row, weight) in &plan.routes[t] {
                ops::add_scaled(self.isa, branch, &outputs[row * e..][..e], weight);
            }
        });
    }

    /// Every chosen expert on its tokens, into `s.expert_out`: `[rows of expert a | rows of expert b | ...][E]`.
    fn chosen(&self, s: &mut Scratch, plan: &Plan, act: Activation, w: &Gated, ahead: &Ahead<'_>) {
        let (width, e, lead) = (w.gate.rows(), self.model.spec.embd, self.lead);
        let total: usize = plan.experts.iter().map(|(_, tokens)| tokens.len()).sum();
        let (mut gates, mut ups) = (sized(&mut s.gate, total * width), sized(&mut s.up, total * width));
        let mut products = Vec::with_capacity(plan.experts.len());
        for (i, (expert, tokens)) in plan.experts.iter().enumerate() {
            let (gate, up) = (take(&mut gates, tokens.len() * width), take(&mut ups, tokens.len() * width));
            let product = Product::gated((w, *expert), act, &s.input, Some(tokens), (gate, up), lead);
            products.push(product.asking_for(ahead.at_product(i)));
        }
        product::run(lead, self.isa, &products);
        drop(products);
        self.quantize(&s.gate[..total * width], width, product::kinds([&w.down]), &mut s.inner);
        let rows: Vec<u32> = (0..total as u32).collect();
        let (mut rows, mut outputs) = (&rows[..], sized(&mut s.expert_out, total * e));
        let mut products = Vec::with_capacity(plan.experts.len());
        for (i, (expert, tokens)) in plan.experts.iter().enumerate() {
            let (own, rest) = rows.split_at(tokens.len());
            rows = rest;
            let band = product::band(&w.down, own.len(), lead.threads());
            let out = OutTiles::new(take(&mut outputs, own.len() * e), e, band);
            let product = Product::of((&w.down, *expert), &s.inner, own, out);
            products.push(product.asking_for(ahead.at_product(plan.experts.len() + i)));
        }
        product::run(lead, self.isa, &products);
    }
}

/// Splits the first `len` values off.
fn take<'a>(buffer: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (head, rest) = std::mem::take(buffer).split_at_mut(len);
    *buffer = rest;
    head
}

/// Groups tokens by expert from the router's logits `[n][count]` (overwritten with the scores).
fn plan(isa: Isa, logits: &mut [f32], count: usize, used: usize, router: &Router, bias: Option<&[f32]>) -> Plan {
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
    Plan { experts, routes }
}

/// The experts of one token and their weights. Ties go to the lower number.
fn choose(isa: Isa, logits: &mut [f32], used: usize, router: &Router, bias: Option<&[f32]>) -> Vec<(usize, f32)> {
    match router.gating {
        Gating::Softmax => ops::softmax(isa, logits),
        Gating::Sigmoid => ops::sigmoid(isa, logits),
        Gating::SoftmaxOfChosen => {}
    }
    let mut scores: Vec<f32> = match bias {
        Some(bias) => logits.iter().zip(bias).map(|(score, bias)| score + bias).collect(),
        None => logits.to_vec(),
    };
    if let Some((groups, kept)) = router.groups {
        keep_groups(&mut scores, groups, kept);
    }
    let chosen = best(&scores, used);
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
        Router { gating, selection_bias: false, groups: None, normalize: false, scale: 1.0 }
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
        let plan = plan(Isa::SCALAR, &mut logits, 3, 2, &router(Gating::SoftmaxOfChosen), None);
        assert_eq!(plan.experts, [(1, vec![0, 1]), (2, vec![0, 1])]);
        assert_eq!(plan.routes[1].iter().map(|r| r.0).collect::<Vec<_>>(), [1, 3]);
    }
}
