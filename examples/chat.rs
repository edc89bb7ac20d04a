//! A chat, a line at a time: `cargo run --release --example chat -- MODEL.gguf`
#![allow(clippy::print_stdout, reason = "an example")]

use std::io::Write;
use std::sync::Arc;
use tokki::engine::Part;
use tokki::{Conversation, Llm, Options};

fn main() -> Result<(), tokki::Error> {
    let model = std::env::args().nth(1).unwrap_or_else(|| "model.gguf".to_owned());
    let mut conversation = Conversation::open(Arc::new(Llm::open(model.as_ref())?), Options::default())?;
    conversation.set_system(Some("Answer in one sentence."));
    for line in std::io::stdin().lines().map_while(Result::ok) {
        conversation.ask(&line, &mut |part: &Part| {
            print!("{}", part.text);
            let _ = std::io::stdout().flush();
            Ok(())
        })?;
        println!();
    }
    Ok(())
}
