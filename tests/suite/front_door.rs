//! What a program that embeds the library sees.

use std::path::Path;
use std::sync::Arc;
use tokki::{Conversation, Error, Llm, Options, Part, Session};

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
    let tokens = llm.tokenizer().encode_with_bos("Hello", tokki::tokenizer::Special::Plain);
    let logits = |_| Session::open(&llm, options.clone()).unwrap().feed(&tokens, &mut |_| {}).unwrap().to_vec();
    assert_eq!(logits(0), logits(1));
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
    use tokki::ErrorKind as Kind;
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
