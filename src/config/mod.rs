//! Settings: one table of keys, each of them a flag, an environment variable and a line of one TOML file.
//!
//! Precedence: flag, then environment, then file, then the model's or vendor's own value. A [`Settings`] holds only what
//! are set, with their origin; an accessor that returns `None` means that the last of these decides.
//!
//! ```text
//! // `machine` and `sampling` are groups of flags that were given.
//! let settings = Settings::load()?.with(&machine).with(&sampling);
//! let ctx: Option<usize> = settings.ctx();
//! ```

mod item;
mod key;
mod sampling;
mod table;
mod values;

pub use item::{Bytes, Item, ThinkingSetting, ThoughtView, at_least_one, count};
pub use key::{Counts, Key, SettingGroup};
pub use table::{KEYS, WORDS};
pub use values::{GivenFlags, SettingOrigin, Settings};

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

static GLOBAL: OnceLock<GivenFlags> = OnceLock::new();

/// Makes the flags that every command has known to [`Settings::load`]; the first call of a process counts.
pub fn set_global_flags(flags: GivenFlags) {
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
        let (settings, unread) = Self::process();
        unread.into_iter().next().map_or(Ok(settings), |first| Err(first.why))
    }

    /// As [`Settings::load`], with what can be read, and why the rest cannot.
    pub fn readable() -> (Self, Vec<Error>) {
        let (settings, unread) = Self::process();
        (settings, unread.into_iter().map(|unread| unread.why).collect())
    }

    /// As [`Settings::readable`], for what needs the store's place alone.
    ///
    /// # Errors
    /// What leaves that place unknown.
    pub fn of_the_store() -> Result<(Self, Vec<Error>)> {
        let (settings, unread) = Self::process();
        let known = matches!(settings.get("home"), Some((_, SettingOrigin::Flag | SettingOrigin::Env(_))));
        let (fatal, other): (Vec<_>, Vec<_>) = unread.into_iter().partition(|unread| unread.hides_home && !known);
        match fatal.into_iter().next() {
            Some(first) => Err(first.why),
            None => Ok((settings, other.into_iter().map(|unread| unread.why).collect())),
        }
    }

    fn process() -> (Self, Vec<Unread>) {
        let var = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let (settings, unread) = Self::of_sources(&var);
        let settings = match GLOBAL.get() {
            Some(flags) => settings.with(flags),
            None => settings,
        };
        (settings, unread)
    }

    /// File and environment, as `var` tells them.
    ///
    /// # Errors
    /// As [`Settings::load`].
    #[cfg(any(test, feature = "testing"))]
    pub fn from_sources(var: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let (settings, unread) = Self::of_sources(var);
        unread.into_iter().next().map_or(Ok(settings), |first| Err(first.why))
    }

    /// File and environment, as `var` tells them, and what cannot be read of them.
    fn of_sources(var: &dyn Fn(&str) -> Option<String>) -> (Self, Vec<Unread>) {
        let (mut settings, mut unread) = (Self::default(), Vec::new());
        if let Some(path) = file_path(var).filter(|(path, asked)| *asked || path.exists()).map(|(path, _)| path) {
            match crate::platform::input::read_text(&path, MAX_CONFIG_BYTES) {
                Ok(text) => settings.add_file(&path, &text, &mut unread),
                Err(why) => unread.push(Unread { why, hides_home: true }),
            }
        }
        for key in KEYS.iter() {
            let Some(text) = var(key.env).filter(|text| !text.is_empty()) else { continue };
            match key.check(&text) {
                Ok(()) => drop(settings.values.insert(key.name, (text, SettingOrigin::Env(key.env)))),
                Err(why) => unread.push(Unread {
                    why: Error::input(key.env, why, format!("{text:?}")),
                    hides_home: key.name == "home",
                }),
            }
        }
        (settings, unread)
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

    /// Adds the keys of a TOML text; what cannot be read of it goes to `unread`.
    fn add_file(&mut self, path: &Path, text: &str, unread: &mut Vec<Unread>) {
        let file = path.display().to_string();
        let mut table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(why) => {
                let why: toml::de::Error = why;
                // Nothing is known of it but its lines.
                let hides_home =
                    text.lines().any(|line| line.trim_start().trim_start_matches(['"', '\'']).starts_with("home"));
                return unread.push(Unread { why: Error::input(file, "TOML", why.to_string()), hides_home });
            }
        };
        let models = table.remove("models");
        let place = Place { path, text, of: &[] };
        self.add_table(&place, table, unread);
        let wrong = |found: &str| Error::input(file.as_str(), "tables of the form [models.NAME]", found);
        let models = match models {
            Some(toml::Value::Table(models)) => models,
            Some(_) => return unread.push(wrong("models = ...").into()),
            None => return,
        };
        for (name, keys) in models {
            let toml::Value::Table(keys) = keys else {
                unread.push(wrong(&format!("models.{name} = ...")).into());
                continue;
            };
            let mut preset = Self::default();
            let place = Place { path, text, of: &["models", &name] };
            preset.add_table(&place, keys, unread);
            for key in preset.values.keys().filter(|key| !of_a_model(key)) {
                let hint = "it holds for all models: set it at the top of the file";
                unread.push(wrong(&format!("the key {key} in [models.{name}]")).hint(hint).into());
            }
            preset.values.retain(|key, _| of_a_model(key));
            self.presets.insert(name.to_lowercase(), preset.values);
        }
    }

    /// Adds the keys of a table.
    fn add_table(&mut self, place: &Place<'_>, table: toml::Table, unread: &mut Vec<Unread>) {
        for (name, value) in table {
            match place.read(&name, value) {
                Ok((key, text)) => {
                    self.values.insert(key.name, (text, SettingOrigin::File(place.path.to_path_buf())));
                }
                Err(why) => {
                    let meant = suggest::nearest(&name, KEYS.iter().map(|key| key.name));
                    unread.push(Unread { why, hides_home: place.of.is_empty() && meant == Some("home") });
                }
            }
        }
    }
}

/// What cannot be read of the settings.
struct Unread {
    why: Error,
    /// It may be what says where the store is.
    hides_home: bool,
}

impl From<Error> for Unread {
    fn from(why: Error) -> Self {
        Self { why, hides_home: false }
    }
}

/// A table of the configuration file.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
    /// The names that lead to it.
    of: &'a [&'a str],
}

impl Place<'_> {
    /// The key of this name in the table, and its value's text.
    fn read(&self, name: &str, value: toml::Value) -> Result<(&'static Key, String)> {
        let file = self.path.display();
        let line = self.line(name).map(|line| format!(", line {line}")).unwrap_or_default();
        let prefix: String = self.of.iter().map(|name| format!("{name}.")).collect();
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let near = suggest::did_you_mean(name, KEYS.iter().map(|key| key.name));
            let hint = match (&value, self.of) {
                (toml::Value::Table(_), [_, model]) => {
                    format!("a name with a dot in it stands in quotes: [models.\"{model}.{name}\"]")
                }
                (toml::Value::Table(_), _) => "keys for one model alone stand below [models.NAME]".to_owned(),
                _ if near.is_empty() => "tokki config example lists the keys".to_owned(),
                _ => near,
            };
            return Err(
                Error::input(format!("{file}{line}"), "known keys", format!("the key \"{prefix}{name}\"")).hint(hint)
            );
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
            || (matches!(key.kind, "number" | "path") && kind == "text");
        let place = || format!("{file}{line}, key {prefix}{name}");
        if !fits {
            return Err(Error::input(place(), key.kind, format!("{kind} {text}")));
        }
        key.check(&text).map_err(|why| Error::input(place(), why, format!("{text:?}")))?;
        Ok((key, text))
    }

    /// The line of the file that the key stands in.
    fn line(&self, name: &str) -> Option<usize> {
        let whole = toml::de::DeTable::parse(self.text).ok()?;
        let mut table = whole.get_ref();
        for step in self.of {
            let (_, value) = table.iter().find(|(key, _)| key.get_ref() == step)?;
            table = value.get_ref().as_table()?;
        }
        let (key, _) = table.iter().find(|(key, _)| key.get_ref() == name)?;
        Some(self.text.get(..key.span().start)?.matches('\n').count() + 1)
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
    // Part by part, with the system's own separators.
    set(key).map(|base| (below.split('/').fold(base, |path, part| path.join(part)), false))
}

/// Variables named `TOKKI_...` that mean nothing here, each with a suggestion: likely typing errors.
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<(String, Option<&'static str>)> {
    let known = || KEYS.iter().map(|key| key.env).chain(OTHER_VARIABLES.iter().copied());
    let unknown = names
        .into_iter()
        .filter(|name| name.starts_with("TOKKI_") && !name.starts_with("TOKKI_TEST_") && !known().any(|k| k == name));
    unknown.map(|name| (name.clone(), suggest::nearest(&name, known()))).collect()
}

#[cfg(test)]
mod tests;
