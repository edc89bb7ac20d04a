//! A chat goes on in another form: with another model, or with a summary of what was said.

use super::super::compute::Compute;
use super::super::turn;
use super::chat::{Chat, Next};
use super::output;
use crate::chat::{Thinking, ThinkingMode};
use crate::config::Settings;
use crate::engine::{Conversation, GenerateOptions};
use crate::store::chats::SUMMARY_QUESTION;
use crate::tokenizer::{Special, Tokenizer};
use crate::{Error, Result, interrupt, store};
use serde_json::{Value, json};

/// Changes the model; what was said stays, and is read by the new one at the next question.
pub(super) fn model(chat: &mut Chat, name: &str) -> Result<Next> {
    if name.is_empty() {
        output::say(&format!("{}; /model NAME changes it", store::name_of(&chat.start.model)));
        return Ok(Next::Ask);
    }
    if chat.session.is_some() {
        return Err(Error::usage(
            "A chat with --session belongs to its model. /save it as .json, and /load that elsewhere.",
        ));
    }
    let path = store::resolve(output::home_path(name))?;
    let compute = Compute::open_path(&path, &chat.start.machine)?;
    let without_template = format!("a chat needs one: tokki run {name} --raw completes text as it is");
    let other = Conversation::new(compute.session(0)?, chat.start.raw);
    let mut other = other.map_err(|error| if chat.start.raw { error } else { error.hint(without_template) })?;
    other.stop_when(interrupt::flag());
    if let Some(form) = &chat.form {
        super::constraint(form, &other)?;
    }
    let settings = chat.settings.clone().for_model(&path);
    let mut options = chat.options.clone();
    take_preset(chat, &settings, &mut options);
    turn::take(&mut options, &settings, &other)?;
    chat.options = options;
    if chat.conversation.messages().iter().find(|message| message["role"] == "system").map(|own| &own["content"])
        == chat.settings.system().map(Value::from).as_ref()
    {
        // The last model's own message, if it had one, and not what was said since.
        chat.conversation.set_system(settings.system().as_deref());
    }
    chat.settings = settings;
    if let Some(capabilities) = other.capabilities()
        && chat.options.thinking.apply(capabilities, &mut chat.options.vars.clone()).is_err()
    {
        output::say("this model does not think as the last one was told to: thinking is its own now");
        chat.options.thinking = ThinkingMode::Default;
    }
    chat.conversation.replace(other);
    chat.start.model = std::path::absolute(&path).unwrap_or(path);
    chat.last = None;
    chat.greet();
    Ok(Next::Ask)
}

/// What the settings of single models say beside parameters: of `chat` what the last one had goes.
fn take_preset(chat: &mut Chat, settings: &Settings, options: &mut GenerateOptions) {
    if settings.seed().is_none() && chat.settings.seed().is_some() {
        options.seed = crate::sample::random_seed();
    }
    if turn::thinking(settings) != turn::thinking(&chat.settings) {
        options.thinking = turn::thinking(settings);
    }
    if super::show::view(settings) != super::show::view(&chat.settings) {
        chat.thoughts = super::show::view(settings);
    }
}

/// Thinking off, where the model can.
pub(super) fn quiet(conversation: &Conversation, options: &GenerateOptions) -> ThinkingMode {
    match conversation.capabilities().map(|able| &able.thinking) {
        Some(Thinking::Switch(_)) => ThinkingMode::Off,
        _ => options.thinking,
    }
}

/// What `/compact` does with a conversation.
pub(super) struct Compaction {
    system: Option<Value>,
    /// The text of what is to be summarized.
    older: String,
    /// The last question with its answer.
    last: Vec<Value>,
}

impl Compaction {
    /// `None` where there is nothing that a summary would shorten.
    pub(super) fn of(messages: &[Value]) -> Option<Self> {
        let is = |message: &Value, role: &str| message["role"] == role;
        let system = messages.first().filter(|first| is(first, "system")).cloned();
        let said = &messages[usize::from(system.is_some())..];
        let questions = said.iter().filter(|message| is(message, "user")).count();
        let last = said.iter().rposition(|message| is(message, "user"))?;
        // Of a single question all is summarized.
        let (older, last) = if questions > 1 { said.split_at(last) } else { (said, &said[said.len()..]) };
        let line = |message: &Value| {
            let text = |key: &str| message[key].as_str().unwrap_or_default().trim().to_owned();
            format!("{}: {}\n\n", text("role"), text("content"))
        };
        let older: String = older.iter().map(line).collect();
        (!older.trim().is_empty()).then(|| Self { system, older, last: last.to_vec() })
    }

    /// What the model is asked; of a text that is too long the end.
    pub(super) fn request(&self, tokenizer: &Tokenizer, most: usize) -> Value {
        let mut text = self.older.as_str();
        while tokenizer.encode(text, Special::Plain).len() > most && text.len() > 64 {
            let cut = text.len() / 8;
            let at = (cut..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
            text = &text[at..];
        }
        json!({"role": "user", "content": format!(
            "Summarize this conversation in a few sentences, in its own language. Keep names, numbers and what was \
             decided.\n\n{text}"
        )})
    }

    /// The conversation with the summary in it.
    pub(super) fn with_summary(self, summary: &str) -> Vec<Value> {
        let mut messages: Vec<Value> = self.system.into_iter().collect();
        messages.push(json!({"role": "user", "content": SUMMARY_QUESTION}));
        messages.push(json!({"role": "assistant", "content": summary}));
        messages.extend(self.last);
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_question_and_the_system_message_stay() {
        let say = |role: &str, text: &str| json!({"role": role, "content": text});
        let all =
            [say("system", "s"), say("user", "a"), say("assistant", "b"), say("user", "c"), say("assistant", "d")];
        let Some(plan) = Compaction::of(&all) else { panic!("nothing to summarize") };
        assert_eq!(plan.older, "user: a\n\nassistant: b\n\n");
        let now = plan.with_summary("ab");
        assert_eq!((&now[0], &now[2], &now[3..]), (&all[0], &say("assistant", "ab"), &all[3..]));
        assert!(Compaction::of(&all[..1]).is_none() && Compaction::of(&[]).is_none());
        assert_eq!(Compaction::of(&all[1..3]).map(|plan| plan.last.len()), Some(0));
    }
}
