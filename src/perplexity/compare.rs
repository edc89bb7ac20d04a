//! How far predictions are from saved ones, the base.

/// Collects differences; holds a few numbers per prediction.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    divergences: Vec<f32>,
    same_top: usize,
    base_loss: f64,
    loss: f64,
    probability_change: f64,
    probability_squares: f64,
}

/// The summary of a [`Comparison`]. Divergences are `sum p_base (ln p_base - ln p)`, in nats.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Divergence {
    /// Mean.
    pub mean: f64,
    /// Standard error of the mean.
    pub mean_error: f64,
    /// Half of the predictions diverge less.
    pub median: f64,
    /// 90% of them.
    pub p90: f64,
    /// 95% of them.
    pub p95: f64,
    /// 99% of them.
    pub p99: f64,
    /// 99.9% of them.
    pub p999: f64,
    /// The largest.
    pub max: f64,
    /// Part of the predictions whose most likely token is that of the base, 0 to 1.
    pub same_top: f64,
    /// Perplexity of the base.
    pub base_perplexity: f64,
    /// Perplexity divided by that of the base.
    pub perplexity_ratio: f64,
    /// Mean change of the true token's probability.
    pub probability_change: f64,
    /// Root of the mean squared change of the true token's probability.
    pub probability_change_rms: f64,
}

impl Comparison {
    /// Adds a prediction: log-probabilities of the base and of the model, and the token that came.
    pub fn add(&mut self, base: &[f64], model: &[f64], target: u32) {
        let divergence: f64 = base.iter().zip(model).map(|(&b, &m)| b.exp() * (b - m)).sum();
        // Rounding of the saved values can make an equal prediction look better than the best possible one.
        self.divergences.push(divergence.max(0.0) as f32);
        self.same_top += usize::from(likeliest(base) == likeliest(model));
        let (base, model) = (base[target as usize], model[target as usize]);
        self.base_loss -= base;
        self.loss -= model;
        let change = model.exp() - base.exp();
        self.probability_change += change;
        self.probability_squares += change * change;
    }

    /// The summary, once there is a prediction.
    pub fn summary(&self) -> Option<Divergence> {
        let mut sorted = self.divergences.clone();
        sorted.sort_by(f32::total_cmp);
        let n = sorted.len() as f64;
        let (&max, sum) = (sorted.last()?, sorted.iter().map(|&x| f64::from(x)).sum::<f64>());
        let mean = sum / n;
        let variance = sorted.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let percentile = |part: f64| {
            // Between the two nearest values, as most tools have it.
            let place = part * (n - 1.0);
            let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            f64::from(low) + (f64::from(high) - f64::from(low)) * place.fract()
        };
        Some(Divergence {
            mean,
            mean_error: (variance / n).sqrt(),
            median: percentile(0.5),
            p90: percentile(0.9),
            p95: percentile(0.95),
            p99: percentile(0.99),
            p999: percentile(0.999),
            max: f64::from(max),
            same_top: self.same_top as f64 / n,
            base_perplexity: (self.base_loss / n).exp(),
            perplexity_ratio: ((self.loss - self.base_loss) / n).exp(),
            probability_change: self.probability_change / n,
            probability_change_rms: (self.probability_squares / n).sqrt(),
        })
    }
}

/// The first of the most likely tokens.
fn likeliest(log_probs: &[f64]) -> Option<usize> {
    let better = |best: Option<usize>, (i, x): (usize, &f64)| match best {
        Some(best) if log_probs[best] >= *x => Some(best),
        _ => Some(i),
    };
    log_probs.iter().enumerate().fold(None, better)
}
