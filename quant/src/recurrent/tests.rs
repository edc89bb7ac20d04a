//! Steps against their formulas, and every instruction set against the scalar one.

use super::*;
use crate::isa::Isa;
use crate::testing::for_each_isa;

/// Values of no pattern.
fn values(n: usize, seed: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| ((i.wrapping_mul(2_654_435_761) ^ seed).wrapping_mul(40_503) >> 8) as f32 / 8_388_608.0 - 1.0)
        .collect()
}

#[test]
fn a_convolution_remembers_its_last_inputs() {
    let taps: Vec<Vec<f32>> = (0..3).map(|j| values(21, j)).collect();
    let taps: Vec<&[f32]> = taps.iter().map(Vec::as_slice).collect();
    let inputs: Vec<Vec<f32>> = (0..5).map(|t| values(21, 100 + t)).collect();
    for_each_isa(|isa| {
        let mut history = vec![0.0; 2 * 21];
        let mut out = vec![0.0; 21];
        for (t, input) in inputs.iter().enumerate() {
            conv_step(isa, &taps, &mut history, input, &mut out);
            for c in 0..21 {
                let past = |back: usize| if t >= back { inputs[t - back][c] } else { 0.0 };
                let wanted = taps[2][c].mul_add(past(0), taps[1][c].mul_add(past(1), taps[0][c] * past(2)));
                assert_eq!(out[c], wanted, "{isa:?} {t} {c}");
            }
        }
    });
}

#[test]
fn scans_are_the_same_everywhere_and_agree() {
    let (b, c, x) = (values(40, 1), values(40, 2), values(3, 3));
    let run = |isa: Isa| {
        let (mut state, mut out) = (values(120, 4), vec![0.0; 3]);
        scan_head(isa, &mut state, ((-0.25f32).exp(), 0.5), (&b, &c), &x, &mut out);
        (state, out)
    };
    let (state, out) = run(Isa::SCALAR);
    for_each_isa(|isa| assert_eq!(run(isa), (state.clone(), out.clone())));
    let mut other = values(120, 4)[40..80].to_vec();
    let y = scan_channel(Isa::SCALAR, &mut other, &[-0.5; 40], (&b, &c), x[1], 0.5);
    assert!((y - out[1]).abs() < 1e-5, "{y} {}", out[1]);
}

#[test]
fn a_delta_rule_replaces_what_a_key_stood_for() {
    // A key of length 1, written in full: reading with it gives back its value.
    let (k, v) = ([0.6, 0.8], values(19, 7));
    let mut first: Option<Vec<f32>> = None;
    for_each_isa(|isa| {
        let (mut state, mut scratch, mut out) = (values(38, 9), vec![0.0; 19], vec![0.0; 19]);
        let step = DeltaStep { decay: &[0.9], q: &k, k: &k, v: &v, beta: 1.0 };
        delta_step(isa, &mut state, &step, &mut scratch, &mut out);
        assert!(out.iter().zip(&v).all(|(a, b)| (a - b).abs() < 1e-5), "{out:?} {v:?}");
        assert_eq!(first.get_or_insert_with(|| state.clone()), &state);
        let mut each = values(38, 9);
        let step = DeltaStep { decay: &[0.9, 0.9], ..step };
        delta_step(isa, &mut each, &step, &mut scratch, &mut out);
        assert_eq!(each, state);
    });
}

#[test]
fn linear_attention_adds_and_decays() {
    let mut state = vec![2.0, 4.0];
    let (mut scratch, mut out) = ([0.0; 2], [0.0; 2]);
    let step = DeltaStep { decay: &[0.5], q: &[3.0], k: &[1.0], v: &[1.0, 1.0], beta: 0.0 };
    lightning_step(Isa::SCALAR, &mut state, &step, &mut scratch, &mut out);
    assert_eq!((state, out), (vec![2.0, 3.0], [6.0, 9.0]));
}

#[test]
fn rwkv_steps_are_their_formulas() {
    let (k, v) = (5, 18);
    let [r, keys, bonus, removal, rate] = [1, 2, 3, 4, 5].map(|seed| values(k, seed));
    let decay: Vec<f32> = values(k, 6).iter().map(|x| 0.5 + 0.4 * x).collect();
    let value = values(v, 7);
    let step = WkvStep { r: &r, decay: &decay, k: &keys, v: &value };
    let old = values(k * v, 8);
    for_each_isa(|isa| {
        let (mut state, mut out, mut scratch) = (old.clone(), vec![0.0; v], vec![0.0; v]);
        wkv6_step(isa, &mut state, &step, &bonus, &mut out);
        for j in 0..v {
            let wanted: f32 = (0..k).map(|i| r[i] * (old[i * v + j] + bonus[i] * keys[i] * value[j])).sum();
            assert!((out[j] - wanted).abs() < 1e-5);
            assert!((state[j] - (old[j] * decay[0] + keys[0] * value[j])).abs() < 1e-6);
        }
        let mut state = old.clone();
        wkv7_step(isa, &mut state, &step, (&removal, &rate), &mut scratch, &mut out);
        for j in 0..v {
            let a: f32 = -(0..k).map(|i| old[i * v + j] * removal[i]).sum::<f32>();
            let next = |i: usize| old[i * v + j] * decay[i] + keys[i] * value[j] + rate[i] * a;
            assert!((state[j] - next(0)).abs() < 1e-5);
            assert!((out[j] - (0..k).map(|i| r[i] * next(i)).sum::<f32>()).abs() < 1e-5);
        }
    });
}
