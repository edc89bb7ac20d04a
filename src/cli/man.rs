//! `tokki man`: manual pages, made of the same words as `--help`.

use super::Cli;
use super::output::{result, say};
use crate::{Error, Result};
use clap::CommandFactory;
use std::path::PathBuf;

/// Prints the manual page, or writes one page per command
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki man | man -l -
  tokki man --dir ~/.local/share/man/man1      then: man tokki-run")]
pub(super) struct Args {
    /// Directory to write all pages to
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let command = Cli::command();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(|e| Error::failed("manual page", e.to_string()))?;
        return result(|out| out.write_all(&page));
    };
    std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, "create", e))?;
    clap_mangen::generate_to(command, dir).map_err(|e| Error::io(dir, "write", e))?;
    say(&format!("manual pages written to {}", dir.display()));
    Ok(())
}
