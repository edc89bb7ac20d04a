//! `tokki embed`: vectors of texts.

use super::compute::Compute;
use super::flags::MachineFlags;
use super::{lines, output};
use crate::engine::{Embedder, Pooling};
use crate::error::FileAction;
use crate::platform::output::{self as file, OutputFile};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, interrupt};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// Turns each line of stdin into a vector
///
/// Prints one JSON array per line (of vectors of all tokens, where the model pools none). The text is read as it is: a
/// prefix that the model was trained with, such as "query: ", is yours to write.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  printf 'first text\\nsecond text\\n' | tokki embed model.gguf\n  \
    tokki embed model.gguf --raw --output vectors.f32 < lines.txt")]
pub(super) struct EmbedArgs {
    /// A path or a store name
    model: OsString,

    /// Write little-endian 32-bit floats, one vector after the other
    #[arg(long)]
    raw: bool,

    /// Leave vectors as long as the model makes them
    #[arg(long)]
    no_normalize: bool,

    /// How the vectors of tokens become one; default: as the file says
    #[arg(long, value_parser = pooling_names())]
    pooling: Option<Pooling>,

    /// Token ids of one text, separated by commas, instead of stdin; works on models whose tokenizer is unknown
    #[arg(long, value_delimiter = ',')]
    tokens: Option<Vec<u32>>,

    /// File to write; - is stdout
    #[arg(short, long, default_value = "-")]
    output: PathBuf,

    #[command(flatten)]
    machine: MachineFlags,
}

/// One of the poolings that have a name.
pub(super) fn pooling_names() -> impl TypedValueParser<Value = Pooling> {
    let names = Pooling::NAMES.iter().map(|&(name, _)| name);
    PossibleValuesParser::new(names).map(|name| Pooling::by_name(&name).unwrap_or(Pooling::None))
}

/// Runs the command.
pub(super) fn run(args: &EmbedArgs) -> Result<()> {
    if args.output.as_os_str() == "-" {
        let mut out = io::BufWriter::new(output::stdout()?);
        write(args, &mut out, &output::lost)?;
        return out.flush().map_err(output::lost);
    }
    // Before the weights are read.
    file::check(&args.output)?;
    let mut out = OutputFile::begin(&args.output)?;
    write(args, &mut out, &|why| Error::io(&args.output, FileAction::Write, why))?;
    out.commit()
}

/// Writes all vectors to `out`; `failed` names it in errors.
fn write(args: &EmbedArgs, out: &mut dyn Write, failed: &dyn Fn(io::Error) -> Error) -> Result<()> {
    let compute = Compute::open(&args.model, &args.machine)?;
    let needed = args.tokens.as_ref().map_or(0, Vec::len);
    let mut embedder = compute.embedder(needed)?;
    if let Some(pooling) = args.pooling {
        embedder.set_pooling(pooling);
    }
    let mut line = |tokens: &[u32]| -> Result<()> {
        interrupt::check()?;
        let vectors = embedder.vectors(tokens, !args.no_normalize, &AtomicBool::new(false))?;
        print(args, &embedder, &vectors, out).map_err(failed)
    };
    if let Some(tokens) = &args.tokens {
        return line(tokens);
    }
    let tokenizer = Tokenizer::from_gguf(&compute.model.gguf)?;
    // What is printed for each line is progress enough.
    let count = args.output.as_os_str() != "-" || !io::stdout().is_terminal();
    lines::for_each(count, &mut |number, text| {
        let named = |error| match error {
            Error::ContextFull { needed, available } => {
                Error::input(format!("line {number}"), format!("at most {available} tokens"), needed.to_string())
            }
            Error::Input { wanted, found, .. } => {
                let error = Error::input(format!("line {number}"), wanted, found);
                if text.trim().is_empty() {
                    error.hint("leave empty lines out, for example with: grep .")
                } else {
                    error
                }
            }
            other => other,
        };
        line(&Embedder::tokens(&tokenizer, text)).map_err(named)
    })
}

fn print(args: &EmbedArgs, embedder: &Embedder, vectors: &[Vec<f32>], out: &mut dyn Write) -> io::Result<()> {
    if args.raw {
        return vectors.iter().flatten().try_for_each(|value| out.write_all(&value.to_le_bytes()));
    }
    let json = match (embedder.pooling(), vectors) {
        (Pooling::None, _) | (_, []) => serde_json::to_string(vectors),
        (_, [one, ..]) => serde_json::to_string(one),
    };
    writeln!(out, "{}", json.map_err(io::Error::other)?)
}
