//! Tells thought from answer in a stream of text.

use super::formats::{Mode, Rule, ThoughtFormat, To};
use super::stop::open_end;

/// What a piece of output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The model's thought.
    Reasoning,
    /// What it says.
    Answer,
    /// A call of a tool, in the family's own notation.
    Call,
    /// The end of a thought that was never opened: what came as an answer so far was the thought.
    Unsaid,
}

/// A piece of output; its markers are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// The text, never empty; of [`Kind::Unsaid`] the marker.
    pub text: String,
}

/// Splits a model's output into thought and answer, as it comes.
///
/// Text that could be the beginning of a marker is held back until that is decided, as is whitespace at the end of a
/// thought and before an answer, which belongs to the markers. A thought that is never closed is all reasoning.
#[derive(Debug, Clone)]
pub struct Splitter {
    format: Option<&'static ThoughtFormat>,
    mode: Mode,
    /// Text that has not been decided on.
    held: String,
    /// Text of the head that is being read.
    head: String,
    /// Whitespace that is shown only if more of the same kind follows.
    spaces: String,
    /// Nothing of the present segment has been shown yet.
    fresh: bool,
    /// A thought has been seen.
    thought: bool,
    /// Nothing at all has been shown yet.
    silent: bool,
    /// What stood outside of segments while nothing was shown: if it stays so, that was the answer.
    unmarked: String,
    /// Markers that come as tokens of their own; as text they are just text.
    by_token: Vec<&'static str>,
}

impl Splitter {
    /// A splitter for a model with this template; `prompt` is the rendered prompt, which may have opened the thought (or
    /// closed it) already. `has_token` says whether a text is a token of the vocabulary.
    pub fn new(template: &str, has_token: &dyn Fn(&str) -> bool, prompt: &str) -> Self {
        let format = ThoughtFormat::detect(template, has_token, prompt);
        let Some(format) = format else { return Self::plain() };
        let mut this = Self::for_format(format);
        this.seed(format, prompt);
        this
    }

    /// A splitter for models without thoughts: all is answer.
    pub fn plain() -> Self {
        Self {
            format: None,
            mode: Mode::Answer,
            held: String::new(),
            head: String::new(),
            spaces: String::new(),
            fresh: false,
            thought: false,
            silent: true,
            unmarked: String::new(),
            by_token: Vec::new(),
        }
    }

    /// A splitter at the beginning of an output in `format`.
    pub(super) fn for_format(format: &'static ThoughtFormat) -> Self {
        Self { format: Some(format), mode: format.start, fresh: true, ..Self::plain() }
    }

    fn seed(&mut self, format: &'static ThoughtFormat, prompt: &str) {
        if format.has_tags() {
            let (open, close) = (format.rules[0].0, format.rules[1].0);
            let end = prompt.trim_end();
            if end.ends_with(open) {
                self.enter(Mode::Reasoning);
            } else if end.ends_with(close) {
                self.enter(Mode::Answer);
            }
        } else if let Some(at) = prompt.rfind(format.seed) {
            // What the prompt itself shows is not output.
            self.push(&prompt[at..]);
            self.spaces.clear();
            self.unmarked.clear();
            self.silent = true;
            self.thought = self.mode == Mode::Reasoning;
        }
    }

    /// The output goes on from what the model has `said` already: in its thought, where that has opened one and not closed it.
    pub fn go_on(&mut self, said: &str) {
        let Some(format) = self.format.filter(|format| format.has_tags()) else { return };
        let (open, close) = (format.rules[0].0, format.rules[1].0);
        let Some(at) = said.rfind(open).filter(|&at| !said[at..].contains(close)) else { return };
        self.enter(Mode::Reasoning);
        self.fresh = said[at + open.len()..].trim().is_empty();
    }

    /// The text that opens a thought, of a model that marks them by tags.
    pub fn opening_tag(&self) -> Option<&'static str> {
        self.format.filter(|format| format.has_tags()).map(|format| format.rules[0].0)
    }

    /// The format's name, for people; `None` when the model does not mark thoughts.
    pub fn format(&self) -> Option<&'static str> {
        self.format.map(|format| format.name)
    }

    /// Whether the model is thinking at this point.
    pub fn is_thinking(&self) -> bool {
        self.mode == Mode::Reasoning
    }

    /// Whether there was a thought, finished or not.
    pub fn has_thought(&self) -> bool {
        self.thought
    }

    /// What to make the model say so that its thought ends and its answer begins: the rest of its own closing tag where it
    /// has begun one.
    pub fn closing_text(&self) -> Option<&'static str> {
        let format = self.format?;
        let begun = format.has_tags() && !self.held.is_empty() && format.rules[1].0.starts_with(&self.held);
        let tag = format.closing.find(format.rules[1].0).filter(|_| begun);
        Some(tag.map_or(format.closing, |at| &format.closing[at + self.held.len()..]))
    }

    /// Texts of control tokens that the splitter has to see.
    pub fn markers(&self) -> impl Iterator<Item = &'static str> {
        self.format.into_iter().flat_map(ThoughtFormat::markers)
    }

    /// From now on the markers that the vocabulary has as tokens count only as tokens: [`Self::push_marker`].
    pub fn by_token(&mut self, is_token: impl Fn(&str) -> bool) {
        self.by_token = self.markers().filter(|marker| is_token(marker)).collect();
    }

    /// Whether the answer is what is said at this point, so that its form has to be kept.
    pub fn is_answering(&self) -> bool {
        matches!(self.mode, Mode::Start | Mode::Answer) || self.by_token.is_empty()
    }

    /// The marker with which a thought may open at this point, beside the answer.
    pub fn opening(&self) -> Option<&'static str> {
        let format = self.format.filter(|format| format.has_tags() && self.mode == Mode::Start)?;
        self.by_token.iter().copied().find(|marker| *marker == format.rules[0].0)
    }

    /// Takes a marker that came as its token, returns what is decided.
    pub fn push_marker(&mut self, marker: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        let Some(format) = self.format else { return parts };
        let held = std::mem::take(&mut self.held);
        if self.mode == Mode::Start && !held.trim().is_empty() {
            self.enter(Mode::Answer);
        }
        self.text(&held, &mut parts);
        let rule = format.rules.iter().find(|(text, modes, _)| *text == marker && modes.contains(&self.mode));
        match rule {
            Some((.., to)) => self.follow(format, *to, &mut parts),
            // A thought may open after some words.
            None if format.has_tags() && marker == format.rules[0].0 => self.enter(Mode::Reasoning),
            // A thought that was never opened: what stands before its end was it.
            None if format.has_tags() && marker == format.rules[1].0 && !self.thought => {
                parts.push(Part { kind: Kind::Unsaid, text: marker.to_owned() });
                self.enter(Mode::Answer);
                self.thought = true;
            }
            None => {}
        }
        parts
    }

    /// Takes more output, returns what is decided of it.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        let Some(format) = self.format else {
            show(&mut parts, Kind::Answer, text);
            return parts;
        };
        self.held.push_str(text);
        loop {
            if self.mode == Mode::Start && !self.may_open(format) {
                self.enter(Mode::Answer);
                self.fresh = false;
            }
            let Some((at, length, to)) = self.next_marker(format) else { break };
            let rest = self.held.split_off(at + length);
            let mut before = std::mem::replace(&mut self.held, rest);
            before.truncate(at);
            self.text(&before, &mut parts);
            self.follow(format, to, &mut parts);
        }
        let active = self.active(format);
        let keep = active.map(|(marker, ..)| open_end(&self.held, marker)).max().unwrap_or(0);
        if self.mode != Mode::Start {
            let rest = self.held.split_off(self.held.len() - keep);
            let decided = std::mem::replace(&mut self.held, rest);
            self.text(&decided, &mut parts);
        }
        parts
    }

    /// The end of the output: what was held back.
    pub fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        let held = std::mem::take(&mut self.held);
        if self.mode == Mode::Start {
            self.mode = Mode::Answer;
            self.fresh = false;
        }
        self.text(&held, &mut parts);
        if self.silent && !self.unmarked.trim().is_empty() {
            show(&mut parts, Kind::Answer, self.unmarked.trim());
            self.unmarked.clear();
        }
        // Whitespace that waits at the end of a thought that was never closed says nothing.
        self.spaces.clear();
        parts
    }

    /// In [`Mode::Start`]: whether what has come can still become an opening tag.
    fn may_open(&self, format: &ThoughtFormat) -> bool {
        let text = self.held.trim_start();
        text.is_empty()
            || self
                .active(format)
                .map(|(marker, ..)| *marker)
                .any(|marker| text.starts_with(marker) || marker.starts_with(text))
    }

    /// The first marker that counts in this mode.
    fn next_marker(&self, format: &ThoughtFormat) -> Option<(usize, usize, To)> {
        let found =
            self.active(format).filter_map(|(marker, _, to)| self.held.find(marker).map(|at| (at, marker.len(), *to)));
        found.min_by_key(|&(at, length, _)| (at, usize::MAX - length))
    }

    /// The rules of this mode whose markers come as text.
    fn active<'f>(&self, format: &'f ThoughtFormat) -> impl Iterator<Item = &'f Rule> + use<'f, '_> {
        let as_text = |marker: &str| !self.by_token.contains(&marker);
        format.rules.iter().filter(move |(marker, modes, _)| modes.contains(&self.mode) && as_text(marker))
    }

    fn follow(&mut self, format: &ThoughtFormat, to: To, parts: &mut Vec<Part>) {
        match to {
            To::Mode(Mode::Head) if self.mode == Mode::Head => self.head.push(' '),
            To::Mode(mode) => self.enter(mode),
            To::Head => {
                let head = std::mem::take(&mut self.head);
                let mode = format.head(&head);
                self.enter(mode);
                if mode == Mode::Call {
                    // The head of a call says what is called.
                    show(parts, Kind::Call, &format!("{}\n", head.trim()));
                }
            }
            To::Stay => {}
        }
    }

    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.head.clear();
        self.spaces.clear();
        self.fresh = true;
        self.thought |= mode == Mode::Reasoning;
    }

    /// Text of the present mode, with no marker in it.
    fn text(&mut self, text: &str, parts: &mut Vec<Part>) {
        let kind = match self.mode {
            Mode::Reasoning => Kind::Reasoning,
            Mode::Answer => Kind::Answer,
            Mode::Call => Kind::Call,
            Mode::Start => return,
            Mode::Head | Mode::Between => {
                if self.mode == Mode::Head {
                    self.head.push_str(text);
                }
                if self.silent {
                    self.unmarked.push_str(text);
                }
                return;
            }
        };
        self.silent = false;
        // Whitespace around a thought, and between it and the answer, belongs to the markers.
        let text = if self.fresh { text.trim_start() } else { text };
        if text.is_empty() {
            return;
        }
        self.fresh = false;
        if kind != Kind::Reasoning {
            return show(parts, kind, text);
        }
        let body = text.trim_end();
        if !body.is_empty() {
            let spaces = std::mem::take(&mut self.spaces);
            show(parts, kind, &(spaces + body));
        }
        self.spaces.push_str(&text[body.len()..]);
    }
}

fn show(parts: &mut Vec<Part>, kind: Kind, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(last) if last.kind == kind => last.text.push_str(text),
        _ => parts.push(Part { kind, text: text.to_owned() }),
    }
}
