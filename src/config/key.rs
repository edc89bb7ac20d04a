//! A setting's key: what it is called, where it is said, and which values it can have.

use super::item;
use crate::sample::{Overrides, Parameter};
use serde_json::{Value, json};

/// A row of the table.
#[derive(Debug)]
pub struct Key {
    /// The key in the file; the flag is the same with `-` for `_`.
    pub name: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// What it sets.
    pub help: &'static str,
    /// What holds when it is not set, in words.
    pub default: &'static str,
    /// The kind of value: `number`, `true or false`, `text`, `path` (written as text).
    pub kind: &'static str,
    /// From when on a change counts.
    pub counts: Counts,
    pub(super) check: Check,
}

/// From when on a setting's change counts, for who changes it while a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// From the next answer on.
    Now,
    /// From the next start on: it decides how a model is opened.
    AtStart,
    /// For commands that look for models and fetch them.
    Fetching,
}

/// Whether a text can be a key's value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Check {
    Text(fn(&str) -> Result<(), String>),
    Parameter(&'static Parameter),
}

impl Key {
    /// Whether it can have the value of this text; the error says what is wanted.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        match self.check {
            Check::Text(check) => check(text),
            Check::Parameter(row) => check(row, text),
        }
    }

    /// A value that does no harm, as the file writes it: the default where that is one, else an ordinary choice.
    pub fn example(&self) -> String {
        let default = self.default.split([',', ' ']).next().unwrap_or_default();
        let parameter = match self.check {
            Check::Parameter(row) => Some(row.example),
            Check::Text(_) => None,
        };
        let ordinary = ORDINARY.iter().find(|(name, _)| *name == self.name).map(|(_, value)| *value).or(parameter);
        let quoted = matches!(self.kind, "text" | "path");
        let fits = |text: &&str| self.check(text).is_ok() && (!quoted || *text == self.default);
        let value = ordinary.or(Some(default).filter(fits)).unwrap_or_default();
        if quoted { format!("{value:?}") } else { value.to_owned() }
    }
}

/// Ordinary choices for keys whose default is no value: not set, the model's own, or what the machine has.
const ORDINARY: &[(&str, &str)] = &[
    ("home", "/data/models"),
    ("threads", "2"),
    ("max_tokens", "4096"),
    ("seed", "42"),
    ("system", "Answer briefly."),
    ("thinking", "off"),
    ("overflow", "stop"),
    ("mirror", "https://example.org"),
];

/// What a text stands for; counts may be written as `8k`.
pub(super) fn value(row: &Parameter, text: &str) -> Value {
    match item::whole(text) {
        Some(count) if !row.texts => json!(count),
        _ => row.of_text(text),
    }
}

/// Whether a parameter can have the value that a text stands for.
pub(super) fn check(row: &Parameter, text: &str) -> Result<(), String> {
    row.set(&mut Overrides::default(), &value(row, text)).map_err(str::to_owned)
}
