//! A setting's key: what it is called, where it is said, and which values it can have.

use super::item::{self, Item};
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
    /// Which settings a command takes together with it.
    pub group: SettingGroup,
    /// How help writes a value.
    pub value: &'static str,
    /// The letter of its flag.
    pub short: Option<char>,
    pub(super) check: Check,
}

/// Which settings a command takes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingGroup {
    /// Flags of every command.
    Global,
    /// How a model is run on this machine.
    Machine,
    /// How long an answer gets, and from which seed.
    Answer,
    /// What a conversation starts from.
    Chat,
    /// How much a reasoning model thinks.
    Thinking,
    /// How a server tells what it does.
    Server,
    /// How models are fetched.
    Pull,
    /// How the next token is chosen.
    Sampling,
}

impl SettingGroup {
    /// The heading of its flags in help, but for the command's own.
    pub fn heading(self) -> Option<&'static str> {
        match self {
            Self::Global => Some("Global options"),
            Self::Machine => Some("Machine"),
            Self::Answer | Self::Sampling => Some("Sampling"),
            Self::Chat | Self::Thinking => Some("Chat"),
            Self::Server => None,
            Self::Pull => Some("Network"),
        }
    }
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
    /// It writes the value as it is kept.
    Text(fn(&str) -> Result<String, String>),
    Parameter(&'static Parameter),
}

impl Key {
    /// Whether it can have the value of this text; the error says what is wanted.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        self.read(text).map(drop)
    }

    /// The value of this text, as settings keep it.
    ///
    /// # Errors
    /// What is wanted.
    pub fn read(&self, text: &str) -> Result<String, String> {
        match self.check {
            Check::Text(read) => read(text),
            Check::Parameter(row) => check(row, text).map(|()| text.to_owned()),
        }
    }

    /// Other names that its flag has.
    pub fn aliases(&self) -> impl Iterator<Item = &'static str> {
        let keys: &[&str] = match self.check {
            Check::Parameter(row) => row.keys,
            Check::Text(_) => &[],
        };
        keys.iter().copied().filter(|key| *key != self.name)
    }

    /// Whether it is on where nothing but its name is said.
    pub fn is_switch(&self) -> bool {
        self.kind == <bool as Item>::KIND
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
