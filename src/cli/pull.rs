//! `tokki pull`: a model from the hub, a URL or the catalogue into the store.

use super::flags::PullFlags;
use super::layout::{self, LayoutFlag};
use super::output::{result, say};
use super::progress::Bar;
use crate::config::Settings;
use crate::gguf::Gguf;
use crate::store::{self, PullRequest, Store};
use crate::{Error, Result};
use std::path::Path;

/// Fetches a model into the store
///
/// Downloads go over several connections, survive interruptions of any kind (run the same command again), and are
/// checked against the hub's hashes. A model appears under its name only when all of it is there and right. A download is
/// continued where a hash or the server's strong ETag proves that it is still the same file; otherwise it starts over. A
/// model that `verify` found damaged is repaired.
///
/// A model can be stored with its rows in an order that is faster on most machines (--layout): auto measures what that is worth
/// here. `tokki export` gives the file back, byte for byte.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki pull smollm2-135m-instruct                       the small model of the catalogue
  tokki pull hf:bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M
  tokki pull LGAI-EXAONE/EXAONE-Deep-2.4B-GGUF           the best 4-bit file of a repository
  tokki pull hf:ORG/REPO@REVISION/FOLDER/FILE.gguf       one file, or all parts of a split one
  tokki pull https://example.org/model.gguf --sha256 HEX
  MODEL=$(tokki pull smollm2-135m-instruct)              prints the file's path

HF_TOKEN is the token for models behind terms; it is sent to the hub alone.
HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY and the system's certificates are honoured.")]
pub(super) struct PullArgs {
    /// hf:ORG/REPO[@REVISION][:QUANT], ORG/REPO/FILE.gguf, a URL, or a catalogue name
    #[arg(value_name = "MODEL")]
    what: String,
    /// Name in the store [default: the file's]
    #[arg(long)]
    name: Option<String>,
    /// What the file has to hash to; a model that is there already is checked too
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Fetch everything again: discard what an earlier try left, and replace the model if it is there
    #[arg(long)]
    restart: bool,
    /// How the rows of the weights are stored
    #[arg(long, value_enum, default_value_t, value_name = "LAYOUT")]
    layout: LayoutFlag,
    #[command(flatten)]
    network: PullFlags,
}

/// Whether something of what was asked for is here.
fn is_kept(settings: &Settings, what: &str) -> bool {
    let of_it = |partial: &store::Partial| partial.order.as_ref().is_some_and(|order| order.what == what);
    Store::of(settings).is_ok_and(|store| store.partials().iter().any(of_it))
}

pub(super) fn run(args: &PullArgs) -> Result<()> {
    let settings = Settings::load()?.with(&args.network);
    if Path::new(&args.what).is_file() && Store::of(&settings)?.find(&args.what)?.is_none() {
        let file = &args.what;
        let way = format!("Run it where it lies: tokki run {file}, or put it into the store: tokki import {file}");
        return Err(Error::usage(format!("{file} is a file on this machine: there is nothing to fetch. {way}")));
    }
    let pays = |gguf: &Gguf| layout::pays(&settings, gguf);
    let request = PullRequest {
        what: &args.what,
        name: args.name.as_deref(),
        sha256: args.sha256.as_deref(),
        restart: args.restart,
        layout: args.layout.choice(&pays),
    };
    let pulled = store::pull(&settings, request, &Bar::default()).inspect_err(|why| {
        if matches!(why, Error::Interrupted) && !args.restart && is_kept(&settings, &args.what) {
            say("tokki: what has come is kept: the same command goes on with it");
        }
    })?;
    let size = crate::units::show_bytes(pulled.size);
    let state = match (pulled.already, pulled.checked) {
        (true, true) => "was there already, hash checked",
        (true, false) if pulled.linked => "was there already, a file on this machine that was imported",
        (true, false) => "was there already (--restart fetches it again)",
        (false, true) => "fetched, hash checked",
        (false, false) => "fetched; no hash was given to check it against",
    };
    say(&format!("{}: {size}, {state}", pulled.name));
    if !pulled.already {
        super::readiness::remark(&pulled.name, &pulled.path);
    }
    result(|out| writeln!(out, "{}", pulled.path.display()))
}
