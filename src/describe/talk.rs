//! How to talk with a model: what its chat template can do, and how its answers are best sampled.

use serde::Serialize;

use crate::Result;
use crate::chat::{SystemRole, Template, Thinking};
use crate::gguf::{CHAT_TEMPLATE, Gguf};
use crate::sample::{FamilyFacts, Overrides, SamplingSettings};

/// What a chat template can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatTemplate {
    /// Its length.
    pub bytes: usize,
    /// System messages: `supported`, `ignored` or `refused`.
    pub system: &'static str,
    /// Descriptions of tools reach the model.
    pub tools: bool,
    /// Thinking before the answer: `none`, `forced`, `free`, `switch` or `effort`.
    pub thinking: &'static str,
    /// For a switch: whether the model thinks when nothing is asked for.
    pub thinking_default: Option<bool>,
}

/// One parameter of sampling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sampling {
    /// `temperature`, ...
    pub name: String,
    /// Its value, or `off`.
    pub value: String,
    /// Source: the file, the family's default, or built in.
    pub origin: String,
}

/// The chat template; `None` when there is none.
///
/// # Errors
/// One that cannot be parsed, or cannot render a single message.
pub(super) fn template(gguf: &Gguf) -> Result<Option<ChatTemplate>> {
    if gguf.str(CHAT_TEMPLATE)?.is_none() {
        return Ok(None);
    }
    let template = Template::from_gguf(gguf)?;
    let able = template.capabilities()?;
    let (thinking, thinking_default) = match &able.thinking {
        Thinking::None => ("none", None),
        Thinking::Forced => ("forced", None),
        Thinking::Free => ("free", None),
        Thinking::Switch(switch) => ("switch", Some(switch.default_on)),
        Thinking::Effort => ("effort", None),
    };
    let system = match able.system {
        SystemRole::Supported => "supported",
        SystemRole::Ignored => "ignored",
        SystemRole::Cut => "cut",
        SystemRole::Refused => "refused",
    };
    Ok(Some(ChatTemplate { bytes: template.source().len(), system, tools: able.tools, thinking, thinking_default }))
}

/// The parameters of sampling where the user asks for nothing.
///
/// # Errors
/// Keys of a wrong type, or out of range.
pub(super) fn sampling(gguf: &Gguf) -> Result<Vec<Sampling>> {
    let settings =
        SamplingSettings::resolve(&FamilyFacts::from_gguf(gguf)?, &Overrides::from_gguf(gguf)?, &Overrides::default())?;
    let lines = settings.lines().into_iter();
    Ok(lines.map(|(name, value, origin)| Sampling { name, value, origin: origin.to_string() }).collect())
}

/// Recommendations in the file that are not applied.
pub(super) fn unapplied(gguf: &Gguf) -> Option<String> {
    let own = gguf.keys().filter(|(key, _)| {
        key.strip_prefix("general.sampling.").is_some_and(|name| !Overrides::keys_of_files().any(|key| key == name))
    });
    let names: Vec<&str> = own.map(|(key, _)| key).collect();
    (!names.is_empty()).then(|| format!("not applied: {}", names.join(", ")))
}
