//! `tokki logits`: the raw output of a model for given token ids.

use super::compute::Compute;
use super::output;
use crate::config::MachineFlags;
use crate::error::FileAction;
use crate::platform::output::{self as file, Output};
use crate::{Error, Result, interrupt};
use clap::Args;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// Writes the logits after each of the given tokens
///
/// The file holds little-endian 32-bit floats, one row of the vocabulary's length per token. It works on models whose
/// tokenizer is unknown.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  tokki logits model.gguf --tokens 1,306,505 --output logits.f32")]
pub(super) struct Logits {
    /// A path or a store name
    model: OsString,

    /// Token ids, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    tokens: Vec<u32>,

    /// File to write; - is stdout
    #[arg(short, long)]
    output: PathBuf,

    #[command(flatten)]
    machine: MachineFlags,
}

/// Runs the command.
pub(super) fn run(args: &Logits) -> Result<()> {
    let to_stdout = args.output.as_os_str() == "-";
    if !to_stdout {
        // Before the weights are read.
        file::check(&args.output)?;
    }
    let compute = Compute::open(&args.model, &args.machine)?;
    let vocab = compute.model.spec.vocab;
    if let Some(bad) = args.tokens.iter().find(|&&token| token as usize >= vocab) {
        return Err(Error::input("--tokens", format!("token ids below {vocab}"), bad.to_string()));
    }
    if to_stdout {
        let mut out = std::io::BufWriter::new(output::stdout()?);
        write(&compute, &args.tokens, &mut out, &output::lost)?;
        return out.flush().map_err(output::lost);
    }
    let mut out = Output::begin(&args.output)?;
    write(&compute, &args.tokens, &mut out, &|why| Error::io(&args.output, FileAction::Write, why))?;
    out.commit()
}

/// Writes the rows to `out`; `failed` names it in errors.
fn write(
    compute: &Compute,
    tokens: &[u32],
    out: &mut dyn Write,
    failed: &dyn Fn(std::io::Error) -> Error,
) -> Result<()> {
    compute.session(tokens.len())?.feed_all(tokens, &mut |_, logits| {
        interrupt::check()?;
        numbers(compute, logits)?;
        logits.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())).map_err(failed)
    })
}

/// Refuses what no model means.
fn numbers(compute: &Compute, logits: &[f32]) -> Result<()> {
    if logits.iter().all(|logit| logit.is_finite()) {
        return Ok(());
    }
    Err(Error::failed(compute.model.gguf.path().display().to_string(), "the model's logits are no numbers")
        .hint("the file is damaged, or is computed in another way than it should be"))
}
