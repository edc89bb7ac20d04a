//! What a template can do, found by rendering small conversations.

use super::formats::ThoughtFormat;
use super::reasoning::Splitter;
use super::{Template, Vars};
use crate::{Error, ErrorKind, Result};
use serde_json::{Value, json};

/// What becomes of a system message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemRole {
    /// It is in the prompt.
    Supported,
    /// The template drops it.
    Ignored,
    /// A part of it is in the prompt, or all of it in that of the first question alone.
    Cut,
    /// The template ends with an error.
    Refused,
}

/// The form in which a template reads what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// `content` is a text.
    Text,
    /// `content` is a list of parts, `{"type": "text", "text": ...}`.
    Parts,
}

impl Content {
    /// The messages with their texts in this form.
    pub fn of(self, messages: &[Value]) -> Vec<Value> {
        let mut messages = messages.to_vec();
        if self == Self::Parts {
            for content in messages.iter_mut().filter_map(|message| message.get_mut("content")) {
                if let Value::String(text) = content {
                    *content = json!([{"type": "text", "text": text}]);
                }
            }
        }
        messages
    }
}

/// Whether and how the model thinks before it answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Thinking {
    /// The template knows nothing of thoughts.
    None,
    /// The prompt opens the thought, whatever the variables say.
    Forced,
    /// The model opens its thought itself; the template has no switch.
    Free,
    /// A variable of the template turns thinking on and off.
    Switch(Switch),
    /// A variable of the template says how much to think, but not whether.
    Effort,
}

/// A template's switch for thinking.
#[derive(Debug, Clone, PartialEq)]
pub struct Switch {
    /// The variable to set for thinking, and its value.
    pub on: Setting,
    /// The variable to set for no thinking, and its value.
    pub off: Setting,
    /// Whether the template thinks when nothing is set.
    pub default_on: bool,
}

/// What a template can do.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// The form in which it reads what is said.
    pub content: Content,
    /// System messages.
    pub system: SystemRole,
    /// Questions after the first one reach the prompt, or are refused.
    pub later: bool,
    /// Descriptions of tools reach the prompt.
    pub tools: bool,
    /// Thinking.
    pub thinking: Thinking,
    /// The format of thoughts, for people.
    pub format: Option<&'static str>,
}

const USER: &str = "question-7b1f";
const LAST: &str = "last-word-7b1f";
const SYSTEM: &str = "instruction-7b1f";
const TOOL: &str = "tool_7b1f";

/// What a question can be cut at.
const SEPARATORS: [&str; 33] = [
    "\n", "\n\n", "\r\n", "\t", "  ", "\"", "'", "`", "```\n", ":", ",", ";", ".", "?", "!", "(", ")", "[", "]", "}",
    "/", "\\", "|", "#", "*", "-", "_", "=", "+", "~", "@", "&", ">",
];

/// A variable and the value to set it to.
type Setting = (&'static str, Value);

/// The switches that templates have: what to set for on, and for off.
fn switches() -> [(Setting, Setting); 5] {
    [
        (("enable_thinking", json!(true)), ("enable_thinking", json!(false))),
        (("thinking", json!(true)), ("thinking", json!(false))),
        (("force_reasoning", json!(true)), ("skip_reasoning", json!(true))),
        (("reasoning_effort", json!("high")), ("reasoning_effort", json!("none"))),
        (("reasoning_effort", json!("high")), ("reasoning_effort", json!("low"))),
    ]
}

impl Template {
    /// Finds out what the template can do.
    ///
    /// # Errors
    /// A template that cannot even render one user message, or that has no place for its words.
    pub fn capabilities(&self) -> Result<Capabilities> {
        let user = json!({"role": "user", "content": USER});
        let (content, plain) = self.content(&user)?;
        self.keeps_all(content)?;
        let base: Vars =
            Vars::from_iter([("messages".to_owned(), Value::Array(content.of(std::slice::from_ref(&user))))]);
        let with = |name: &str, value: Value| {
            let mut vars = base.clone();
            vars.insert(name.to_owned(), value);
            self.render(&vars)
        };
        let system = self.system(content, &user);
        let parameters =
            json!({"type": "object", "properties": {"a": {"type": "string", "description": "a"}}, "required": ["a"]});
        let tool =
            json!({"type": "function", "function": {"name": TOOL, "description": "d", "parameters": parameters}});
        let tools = with("tools", json!([tool])).is_ok_and(|text| text.contains(TOOL));
        let splitter = Splitter::new(self.source(), &|_| false, &plain);
        let thinking = self.thinking(&plain, &splitter, &with);
        let later = self.keeps_later(content);
        Ok(Capabilities { content, system, later, tools, thinking, format: splitter.format() })
    }

    /// The form of `content` in which the user's words reach the prompt, and that prompt.
    fn content(&self, user: &Value) -> Result<(Content, String)> {
        let render = |content: Content| self.render_of(content, std::slice::from_ref(user));
        let as_text = render(Content::Text);
        if let Ok(prompt) = &as_text
            && holds(prompt, USER)
        {
            return Ok((Content::Text, prompt.clone()));
        }
        match render(Content::Parts) {
            // A list that is printed as it is holds the words, too.
            Ok(prompt) if holds(&prompt, USER) && !prompt.contains("'type'") => Ok((Content::Parts, prompt)),
            _ => {
                as_text?;
                Err(self.drops("one that drops it"))
            }
        }
    }

    /// # Errors
    /// A second question for a template that would lose it without a word.
    pub(crate) fn check_questions(&self, capabilities: &Capabilities, messages: &[Value]) -> Result<()> {
        let questions = messages.iter().filter(|message| message["role"] == "user").count();
        if questions < 2 || capabilities.later {
            Ok(())
        } else {
            Err(self.drops("one that loses every question but the first"))
        }
    }

    fn drops(&self, found: &str) -> Error {
        Error::input(self.place(), "a chat template that hands on what the user says", found)
            .of(ErrorKind::NoTemplate)
            .hint("use `raw` to complete text as it is")
    }

    /// Refuses a template that cuts questions: long ones, or where a line ends or a quote begins. (One that answers single
    /// questions alone may know what it does.)
    fn keeps_all(&self, content: Content) -> Result<()> {
        let (text, words) = separated();
        let parted = self.render_of(content, &[json!({"role": "user", "content": text})]);
        let long = format!("{USER}{} {LAST}", " words".repeat(2000));
        let long = self.render_of(content, &[json!({"role": "user", "content": long})]);
        // Where that cannot be rendered nothing is lost without a word.
        let lost = |prompt: Result<String>, words: &[String]| {
            prompt.ok().and_then(|prompt| words.iter().find(|word| !holds(&prompt, word)).cloned())
        };
        if lost(long, &[USER.to_owned(), LAST.to_owned()]).is_some() {
            return Err(self.drops("one that cuts long questions"));
        }
        match lost(parted, &words) {
            Some(_) => Err(self.drops("one that cuts a question at a line, a quote or another sign in it")),
            None => Ok(()),
        }
    }

    /// The prompt of these messages alone.
    fn render_of(&self, content: Content, messages: &[Value]) -> Result<String> {
        self.render(&Vars::from_iter([("messages".to_owned(), Value::Array(content.of(messages)))]))
    }

    /// What becomes of a system message beside `user`.
    fn system(&self, content: Content, user: &Value) -> SystemRole {
        let (text, words) = separated();
        let with = |text: &str| self.render_of(content, &[json!({"role": "system", "content": text}), user.clone()]);
        let Ok(short) = with(SYSTEM) else { return SystemRole::Refused };
        let is_short_there = holds(&short, SYSTEM);
        // Where the longer one cannot be rendered nothing is lost without a word.
        let told = with(&text).map(|long| words.iter().filter(|word| holds(&long, word)).count());
        match told {
            Ok(0) | Err(_) if !is_short_there => SystemRole::Ignored,
            Ok(told) if told < words.len() || !is_short_there => SystemRole::Cut,
            _ if (1..4).any(|turns| self.loses_system(content, turns)) => SystemRole::Cut,
            _ => SystemRole::Supported,
        }
    }

    /// Whether the system message is left out of a question after so many others.
    fn loses_system(&self, content: Content, turns: usize) -> bool {
        let turn = |_| [json!({"role": "user", "content": USER}), json!({"role": "assistant", "content": "answer"})];
        let first = [json!({"role": "system", "content": SYSTEM})];
        let last = [json!({"role": "user", "content": LAST})];
        let messages: Vec<Value> = first.into_iter().chain((0..turns).flat_map(turn)).chain(last).collect();
        self.render_of(content, &messages).is_ok_and(|prompt| !holds(&prompt, SYSTEM))
    }

    /// Whether the last of two, three and four questions reaches the prompt; what cannot be rendered is not lost.
    fn keeps_later(&self, content: Content) -> bool {
        let turn = |_| [json!({"role": "user", "content": USER}), json!({"role": "assistant", "content": "answer"})];
        let last = json!({"role": "user", "content": LAST});
        (1..4).all(|turns| {
            let messages: Vec<Value> = (0..turns).flat_map(turn).chain([last.clone()]).collect();
            let prompt = self.render_of(content, &messages);
            prompt.map_or(true, |prompt| holds(&prompt, LAST))
        })
    }

    fn thinking(&self, plain: &str, splitter: &Splitter, with: &dyn Fn(&str, Value) -> Result<String>) -> Thinking {
        let mut effort = false;
        for (on, off) in switches() {
            if !self.source().contains(on.0) && !self.source().contains(off.0) {
                continue;
            }
            let (Ok(with_on), Ok(with_off)) = (with(on.0, on.1.clone()), with(off.0, off.1.clone())) else { continue };
            if with_on == with_off {
                continue;
            }
            // A level of effort turns thinking off only if the prompt then ends the thought.
            if on.0 == "reasoning_effort" && !ends_thought(self.source(), &with_off) {
                effort = true;
                continue;
            }
            return Thinking::Switch(Switch { on, off, default_on: plain != with_off });
        }
        match splitter.format() {
            _ if effort => Thinking::Effort,
            None => Thinking::None,
            Some(_) if splitter.is_thinking() => Thinking::Forced,
            Some(_) => Thinking::Free,
        }
    }
}

/// Whether words are in a prompt, in whatever case.
/// A text of words that everything stands between which a text can be cut at, and these words.
fn separated() -> (String, Vec<String>) {
    let words: Vec<String> = (0..=SEPARATORS.len()).map(|i| format!("w{i}x7b1f")).collect();
    let pieces = words.iter().zip(SEPARATORS.iter().chain(&[""]));
    (pieces.map(|(word, separator)| format!("{word}{separator}")).collect(), words)
}

fn holds(prompt: &str, words: &str) -> bool {
    prompt.to_lowercase().contains(words)
}

/// Whether the prompt opens a thought after the question and closes it at once.
fn ends_thought(template: &str, prompt: &str) -> bool {
    let Some(format) = ThoughtFormat::detect(template, &|_| false, prompt) else { return false };
    let tail = prompt.rsplit(USER).next().unwrap_or(prompt);
    let mut splitter = Splitter::for_format(format);
    splitter.push(tail);
    splitter.has_thought() && !splitter.is_thinking()
}
