//! Settings: one table of keys, each of them a flag, an environment variable and a line of one TOML file.
//!
//! Precedence: flag, then environment, then file, then the model's or vendor's own value. A [`Settings`] holds only what
//! are set, with their origin; an accessor that returns `None` means that the last of these decides.
//!
//! ```text
//! // `machine` and `sampling` are groups of flags, flattened into a command's clap struct.
//! let settings = Settings::load()?.with(&machine).with(&sampling);
//! let ctx: Option<usize> = settings.ctx();
//! ```

mod item;
mod key;
mod sampling;
mod table;
mod values;

pub use item::{Bytes, Item, ThinkingSetting, ThoughtView, at_least_one, count};
pub use key::{Counts, Key};
pub use sampling::SamplingFlags;
pub use table::{ChatFlags, GlobalFlags, KEYS, MachineFlags, PullFlags, ServerFlags, ThinkingFlags, WORDS};
pub use values::{Flags, SettingOrigin, Settings};

use crate::error::FileAction;
use crate::sample::PARAMETERS;
use crate::{Error, Result, suggest};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Environment variables that start with `TOKKI_` and are not keys of the file.
const OTHER_VARIABLES: &[&str] = &["TOKKI_API_KEY", "TOKKI_CONFIG", "TOKKI_ISA"];

/// Whether a key can be set for a single model.
fn of_a_model(key: &str) -> bool {
    OF_A_MODEL.contains(&key) || PARAMETERS.iter().any(|row| row.name == key)
}

/// Those beside the parameters of sampling.
const OF_A_MODEL: &[&str] = &[
    "threads",
    "power",
    "ctx",
    "kv_type",
    "latent_prefill",
    "read_ahead",
    "interleave",
    "max_tokens",
    "seed",
    "system",
    "thoughts",
    "thinking",
    "overflow",
];

static GLOBAL: OnceLock<GlobalFlags> = OnceLock::new();

/// Makes the flags that every command has known to [`Settings::load`]; the first call of a process counts.
pub fn set_global_flags(flags: GlobalFlags) {
    drop(GLOBAL.set(flags));
}

/// The row of a key; an error names the nearest one.
fn key(name: &str) -> Result<&'static Key> {
    KEYS.iter().find(|key| key.name == name.replace('-', "_")).ok_or_else(|| {
        let near = suggest::did_you_mean(name, KEYS.iter().map(|key| key.name));
        Error::usage(format!("No setting {name}. {}", near.replacen('d', "D", 1)).trim_end())
    })
}

impl Settings {
    /// File, environment and global flags of this process.
    ///
    /// # Errors
    /// [`Error::Input`] for an unknown key or a value that does not fit, naming the file or variable.
    pub fn load() -> Result<Self> {
        let var = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let mut settings = Self::from_sources(&var)?;
        if let Some(flags) = GLOBAL.get() {
            flags.overlay(&mut settings);
        }
        Ok(settings)
    }

    /// File and environment, as `var` tells them.
    pub fn from_sources(var: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut settings = Self::default();
        if let Some(path) = file_path(var).filter(|(path, asked)| *asked || path.exists()).map(|(path, _)| path) {
            settings.add_file(&path, &read(&path)?)?;
        }
        for key in KEYS.iter() {
            if let Some(text) = var(key.env).filter(|text| !text.is_empty()) {
                key.check(&text).map_err(|why| Error::input(key.env, why, format!("{text:?}")))?;
                settings.values.insert(key.name, (text, SettingOrigin::Env(key.env)));
            }
        }
        Ok(settings)
    }

    /// Sets a key from its text, as if by a flag.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that is no key, with the nearest one, and for a value that the key cannot have.
    pub fn with_text(mut self, name: &str, text: &str) -> Result<Self> {
        let key = key(name)?;
        key.check(text).map_err(|why| Error::usage(format!("{} takes {why}, not {text:?}.", key.name)))?;
        self.set_flag(key.name, text.to_owned());
        Ok(self)
    }

    /// Forgets what was said of a key: its default holds.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that is no key.
    pub fn without(mut self, name: &str) -> Result<Self> {
        self.values.remove(key(name)?.name);
        Ok(self)
    }

    /// Adds the keys of a TOML text.
    fn add_file(&mut self, path: &Path, text: &str) -> Result<()> {
        let place = path.display().to_string();
        let mut table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| Error::input(place.as_str(), "TOML", e.to_string()))?;
        if let Some(models) = table.remove("models") {
            let wrong = |found: &str| Error::input(place.as_str(), "tables of the form [models.NAME]", found);
            let toml::Value::Table(models) = models else { return Err(wrong("models = ...")) };
            for (name, keys) in models {
                let toml::Value::Table(keys) = keys else { return Err(wrong(&format!("models.{name} = ..."))) };
                let mut preset = Self::default();
                preset.add_table(path, &format!("models.{name}."), keys)?;
                if let Some(key) = preset.values.keys().find(|key| !of_a_model(key)) {
                    return Err(wrong(&format!("the key {key} in [models.{name}]"))
                        .hint("it holds for all models: set it at the top of the file"));
                }
                self.presets.insert(name.to_lowercase(), preset.values);
            }
        }
        self.add_table(path, "", table)
    }

    /// Adds the keys of a table whose names in the file begin with `prefix`.
    fn add_table(&mut self, path: &Path, prefix: &str, table: toml::Table) -> Result<()> {
        let place = path.display().to_string();
        for (name, value) in table {
            let Some(key) = KEYS.iter().find(|key| key.name == name) else {
                let near = suggest::did_you_mean(&name, KEYS.iter().map(|key| key.name));
                let hint = match &value {
                    toml::Value::Table(_) if !prefix.is_empty() => {
                        format!(
                            "a name with a dot in it stands in quotes: [models.\"{}.{name}\"]",
                            &prefix[7..prefix.len() - 1]
                        )
                    }
                    toml::Value::Table(_) => "keys for one model alone stand below [models.NAME]".to_owned(),
                    _ if near.is_empty() => "tokki config example lists the keys".to_owned(),
                    _ => near,
                };
                return Err(Error::input(place, "known keys", format!("the key \"{prefix}{name}\"")).hint(hint));
            };
            let (kind, text) = match value {
                toml::Value::String(text) => ("text", text),
                toml::Value::Integer(number) => ("number", number.to_string()),
                toml::Value::Float(number) => ("number", number.to_string()),
                toml::Value::Boolean(flag) => ("true or false", flag.to_string()),
                other => ("", other.type_str().to_owned()),
            };
            // A text may hold anything that can be written as one: sizes ("64M"), "on", a number.
            let fits = kind == key.kind
                || (key.kind == "text" && matches!(kind, "number" | "true or false"))
                || (key.kind == "number" && kind == "text");
            let place = || format!("{}, key {prefix}{name}", path.display());
            if !fits {
                return Err(Error::input(place(), key.kind, format!("{kind} {text}")));
            }
            key.check(&text).map_err(|why| Error::input(place(), why, format!("{text:?}")))?;
            self.values.insert(key.name, (text, SettingOrigin::File(path.to_path_buf())));
        }
        Ok(())
    }
}

/// The configuration file, and whether it was asked for by name (then it has to exist).
pub fn file_path(var: &dyn Fn(&str) -> Option<String>) -> Option<(PathBuf, bool)> {
    let set = |key: &str| var(key).filter(|text| !text.is_empty()).map(PathBuf::from);
    if let Some(path) = set("TOKKI_CONFIG") {
        return Some((path, true));
    }
    if let Some(base) = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute()) {
        return Some((base.join("tokki/config.toml"), false));
    }
    let (key, below) = crate::platform::places::SETTINGS;
    set(key).map(|base| (base.join(below), false))
}

/// Variables named `TOKKI_...` that mean nothing here, each with a suggestion: likely typing errors.
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<(String, Option<&'static str>)> {
    let known = || KEYS.iter().map(|key| key.env).chain(OTHER_VARIABLES.iter().copied());
    let unknown = names
        .into_iter()
        .filter(|name| name.starts_with("TOKKI_") && !name.starts_with("TOKKI_TEST_") && !known().any(|k| k == name));
    unknown.map(|name| (name.clone(), suggest::nearest(&name, known()))).collect()
}

fn read(path: &Path) -> Result<String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, FileAction::Open, e))?;
    let mut text = String::new();
    file.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text).map_err(|e| Error::io(path, FileAction::Read, e))?;
    if text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(Error::input(path.display().to_string(), "a configuration file under 1 MiB", "a longer one"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
