//! `tokki logits`: the raw output of a model for given token ids.

use super::compute::Compute;
use super::flags::MachineFlags;
use super::output;
use crate::engine::{Session, Trace};
use crate::error::FileAction;
use crate::platform::files::is_one_place;
use crate::platform::output as file;
use crate::{Error, Result, interrupt};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Writes the logits after each of the given tokens
///
/// The file holds little-endian 32-bit floats, one row of the vocabulary's length per token. It works on models whose
/// tokenizer is unknown.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  tokki logits model.gguf --tokens 1,306,505 --output logits.f32")]
pub(super) struct LogitsArgs {
    /// A path or a store name
    model: OsString,

    /// Token ids, separated by commas
    #[arg(long, value_delimiter = ',', required = true, value_parser = token)]
    tokens: Vec<u32>,

    /// File to write; - is stdout
    #[arg(short, long)]
    output: PathBuf,

    /// File for the intermediates of every layer, a line each: name, shape, sum, first and last values
    ///
    /// The names are those that other engines use (attn_norm-0, Qcur-0, ffn_out-0, l_out-0, ...). Each name
    /// stands once for every pass over up to 512 tokens.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    #[command(flatten)]
    machine: MachineFlags,
}

/// One of the ids, with or without blanks around it.
fn token(text: &str) -> std::result::Result<u32, String> {
    text.trim().parse().map_err(|_| "ids of tokens, whole numbers with commas between them".to_owned())
}

/// Runs the command.
pub(super) fn run(args: &LogitsArgs) -> Result<()> {
    let to_stdout = args.output.as_os_str() == "-";
    if to_stdout && std::io::stdout().is_terminal() {
        return Err(Error::usage("Logits are numbers in binary, and stdout is a terminal. Name a file, or pipe them."));
    }
    if !to_stdout {
        // Before the weights are read.
        file::check(&args.output)?;
    }
    if let Some(trace) = &args.trace {
        file::check(trace)?;
        if is_one_place(trace, &args.output) {
            return Err(Error::usage("--trace and --output name the same file. Leave one of them out, or rename it."));
        }
    }
    let compute = Compute::open(&args.model, &args.machine)?;
    if compute.model.spec.gives_vectors() {
        let place = compute.model.gguf.path().display().to_string();
        return Err(
            Error::input(place, "a model with logits", "one of text vectors").hint("`tokki embed` writes those")
        );
    }
    let vocab = compute.model.spec.vocab;
    if let Some(bad) = args.tokens.iter().find(|&&token| token as usize >= vocab) {
        return Err(Error::usage(format!(
            "There is no token {bad}: this model has those from 0 to {}.",
            vocab.saturating_sub(1)
        )));
    }
    let mut session = compute.session(args.tokens.len())?;
    let lines = Arc::new(Lines::default());
    if args.trace.is_some() {
        session.trace(Arc::clone(&lines) as Arc<dyn Trace>);
    }
    if to_stdout {
        let mut out = std::io::BufWriter::new(output::stdout()?);
        write(&compute, session, &args.tokens, &mut out, &output::lost)?;
        out.flush().map_err(output::lost)?;
    } else {
        let mut out = file::OutputFile::begin(&args.output)?;
        let failed = |why| Error::io(&args.output, FileAction::Write, why);
        write(&compute, session, &args.tokens, &mut out, &failed)?;
        out.commit()?;
    }
    args.trace.as_ref().map_or(Ok(()), |path| file::write(path, lines.text().as_bytes()))
}

/// Intermediates as lines of text.
#[derive(Default)]
struct Lines(Mutex<String>);

impl Lines {
    /// Values shown of each end.
    const SHOWN: usize = 3;

    fn text(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Trace for Lines {
    fn values(&self, name: &str, row_len: usize, values: &[f32]) {
        let shown = |values: &[f32]| values.iter().map(|value| format!("{value:.6}")).collect::<Vec<_>>().join(" ");
        let (first, last) = (&values[..values.len().min(Self::SHOWN)], values.len().saturating_sub(Self::SHOWN));
        let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
        let (rows, first, last) = (values.len() / row_len.max(1), shown(first), shown(&values[last..]));
        let line = format!("{name} [{row_len}, {rows}] sum {sum:.6}: {first} ... {last}\n");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(&line);
    }
}

/// Writes the rows to `out`; `failed` names it in errors.
fn write(
    compute: &Compute,
    mut session: Session,
    tokens: &[u32],
    out: &mut dyn Write,
    failed: &dyn Fn(std::io::Error) -> Error,
) -> Result<()> {
    session.feed_all(tokens, &mut |_, logits| {
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
