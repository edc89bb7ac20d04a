//! The expanded form of latent attention: as exact as the absorbed one, and the same bits however a prompt is cut up.

use std::path::Path;
use std::sync::Arc;
use tokki::engine::{Options, Session};
use tokki::internals::model::Model;
use tokki::internals::parallel::Pool;
use tokki_quant::attention::KvKind;

/// Weights in f16, so that only the forms differ: of all head lengths of the published models, of small ones, and with
/// keys and values in one tensor.
const MODELS: [&str; 3] = ["deepseek2.gguf", "deepseek2-small.gguf", "deepseek2-joint.gguf"];

/// Largest normalized squared error of logits against the absorbed form: keys and values of each head are rounded to f16.
const LIMIT: f64 = 1e-6;

/// Logits after each token.
fn logits(name: &str, expand_latents: bool, kv: KvKind, (threads, batch): (usize, usize), n: usize) -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch").join(name);
    let model = Arc::new(Model::open(&path).unwrap());
    let tokens: Vec<u32> = (0..n).map(|i| ((i * 7919 + 13) % model.spec.vocab) as u32).collect();
    let options = Options { expand_latents, ..crate::launch::options(2048, kv, batch) };
    let mut session = Session::new(model, Arc::new(Pool::new(threads).unwrap()), options);
    let mut all = Vec::new();
    session
        .feed_all(&tokens, &mut |_, logits| {
            all.extend_from_slice(logits);
            Ok(())
        })
        .unwrap();
    all
}

/// `sum (got - want)^2 / sum want^2` of each token's logits, in rising order.
fn errors(got: &[f32], want: &[f32], n: usize) -> Vec<f64> {
    let square = |x: f64| x * x;
    let rows = got.chunks_exact(got.len() / n).zip(want.chunks_exact(want.len() / n));
    let mut errors: Vec<f64> = rows
        .map(|(got, want)| {
            let off: f64 = got.iter().zip(want).map(|(&g, &w)| square(f64::from(g) - f64::from(w))).sum();
            off / want.iter().map(|&w| square(f64::from(w))).sum::<f64>()
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    errors
}

/// The error that half of the tokens stay within: where a router wavers between two experts, the smallest difference
/// makes it choose the other one, so that few tokens are far off (also of an f16 cache against an f32 one).
fn error(got: &[f32], want: &[f32], n: usize) -> f64 {
    let errors = errors(got, want, n);
    eprintln!("median {:.2e}, 95% {:.2e}, most {:.2e}", errors[n / 2], errors[n * 19 / 20], errors[n - 1]);
    errors[n / 2]
}

#[test]
fn it_gives_what_the_absorbed_form_gives() {
    for name in MODELS {
        let want = logits(name, false, KvKind::F32, (2, 64), 300);
        for kv in [KvKind::F32, KvKind::F16, KvKind::Q8] {
            let absorbed = logits(name, false, kv, (2, 64), 300);
            let got = logits(name, true, kv, (2, 64), 300);
            eprintln!("{name}, {} cache, absorbed then expanded:", kv.name());
            let (least, found) = (error(&absorbed, &want, 300), error(&got, &want, 300));
            // What a coarser cache costs anyway.
            assert!(found < LIMIT + 1.5 * least, "{name}, {} cache: {found:.2e}, absorbed {least:.2e}", kv.name());
            assert!(got != absorbed, "{name}: the forms have other sums; was the expanded one used?");
        }
    }
}

#[test]
fn threads_and_passes_give_the_same_bits() {
    for name in MODELS {
        for kv in [KvKind::F16, KvKind::Q8] {
            let bits = |way| logits(name, true, kv, way, 288).into_iter().map(f32::to_bits).collect::<Vec<_>>();
            let expected = bits((1, 64));
            for way in [(2, 64), (4, 64), (2, 32), (1, 9), (4, 18)] {
                assert!(bits(way) == expected, "{name}, {} cache, threads and tokens per pass {way:?}", kv.name());
            }
        }
    }
}

/// More positions than are expanded together.
#[test]
fn a_long_prompt_is_expanded_in_runs() {
    let want = logits(MODELS[1], false, KvKind::F16, (2, 64), 1300);
    let got = logits(MODELS[1], true, KvKind::F16, (2, 64), 1300);
    let tail = want.len() / 1300 * 1200;
    let error = error(&got[tail..], &want[tail..], 100);
    assert!(error < LIMIT, "{error:.2e}");
}

/// Passes of few tokens, which is how text is generated, take the absorbed form.
#[test]
fn generating_is_not_touched() {
    let of = |expand| logits(MODELS[0], expand, KvKind::F16, (2, 1), 20);
    assert!(of(true) == of(false));
}
