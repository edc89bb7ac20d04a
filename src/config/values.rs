//! What is set, and by whom.

use super::item::Item;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingOrigin {
    /// A flag on the command line.
    Flag,
    /// This environment variable.
    Env(&'static str),
    /// This file.
    File(PathBuf),
}

impl std::fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// A value's text, and where it came from.
pub(super) type SetValue = (String, SettingOrigin);

/// What is set, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub(super) values: BTreeMap<&'static str, SetValue>,
    /// What the file says of single models: `[models.NAME]`.
    pub(super) presets: BTreeMap<String, BTreeMap<&'static str, SetValue>>,
    /// What was laid over for one model, each with what was there before: for another one it goes again.
    pub(super) laid: BTreeMap<&'static str, (SetValue, Option<SetValue>)>,
}

/// The values of flags that were given, by key, each as [`super::Key::read`] gave it.
pub type GivenFlags = BTreeMap<&'static str, String>;

impl Settings {
    /// Lays flags over these settings.
    #[must_use]
    pub fn with(mut self, flags: &GivenFlags) -> Self {
        flags.iter().for_each(|(key, text)| self.set_flag(key, text.clone()));
        self
    }

    /// The text and origin of a key that is set.
    pub fn get(&self, key: &str) -> Option<(&str, &SettingOrigin)> {
        self.values.get(key).map(|(text, origin)| (text.as_str(), origin))
    }

    /// Whether a flag says so, and not the environment or the file.
    pub fn is_flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some((_, SettingOrigin::Flag)))
    }

    pub(super) fn set_flag(&mut self, key: &'static str, text: String) {
        self.values.insert(key, (text, SettingOrigin::Flag));
    }

    pub(super) fn item<T: Item>(&self, key: &str) -> Option<T> {
        // Every text was checked on its way in, so the parse cannot fail here.
        self.values.get(key).and_then(|(text, _)| T::parse(text).ok())
    }

    /// These settings with what the file says of the model of this name, or in this file, laid over what it says of all. What
    /// was so of another model, and has not been changed since, goes.
    #[must_use]
    pub fn for_model(mut self, path: &Path) -> Self {
        for (key, (own, before)) in std::mem::take(&mut self.laid) {
            if self.values.get(key) == Some(&own) {
                match before {
                    Some(before) => self.values.insert(key, before),
                    None => self.values.remove(key),
                };
            }
        }
        let preset = self.preset_of(path).and_then(|name| self.presets.get(name)).cloned().unwrap_or_default();
        for (key, own) in preset {
            if !matches!(self.values.get(key), Some((_, SettingOrigin::Flag | SettingOrigin::Env(_)))) {
                let before = self.values.insert(key, own.clone());
                self.laid.insert(key, (own, before));
            }
        }
        self
    }

    /// The name by which the file says something of the model in this file.
    pub fn preset_of(&self, path: &Path) -> Option<&str> {
        let folder = path.parent().and_then(Path::file_name);
        let names = [path.file_stem(), folder].into_iter().flatten().map(|name| name.to_string_lossy().to_lowercase());
        names.into_iter().find_map(|name| self.presets.get_key_value(&name).map(|(name, _)| name.as_str()))
    }

    /// The names for which the file says something of one model, case aside.
    pub fn presets(&self) -> impl Iterator<Item = &str> {
        self.presets.keys().map(String::as_str)
    }

    /// What is set for single models: the name, the key, its value and where that is from.
    pub fn of_models(&self) -> impl Iterator<Item = (&str, &'static str, &str, &SettingOrigin)> {
        self.presets.iter().flat_map(|(name, keys)| {
            keys.iter().map(|(key, (text, origin))| (name.as_str(), *key, text.as_str(), origin))
        })
    }
}
