//! The promise of the same bits: number of threads, size of passes, instruction set and reuse of the cache change nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokki::engine::Session;
use tokki::internals::model::Model;
use tokki::internals::parallel::Pool;
use tokki::internals::{CacheShape, KvCache, PassSettings, Scratch, Span, Want, forward};
use tokki_quant::attention::KvKind;
use tokki_quant::isa::Isa;

/// Tiny models: experts, latent attention, windows, sinks, soft caps, odd head sizes, quantized weights of several formats.
const MODELS: &[&str] = &[
    "llama.gguf",
    "llama-q4k.gguf",
    "llama-mixed.gguf",
    "llama-moe.gguf",
    "exaone.gguf",
    "exaone4-windows.gguf",
    "gemma2.gguf",
    "gemma3.gguf",
    "deepseek2.gguf",
    "gpt-oss-mxfp4.gguf",
    "solar.gguf",
];

fn fixture(name: &str) -> Arc<Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch").join(name);
    Arc::new(Model::open(&path).unwrap())
}

fn tokens(model: &Model, n: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 7919 + 13) % model.spec.vocab) as u32).collect()
}

/// How a run is cut up.
#[derive(Debug, Clone, Copy)]
struct Way {
    threads: usize,
    batch: usize,
    isa: Isa,
}

fn session(model: &Arc<Model>, kv: KvKind, way: Way) -> Session {
    let pool = Arc::new(Pool::with_isa(way.threads, way.isa).unwrap());
    Session::new(Arc::clone(model), pool, crate::launch::options(512, kv, way.batch))
}

/// Bits of the logits after each token. A NaN is as good as any other.
fn bits(session: &mut Session, tokens: &[u32]) -> Vec<u32> {
    let mut all = Vec::new();
    let keep = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
    session
        .feed_all(tokens, &mut |_, logits| {
            all.extend(logits.iter().map(keep));
            Ok(())
        })
        .unwrap();
    all
}

#[test]
fn passes_threads_and_instruction_sets_give_the_same_bits() {
    for name in MODELS {
        let model = fixture(name);
        let tokens = tokens(&model, 150);
        for kv in [KvKind::F16, KvKind::Q8] {
            let best = Isa::best();
            let reference = bits(&mut session(&model, kv, Way { threads: 1, batch: 512, isa: best }), &tokens);
            let mut ways = vec![
                Way { threads: 2, batch: 512, isa: best },
                Way { threads: 1, batch: 1, isa: best },
                Way { threads: 2, batch: 3, isa: best },
                Way { threads: 4, batch: 33, isa: best },
            ];
            ways.extend(Isa::available().into_iter().map(|isa| Way { threads: 2, batch: 64, isa }));
            for way in ways {
                let other = bits(&mut session(&model, kv, way), &tokens);
                let differ = reference.iter().zip(&other).position(|(a, b)| a != b);
                assert_eq!(differ, None, "{name}, {} cache, {way:?}", kv.name());
            }
        }
    }
}

#[test]
fn a_reused_prefix_gives_the_same_bits_as_a_fresh_one() {
    let model = fixture("llama-q4k.gguf");
    let way = Way { threads: 2, batch: 64, isa: Isa::best() };
    let long = tokens(&model, 200);
    let mut fresh = session(&model, KvKind::Q8, way);
    let expected = fresh.feed(&long, &mut |_| {}).unwrap().to_vec();
    let mut reused = session(&model, KvKind::Q8, way);
    let mut other = long[..140].to_vec();
    other.extend(tokens(&model, 30));
    reused.feed(&other, &mut |_| {}).unwrap();
    let kept = reused.reuse(&long);
    assert_eq!(kept, 140);
    assert_eq!(reused.feed(&long[kept..], &mut |_| {}).unwrap(), expected);
}

#[test]
fn a_full_context_is_an_error_before_anything_is_computed() {
    let model = fixture("llama.gguf");
    let mut session = session(&model, KvKind::F16, Way { threads: 1, batch: 64, isa: Isa::best() });
    session.feed(&tokens(&model, 500), &mut |_| {}).unwrap();
    let error = session.feed(&tokens(&model, 13), &mut |_| {}).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("513") && error.to_string().contains("512"), "{error}");
    assert_eq!(session.tokens().len(), 500);
}

#[test]
fn a_cancelled_pass_leaves_the_session_usable() {
    let model = fixture("llama.gguf");
    let mut session = session(&model, KvKind::F16, Way { threads: 2, batch: 64, isa: Isa::best() });
    let expected = session.feed(&tokens(&model, 5), &mut |_| {}).unwrap().to_vec();
    session.truncate(0);
    session.cancel_flag().store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(session.feed(&tokens(&model, 5), &mut |_| {}).unwrap_err().exit_code(), 130);
    session.cancel_flag().store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(session.tokens().len(), 0);
    assert_eq!(session.feed(&tokens(&model, 5), &mut |_| {}).unwrap(), expected);
}

/// The real models, where they are: `$TOKKI_TEST_MODELS`, or the folder that developers keep them in.
fn real_models() -> Vec<PathBuf> {
    let folder = std::env::var_os("TOKKI_TEST_MODELS")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/tokki-dev/models")));
    let names = ["smollm2-135m.gguf", "gemma3-270m.gguf", "qwen2.5-coder-0.5b.gguf"];
    let paths = folder.iter().flat_map(|folder| names.map(|name| folder.join(name)));
    paths.filter(|path| path.exists()).collect()
}

#[test]
fn real_models_give_the_same_bits_in_prefill_and_decode() {
    let models = real_models();
    if models.is_empty() {
        eprintln!("skipped: no real models in $TOKKI_TEST_MODELS");
    }
    for path in models {
        let model = Arc::new(Model::open(&path).unwrap());
        let tokens = tokens(&model, 40);
        let of = |threads, batch| {
            let mut session = session(&model, KvKind::F16, Way { threads, batch, isa: Isa::best() });
            session.feed(&tokens, &mut |_| {}).unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        let reference = of(1, 512);
        assert!(of(2, 512) == reference, "{}: threads", path.display());
        assert!(of(2, 1) == reference, "{}: prefill and decode", path.display());
    }
}

/// Three sequences in one pass after another, cut so that prompts and single tokens meet, two of them on shared pages.
#[test]
fn sequences_in_one_pass_have_the_bits_that_each_has_alone() {
    for name in MODELS {
        let model = fixture(name);
        let tokens = tokens(&model, 200);
        let (long, short) = (&tokens[..170], &tokens[30..100]);
        // The second shares the first 140 tokens of the long one, then goes its own way.
        let fork: Vec<u32> = tokens[..140].iter().chain(&tokens[..20]).copied().collect();
        for kv in [KvKind::F16, KvKind::Q8] {
            let alone = Way { threads: 1, batch: 512, isa: Isa::best() };
            let last = |tokens: &[u32]| {
                let bits = bits(&mut session(&model, kv, alone), tokens);
                bits[bits.len() - model.spec.vocab..].to_vec()
            };
            let wanted = [last(long), last(&fork), last(short)];
            for threads in [1, 3] {
                let pool = Pool::with_isa(threads, Isa::best()).unwrap();
                let cancel = AtomicBool::new(false);
                let setting = PassSettings::new(&model, &pool, &cancel);
                let (mut scratch, shape) = (Scratch::default(), Arc::new(CacheShape::new(&model.spec, kv)));
                let mut first = KvCache::new(Arc::clone(&shape));
                let span = Span { cache: &mut first, tokens: &tokens[..140], want: Want::Nothing };
                forward(&setting, &mut scratch, &mut [span]).unwrap();
                let mut caches = [first.clone(), first, KvCache::new(shape)];
                let mut left = [&long[140..], &fork[140..], short];
                let mut got = [Vec::new(), Vec::new(), Vec::new()];
                for chunk in [1, 11, 40, 1, 3, 1, 60] {
                    let sizes = [1.min(left[0].len()), (chunk / 2).min(left[1].len()), chunk.min(left[2].len())];
                    let mut spans = Vec::new();
                    for (i, cache) in caches.iter_mut().enumerate().filter(|(i, _)| sizes[*i] > 0) {
                        let (now, rest) = left[i].split_at(sizes[i]);
                        left[i] = rest;
                        spans.push((i, Span { cache, tokens: now, want: Want::Last }));
                    }
                    let (which, mut spans): (Vec<_>, Vec<_>) = spans.into_iter().unzip();
                    let logits = forward(&setting, &mut scratch, &mut spans).unwrap();
                    for (i, logits) in which.iter().zip(logits.chunks_exact(model.spec.vocab)) {
                        got[*i] = logits.iter().map(|x| x.to_bits()).collect();
                    }
                }
                // What the chunks left over.
                for (i, cache) in caches.iter_mut().enumerate().filter(|(i, _)| !left[*i].is_empty()) {
                    let span = Span { cache, tokens: left[i], want: Want::Last };
                    let logits = forward(&setting, &mut scratch, &mut [span]).unwrap();
                    got[i] = logits.iter().map(|x| x.to_bits()).collect();
                }
                assert!(got == wanted, "{name} {kv:?}, {threads} threads");
            }
        }
    }
}
