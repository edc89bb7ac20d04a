//! `tokki rerank`: scores of documents for a query.

use super::compute::Compute;
use super::flags::MachineFlags;
use super::{lines, output};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, interrupt};
use std::ffi::OsString;
use std::sync::atomic::AtomicBool;

/// Scores each line of stdin as an answer to a query, the best first
///
/// Prints one JSON object per document: its number on stdin (from 0), its score and its text. Needs a model with a
/// classification head (a reranker).
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  tokki rerank reranker.gguf --query 'capital of Korea' < documents.txt")]
pub(super) struct RerankArgs {
    /// A path or a store name
    model: OsString,

    /// What the documents are to answer
    #[arg(short, long)]
    query: String,

    /// Print the best so many only
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,

    #[command(flatten)]
    machine: MachineFlags,
}

/// One document.
#[derive(serde::Serialize)]
struct Ranked {
    index: usize,
    score: f32,
    document: String,
}

/// Runs the command.
pub(super) fn run(args: &RerankArgs) -> Result<()> {
    if args.query.trim().is_empty() {
        return Err(Error::usage("The query is empty: there is nothing to rank documents by."));
    }
    let compute = Compute::open(&args.model, &args.machine)?;
    let mut embedder = compute.embedder(0)?;
    let tokenizer = Tokenizer::from_gguf(&compute.model.gguf)?;
    let mut ranked = Vec::new();
    lines::for_each(true, &mut |number, text| {
        interrupt::check()?;
        let (score, _) = embedder.score(&tokenizer, &args.query, text, &AtomicBool::new(false))?;
        ranked.push(Ranked { index: number - 1, score, document: text.to_owned() });
        Ok(())
    })?;
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
    ranked.truncate(args.top.map_or(usize::MAX, |top| top as usize));
    output::result(|out| {
        ranked
            .iter()
            .try_for_each(|row| writeln!(out, "{}", serde_json::to_string(row).map_err(std::io::Error::other)?))
    })
}
