//! `tokki config`: what is set, where it comes from, and what could be set.

use super::output::{Paint, json, result, say, table};
use crate::Result;
use crate::config::{KEYS, Origin, Settings, file_path, unknown_variables};
use serde_json::json;
use std::io::Write;

/// Shows the settings and where each comes from
///
/// Every setting is a flag, an environment variable and a line of one TOML file. A flag beats the environment, which
/// beats the file, which beats the model's own value.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki config show                              every setting, its value and origin
  tokki config path                              where the file is looked for
  tokki config example > ~/.config/tokki/config.toml")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Every setting, its value and where that comes from
    #[command(after_help = "Examples:\n  tokki config show\n  TOKKI_CTX=8192 tokki config show --json")]
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The path of the configuration file
    #[command(after_help = "Examples:\n  ${EDITOR:-vi} $(tokki config path)")]
    Path,
    /// A configuration file with every setting, commented out
    #[command(after_help = "Examples:\n  tokki config example > $(tokki config path)")]
    Example,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let var = |name: &str| std::env::var(name).ok();
    match args.what {
        What::Show { json: true } => show_json(&Settings::load()?),
        What::Show { json: false } => show(&Settings::load()?),
        What::Path => match file_path(&var) {
            Some((path, _)) => result(|out| writeln!(out, "{}", path.display())),
            None => Err(crate::Error::input("TOKKI_CONFIG", "the path of a file", "nothing, and no home directory")),
        },
        What::Example => result(example),
    }
}

fn show(settings: &Settings) -> Result<()> {
    let paint = Paint::stdout();
    let row = |key: &crate::config::Key| match settings.get(key.name) {
        Some((text, origin)) => vec![key.name.to_owned(), format!("{text:?}"), origin.to_string()],
        None => vec![key.name.to_owned(), "-".to_owned(), format!("default: {}", key.default)],
    };
    let rows: Vec<_> = KEYS.iter().map(row).collect();
    result(|out| table(out, paint, &["SETTING", "VALUE", "FROM"], &rows))?;
    for (name, near) in unknown_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        say(&format!("the environment variable {name} means nothing here{near}"));
    }
    Ok(())
}

fn show_json(settings: &Settings) -> Result<()> {
    let entry = |key: &crate::config::Key| {
        let set = settings.get(key.name);
        let origin = match set.map(|(_, origin)| origin) {
            Some(Origin::Flag) => json!({ "kind": "flag" }),
            Some(Origin::Env(name)) => json!({ "kind": "environment", "name": name }),
            Some(Origin::File(path)) => json!({ "kind": "file", "path": path }),
            None => json!({ "kind": "default", "means": key.default }),
        };
        (key.name.to_owned(), json!({ "value": set.map(|(text, _)| text), "origin": origin }))
    };
    json(&KEYS.iter().map(entry).collect::<serde_json::Map<_, _>>())
}

fn example(out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "# Settings of tokki. A flag (--key) or the environment variable named beside a key beats this file."
    )?;
    for key in KEYS {
        writeln!(
            out,
            "\n# {} ({})\n# default: {}\n# {} = {}",
            key.help.trim(),
            key.env,
            key.default,
            key.name,
            key.example()
        )?;
    }
    Ok(())
}
