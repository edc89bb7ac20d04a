//! The command line: one file per command. Results go to stdout, everything else to stderr.

mod compute;
mod logits;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Runs 4-bit and 8-bit GGUF language models on ordinary CPUs.
#[derive(Parser, Debug)]
#[command(name = "tokki", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// THE COMMAND TABLE: one variant here, one arm in [`run`], one file beside this one.
#[derive(Subcommand, Debug)]
enum Command {
    Logits(logits::Logits),
}

/// Parses the arguments, runs the command and turns its outcome into the exit code of the command contract.
pub fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn run(cli: &Cli) -> crate::Result<()> {
    match &cli.command {
        Command::Logits(args) => logits::run(args),
    }
}

#[expect(clippy::print_stderr, reason = "the one place where an error is shown")]
fn report(error: &crate::Error) -> ExitCode {
    if !matches!(error, crate::Error::Interrupted) {
        eprintln!("tokki: {error}");
    }
    ExitCode::from(error.exit_code())
}
