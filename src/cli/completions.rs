//! `tokki completions`: completion scripts for shells.

use super::Cli;
use super::output::result;
use crate::Result;
use clap::CommandFactory;

/// Prints a completion script for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki completions bash > ~/.local/share/bash-completion/completions/tokki
  tokki completions zsh > ~/.zfunc/_tokki
  tokki completions fish > ~/.config/fish/completions/tokki.fish")]
pub(super) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tokki", &mut script);
    result(|out| out.write_all(&script))
}
