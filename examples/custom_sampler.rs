//! Choosing tokens oneself, from logits: `cargo run --release --example custom_sampler -- MODEL.gguf`
#![allow(clippy::print_stdout, reason = "an example")]

use tokki::engine::Special;
use tokki::{Llm, Options, Session};

fn main() -> Result<(), tokki::Error> {
    let model = std::env::args().nth(1).unwrap_or_else(|| "model.gguf".to_owned());
    let llm = Llm::open(model.as_ref())?;
    let mut session = Session::open(&llm, Options::default())?;
    let mut next = llm.tokenizer().encode_with_bos("Once upon a time", Special::Plain);
    for _ in 0..40 {
        let logits = session.feed(&next, &mut |_| {})?;
        // The second likeliest token, for the fun of it.
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
        next = vec![order[1]];
        print!("{}", llm.tokenizer().decode(&next, false));
    }
    println!();
    Ok(())
}
