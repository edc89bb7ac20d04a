//! `tokki import`: a file that is already on this machine gets a name in the store.

use super::output::{result, say};
use super::progress::Bar;
use super::readiness;
use crate::gguf::RowLayout;
use crate::store::Store;
use crate::store::elsewhere::{Elsewhere, FoundModel};
use crate::units::show_bytes;
use crate::{Error, Result, suggest};
use std::path::{Path, PathBuf};

/// Gives GGUF files on this machine a name in the store
///
/// A file is checked and linked, not copied; it stays where it is. Of a split model give the first part. With --interleave
/// what is stored is a copy whose rows lie side by side, which is faster; `tokki export` gives the file back. With --from, the
/// models that another program has fetched are found where it keeps them (OLLAMA_MODELS, HF_HUB_CACHE and HF_HOME are
/// honoured) and taken over, all of them or the one named.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki import ~/Downloads/EXAONE-Deep-32B-Q4_K_M.gguf
  tokki import ~/Downloads/EXAONE-Deep-32B-Q4_K_M.gguf --interleave
  tokki import /data/model-00001-of-00003.gguf --name big
  tokki import --from ollama               all that ollama has fetched
  tokki import --from lmstudio NAME        one model of LM Studio")]
pub(super) struct ImportArgs {
    /// The files; with --from, a model's name
    #[arg(value_name = "FILE", required_unless_present = "from")]
    files: Vec<PathBuf>,
    /// Name in the store, of letters, digits and . _ - [default: the file's]
    #[arg(long)]
    name: Option<String>,
    /// Store a copy with interleaved rows instead of a link
    #[arg(long)]
    interleave: bool,
    /// Take over models from another program
    #[arg(long, value_name = "PROGRAM", value_enum)]
    from: Option<Program>,
}

/// A program that keeps models.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Program {
    Ollama,
    Lmstudio,
    Huggingface,
}

pub(super) fn run(args: &ImportArgs) -> Result<()> {
    let store = Store::open()?;
    let layout = if args.interleave { RowLayout::Interleaved } else { RowLayout::Plain };
    if let Some(program) = args.from {
        return take_over(&store, program, args, layout);
    }
    if args.name.is_some() && args.files.len() > 1 {
        return Err(Error::usage(format!("--name is for one model, and {} files were given.", args.files.len())));
    }
    for file in &args.files {
        // A path need not be text.
        let file = file.to_str().map_or_else(|| file.clone(), super::output::home_path);
        if let Some(name) = linked_already(&store, &file, args.name.as_deref()).filter(|_| layout == RowLayout::Plain) {
            say(&format!("{name}: there already"));
            result(|out| writeln!(out, "{name}"))?;
            continue;
        }
        let (name, size) = store.import(&file, args.name.as_deref(), layout, &Bar::default())?;
        say(&format!("{name}: {}, {}", show_bytes(size), how(layout)));
        if let Ok(path) = store.resolve(&name) {
            readiness::remark(&name, &path);
        }
        result(|out| writeln!(out, "{name}"))?;
    }
    Ok(())
}

/// The model that is a link to this very file, if it has the name that is asked for.
fn linked_already(store: &Store, file: &Path, name: Option<&str>) -> Option<String> {
    let file = std::fs::canonicalize(file).ok()?;
    let same = |path: PathBuf| std::fs::canonicalize(path).is_ok_and(|path| path == file);
    let mut models = store.models().ok()?.into_iter().filter(|entry| name.is_none_or(|name| entry.name == name));
    models.find(|entry| entry.path().is_ok_and(same)).map(|entry| entry.name)
}

/// What became of the file.
fn how(layout: RowLayout) -> &'static str {
    match layout {
        RowLayout::Plain => "linked",
        RowLayout::Interleaved => "stored with interleaved rows",
    }
}

/// That another program does not have the models of these names, but others.
fn not_there(program: &str, missing: &[String], names: &[String], places: &str) -> Error {
    let near =
        missing.first().and_then(|one| suggest::nearest(one.trim_matches('"'), names.iter().map(String::as_str)));
    let near = near.map(|near| format!(" Did you mean {near}?")).unwrap_or_default();
    let s = if missing.len() == 1 { "" } else { "s" };
    Error::usage(format!(
        "No model{s} named {} in {program} ({places}).{near} There are: {}. --name NAME gives one another name here.",
        missing.join(" or "),
        names.join(", ")
    ))
}

fn take_over(store: &Store, program: Program, args: &ImportArgs, layout: RowLayout) -> Result<()> {
    let (elsewhere, called) = match program {
        Program::Ollama => (Elsewhere::Ollama, "Ollama"),
        Program::Lmstudio => (Elsewhere::LmStudio, "LM Studio"),
        Program::Huggingface => (Elsewhere::HuggingFace, "the Hugging Face cache"),
    };
    let places = elsewhere.places(&|key| std::env::var_os(key).map(PathBuf::from));
    let (mut found, mut damaged) = (Vec::new(), Vec::new());
    for place in &places {
        let listing = elsewhere.list(place);
        found.extend(listing.models);
        damaged.extend(listing.broken);
    }
    for broken in damaged {
        say(&format!("{}: left out, its record or its file is damaged or missing", broken.display()));
    }
    let shown: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    let shown = shown.join(" or ");
    if !args.files.is_empty() {
        let names: Vec<String> = found.iter().map(|model| model.name.clone()).collect();
        let missing = args.files.iter().filter(|wanted| !found.iter().any(|model| is_called(model, wanted)));
        let missing: Vec<String> = missing.map(|wanted| format!("{:?}", wanted.to_string_lossy())).collect();
        if !missing.is_empty() && !names.is_empty() {
            return Err(not_there(called, &missing, &names, &shown));
        }
        found.retain(|model| args.files.iter().any(|wanted| is_called(model, wanted)));
    }
    if found.is_empty() {
        return Err(Error::usage(format!("There are no GGUF models of {called} in {shown}.")));
    }
    if args.name.is_some() && found.len() > 1 {
        return Err(Error::usage(format!(
            "--name is for one model, and {} were found. Name one of them.",
            found.len()
        )));
    }
    let mut linked = Vec::new();
    for model in &found {
        linked.extend(take(store, model, args.name.as_deref(), layout)?);
    }
    result(|out| linked.iter().try_for_each(|name| writeln!(out, "{name}")))
}

/// Whether another program's model is the one that is `wanted`.
fn is_called(model: &FoundModel, wanted: &Path) -> bool {
    let wanted = wanted.to_string_lossy();
    // NAME:TAG, as Ollama writes it, is NAME-TAG here, and :latest nothing.
    let name = wanted.trim_end_matches(":latest").replace(':', "-");
    let whole = wanted.strip_prefix("hf:").unwrap_or(&wanted);
    model.name.eq_ignore_ascii_case(&name) || model.called.iter().any(|called| called.eq_ignore_ascii_case(whole))
}

/// Takes one model over, and says what came of it; its name here where it is new.
fn take(store: &Store, model: &FoundModel, named: Option<&str>, layout: RowLayout) -> Result<Option<String>> {
    let name = named.unwrap_or(&model.name);
    // It may have come under another name, before there were several of this one.
    let known = linked_already(store, &model.file, Some(name))
        .or_else(|| linked_already(store, &model.file, Some(&model.alone)).filter(|_| named.is_none()));
    match known {
        Some(known) if layout == RowLayout::Plain => say(&format!("{known}: there already")),
        Some(known) => say(&format!(
            "{known}: there already, as a link; tokki rm {known} first, or --name another, stores it with interleaved rows"
        )),
        None if store.find(name)?.is_some() => {
            say(&format!("{name}: not linked, a model of this name is here already; --name NAME links it beside"));
        }
        None => {
            let file = std::path::absolute(&model.file).unwrap_or_else(|_| model.file.clone());
            match store.import_as(&file, &model.file_name, Some(name), layout, &Bar::default()) {
                Ok((name, size)) => {
                    say(&format!("{name}: {}, {}", show_bytes(size), how(layout)));
                    if let Ok(path) = store.resolve(&name) {
                        readiness::remark(&name, &path);
                    }
                    return Ok(Some(name));
                }
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Err(error) => say(&format!("{name}: not linked: {error}")),
            }
        }
    }
    Ok(None)
}
