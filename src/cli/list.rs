//! `tokki list`: what the store holds, and what the catalogue offers.

use super::output::{self, Paint, json, prose, result, say, table};
use super::readiness::{Standing, Standings};
use crate::Result;
use crate::store::{Partial, Store, StoredModel, catalogue};
use crate::units::show_bytes;
use serde_json::{Value, json};

/// Lists the models in the store
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki list                  name, size, state and origin of each model
  tokki list --json           the same for programs, with paths and hashes
  tokki list --names          names alone, one a line
  tokki list --catalogue      what can be had by a short name")]
pub(super) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// List what can be pulled by a short name instead
    #[arg(long)]
    catalogue: bool,
    /// Print names alone, one a line
    #[arg(long, conflicts_with = "json")]
    names: bool,
}

/// Columns of a terminal from which on the catalogue shows where models are from: its names are not to be broken.
const WITH_SOURCE: usize = 150;

pub(super) fn run(args: &ListArgs) -> Result<()> {
    if args.names && args.catalogue {
        return result(|out| catalogue::names().try_for_each(|name| writeln!(out, "{name}")));
    }
    if args.catalogue {
        return list_catalogue(args.json);
    }
    let store = Store::open()?;
    if args.names {
        let models = store.models()?;
        return result(|out| models.iter().try_for_each(|entry| writeln!(out, "{}", entry.name)));
    }
    let (partials, leftovers, removed) = (store.partials(), store.leftovers(), store.removed());
    let standings = Standings::of(Some(&store));
    let models: Vec<(StoredModel, Standing)> = store
        .models()?
        .into_iter()
        .map(|entry| {
            let standing = standings.look(&entry);
            (entry, standing)
        })
        .collect();
    if args.json {
        return json(&json!({ "home": store.home(), "models": models.iter().map(model).collect::<Vec<_>>(),
            "partial": partials.iter().map(partial).collect::<Vec<_>>(),
            "left_over": leftovers.iter().map(partial).collect::<Vec<_>>(),
            "removed": removed.iter().map(partial).collect::<Vec<_>>() }));
    }
    if models.is_empty() && partials.is_empty() && leftovers.is_empty() && removed.is_empty() {
        say(&format!(
            "no models in {} yet. tokki plan says what suits this machine, tokki list --catalogue what there is; a small \
             one to begin with: tokki pull {}",
            store.home().display(),
            catalogue::default_entry().name
        ));
        return Ok(());
    }
    let mut rows = Vec::new();
    for (entry, standing) in &models {
        let (size, source) = match &entry.manifest {
            Ok(manifest) => (show_bytes(manifest.size()), manifest.source.clone()),
            Err(_) => (String::new(), String::new()),
        };
        rows.push(vec![entry.name.clone(), size, standing.state.to_owned(), source]);
    }
    rows.extend(partials.iter().map(partial_row));
    rows.extend(leftovers.iter().map(leftover_row));
    rows.extend(removed.iter().map(removed_row));
    result(|out| table(out, Paint::stdout(), &["NAME", "SIZE", "STATE", "FROM"], &rows))?;
    for (_, standing) in &models {
        match &standing.problem {
            // The sentence says by itself what it is about.
            Some(why) if standing.path.is_some() => say(why),
            Some(why) => say(&format!("{}: {why}", standing.state)),
            None => {}
        }
    }
    Ok(())
}

fn leftover_row(Partial { name, bytes, .. }: &Partial) -> Vec<String> {
    let state = "left by an import that was killed".to_owned();
    vec![name.clone(), show_bytes(*bytes), state, format!("remove it: tokki rm {name}")]
}

fn removed_row(Partial { name, bytes, .. }: &Partial) -> Vec<String> {
    let way_on = "the next rm or pull clears it, when no program reads it any more";
    vec![name.clone(), show_bytes(*bytes), "removed, its files still there".to_owned(), way_on.to_owned()]
}

fn partial_row(Partial { name, bytes, order }: &Partial) -> Vec<String> {
    let total = order.as_ref().and_then(|order| order.total).filter(|&total| total > 0);
    let size = total.map_or(show_bytes(*bytes), |total| format!("{} of {}", show_bytes(*bytes), show_bytes(total)));
    let share = total.map(|total| format!(", {}%", (bytes.saturating_mul(100) / total).min(100)));
    let again = order.as_ref().map_or("continue it with the same pull".to_owned(), |order| order.what.clone());
    vec![name.clone(), size, format!("partial{}", share.unwrap_or_default()), again]
}

fn model((entry, standing): &(StoredModel, Standing)) -> Value {
    let manifest = entry.manifest.as_ref().ok();
    json!({ "name": entry.name, "path": standing.path, "state": standing.state, "problem": standing.problem,
        "size": manifest.map(crate::store::Manifest::size), "source": manifest.map(|m| &m.source),
        "files": manifest.map(|m| &m.files) })
}

fn partial(partial: &Partial) -> Value {
    json!({ "name": partial.name, "bytes_on_disk": partial.bytes, "order": partial.order })
}

fn list_catalogue(as_json: bool) -> Result<()> {
    if as_json {
        let entry = |e: &catalogue::CatalogueEntry| {
            json!({ "name": e.name, "about": e.about, "license": e.license, "size": e.size, "sha256": e.sha256,
                "source": e.source(), "chats": e.chats })
        };
        let listed = |l: &catalogue::Listed| {
            json!({ "name": l.name, "about": l.about, "license": l.license, "about_size": l.about_size(),
                "source": l.source, "chats": l.chats })
        };
        let entries = catalogue::ENTRIES.iter().map(entry);
        return json(&entries.chain(catalogue::LISTED.iter().map(listed)).collect::<Vec<_>>());
    }
    let kind = |chats: bool| if chats { "chat" } else { "base" };
    // One column at the end, which goes on in rows of its own where the terminal is narrow.
    let shows_source = output::width().is_none_or(|columns| columns >= WITH_SOURCE);
    let what = |about: &str, licence: &str, source: &str| match shows_source {
        true => format!("{about} ({licence}); {source}"),
        false => format!("{about} ({licence})"),
    };
    let entry = |e: &catalogue::CatalogueEntry| {
        [
            e.name.to_owned(),
            show_bytes(e.size),
            kind(e.chats).to_owned(),
            what(e.about, e.license, &e.source().unwrap_or_default()),
        ]
    };
    let listed = |l: &catalogue::Listed| {
        let size = format!("{:.1} GB", l.about_size() as f64 / 1e9);
        [l.name.to_owned(), format!("~{size}"), kind(l.chats).to_owned(), what(l.about, l.license, l.source)]
    };
    let entries = catalogue::ENTRIES.iter().map(entry);
    let rows: Vec<_> = entries.chain(catalogue::LISTED.iter().map(listed)).map(Vec::from).collect();
    result(|out| {
        table(
            out,
            Paint::stdout(),
            &["NAME", "SIZE", "KIND", if shows_source { "WHAT (LICENCE); SOURCE" } else { "WHAT (LICENCE)" }],
            &rows,
        )?;
        const NOTE: &str = "A base model continues text (run --raw) and does not chat. ~ is an estimate; tokki plan NAME asks the hub.";
        const HIDDEN: &str = " A wider terminal, or --json, shows where each is from.";
        let note = if shows_source { NOTE.to_owned() } else { format!("{NOTE}{HIDDEN}") };
        writeln!(out, "\n{}", prose(&note, Paint::stdout()))
    })
}
