//! One question and its answer: `cargo run --release --example in_a_program -- MODEL.gguf "Why is the sky blue?"`
#![allow(clippy::print_stdout, reason = "an example")]

use std::sync::Arc;
use tokki::engine::Part;
use tokki::{Conversation, Llm, Options};

fn main() -> Result<(), tokki::Error> {
    let mut args = std::env::args().skip(1);
    let model = args.next().unwrap_or_else(|| "model.gguf".to_owned());
    let question = args.next().unwrap_or_else(|| "Why is the sky blue?".to_owned());
    let llm = Arc::new(Llm::open(model.as_ref())?);
    let mut conversation = Conversation::open(llm, Options::default())?;
    let turn = conversation.ask(&question, &mut |part: &Part| {
        print!("{}", part.text);
        Ok(())
    })?;
    println!("\n{} tokens", turn.stats.tokens);
    Ok(())
}
