#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::testing::Rng;

fn sampler(change: impl FnOnce(&mut Params)) -> Sampler {
    let mut params = Params { temperature: 1.0, ..Params::default() };
    change(&mut params);
    Sampler::new(params, 42).unwrap()
}

fn logits(rng: &mut Rng, n: usize, spread: f32) -> Vec<f32> {
    (0..n).map(|_| rng.signed() * spread).collect()
}

/// The definition: everything sorted, every step on its own.
fn distribution(params: &Params, logits: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap().then(a.cmp(&b)));
    if params.top_k > 0 {
        order.truncate(params.top_k);
    }
    let best = logits[order[0]];
    let weight = |i: usize| ((f64::from(logits[i]) - f64::from(best)) / f64::from(params.temperature)).exp();
    if params.typical_p < 1.0 {
        order = typical(&order, &weight, f64::from(params.typical_p));
    }
    let total: f64 = order.iter().map(|&i| weight(i)).sum();
    let mut sum = 0.0;
    let mut kept = Vec::new();
    for &i in &order {
        if sum >= f64::from(params.top_p) * total {
            break;
        }
        sum += weight(i);
        kept.push(i);
    }
    let likeliest = kept[0];
    kept.retain(|&i| weight(i) >= f64::from(params.min_p) * weight(likeliest));
    if params.xtc_probability == 1.0 {
        let total: f64 = kept.iter().map(|&i| weight(i)).sum();
        let top = kept.iter().filter(|&&i| weight(i) / total >= f64::from(params.xtc_threshold)).count();
        kept.drain(..top.saturating_sub(1));
    }
    let total: f64 = kept.iter().map(|&i| weight(i)).sum();
    let mut result = vec![0.0; logits.len()];
    kept.iter().for_each(|&i| result[i] = weight(i) / total);
    result
}

/// Locally typical sampling as the paper has it: by how far a token's information is from the entropy.
fn typical(order: &[usize], weight: &dyn Fn(usize) -> f64, wanted: f64) -> Vec<usize> {
    let total: f64 = order.iter().map(|&i| weight(i)).sum();
    let information = |i: usize| -(weight(i) / total).ln();
    let entropy: f64 = order.iter().map(|&i| weight(i) / total * information(i)).sum();
    let distance = |i: usize| (information(i) - entropy).abs();
    let mut near = order.to_vec();
    near.sort_by(|&a, &b| distance(a).partial_cmp(&distance(b)).unwrap());
    let (mut sum, mut kept) = (0.0, Vec::new());
    for i in near {
        if sum >= wanted {
            break;
        }
        sum += weight(i) / total;
        kept.push(i);
    }
    order.iter().copied().filter(|i| kept.contains(i)).collect()
}

/// Chi-squared test of what is drawn against the definition, for every combination of filters.
#[test]
fn draws_follow_the_distribution() {
    let mut rng = Rng::new(3);
    let table: [fn(&mut Params); 14] = [
        |_| {},
        |p| p.temperature = 0.4,
        |p| p.top_k = 7,
        |p| p.top_p = 0.8,
        |p| p.min_p = 0.2,
        |p| (p.top_k, p.top_p, p.min_p) = (12, 0.9, 0.05),
        |p| (p.top_p, p.min_p, p.temperature) = (0.95, 0.1, 2.0),
        |p| p.top_k = 1000,
        |p| p.typical_p = 0.5,
        |p| (p.typical_p, p.top_p, p.min_p) = (0.7, 0.8, 0.3),
        |p| (p.typical_p, p.top_k, p.temperature) = (0.6, 15, 0.8),
        |p| (p.xtc_probability, p.xtc_threshold) = (1.0, 0.05),
        |p| (p.xtc_probability, p.xtc_threshold, p.min_p, p.top_k) = (1.0, 0.1, 0.1, 20),
        |p| (p.xtc_probability, p.xtc_threshold, p.typical_p) = (1.0, 0.08, 0.9),
    ];
    for change in table {
        let logits = logits(&mut rng, 40, 3.0);
        let mut sampler = sampler(change);
        let expected = distribution(sampler.params(), &logits);
        let n = 40_000_u64;
        let mut counts = vec![0_u32; logits.len()];
        for position in 0..n {
            counts[sampler.sample(&mut logits.clone(), &[], position).unwrap() as usize] += 1;
        }
        let mut chi = 0.0;
        let mut cells = 0;
        for (&count, &p) in counts.iter().zip(&expected) {
            assert!(p > 0.0 || count == 0, "{:?}: drew what was filtered out", sampler.params());
            let mean = p * n as f64;
            if mean >= 5.0 {
                chi += (f64::from(count) - mean).powi(2) / mean;
                cells += 1;
            }
        }
        // Mean + 5 standard deviations of chi-squared with `cells` degrees of freedom.
        let bound = f64::from(cells) + 5.0 * (2.0 * f64::from(cells)).sqrt();
        assert!(chi < bound, "{:?}: {chi} of {bound}", sampler.params());
    }
}

/// The fast paths keep exactly the tokens of the definition, on large vocabularies full of ties.
#[test]
fn filters_keep_what_the_definition_keeps() {
    let mut rng = Rng::new(5);
    for (n, change) in [
        (200_000, (|p: &mut Params| p.top_k = 40) as fn(&mut Params)),
        (200_000, |p| p.top_k = 5000),
        (100_000, |p| p.top_p = 0.5),
        (5_000, |p| p.top_p = 0.999),
        (5_000, |p| (p.top_p, p.min_p) = (0.9, 0.3)),
        (300, |p| p.top_p = 0.01),
        (3_000, |p| p.typical_p = 0.4),
        (3_000, |p| (p.typical_p, p.min_p) = (0.9, 0.5)),
        (3_000, |p| (p.top_k, p.typical_p, p.top_p) = (500, 0.9, 0.5)),
        (300, |p| (p.xtc_probability, p.xtc_threshold, p.top_k) = (1.0, 0.02, 30)),
        (300, |p| (p.xtc_probability, p.xtc_threshold, p.typical_p) = (1.0, 0.01, 0.8)),
    ] {
        let mut sampler = sampler(change);
        // (The definition of `typical` leaves open which of equally distant tokens comes first.)
        let steps = if sampler.params.typical_p < 1.0 { 8e6 } else { 8.0 };
        let logits: Vec<f32> = logits(&mut rng, n, 6.0).iter().map(|x| (x * steps).round() / steps).collect();
        let expected = distribution(sampler.params(), &logits);
        sampler.sample(&mut logits.clone(), &[], 0).unwrap();
        let weights = sampler.candidates.iter().zip(&sampler.weights);
        let mut kept: Vec<u32> =
            weights.filter(|(_, w)| **w > 0.0 && **w >= sampler.least).map(|(c, _)| c.token).collect();
        kept.sort_unstable();
        let wanted: Vec<u32> = (0..n as u32).filter(|&t| expected[t as usize] > 0.0).collect();
        assert_eq!(kept.len(), wanted.len(), "{:?}", sampler.params());
        assert!(kept == wanted, "{:?}", sampler.params());
    }
}

#[test]
fn greedy_takes_the_lowest_of_equals() {
    for n in [1, 15, 16, 17, 33, 1000] {
        for at in [0, n / 2, n - 1] {
            let mut logits = vec![-1.0; n];
            logits[at..].fill(2.5);
            let mut greedy = sampler(|p| p.temperature = 0.0);
            assert_eq!(greedy.sample(&mut logits.clone(), &[], 9).unwrap(), at as u32);
            let mut first = sampler(|p| p.top_k = 1);
            assert_eq!(first.sample(&mut logits, &[], 9).unwrap(), at as u32);
        }
    }
}

#[test]
fn depends_on_seed_and_position_alone() {
    let mut rng = Rng::new(8);
    let logits = logits(&mut rng, 500, 2.0);
    let draw = |seed: u64, position: u64| {
        let mut sampler = Sampler::new(Params { temperature: 1.0, ..Params::default() }, seed).unwrap();
        sampler.sample(&mut logits.clone(), &[], position).unwrap()
    };
    let forward: Vec<u32> = (0..50).map(|p| draw(1, p)).collect();
    let mut one = Sampler::new(Params { temperature: 1.0, ..Params::default() }, 1).unwrap();
    let backward: Vec<u32> = (0..50).rev().map(|p| one.sample(&mut logits.clone(), &[], p).unwrap()).collect();
    assert!(forward.iter().eq(backward.iter().rev()));
    assert_ne!(forward, (0..50).map(|p| draw(2, p)).collect::<Vec<_>>());
}

#[test]
fn broken_logits_are_errors() {
    for params in [|_: &mut Params| {}, |p: &mut Params| p.temperature = 0.0, |p: &mut Params| p.top_k = 5] {
        let mut sampler = sampler(params);
        for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "infinite")] {
            for at in [0, 255, 256, 777, 999] {
                let mut logits = vec![0.5; 1000];
                logits[at] = value;
                let error = sampler.sample(&mut logits, &[], 0).unwrap_err();
                assert_eq!(error, SampleError::NotFinite { token: at as u32, value: name });
            }
        }
        assert_eq!(sampler.sample(&mut [f32::NEG_INFINITY; 40], &[], 0), Err(SampleError::NoneAllowed));
        assert_eq!(sampler.sample(&mut [], &[], 0), Err(SampleError::NoneAllowed));
        let mut logits = [f32::NEG_INFINITY; 40];
        logits[17] = -1e30;
        assert_eq!(sampler.sample(&mut logits, &[], 0), Ok(17));
    }
}

#[test]
fn penalties_and_bias() {
    let mut sampler = sampler(|p| {
        (p.repeat_penalty, p.presence_penalty, p.frequency_penalty, p.repeat_last_n) = (2.0, 0.25, 0.5, 4);
        p.logit_bias = vec![(3, -1.5), (4, f32::NEG_INFINITY), (99, 1.0)];
    });
    let mut logits = [4.0, -4.0, 4.0, 4.0, 4.0, 4.0];
    sampler.adjust(&mut logits, &[5, 0, 1, 0, 2]);
    // 5 is out of the window; 0 is there twice, 1 and 2 once.
    assert_eq!(logits, [4.0 / 2.0 - 0.25 - 1.0, -8.0 - 0.75, 2.0 - 0.75, 2.5, f32::NEG_INFINITY, 4.0]);
    let mask = Mask::from_words(vec![0b1_0010]);
    assert_eq!(sampler.sample_masked(&mut [9.0, 0.0, 9.0, 9.0, 9.0, 9.0], &[], 0, Some(&mask)), Ok(1));
}

#[test]
fn parameters_have_ranges() {
    let bad: [fn(&mut Params); 13] = [
        |p| p.temperature = -0.1,
        |p| p.temperature = f32::NAN,
        |p| p.top_p = 0.0,
        |p| p.top_p = 1.1,
        |p| p.min_p = -0.1,
        |p| p.typical_p = 0.0,
        |p| p.xtc_probability = 1.5,
        |p| p.dry_base = 0.5,
        |p| p.dry_multiplier = f32::NAN,
        |p| p.repeat_penalty = 0.0,
        |p| p.frequency_penalty = f32::INFINITY,
        |p| p.logit_bias = vec![(1, f32::NAN)],
        |p| p.logit_bias = vec![(1, f32::INFINITY)],
    ];
    for change in bad {
        let mut params = Params::default();
        change(&mut params);
        assert_eq!(Sampler::new(params.clone(), 0).unwrap_err().exit_code(), 2, "{params:?}");
    }
}

#[test]
fn no_allocation_after_the_first_token() {
    let mut rng = Rng::new(1);
    let mut sampler = sampler(|p| (p.top_k, p.top_p, p.repeat_penalty) = (40, 0.9, 1.1));
    let history: Vec<u32> = (0..200).collect();
    sampler.sample(&mut logits(&mut rng, 50_000, 5.0), &history, 0).unwrap();
    let room = |s: &Sampler| (s.candidates.capacity(), s.weights.capacity(), s.window.capacity());
    let before = room(&sampler);
    for position in 1..20 {
        sampler.sample(&mut logits(&mut rng, 50_000, 5.0), &history, position).unwrap();
    }
    assert_eq!(room(&sampler), before);
}

/// Leaving out top choices happens as often as it is asked for, by a draw of its own, and never takes the end of a turn away.
#[test]
fn top_choices_are_left_out_by_chance() {
    let logits = [3.0, 2.9, 2.8, 0.0_f32];
    let draws = |sampler: &mut Sampler| {
        let mut counts = [0_u32; 4];
        for position in 0..20_000 {
            counts[sampler.sample(&mut logits.clone(), &[], position).unwrap() as usize] += 1;
        }
        counts
    };
    let mut half = sampler(|p| (p.xtc_probability, p.xtc_threshold) = (0.5, 0.1));
    let plain = draws(&mut sampler(|_| {}));
    let counts = draws(&mut half);
    for token in [0, 1] {
        let share = f64::from(counts[token]) / f64::from(plain[token]);
        assert!((share - 0.5).abs() < 0.05, "{counts:?} {plain:?}");
    }
    let mut sparing = sampler(|p| (p.xtc_probability, p.xtc_threshold) = (1.0, 0.1)).sparing([0]);
    assert_eq!(draws(&mut sparing), plain);
    let mut other = sampler(|p| (p.xtc_probability, p.xtc_threshold) = (1.0, 0.1)).sparing([2]);
    assert_eq!(draws(&mut other)[..2], [0, 0]);
}

/// Every row can be set from text and from JSON, and tells what it was set to.
#[test]
fn rows_are_read_and_told() {
    use crate::sample::{Overrides, PARAMETERS};
    let params = Params::default();
    for row in PARAMETERS {
        let mut set = Overrides::default();
        for value in [row.of_text(row.example), row.get(&params)] {
            row.set(&mut set, &value).unwrap_or_else(|why| panic!("{}: {why}, not {value}", row.name));
        }
        assert_ne!(set, Overrides::default(), "{}", row.name);
        for wrong in [serde_json::json!({}), serde_json::json!([1]), true.into()] {
            assert_eq!(row.set(&mut set, &wrong), Err(row.wanted), "{} {wrong}", row.name);
        }
        assert!(row.keys.contains(&row.name), "{}", row.name);
    }
}
