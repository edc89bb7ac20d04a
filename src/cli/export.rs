//! `tokki export`: the files of a stored model, as they came.

use super::output::{result, say};
use super::progress::Bar;
use crate::store::Store;
use crate::{Error, Result};
use std::path::PathBuf;

/// Writes the file of a stored model, as it came
///
/// Models that are stored with interleaved rows come back byte for byte; every byte is compared with the recorded hash
/// before the file has its name.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki export smollm2-135m-instruct model.gguf
  tokki export big-split-model /data/models/           a folder, under the files' own names")]
pub(super) struct ExportArgs {
    /// Name in the store
    #[arg(value_name = "NAME")]
    name: String,
    /// The file to write, or a folder
    #[arg(value_name = "FILE")]
    to: PathBuf,
    /// Replace what is there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &ExportArgs) -> Result<()> {
    if args.to.as_os_str() == "-" {
        return Err(Error::usage("A model is written to a file, not to stdout: tokki export NAME FILE."));
    }
    let files = Store::open()?.export(&args.name, &args.to, args.force, &Bar::default())?;
    say(&format!(
        "{}: {} written",
        args.name,
        if files.len() == 1 { "1 file".into() } else { format!("{} files", files.len()) }
    ));
    result(|out| files.iter().try_for_each(|file| writeln!(out, "{}", file.display())))
}
