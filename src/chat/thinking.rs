//! Thinking on, off, or within a budget; and what becomes of thoughts in the history.

use super::loops::{Loop, LoopDetector};
use super::probe::{Capabilities, Thinking};
use super::{Template, Vars};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::str::FromStr;

/// What the user wants: `--thinking on|off|N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThinkingMode {
    /// As the template does by itself.
    #[default]
    Default,
    /// Think.
    On,
    /// Answer at once.
    Off,
    /// Think for this many tokens at most.
    Budget(usize),
}

impl FromStr for ThinkingMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => text
                .parse()
                .map(Self::Budget)
                .map_err(|_| Error::input("`thinking`", "on, off or a number of tokens", text)),
        }
    }
}

impl std::fmt::Display for ThinkingMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("as the model does by itself"),
            Self::On => f.write_str("on"),
            Self::Off => f.write_str("off"),
            Self::Budget(tokens) => write!(f, "at most {tokens} tokens"),
        }
    }
}

impl ThinkingMode {
    /// The budget, if there is one.
    pub fn budget(self) -> Option<usize> {
        if let Self::Budget(tokens) = self { Some(tokens) } else { None }
    }

    /// Sets the template's own switch in `vars`.
    ///
    /// # Errors
    /// A template that has no such switch: the error says what it can do instead.
    pub fn apply(self, capabilities: &Capabilities, vars: &mut Vars) -> Result<()> {
        let wish = |message: &str| Err(Error::usage(message));
        let (name, value) = match (self, &capabilities.thinking) {
            (Self::Default, _) => return Ok(()),
            (Self::On | Self::Budget(_), Thinking::Switch(switch)) => &switch.on,
            (Self::Off, Thinking::Switch(switch)) => &switch.off,
            (Self::On | Self::Budget(_), Thinking::Forced | Thinking::Free | Thinking::Effort) => return Ok(()),
            (Self::Off, Thinking::None) => return Ok(()),
            (Self::On | Self::Budget(_), Thinking::None) => {
                return wish("This model does not think: its template knows no thoughts.");
            }
            (Self::Off, Thinking::Forced | Thinking::Free) => {
                return wish("This model always thinks. A thinking of 0 closes the thought as soon as it opens.");
            }
            (Self::Off, Thinking::Effort) => {
                return wish(
                    "This model always thinks, more or less. A thinking of 0 closes the thought as soon as it opens; \
                     reasoning_effort=low makes it short.",
                );
            }
        };
        vars.insert((*name).to_owned(), value.clone());
        Ok(())
    }
}

/// Why a thought is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The budget is used up.
    Budget(usize),
    /// The thought repeats itself.
    Loop(Loop),
}

impl std::fmt::Display for Close {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Budget(tokens) => write!(f, "the thought was closed after its budget of {tokens} tokens"),
            Self::Loop(Loop { period, copies }) => {
                write!(f, "the thought was closed because it repeated the same {period} tokens {copies} times")
            }
        }
    }
}

/// Watches a thought, token by token: its budget, and whether it repeats itself.
#[derive(Debug, Clone, Default)]
pub struct ThoughtGuard {
    budget: Option<usize>,
    spent: usize,
    loops: LoopDetector,
}

impl ThoughtGuard {
    /// A guard with a budget of thought tokens, or without.
    pub fn new(budget: Option<usize>) -> Self {
        Self { budget, spent: 0, loops: LoopDetector::new() }
    }

    /// Before the first token: whether the budget allows any thought at all.
    pub fn open(&self) -> Option<Close> {
        self.budget.filter(|&budget| budget == 0).map(Close::Budget)
    }

    /// Takes a token of the thought; says whether the thought has to be closed now, and why. Close it with
    /// [`super::Splitter::closing_text`], and do not ask again.
    pub fn push(&mut self, token: u32) -> Option<Close> {
        self.spent += 1;
        let found = self.loops.push(token);
        match self.budget {
            Some(budget) if self.spent >= budget => Some(Close::Budget(budget)),
            _ => found.map(Close::Loop),
        }
    }

    /// Tokens of thought so far.
    pub fn spent(&self) -> usize {
        self.spent
    }
}

/// The names under which templates look for an earlier thought; the first one that a template mentions is used.
const FIELDS: [(&str, &str); 5] = [
    ("reasoning_content", "reasoning_content"),
    ("message.reasoning", "reasoning"),
    ("message['reasoning']", "reasoning"),
    ("message.thinking", "thinking"),
    ("message['thinking']", "thinking"),
];

impl Template {
    /// An assistant's turn for the history: the answer as `content`, the thought where the template looks for it. The
    /// template then keeps or drops it; one that looks nowhere gets the answer alone, which is what those that cut the
    /// thought out of `content` would leave of it.
    pub fn assistant_turn(&self, thought: &str, answer: &str) -> Value {
        let mut turn = Map::new();
        turn.insert("role".into(), "assistant".into());
        turn.insert("content".into(), answer.into());
        let field = FIELDS.iter().find(|(sign, _)| self.source().contains(sign));
        if let (Some((_, name)), false) = (field, thought.is_empty()) {
            turn.insert((*name).into(), thought.into());
        }
        Value::Object(turn)
    }
}
