//! The command line: one file per command. Results go to stdout, everything else to stderr.

mod batch;
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
mod waiting;

use crate::config::GlobalFlags;
use clap::{Parser, Subcommand};
use std::io::IsTerminal;
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
    Batch(batch::BatchArgs),
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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return usage(&said),
    };
    crate::interrupt::install();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// Shows help, the version, or what is wrong with the arguments, which may hold what a terminal would obey.
fn usage(said: &clap::Error) -> ExitCode {
    if !said.use_stderr() {
        // A full disk is a failure here too.
        let text = said.render();
        let text = if std::io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() };
        return output::result(|out| out.write_all(text.as_bytes()))
            .map_or_else(|e| report(&e), |()| ExitCode::SUCCESS);
    }
    let hostile = std::env::args_os().any(|arg| arg.to_string_lossy().contains(char::is_control));
    if hostile {
        output::say(said.to_string().trim_end());
    } else {
        // If stderr is closed there is nobody to tell.
        drop(said.print());
    }
    ExitCode::from(2)
}

fn run(cli: Cli) -> crate::Result<()> {
    crate::config::set_global_flags(cli.global);
    if !matches!(cli.command, Command::Config(_)) {
        // Likely typing errors, which would have no effect without a word.
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for (name, near) in crate::config::unknown_variables(names) {
            let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            output::say(&format!("tokki: the environment variable {name} means nothing here{near}"));
        }
    }
    match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Batch(args) => batch::run(args),
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

fn report(error: &crate::Error) -> ExitCode {
    match error {
        // Without a signal: whoever read the output has what they wanted, and went (`| head -1`).
        crate::Error::Interrupted => {
            if crate::interrupt::requested() {
                crate::interrupt::tell();
            }
            ExitCode::from(crate::interrupt::exit_code())
        }
        error => {
            output::say(&format!("tokki: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
