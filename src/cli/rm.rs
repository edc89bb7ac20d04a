//! `tokki rm`: models and unfinished downloads out of the store.

use super::output::say;
use crate::store::Store;
use crate::units::show_bytes;
use crate::{Error, Result};

/// Removes models, or unfinished downloads, from the store
///
/// Of an imported model only the link is removed, never the file.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki rm gemma3-270m
  tokki rm NAME OTHER-NAME")]
pub(super) struct RmArgs {
    /// The models to remove
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(super) fn run(args: &RmArgs) -> Result<()> {
    let store = Store::open()?;
    // All of them are looked for before the first is removed.
    let (partials, swept) = (store.partials(), store.sweep());
    let mut names: Vec<&String> = Vec::new();
    for name in &args.names {
        if names.contains(&name) {
            continue;
        }
        names.push(name);
        by_name(&store, name)?;
        if !swept.contains(name) && !partials.iter().any(|partial| partial.name == *name) {
            store.get(name)?;
        }
    }
    for name in names {
        let entry = store.find(name)?;
        if entry.is_none() && swept.contains(name) {
            say(&format!("removed what was left of {name}"));
            continue;
        }
        let linked = entry.and_then(|entry| entry.linked());
        let removed = store.remove(name)?;
        if let Some(file) = linked {
            let (name, place) = (removed.name, file.display());
            say(&match file.symlink_metadata() {
                Ok(_) => format!("{name}: the link is removed; the file stays at {place}"),
                Err(_) => format!("{name}: the link is removed; there was no file any more at {place}"),
            });
            continue;
        }
        let (name, bytes) = (removed.name, show_bytes(removed.bytes));
        say(&match removed.in_use {
            false => format!("removed {name}, {bytes} freed"),
            true => format!(
                "removed {name}; a program still reads it, and the next rm or pull after that has ended frees {bytes}"
            ),
        });
    }
    Ok(())
}

/// Refuses what names a file that models were made of, or several of them: which one is meant, and whether the file is, is
/// unknown.
fn by_name(store: &Store, name: &str) -> Result<()> {
    let models = store.models()?;
    if models.iter().any(|entry| entry.name.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let of_it = models.iter().filter(|entry| entry.manifest.as_ref().is_ok_and(|manifest| manifest.source == name));
    let of_it: Vec<&str> = of_it.map(|entry| entry.name.as_str()).collect();
    match of_it.len() {
        0 => Ok(()),
        1 if !std::path::Path::new(name).has_root() => Ok(()),
        _ => Err(Error::usage(format!("rm takes names, and {name} is in the store as {}.", of_it.join(", ")))),
    }
}
