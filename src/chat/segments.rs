//! What users write is data: a control token that they type is text, whatever the template does with it.
//!
//! The prompt is rendered a second time with *marked* user texts: in every text of the variables, the punctuation that
//! control tokens are made of is replaced by private characters, one for one, so that trimming, slicing, joining and
//! escaping do what they did. A control token that is still whole in the marked prompt was written by the template; one
//! that appears only when the marks are taken off came from a user. The marked prompt without its marks must equal the
//! plain one. Where a template looks into a text for its own tags (`</think>`), marking hides them and the two differ;
//! then tags that the template names are left as they are, and a private character beside each tells afterwards which ones
//! came from a user. If nothing gives equal prompts, that is an error: user text is never taken on trust.

use super::{Template, Vars};
use crate::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The text, never empty.
    pub text: String,
    /// Control tokens in it are control tokens. In a part that is not trusted they are text.
    pub trusted: bool,
}

/// The texts of a vocabulary's control tokens.
#[derive(Debug, Clone, Default)]
pub struct Controls {
    /// By first character, the longest first.
    by_first: HashMap<char, Vec<String>>,
    /// The punctuation in them.
    marks: BTreeSet<char>,
}

/// Variables that hold the model's own special tokens.
const OWN_TOKENS: [&str; 4] = ["bos_token", "eos_token", "unk_token", "pad_token"];
/// Punctuation that stands in names of fields and roles, in JSON and in prose: marking it would change what templates do.
const UNMARKED: &[char] = &['_', '-', '.', ',', ':', ';', '\'', '"', '\\', '/', '?', '!', '(', ')'];
/// Where private characters are taken from: the first block of which no text has any.
const BLOCKS: [u32; 4] = [0xF_0000, 0xF_8000, 0x10_0000, 0x10_8000];
const BLOCK: u32 = 0x1000;
/// Longest name of a role that templates may build a token of.
const MAX_ROLE: usize = 64;

impl Controls {
    /// From the texts of control tokens.
    pub fn new<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        let mut this = Self::default();
        for text in texts.into_iter().map(Into::into) {
            let Some(first) = text.chars().next() else { continue };
            this.marks.extend(text.chars().filter(|c| is_mark(*c)));
            this.by_first.entry(first).or_default().push(text);
        }
        this.by_first.values_mut().for_each(|texts| texts.sort_by_key(|text| std::cmp::Reverse(text.len())));
        this
    }

    /// The longest control token at the start of `text`.
    fn at(&self, text: &str) -> Option<&str> {
        let texts = self.by_first.get(&text.chars().next()?)?;
        texts.iter().map(String::as_str).find(|control| text.starts_with(control))
    }

    /// The first control token in `text`, and where it begins.
    pub(crate) fn first_in(&self, text: &str) -> Option<(usize, &str)> {
        text.char_indices().find_map(|(at, _)| Some((at, self.at(&text[at..])?)))
    }
}

fn is_mark(c: char) -> bool {
    !c.is_alphanumeric() && !c.is_whitespace() && !UNMARKED.contains(&c)
}

/// Which texts keep the template's own tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    None,
    Assistant,
    All,
}

/// One way of marking.
#[derive(Debug, Clone, Copy)]
struct Scheme {
    keep: Keep,
    /// The private character beside a kept tag stands before it (or after).
    before: bool,
}

const SCHEMES: [Scheme; 5] = [
    Scheme { keep: Keep::None, before: true },
    Scheme { keep: Keep::Assistant, before: true },
    Scheme { keep: Keep::Assistant, before: false },
    Scheme { keep: Keep::All, before: true },
    Scheme { keep: Keep::All, before: false },
];

impl Template {
    /// Renders the prompt in parts: those of the template, in which control tokens count, and those in which a control
    /// token that a user typed has to be read as text. The parts together are what [`Template::render`] gives. A prompt
    /// without such a text is one trusted part, so that it is cut into tokens as a whole.
    ///
    /// # Errors
    /// As [`Template::render`]; and a text with a control token that cannot be told from the template's own.
    #[doc(hidden)]
    pub fn render_segments(&self, vars: &Vars, controls: &Controls) -> Result<Vec<Segment>> {
        let plain = self.render(vars)?;
        let marker = Marker::new(self, vars, controls)?;
        if !marker.suspicious {
            return Ok(marker.segments(self, vars, &plain, SCHEMES[0]));
        }
        for scheme in SCHEMES {
            let Ok(marked) = self.render(&marker.mark_vars(vars, scheme)) else { continue };
            if marker.unmark(&marked) == plain {
                return Ok(marker.segments(self, vars, &marked, scheme));
            }
        }
        Err(marker.untold(vars))
    }
}

/// Marks and unmarks texts of one prompt.
struct Marker<'a> {
    controls: &'a Controls,
    /// A text of a user has something that a control token could be made of.
    suspicious: bool,
    to_private: HashMap<char, char>,
    to_public: HashMap<char, char>,
    /// Stands beside kept tags.
    beside: char,
    /// The template's own tags: its string literals that hold punctuation of control tokens, the longest first.
    tags: Vec<String>,
}

impl<'a> Marker<'a> {
    fn new(template: &Template, vars: &Vars, controls: &'a Controls) -> Result<Self> {
        let mut texts = vec![template.source()];
        vars.values().for_each(|value| collect(value, &mut texts));
        let suspicious =
            |text: &&str| text.contains(|c| controls.marks.contains(&c)) || controls.first_in(text).is_some();
        let suspicious = texts[1..].iter().any(suspicious);
        let taken = |block: u32| {
            let range = block..block + BLOCK;
            texts.iter().any(|text| text.chars().any(|c| range.contains(&u32::from(c))))
        };
        let free = BLOCKS.into_iter().find(|&block| !taken(block));
        let block =
            free.ok_or_else(|| Error::input("the conversation", "text", "private characters of every block"))?;
        let private = |offset: usize| char::from_u32(block + offset as u32).unwrap_or(char::REPLACEMENT_CHARACTER);
        // First characters of control tokens without punctuation are marked where they begin one.
        let firsts = controls.by_first.keys().filter(|c| !controls.marks.contains(c));
        let public: Vec<char> = controls.marks.iter().chain(firsts).copied().take(BLOCK as usize - 1).collect();
        let to_private = public.iter().enumerate().map(|(i, &c)| (c, private(i + 1))).collect();
        let to_public = public.iter().enumerate().map(|(i, &c)| (private(i + 1), c)).collect();
        let mut tags = template.literals();
        tags.retain(|tag| !tag.trim().is_empty() && tag.contains(|c| controls.marks.contains(&c)));
        tags.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        tags.dedup();
        Ok(Self { controls, suspicious, to_private, to_public, beside: private(0), tags })
    }

    /// Why no scheme tells the template's words from those of users.
    fn untold(&self, vars: &Vars) -> Error {
        let mut texts = Vec::new();
        vars.values().for_each(|value| collect(value, &mut texts));
        let typed = texts.iter().find_map(|text| self.controls.first_in(text));
        let (found, hint) = match typed {
            Some((_, control)) => (format!("{control:?} where it cannot"), "take that text out of the message"),
            None => {
                let marks: BTreeSet<char> =
                    texts.iter().flat_map(|text| text.chars()).filter(|c| self.controls.marks.contains(c)).collect();
                let marks: Vec<String> = marks.iter().map(char::to_string).collect();
                let found = format!("one that rewrites what is typed, by {} in it for example", marks.join(" "));
                (found, "take these characters out of the message, or repair the template: words go in as they are")
            }
        };
        Error::input("the conversation", "text that the template can tell from its own markup", found).hint(hint)
    }

    fn mark_vars(&self, vars: &Vars, scheme: Scheme) -> Vars {
        let mark = |(name, value): (&String, &Value)| {
            let value =
                if OWN_TOKENS.contains(&name.as_str()) { value.clone() } else { self.mark_value(value, scheme, false) };
            (name.clone(), value)
        };
        vars.iter().map(mark).collect()
    }

    fn mark_value(&self, value: &Value, scheme: Scheme, assistant: bool) -> Value {
        match value {
            Value::String(text) => Value::String(self.mark(text, scheme, assistant)),
            Value::Array(items) => items.iter().map(|item| self.mark_value(item, scheme, assistant)).collect(),
            Value::Object(map) => {
                let assistant = assistant || map.get("role").is_some_and(|role| role == "assistant");
                let field = |(key, item): (&String, &Value)| match item {
                    Value::String(role) if key == "role" && is_role(role) => (key.clone(), item.clone()),
                    // Names of fields are data too.
                    _ => (self.mark(key, scheme, false), self.mark_value(item, scheme, assistant)),
                };
                Value::Object(map.iter().map(field).collect())
            }
            other => other.clone(),
        }
    }

    fn mark(&self, text: &str, scheme: Scheme, assistant: bool) -> String {
        let keep = scheme.keep == Keep::All || (scheme.keep == Keep::Assistant && assistant);
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let tag = self.tags.iter().find(|tag| keep && rest.starts_with(tag.as_str()));
            if let Some(tag) = tag {
                let control = self.controls.first_in(tag).is_some();
                out.extend((control && scheme.before).then_some(self.beside));
                out.push_str(tag);
                out.extend((control && !scheme.before).then_some(self.beside));
                rest = &rest[tag.len()..];
                continue;
            }
            let begins = is_mark(c) || self.controls.at(rest).is_some();
            out.push(if begins { self.to_private.get(&c).copied().unwrap_or(c) } else { c });
            rest = &rest[c.len_utf8()..];
        }
        out
    }

    fn unmark(&self, text: &str) -> String {
        let public = |c: char| self.to_public.get(&c).copied().unwrap_or(c);
        text.chars().filter(|&c| c != self.beside).map(public).collect()
    }

    /// Cuts a marked prompt: the template's control tokens, and what stands between them.
    fn segments(&self, template: &Template, vars: &Vars, marked: &str, scheme: Scheme) -> Vec<Segment> {
        let mut own = Own::new(template, vars);
        let mut out = Vec::new();
        let (mut start, mut at) = (0, 0);
        while let Some(c) = marked[at..].chars().next() {
            let control = self.controls.at(&marked[at..]).filter(|control| {
                let (before, after) = (&marked[..at], &marked[at + control.len()..]);
                let kept = if scheme.before { before.ends_with(self.beside) } else { after.starts_with(self.beside) };
                !(kept && scheme.keep != Keep::None) && own.wrote(control)
            });
            let Some(control) = control else {
                at += c.len_utf8();
                continue;
            };
            self.between(&marked[start..at], &mut out);
            add(&mut out, control, true);
            at += control.len();
            start = at;
        }
        self.between(&marked[start..], &mut out);
        out
    }

    /// Text between the template's control tokens: not trusted if there is one in it that is not the template's.
    fn between(&self, marked: &str, out: &mut Vec<Segment>) {
        let text = self.unmark(marked);
        let trusted = self.controls.first_in(&text).is_none();
        add(out, &text, trusted);
    }
}

fn add(out: &mut Vec<Segment>, text: &str, trusted: bool) {
    match out.last_mut() {
        _ if text.is_empty() => {}
        Some(last) if last.trusted && trusted => last.text.push_str(text),
        _ => out.push(Segment { text: text.to_owned(), trusted }),
    }
}

/// Whether the template itself writes a control token: one that is whole in the marked prompt could still be put together
/// of the template's punctuation and a user's word.
struct Own<'a> {
    source: &'a str,
    template: &'a Template,
    vars: &'a Vars,
    known: HashMap<String, bool>,
    /// The prompt with all words of users taken out, made when it is needed.
    blank: Option<String>,
}

impl<'a> Own<'a> {
    fn new(template: &'a Template, vars: &'a Vars) -> Self {
        Self { source: template.source(), template, vars, known: HashMap::new(), blank: None }
    }

    fn wrote(&mut self, control: &str) -> bool {
        if let Some(&known) = self.known.get(control) {
            return known;
        }
        let own_value = |name: &str| {
            let value = self.vars.get(name).or_else(|| self.template.defaults().get(name));
            value.and_then(Value::as_str).is_some_and(|text| text.contains(control))
        };
        let own = self.source.contains(control) || OWN_TOKENS.iter().any(|name| own_value(name)) || {
            let blank = self.blank.get_or_insert_with(|| {
                let vars = self.vars.iter().map(|(name, value)| {
                    (name.clone(), if OWN_TOKENS.contains(&name.as_str()) { value.clone() } else { blank_value(value) })
                });
                self.template.render(&vars.collect()).unwrap_or_default()
            });
            blank.contains(control)
        };
        self.known.insert(control.to_owned(), own);
        own
    }
}

/// The value with every text of a user replaced by one letter; roles stay.
fn blank_value(value: &Value) -> Value {
    match value {
        Value::String(_) => Value::String("x".to_owned()),
        Value::Array(items) => items.iter().map(blank_value).collect(),
        Value::Object(map) => {
            let field = |(key, item): (&String, &Value)| match item {
                Value::String(role) if key == "role" && is_role(role) => (key.clone(), item.clone()),
                _ => (key.clone(), blank_value(item)),
            };
            Value::Object(map.iter().map(field).collect())
        }
        other => other.clone(),
    }
}

/// Roles are words (and `assistant/think`, `assistant -> tool/function_call`) that templates build tokens of.
fn is_role(role: &str) -> bool {
    let fair = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | ' ');
    role.len() <= MAX_ROLE && role.replace("->", "").chars().all(fair)
}

fn collect<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(map) => map.iter().for_each(|(key, item)| {
            texts.push(key);
            collect(item, texts);
        }),
        _ => {}
    }
}
