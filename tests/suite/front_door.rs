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
