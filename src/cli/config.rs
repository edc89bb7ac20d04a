//! `tokki config`: what is set, where it comes from, and what could be set.

use super::output::{Paint, json, result, say, table};
use crate::config::{KEYS, SettingOrigin, Settings, file_path, unknown_variables};
use crate::error::FileAction;
use crate::store::Store;
use crate::{Error, Result};
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::io::Write;

/// Shows the settings and where each comes from
///
/// Every setting is a flag, an environment variable and a line of one TOML file. A flag beats the environment, which
/// beats the file, which beats the model's own value. TOKKI_CONFIG names another file than the usual one.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki config show                              every setting, its value and origin
  tokki config path                              where the file is looked for
  tokki config init                              writes a file with every setting, to be edited")]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Every setting, its value and where that comes from; with MODEL what holds for that one
    #[command(
        after_help = "Examples:\n  tokki config show\n  tokki config show smollm2-135m-instruct\n  TOKKI_CTX=8192 tokki config show --json"
    )]
    Show {
        /// A path or store name
        model: Option<OsString>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The path of the configuration file
    #[command(after_help = "Examples:\n  ${EDITOR:-vi} $(tokki config path)")]
    Path,
    /// A configuration file with every setting, commented out
    #[command(after_help = "Examples:\n  tokki config example | less")]
    Example,
    /// Writes that file to its place, where there is none yet
    #[command(after_help = "Examples:\n  tokki config init && ${EDITOR:-vi} $(tokki config path)")]
    Init,
}

pub(super) fn run(args: &ConfigArgs) -> Result<()> {
    let var = |name: &str| std::env::var(name).ok();
    match &args.what {
        What::Show { json, model } => {
            let shown = Shown::read(model.as_deref())?;
            if *json { show_json(&shown) } else { show(&shown) }
        }
        What::Path => match file_path(&var) {
            Some((path, _)) => result(|out| writeln!(out, "{}", path.display())),
            None => Err(Error::usage("There is no home directory for the file; TOKKI_CONFIG can name one.")),
        },
        What::Example => result(example),
        What::Init => init(&var),
    }
}

fn init(var: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    let no_place = || Error::usage("There is no home directory for the file; TOKKI_CONFIG can name one.");
    let (path, _) = file_path(var).ok_or_else(no_place)?;
    if path.exists() {
        return Err(Error::usage(format!("{} is there already, and stays as it is.", path.display())));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|why| Error::io(folder, FileAction::Create, why))?;
    }
    let mut text = Vec::new();
    example(&mut text).map_err(|why| Error::io(&path, FileAction::Write, why))?;
    crate::platform::output::write(&path, &text)?;
    result(|out| writeln!(out, "{}", path.display()))
}

/// The settings that are shown.
struct Shown {
    settings: Settings,
    /// The name below `[models.NAME]`, and its keys that count.
    preset: Option<(String, Vec<&'static str>)>,
    /// One model is asked about, so that what holds for others is left out.
    one: bool,
}

impl Shown {
    fn read(model: Option<&OsStr>) -> Result<Self> {
        let all = Settings::load()?;
        let Some(model) = model else { return Ok(Self { settings: all, preset: None, one: false }) };
        let path = crate::store::resolve(model)?;
        let settings = all.clone().for_model(&path);
        let preset = all.preset_of(&path).map(|name| {
            let own = all.of_models().filter(|(of, ..)| *of == name);
            let counts = own.filter(|(_, key, text, origin)| settings.get(key) == Some((*text, *origin)));
            (name.to_owned(), counts.map(|(_, key, ..)| key).collect())
        });
        Ok(Self { settings, preset, one: true })
    }

    /// The model's name, where the key is set for it alone.
    fn of_model(&self, key: &str) -> Option<&str> {
        self.preset.as_ref().filter(|(_, keys)| keys.contains(&key)).map(|(name, _)| name.as_str())
    }
}

fn show(shown: &Shown) -> Result<()> {
    let (settings, paint) = (&shown.settings, Paint::stdout());
    let row = |key: &crate::config::Key| match settings.get(key.name) {
        Some((text, origin)) => {
            let of_model = shown.of_model(key.name).map(|name| format!(", [models.{name}]")).unwrap_or_default();
            vec![key.name.to_owned(), in_quotes(text), format!("{origin}{of_model}")]
        }
        None => vec![key.name.to_owned(), holds(key, settings), format!("default: {}", key.default)],
    };
    let of_model = |(model, key, text, origin): (&str, &str, &str, &SettingOrigin)| {
        vec![format!("models.{model}.{key}"), in_quotes(text), origin.to_string()]
    };
    let of_models = settings.of_models().filter(|_| !shown.one).map(of_model);
    let rows: Vec<_> = KEYS.iter().map(row).chain(of_models).collect();
    result(|out| table(out, paint, &["SETTING", "VALUE", "FROM"], &rows))?;
    for (name, near) in unknown_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        say(&format!("the environment variable {name} means nothing here{near}"));
    }
    Ok(())
}

/// A value; a text of several words, or of none, in quotes.
fn in_quotes(text: &str) -> String {
    let word = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if word { text.to_owned() } else { format!("{text:?}") }
}

/// What holds where the key is not set, where that is one value.
fn holds(key: &crate::config::Key, settings: &Settings) -> String {
    if key.name == "home" {
        return Store::of(settings).map_or("-".to_owned(), |store| store.home().display().to_string());
    }
    if key.name == "threads" {
        return crate::machine::threads().0.to_string();
    }
    let word = key.default.split(',').next().unwrap_or_default();
    if word.contains(' ') { "-".to_owned() } else { word.to_owned() }
}

fn show_json(shown: &Shown) -> Result<()> {
    let entry = |key: &crate::config::Key| {
        let set = shown.settings.get(key.name);
        let origin = match set.map(|(_, origin)| origin) {
            Some(SettingOrigin::Flag) => json!({ "kind": "flag" }),
            Some(SettingOrigin::Env(name)) => json!({ "kind": "environment", "name": name }),
            Some(SettingOrigin::File(path)) => match shown.of_model(key.name) {
                Some(name) => json!({ "kind": "file", "path": path, "model": name }),
                None => json!({ "kind": "file", "path": path }),
            },
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
    for key in KEYS.iter() {
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
    writeln!(
        out,
        "\n# Below [models.NAME], a model's name in the store or its file's without .gguf, keys hold for that model alone\n\
         # (system, thoughts and overflow: in run):\n\
         #\n#   [models.qwen3-8b]\n#   temperature=0.6\n#   system=\"Answer briefly.\""
    )
}
