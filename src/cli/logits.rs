//! `tokki logits`: the raw output of a model for given token ids.

use super::compute::Compute;
use crate::config::MachineFlags;
use crate::{Error, Result};
use clap::Args;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Writes the logits after each of the given tokens
///
/// The file holds little-endian 32-bit floats, one row of the vocabulary's length per token. It works on models whose
/// tokenizer is unknown.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  tokki logits model.gguf --tokens 1,306,505 --output logits.f32")]
pub(super) struct Logits {
    /// A path or a store name
    model: String,

    /// Token ids, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    tokens: Vec<u32>,

    /// File to write
    #[arg(short, long)]
    output: PathBuf,

    #[command(flatten)]
    machine: MachineFlags,
}

/// Runs the command.
pub(super) fn run(args: &Logits) -> Result<()> {
    let mut session = Compute::open(&args.model, &args.machine)?.session(args.tokens.len())?;
    let failed = |why| Error::io(&args.output, "write", why);
    let file = File::create(&args.output).map_err(|why| Error::io(&args.output, "create", why))?;
    let mut out = BufWriter::new(file);
    session.feed_all(&args.tokens, &mut |_, logits| {
        logits.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())).map_err(failed)
    })?;
    out.flush().map_err(failed)
}
