//! The command line: one file per command. Results go to stdout, everything else to stderr.

mod bench;
mod chat;
mod completions;
mod compute;
mod config;
mod doctor;
mod import;
mod list;
mod logits;
mod man;
mod output;
mod perplexity;
mod plan;
mod progress;
mod pull;
mod rm;
mod run;
mod serve;
mod show;
mod template;
mod tokenize;
mod verify;

use crate::config::GlobalFlags;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Runs 4-bit and 8-bit GGUF language models on ordinary CPUs.
#[derive(Parser, Debug)]
#[command(name = "tokki", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalFlags,
    #[command(subcommand)]
    command: Command,
}

/// THE COMMAND TABLE: one variant here, one arm in [`run`], one file beside this one.
#[derive(Subcommand, Debug)]
enum Command {
    Run(run::Run),
    Serve(serve::ServeArgs),
    Bench(bench::Bench),
    Plan(plan::PlanArgs),
    Logits(logits::Logits),
    Tokenize(tokenize::Args),
    Perplexity(perplexity::Args),
    Pull(pull::Args),
    List(list::Args),
    Show(show::Args),
    Verify(verify::Args),
    Rm(rm::Args),
    Import(import::Args),
    Config(config::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    Man(man::Args),
    Template(template::Args),
}

/// Parses the arguments, runs the command and turns its outcome into the exit code of the command contract.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn run(cli: Cli) -> crate::Result<()> {
    crate::config::set_global_flags(cli.global);
    match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Logits(args) => logits::run(args),
        Command::Tokenize(args) => tokenize::run(args),
        Command::Perplexity(args) => perplexity::run(args),
        Command::Pull(args) => pull::run(args),
        Command::List(args) => list::run(args),
        Command::Show(args) => show::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Rm(args) => rm::run(args),
        Command::Import(args) => import::run(args),
        Command::Config(args) => config::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
        Command::Template(args) => template::run(args),
    }
}

#[expect(clippy::print_stderr, reason = "the one place where an error is shown")]
fn report(error: &crate::Error) -> ExitCode {
    if !matches!(error, crate::Error::Interrupted) {
        eprintln!("tokki: {error}");
    }
    ExitCode::from(error.exit_code())
}
