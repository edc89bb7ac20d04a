//! An answer that keeps to a JSON schema: `cargo run --release --example constrained -- MODEL.gguf`
#![allow(clippy::print_stdout, reason = "an example")]

use std::sync::Arc;
use tokki::engine::{Form, GenerateOptions, Part};
use tokki::{Conversation, Llm, Options};

fn main() -> Result<(), tokki::Error> {
    let model = std::env::args().nth(1).unwrap_or_else(|| "model.gguf".to_owned());
    let llm = Arc::new(Llm::open(model.as_ref())?);
    let schema = r#"{ "type": "object", "required": ["city", "people"],
        "properties": { "city": { "type": "string" }, "people": { "type": "integer" } } }"#;
    let form = Box::new(llm.constraint(&Form::json_schema(schema)?)?);
    let mut conversation = Conversation::open(llm, Options::default())?;
    conversation.say("Name a city in Korea and how many people live there.");
    let turn = conversation.answer(&GenerateOptions::default(), Some(form), &mut |_: &Part| Ok(()))?;
    println!("{}", turn.answer);
    Ok(())
}
