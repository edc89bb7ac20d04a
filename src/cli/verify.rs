//! `tokki verify`: are the stored bytes still the right ones?

use super::output::{Paint, count, result, say};
use super::progress::Bar;
use crate::store::{Store, Verdict, trouble};
use crate::{Error, Result};

/// Checks stored models against their hashes
///
/// Reads every byte. A model that was imported without a hash gets one recorded, to compare with next time. What is found
/// to be damaged is remembered: it is not run until `pull` has repaired it, or `verify` finds it whole again.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki verify                            all models
  tokki verify smollm2-135m-instruct      one of them

Exit code 1 if any file is not what it was.")]
pub(super) struct VerifyArgs {
    /// The models to check [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub(super) fn run(args: &VerifyArgs) -> Result<()> {
    let store = Store::open()?;
    let names = if args.names.is_empty() {
        store.models()?.into_iter().map(|entry| entry.name).collect()
    } else {
        args.names.clone()
    };
    if names.is_empty() {
        say("no models to check");
    }
    let paint = Paint::stdout();
    let (mut wrong, mut unrecorded, mut repair) = (Vec::new(), Vec::new(), false);
    for name in names {
        let line = match store.verify(&name, &Bar::default()) {
            Ok(Verdict::Matches) => format!("{name}: {}", paint.good("matches")),
            Ok(Verdict::Recorded) => {
                format!("{name}: {} (there was no hash to compare with; there is one now)", paint.good("recorded"))
            }
            Ok(Verdict::NotRecorded(why)) => {
                unrecorded.push(name.clone());
                format!("{name}: {}: it can be read, but this could not be noted: {why}", paint.bad("not recorded"))
            }
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(e @ (Error::Input { .. } | Error::Usage { .. })) if store.find(&name)?.is_none() => return Err(e),
            Err(e) => {
                let what = trouble(&e);
                wrong.push(format!("{name} ({what})"));
                // Where the finding could not be noted, nothing refuses the model.
                repair |= what == "damaged" && store.get(&name).and_then(|entry| entry.path()).is_err();
                format!("{name}: {}: {e}", paint.bad(what))
            }
        };
        result(|out| writeln!(out, "{line}"))?;
    }
    if wrong.is_empty() && unrecorded.is_empty() {
        return Ok(());
    }
    if wrong.is_empty() {
        let what = format!("what was found could not be recorded of {}", count(unrecorded.len(), "model"));
        return Err(Error::failed("verify", format!("{what}: {}", unrecorded.join(", "))));
    }
    let hint = if repair { "what is damaged will not be run until it is repaired" } else { "" };
    Err(Error::failed("verify", format!("{} cannot be used: {}", count(wrong.len(), "model"), wrong.join(", ")))
        .hint(hint))
}
