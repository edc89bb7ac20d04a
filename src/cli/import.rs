//! `tokki import`: a file that is already on this machine gets a name in the store.

use super::output::{result, say};
use super::progress::Bar;
use crate::Result;
use crate::gguf::RowLayout;
use crate::store::Store;
use crate::units::show_bytes;
use std::path::PathBuf;

/// Gives a GGUF file on this machine a name in the store
///
/// The file is checked and linked, not copied; it stays where it is. With --interleave what is stored is a copy whose rows lie
/// side by side, which is faster; `tokki export` gives the file back. Of a split model give the first part.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki import ~/Downloads/EXAONE-Deep-32B-Q4_K_M.gguf
  tokki import ~/Downloads/EXAONE-Deep-32B-Q4_K_M.gguf --interleave
  tokki import /data/model-00001-of-00003.gguf --name big")]
pub(super) struct Args {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name in the store [default: the file's]
    #[arg(long)]
    name: Option<String>,
    /// Store a copy with interleaved rows instead of a link
    #[arg(long)]
    interleave: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let store = Store::open()?;
    let layout = if args.interleave { RowLayout::Interleaved } else { RowLayout::Plain };
    let (name, size) = store.import_as(&args.file, args.name.as_deref(), layout, &Bar::default())?;
    let how = if args.interleave { "stored with interleaved rows" } else { "linked" };
    say(&format!("{name}: {}, {how}", show_bytes(size)));
    result(|out| writeln!(out, "{name}"))
}
