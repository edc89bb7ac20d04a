//! What a program that embeds the library sees.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokki::engine::Part;
use tokki::engine::{Embedder, Pool};
use tokki::{Conversation, Error, Llm, Options, Session};

fn open(name: &str) -> Arc<Llm> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch").join(name);
    Arc::new(Llm::open(&path).unwrap())
}

#[test]
fn a_few_lines_talk_to_a_model() {
    let llm = open("llama.gguf");
    let options = Options { context: 256, ..Options::default() };
    let mut said = String::new();
    let mut conversation = Conversation::open(Arc::clone(&llm), options.clone()).unwrap();
    let mut stop_soon = |part: &Part| {
        said.push_str(&part.text);
        if said.len() > 20 { Err(Error::Interrupted) } else { Ok(()) }
    };
    let outcome = conversation.ask("Hello", &mut stop_soon);
    assert!(outcome.is_ok() || matches!(outcome, Err(Error::Interrupted)));
    assert!(!said.is_empty());
    // Sessions share the model; the same tokens give the same bits.
    let tokens = llm.tokenizer().encode_with_bos("Hello", tokki::engine::Special::Plain);
    let logits = |_| Session::open(&llm, options.clone()).unwrap().feed(&tokens, &mut |_| {}).unwrap().to_vec();
    assert_eq!(logits(0), logits(1));
}

/// Those who look here for how it is done have no other names than these.
#[test]
fn examples_use_what_everyone_has() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let source = std::fs::read_to_string(&path).unwrap();
        assert!(!source.contains("internals") && !source.contains("testing"), "{}", path.display());
    }
}

#[test]
fn sessions_of_a_model_share_its_threads() {
    let llm = open("llama.gguf").as_ref().model().clone();
    let pool = Arc::new(Pool::new(2).unwrap());
    let llm = Llm::new(llm).unwrap().on(Arc::clone(&pool));
    let session = || Session::open(&llm, Options { context: 64, ..Options::default() }).unwrap();
    let (mut one, mut other) = (session(), session());
    assert!(Arc::ptr_eq(one.pool(), &pool) && Arc::ptr_eq(other.pool(), &pool));
    let alone = session().feed(&[1, 2, 3], &mut |_| {}).unwrap().to_vec();
    let feed = |session: &mut Session| session.feed(&[1, 2, 3], &mut |_| {}).unwrap().to_vec();
    let both =
        std::thread::scope(|scope| [&mut one, &mut other].map(|s| scope.spawn(|| feed(s))).map(|t| t.join().unwrap()));
    assert!(both.iter().all(|logits| logits == &alone));
}

#[test]
fn vectors_come_of_models_of_any_kind() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf");
    let llm = Llm::open_for_vectors(&path).unwrap();
    let mut embedder = Embedder::open(&llm, Options { context: 64, ..Options::default() }).unwrap();
    let tokens = Embedder::tokens(llm.tokenizer(), "Hello");
    let vector = embedder.embed(&tokens, &AtomicBool::new(false)).unwrap();
    assert!(!vector.is_empty() && vector.iter().all(|x| x.is_finite()));
}

#[test]
fn a_model_without_a_template_is_refused_at_once() {
    let llm = open("qwen2.gguf");
    if llm.template().is_none() {
        assert!(Conversation::open(llm, Options::default()).is_err());
    }
}

#[test]
fn callers_can_tell_faults_apart() {
    use tokki::error::ErrorKind as Kind;
    use tokki::testing::{Writer, tiny};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let opened = |change: &dyn Fn(&mut Writer)| {
        let mut writer = tiny("llama", 1).unwrap();
        change(&mut writer);
        writer.write(&path).unwrap();
        Llm::open(&path).map(|_| ()).map_err(|error| error.kind())
    };
    let key = |writer: &mut Writer, name: &str| writer.keys.retain(|(key, ..)| key != name.as_bytes());
    assert_eq!(opened(&|_| ()), Ok(()));
    assert_eq!(opened(&|w| key(w, "llama.block_count")), Err(Kind::MissingKey));
    assert_eq!(
        opened(&|w| {
            key(w, "llama.block_count");
            *w = w.clone().text("llama.block_count", "two");
        }),
        Err(Kind::InvalidKey)
    );
    assert_eq!(opened(&|w| w.tensors.retain(|t| t.name != b"blk.0.attn_q.weight")), Err(Kind::MissingTensor));
    assert_eq!(opened(&|w| w.tensors[0].shape.swap(0, 1)), Err(Kind::InvalidTensor));
    assert_eq!(opened(&|w| w.tensors[0].kind = 999), Err(Kind::UnsupportedFormat));
    assert_eq!(
        opened(&|w| {
            key(w, "general.architecture");
            *w = w.clone().text("general.architecture", "nonesuch");
        }),
        Err(Kind::UnsupportedArchitecture)
    );
    let kind = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Llm::open(&path).map(|_| ()).map_err(|error| error.kind())
    };
    assert_eq!(kind(b"<html>"), Err(Kind::NotAModel));
    assert_eq!(kind(b""), Err(Kind::NotAModel));
    assert_eq!(kind(&tiny("llama", 1).unwrap().header()[..100]), Err(Kind::Invalid));
    assert_eq!(Llm::open(&dir.path().join("none.gguf")).map(|_| ()).unwrap_err().kind(), Kind::NotFound);
    let llm = open("llama.gguf");
    let mut session = Session::open(&llm, Options { context: 4, ..Options::default() }).unwrap();
    assert_eq!(session.feed(&[1; 9], &mut |_| {}).map(|_| ()).unwrap_err().kind(), Kind::ContextFull);
}

/// Name, length of a row, values.
type Rows = Vec<(String, usize, Vec<f32>)>;

/// What an observer was told.
#[derive(Default)]
struct Told(std::sync::Mutex<Rows>);

impl tokki::engine::Trace for Told {
    fn values(&self, name: &str, row_len: usize, values: &[f32]) {
        self.0.lock().unwrap().push((name.to_owned(), row_len, values.to_vec()));
    }
}

/// What an observer of three tokens is told, and their logits, which no observer changes.
fn watched(name: &str) -> (Rows, Vec<f32>) {
    let llm = open(name);
    let session = || Session::open(&llm, Options { context: 64, ..Options::default() }).unwrap();
    let alone = session().feed(&[1, 2, 3], &mut |_| {}).unwrap().to_vec();
    let (mut session, told) = (session(), Arc::new(Told::default()));
    session.trace(Arc::clone(&told) as Arc<dyn tokki::engine::Trace>);
    assert_eq!(session.feed(&[1, 2, 3], &mut |_| {}).unwrap(), alone, "{name}: watched and not");
    let told = std::mem::take(&mut *told.0.lock().unwrap());
    for (of, row_len, values) in &told {
        assert!(*row_len > 0 && !values.is_empty() && values.len() % row_len == 0, "{name}: {of}");
    }
    (told, alone)
}

/// Intermediates come in the order of computation, under their names, and agree with what a session returns.
#[test]
fn intermediates_are_told_to_an_observer() {
    let (told, logits) = watched("llama.gguf");
    let names: Vec<&str> = told.iter().map(|(name, ..)| name.as_str()).collect();
    let first = ["inp_embd", "attn_norm-0", "Qcur-0", "Kcur-0", "Vcur-0", "kqv_out-0", "attn_out-0"];
    assert_eq!(names[..7], first);
    assert_eq!(names[7..13], ["ffn_inp-0", "ffn_norm-0", "ffn_swiglu-0", "ffn_out-0", "l_out-0", "attn_norm-1"]);
    assert_eq!(names[names.len() - 2..], ["result_norm", "result_output"]);
    assert_eq!(told.last().unwrap().2, logits);
    // Each row of the stream is the one before, and what the layer's two parts added to it.
    let values = |name: &str| &told.iter().find(|(told, ..)| told == name).unwrap().2;
    let (before, attn, ffn, after) = (values("inp_embd"), values("attn_out-0"), values("ffn_out-0"), values("l_out-0"));
    let embd = told[0].1;
    assert_eq!((before.len(), after.len()), (3 * embd, 3 * embd));
    for (at, after) in after.iter().enumerate() {
        assert_eq!(before[at] + attn[at], values("ffn_inp-0")[at], "value {at}");
        assert_eq!((before[at] + attn[at]) + ffn[at], *after, "value {at}");
    }
}

/// Inside experts and latent attention: the parts make up what the layer adds.
#[test]
fn the_insides_of_mixers_and_experts_are_told() {
    let (told, _) = watched("qwen3moe.gguf");
    let values = |name: &str| &told.iter().find(|(told, ..)| told == name).unwrap_or_else(|| panic!("no {name}")).2;
    assert_eq!(values("ffn_moe_out-0"), values("ffn_out-0"));
    let probs = values("ffn_moe_probs-0");
    assert_eq!(probs.len(), values("ffn_moe_logits-0").len());
    assert!((probs.iter().sum::<f32>() - 3.0).abs() < 1e-4, "three tokens' probabilities");
    let (told, _) = watched("deepseek2.gguf");
    let find = |name: &str| told.iter().find(|(told, ..)| told == name).unwrap_or_else(|| panic!("no {name}"));
    for name in ["kv_cmpr-0", "k_pe-0", "q-0", "q_nope_absorbed-0", "q_pe-0", "kqv_out-0"] {
        assert_eq!(find(name).2.len(), 3 * find(name).1, "{name}");
    }
    let experts = told.iter().find(|(name, ..)| name.starts_with("ffn_shexp-")).unwrap();
    let layer = experts.0.trim_start_matches("ffn_shexp-");
    let (chosen, out) = (&find(&format!("ffn_moe_out-{layer}")).2, &find(&format!("ffn_out-{layer}")).2);
    let far = |at: usize| (experts.2[at] + chosen[at] - out[at]).abs() > 1e-5 * out[at].abs().max(1.0);
    assert!(!(0..out.len()).any(far), "the shared expert and the chosen ones make up the result");
}
