//! From logits to one token.

use super::constraint::Mask;
use super::dry::{Breakers, Repetitions};
use super::exp::exp_negative;
use super::philox::{second, uniform};
use super::table::Params;
use std::cmp::Ordering;
use std::sync::Arc;

/// Exponents below this (relative to the largest logit) add nothing that 53 bits of a sum could hold.
const NEGLIGIBLE: f64 = -40.0;
/// First guess of how many tokens `top_p` keeps; the guess grows until they suffice.
const NUCLEUS: usize = 256;

/// Why no token could be chosen. The logits are at fault, not the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// A logit is not a number, or infinite.
    #[error("the model's logit of token {token} is {value}: the model file or the computation is broken")]
    NotFinite {
        /// The first such token.
        token: u32,
        /// `NaN` or `infinite`.
        value: &'static str,
    },
    /// Bias, penalties and constraint leave no token.
    #[error("no token is allowed here: bias or constraint exclude all of them")]
    NoneAllowed,
}

impl From<SampleError> for crate::Error {
    fn from(error: SampleError) -> Self {
        Self::failed("sampling", error.to_string())
    }
}

/// A token that may be drawn, with its logit.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    logit: f32,
    token: u32,
}

impl Candidate {
    /// The order of likelihood: larger logit first, then the lower id. Logits are never NaN here.
    fn before(&self, other: &Self) -> Ordering {
        other.logit.partial_cmp(&self.logit).unwrap_or(Ordering::Equal).then(self.token.cmp(&other.token))
    }
}

/// Chooses tokens. What it draws depends on the logits, the history, the seed and the position, and on nothing else.
///
/// The order of steps: logit bias, penalties, repetitions, constraint; then temperature, top-k, typical-p, top-p, min-p, top
/// choices, each on what the one before has left (the order in which model makers' recommendations are meant).
#[derive(Debug)]
pub struct Sampler {
    params: Params,
    seed: u64,
    /// Reused between tokens, so that none allocates.
    candidates: Vec<Candidate>,
    weights: Vec<f64>,
    /// The weight below which `min_p` leaves tokens out.
    least: f64,
    window: Vec<u32>,
    repetitions: Repetitions,
    breakers: Arc<Breakers>,
    /// Tokens that penalties leave alone, in rising order.
    spared: Vec<u32>,
}

impl Sampler {
    /// A sampler for one sequence.
    ///
    /// # Errors
    /// A parameter out of its range.
    pub fn new(params: Params, seed: u64) -> crate::Result<Self> {
        params.check()?;
        Ok(Self {
            params,
            seed,
            candidates: Vec::new(),
            weights: Vec::new(),
            least: 0.0,
            window: Vec::new(),
            repetitions: Repetitions::default(),
            breakers: Arc::default(),
            spared: Vec::new(),
        })
    }

    /// The same sampler, to which repetitions do not reach across `breakers`. It knows tokens, not texts: what
    /// `dry_sequence_breakers` stands for is told it here.
    #[doc(hidden)]
    #[must_use]
    pub fn breaking(mut self, breakers: Arc<Breakers>) -> Self {
        self.breakers = breakers;
        self
    }

    /// The same sampler with penalties that leave `tokens` alone: what ends a turn is in every turn of the history, and
    /// weakening it would make answers longer and longer.
    #[must_use]
    pub fn sparing(mut self, tokens: impl IntoIterator<Item = u32>) -> Self {
        self.spared = tokens.into_iter().collect();
        self.spared.sort_unstable();
        self
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Chooses the token at `position` of the sequence; `history` holds the tokens before it. The logits are changed in
    /// place.
    ///
    /// # Errors
    /// [`SampleError`] for logits that are no numbers, and when no token is left.
    pub fn sample(&mut self, logits: &mut [f32], history: &[u32], position: u64) -> Result<u32, SampleError> {
        self.sample_masked(logits, history, position, None)
    }

    /// [`Self::sample`] among the tokens of `mask` only.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn sample_masked(
        &mut self,
        logits: &mut [f32],
        history: &[u32],
        position: u64,
        mask: Option<&Mask>,
    ) -> Result<u32, SampleError> {
        check_finite(logits)?;
        self.adjust(logits, history);
        if let Some(mask) = mask {
            mask.apply(logits);
        }
        let best = most_likely(logits).ok_or(SampleError::NoneAllowed)?;
        if self.params.is_greedy() {
            self.candidates.clear();
            self.candidates.push(best);
            self.weights.clear();
            self.weights.push(1.0);
            self.least = 0.0;
            return Ok(best.token);
        }
        Ok(self.choose(logits, best, position))
    }

    /// Filters and the draw.
    fn choose(&mut self, logits: &[f32], best: Candidate, position: u64) -> u32 {
        self.least = f64::from(self.params.min_p);
        let draw = uniform(self.seed, position);
        let sorted = self.params.top_k > 0 && self.params.top_k < logits.len();
        let unusual = self.params.typical_p < 1.0;
        if sorted {
            self.keep_top_k(logits);
        } else {
            self.keep_all(logits, best.logit);
            if self.params.top_p < 1.0 && !unusual {
                self.keep_nucleus(best.logit);
            }
        }
        let mut total = self.weigh(best.logit);
        if unusual {
            total = self.cut_typical(best.logit, total);
        }
        if self.params.top_p < 1.0 && (sorted || unusual) {
            total = self.cut_nucleus(total);
        }
        if self.least > 0.0 {
            total = self.weights.iter().copied().filter(|&weight| weight >= self.least).sum();
        }
        if self.params.xtc_probability > 0.0 && second(self.seed, position) < f64::from(self.params.xtc_probability) {
            total = self.leave_out_top_choices(total);
        }
        self.draw(total, draw)
    }

    /// Of the last draw, in logarithms: how likely `chosen` was after all filters, and the `count` likeliest tokens.
    pub fn likeliest(&self, chosen: u32, count: usize) -> (f32, Vec<(u32, f32)>) {
        let least = self.least;
        let drawn = self.candidates.iter().zip(&self.weights).filter(|&(_, &weight)| weight > 0.0 && weight >= least);
        let mut drawn: Vec<(Candidate, f64)> = drawn.map(|(&candidate, &weight)| (candidate, weight)).collect();
        let total: f64 = drawn.iter().map(|(_, weight)| weight).sum();
        drawn.sort_unstable_by(|(a, _), (b, _)| a.before(b));
        let log = |weight: f64| libm::log(weight / total) as f32;
        let own = drawn.iter().find(|(candidate, _)| candidate.token == chosen).map_or(f32::NEG_INFINITY, |c| log(c.1));
        (own, drawn.iter().take(count).map(|(candidate, weight)| (candidate.token, log(*weight))).collect())
    }

    /// Bias and penalties.
    fn adjust(&mut self, logits: &mut [f32], history: &[u32]) {
        let params = &self.params;
        for &(token, bias) in &params.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        if params.repeat_last_n > 0 && params.is_penalizing() {
            self.penalize(logits, history);
        }
        if self.params.is_dry() {
            self.repetitions.weaken(logits, history, &self.params, &self.breakers, &self.spared);
        }
    }

    /// Penalties of single tokens.
    fn penalize(&mut self, logits: &mut [f32], history: &[u32]) {
        let params = &self.params;
        self.window.clear();
        self.window.extend_from_slice(&history[history.len().saturating_sub(params.repeat_last_n)..]);
        self.window.retain(|token| self.spared.binary_search(token).is_err());
        self.window.sort_unstable();
        for same in self.window.chunk_by(|a, b| a == b) {
            let Some(logit) = logits.get_mut(same[0] as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / params.repeat_penalty } else { *logit * params.repeat_penalty };
            *logit -= params.presence_penalty + params.frequency_penalty * same.len() as f32;
        }
    }

    /// The `top_k` most likely candidates, most likely first.
    fn keep_top_k(&mut self, logits: &[f32]) {
        let k = self.params.top_k;
        // Candidates gather up to `room`; then all but the best k go, and what is worse than those is not gathered.
        let room = (4 * k).max(1024);
        let mut threshold = f32::NEG_INFINITY;
        self.candidates.clear();
        for (token, &logit) in logits.iter().enumerate() {
            // An equal logit further on has a higher id: it comes after those that are kept.
            if logit > threshold {
                self.candidates.push(Candidate { logit, token: token as u32 });
                if self.candidates.len() == room {
                    self.candidates.select_nth_unstable_by(k - 1, Candidate::before);
                    threshold = self.candidates[k - 1].logit;
                    self.candidates.truncate(k);
                }
            }
        }
        if self.candidates.len() > k {
            self.candidates.select_nth_unstable_by(k - 1, Candidate::before);
            self.candidates.truncate(k);
        }
        self.candidates.sort_unstable_by(Candidate::before);
    }

    /// All candidates with a probability that counts, in the order of their ids.
    fn keep_all(&mut self, logits: &[f32], best: f32) {
        let least = f64::from(best) + NEGLIGIBLE * f64::from(self.params.temperature);
        self.candidates.clear();
        let with_ids = logits.iter().enumerate().map(|(token, &logit)| Candidate { logit, token: token as u32 });
        self.candidates.extend(with_ids.filter(|c| f64::from(c.logit) >= least));
    }

    /// Weights of the candidates (probabilities times a constant), and their sum.
    fn weigh(&mut self, best: f32) -> f64 {
        let temperature = f64::from(self.params.temperature);
        let weight = |c: &Candidate| exp_negative((f64::from(c.logit) - f64::from(best)) / temperature);
        self.weights.clear();
        self.weights.extend(self.candidates.iter().map(weight));
        self.weights.iter().sum()
    }

    /// Keeps the candidates whose information, -ln p, is closest to the entropy of all, until they have `typical_p`; returns
    /// the sum of what is left, in the order of likelihood. Information less entropy is the mean logit less the own one.
    fn cut_typical(&mut self, best: f32, total: f64) -> f64 {
        let temperature = f64::from(self.params.temperature);
        let scaled = |c: &Candidate| (f64::from(c.logit) - f64::from(best)) / temperature;
        let mean: f64 = self.candidates.iter().zip(&self.weights).map(|(c, weight)| weight * scaled(c)).sum();
        let mean = mean / total;
        let distance = |c: &Candidate| (mean - scaled(c)).abs();
        self.candidates.sort_unstable_by(|a, b| distance(a).total_cmp(&distance(b)).then(a.before(b)));
        self.weigh(best);
        self.cut(f64::from(self.params.typical_p) * total);
        self.candidates.truncate(self.weights.len());
        self.candidates.sort_unstable_by(Candidate::before);
        let total = self.weigh(best);
        // The likeliest that is left may be another one.
        self.least *= self.weights.first().copied().unwrap_or(1.0);
        total
    }

    /// Cuts the (sorted) candidates after the first ones that together have `top_p`; returns the sum of what is left.
    fn cut_nucleus(&mut self, total: f64) -> f64 {
        self.cut(f64::from(self.params.top_p) * total)
    }

    fn cut(&mut self, wanted: f64) -> f64 {
        let mut sum = 0.0;
        for (i, weight) in self.weights.iter().enumerate() {
            sum += weight;
            if sum >= wanted {
                self.weights.truncate(i + 1);
                break;
            }
        }
        sum
    }

    /// Leaves out all tokens with at least the threshold's probability but the least likely of them ("exclude top choices":
    /// p-e-w, text-generation-webui, pull request 6335). Where that would leave out what ends a turn, nothing is. Returns
    /// the sum of what is left.
    fn leave_out_top_choices(&mut self, total: f64) -> f64 {
        let wanted = (f64::from(self.params.xtc_threshold) * total).max(self.least);
        let top = |weight: f64| weight >= wanted && weight > 0.0;
        let chosen = || self.candidates.iter().zip(&self.weights).filter(|&(_, &weight)| top(weight)).map(|(c, _)| *c);
        let Some(last) = chosen().max_by(Candidate::before) else { return total };
        let spared = |token: u32| self.spared.binary_search(&token).is_ok();
        if chosen().any(|c| c.token != last.token && spared(c.token)) {
            return total;
        }
        for (candidate, weight) in self.candidates.iter().zip(&mut self.weights) {
            if top(*weight) && candidate.token != last.token {
                *weight = 0.0;
            }
        }
        self.weights.iter().copied().filter(|&weight| weight >= self.least).sum()
    }

    /// The candidates of `top_p` over the whole vocabulary: only as many are sorted as it takes.
    fn keep_nucleus(&mut self, best: f32) {
        let total = self.weigh(best);
        let wanted = f64::from(self.params.top_p) * total;
        // All that are less likely than this are together only half of what may be missing: they are not looked at again.
        let negligible = (total - wanted) / (2 * self.candidates.len().max(1)) as f64;
        let mut weights = self.weights.iter();
        self.candidates.retain(|_| weights.next().is_some_and(|&weight| weight >= negligible));
        let all = self.candidates.len();
        let (mut sorted, mut sum, mut kept) = (0, 0.0, 0);
        while sorted < all && sum < wanted {
            let next = (sorted * 4).max(NUCLEUS).min(all);
            if next < all {
                self.candidates[sorted..].select_nth_unstable_by(next - sorted - 1, Candidate::before);
            }
            self.candidates[sorted..next].sort_unstable_by(Candidate::before);
            let temperature = f64::from(self.params.temperature);
            for c in &self.candidates[sorted..next] {
                if sum >= wanted {
                    break;
                }
                sum += exp_negative((f64::from(c.logit) - f64::from(best)) / temperature);
                kept += 1;
            }
            sorted = next;
        }
        self.candidates.truncate(kept);
    }

    /// Takes the candidate at `draw` of what the filters have left.
    fn draw(&self, total: f64, draw: f64) -> u32 {
        let kept = |weight: f64| weight >= self.least;
        let target = draw * total;
        let mut sum = 0.0;
        let mut last = 0;
        for (candidate, &weight) in self.candidates.iter().zip(&self.weights) {
            if kept(weight) && weight > 0.0 {
                sum += weight;
                last = candidate.token;
                if sum > target {
                    break;
                }
            }
        }
        last
    }
}

/// Values that are looked at side by side; a whole vocabulary is walked for every token.
const LANES: usize = 16;

fn check_finite(logits: &[f32]) -> Result<(), SampleError> {
    // Negative infinity is a fair "never".
    let odd = |x: f32| x.is_nan() || x == f32::INFINITY;
    let any_odd = |chunk: &[f32]| chunk.iter().fold(false, |any, &x| any | odd(x));
    let Some(chunk) = logits.chunks(LANES * 16).position(any_odd) else { return Ok(()) };
    let token = logits.iter().skip(chunk * LANES * 16).position(|&x| odd(x)).unwrap_or(0) + chunk * LANES * 16;
    let value = if logits[token].is_nan() { "NaN" } else { "infinite" };
    Err(SampleError::NotFinite { token: token as u32, value })
}

/// The largest logit with the lowest id; `None` when all are minus infinity.
fn most_likely(logits: &[f32]) -> Option<Candidate> {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, x);
        }
    }
    let logit = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger);
    let token = logits.iter().position(|&x| x == logit)?;
    (logit > f32::NEG_INFINITY).then_some(Candidate { logit, token: token as u32 })
}

#[cfg(test)]
mod tests;
