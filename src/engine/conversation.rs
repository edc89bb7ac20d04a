//! A conversation: messages, the template that turns them into a prompt, and the session that holds what was computed.

use super::answer::{FinishReason, Stats, Wanted};
use super::messages::THOUGHTS;
use super::{Generation, Llm, Options, Prompt, Request, Session, messages};
use crate::chat::{Capabilities, Kind, Part, SystemRole, ThinkingMode, ThoughtGuard, Vars};
use crate::sample::{Constraint, Overrides, Params, SamplingSettings};
use crate::tokenizer::{Special, Tokenizer};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How answers are wanted.
#[derive(Debug, Clone, Default)]
pub struct GenerateOptions {
    /// Parameters of the choice of tokens.
    pub params: Params,
    /// Seed of that choice.
    pub seed: u64,
    /// Most tokens of one answer, its thought included.
    pub max_tokens: Option<usize>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Thinking on, off or within a budget.
    pub thinking: ThinkingMode,
    /// Further variables of the template.
    pub vars: Vars,
    /// When the messages no longer fit, the oldest questions and their answers are left out of what the model reads.
    pub leave_out_oldest: bool,
    /// Without a template: names of control tokens in the text are control tokens.
    pub special: bool,
}

/// One answer.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    /// What the model said.
    pub answer: String,
    /// What it thought.
    pub reasoning: String,
    /// What that took.
    pub stats: Stats,
    /// Questions, the oldest, that the model did not see, for want of room.
    pub left_out: usize,
}

impl Turn {
    /// Whether it ended before the model was done: it was stopped, or came to a limit.
    pub fn is_cut(&self) -> bool {
        matches!(self.stats.finish, Some(FinishReason::Interrupted | FinishReason::Length | FinishReason::Context))
    }
}

/// What [`Conversation::answer`] tells its observer.
pub trait Observer {
    /// `done` of `total` tokens of the prompt have been read.
    fn prefill(&mut self, done: usize, total: usize) {
        let _ = (done, total);
    }
    /// A piece of thought or answer.
    ///
    /// # Errors
    /// Whatever should end the generation, such as a reader that's gone.
    fn part(&mut self, part: &Part) -> Result<()>;
}

/// A function that is told the pieces only.
impl<F: FnMut(&Part) -> Result<()>> Observer for F {
    fn part(&mut self, part: &Part) -> Result<()> {
        self(part)
    }
}

/// A model that is talked to.
pub struct Conversation {
    session: Session,
    llm: Arc<Llm>,
    /// The messages' texts are continued as they are.
    raw: bool,
    messages: Vec<Value>,
    /// Questions at the beginning that are left out of the prompt, with their answers.
    left_out: usize,
    end_thought: Arc<AtomicBool>,
}

impl Conversation {
    /// An empty conversation in `session`; `raw` continues plain text without a template.
    ///
    /// # Errors
    /// A model whose tokenizer or template cannot be used.
    pub fn new(session: Session, raw: bool) -> Result<Self> {
        let model = Arc::clone(session.model());
        let llm = if raw {
            Llm::raw(model)?
        } else {
            let llm = Llm::new(model)?;
            if llm.template().is_none() {
                // A model without a template is refused before anything is asked.
                crate::chat::Template::from_gguf(&llm.model().gguf)?;
            }
            llm
        };
        Ok(Self { session, llm: Arc::new(llm), raw, messages: Vec::new(), left_out: 0, end_thought: Arc::default() })
    }

    /// An empty conversation with `llm` in a session of its own.
    ///
    /// # Errors
    /// A model without a chat template, threads that cannot be started.
    pub fn open(llm: Arc<Llm>, options: Options) -> Result<Self> {
        if llm.template().is_none() {
            crate::chat::Template::from_gguf(&llm.model().gguf)?;
        }
        let session = Session::open(&llm, options)?;
        Ok(Self { session, llm, raw: false, messages: Vec::new(), left_out: 0, end_thought: Arc::default() })
    }

    /// Says `text` and returns the answer, with the sampling that the model's maker recommends and a fixed seed.
    ///
    /// # Errors
    /// As [`Conversation::answer`].
    pub fn ask(&mut self, text: &str, observer: &mut dyn Observer) -> Result<Turn> {
        self.say(text);
        let options =
            GenerateOptions { params: self.sampling(&Overrides::default())?.params(), ..GenerateOptions::default() };
        self.answer(&options, None, observer)
    }

    /// The model with its tokenizer and template.
    pub fn llm(&self) -> &Arc<Llm> {
        &self.llm
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        self.llm.tokenizer()
    }

    /// What the template can do; `None` for plain text.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.llm.capabilities()
    }

    /// Makes `flag` the one that ends an answer early.
    pub fn stop_when(&mut self, flag: &Arc<AtomicBool>) {
        self.session.stop_when(flag);
    }

    /// The messages so far.
    pub fn messages(&self) -> &[Value] {
        &self.messages
    }

    /// The messages, to be changed (what the cache holds of them is found out by comparing tokens).
    pub fn messages_mut(&mut self) -> &mut Vec<Value> {
        self.left_out = 0;
        &mut self.messages
    }

    /// Sets or removes the system message.
    pub fn set_system(&mut self, text: Option<&str>) {
        if self.messages.first().is_some_and(|first| first["role"] == "system") {
            self.messages.remove(0);
        }
        if let Some(text) = text {
            self.messages.insert(0, json!({"role": "system", "content": text}));
        }
    }

    /// What the user has to know about a system message of this conversation, if there is one.
    pub fn system_note(&self) -> Option<&'static str> {
        let has_system = self.messages.first().is_some_and(|first| first["role"] == "system");
        match self.capabilities()?.system {
            SystemRole::Ignored if has_system => {
                Some("the model's template has no place for a system prompt: it is left out")
            }
            SystemRole::Cut if has_system => {
                Some("the model's template cuts system prompts, or tells them at the first question alone")
            }
            _ => None,
        }
    }

    /// Adds what the user says.
    pub fn say(&mut self, text: &str) {
        self.messages.push(json!({"role": "user", "content": text}));
    }

    /// Set to end a running thought now and have the answer.
    pub fn end_thought(&self) -> &Arc<AtomicBool> {
        &self.end_thought
    }

    /// The sampling parameters that hold here: neutral ones, then the maker's, then the file's, then the user's.
    ///
    /// # Errors
    /// A value out of its range.
    pub fn sampling(&self, user: &Overrides) -> Result<SamplingSettings> {
        self.llm.sampling(user)
    }

    /// The prompt for the messages so far: its text and its tokens. Text that users wrote never becomes a control token.
    ///
    /// # Errors
    /// A template that refuses these messages, or has no switch for the wished thinking.
    pub fn prompt(&self, options: &GenerateOptions) -> Result<Prompt> {
        if self.raw {
            let text: String = self.messages.iter().filter_map(|message| message["content"].as_str()).collect();
            let special = if options.special { Special::Parse } else { Special::Plain };
            return Ok(self.llm.plain_prompt(&text, special));
        }
        self.prompt_without(if options.leave_out_oldest { self.left_out } else { 0 }, options)
    }

    /// The prompt of a chat without the first `left_out` questions and what was answered to them.
    fn prompt_without(&self, left_out: usize, options: &GenerateOptions) -> Result<Prompt> {
        let is = |message: &Value, role: &str| message["role"] == role;
        let mut questions = 0;
        let kept = self.messages.iter().filter(|message| {
            questions += usize::from(is(message, "user"));
            questions > left_out || is(message, "system")
        });
        let mut vars = options.vars.clone();
        vars.insert("messages".to_owned(), kept.cloned().collect());
        self.llm.prompt(vars, options.thinking)
    }

    /// As [`Self::prompt`]; where the messages leave too little room for an answer, the oldest questions are left out until
    /// half of the context is free, so that it is not done again at every question. What is computed is what a fresh
    /// conversation of the rest would compute.
    fn fitting_prompt(&mut self, options: &GenerateOptions) -> Result<Prompt> {
        let prompt = self.prompt(options)?;
        let context = self.session.options().context;
        let room = options.max_tokens.unwrap_or(usize::MAX).min(context / 4);
        if self.raw || !options.leave_out_oldest || prompt.tokens.len() + room <= context {
            return Ok(prompt);
        }
        let questions = self.messages.iter().filter(|message| message["role"] == "user").count();
        let mut best = prompt;
        for left_out in self.left_out + 1..questions {
            self.left_out = left_out;
            best = self.prompt_without(left_out, options)?;
            if best.tokens.len() <= context / 2 {
                break;
            }
        }
        Ok(best)
    }

    /// Changes the model and what is computed with it; the messages stay.
    pub fn replace(&mut self, other: Self) {
        let messages = std::mem::take(&mut self.messages);
        *self = Self { messages, ..other };
    }

    /// Positions of the context that the messages so far take: what was computed for them, or will be where other messages
    /// were.
    pub fn used(&self, options: &GenerateOptions) -> usize {
        if self.messages.iter().all(|message| message["role"] == "system") {
            return 0;
        }
        let computed = self.session.tokens();
        let prompt = self.prompt(options).map(|prompt| prompt.tokens).unwrap_or_default();
        // The end of an answer isn't in the prompt as it was generated, yet it is there.
        let answered = self.messages.last().is_some_and(|last| last["role"] == "assistant");
        let shared = computed.iter().zip(&prompt).take_while(|(a, b)| a == b).count();
        if answered && shared + 8 > computed.len() { computed.len() } else { prompt.len() }
    }

    /// Generates the answer to the messages so far and adds it to them.
    ///
    /// # Errors
    /// [`Error::ContextFull`] before anything is computed; whatever `observer` or the model ends with. The messages are
    /// then as before.
    pub fn answer(
        &mut self,
        options: &GenerateOptions,
        constraint: Option<Box<dyn Constraint>>,
        observer: &mut dyn Observer,
    ) -> Result<Turn> {
        let Prompt { tokens: prompt, splitter, .. } = self.fitting_prompt(options)?;
        let wanted = Wanted {
            max_tokens: options.max_tokens,
            stop: options.stop.clone(),
            splitter,
            guard: ThoughtGuard::new(options.thinking.budget()),
            constraint,
            end_thought: Arc::clone(&self.end_thought),
            ..Wanted::plain(self.llm.sampler(options.params.clone(), options.seed)?)
        };
        let request = Request { prompt, wanted };
        let left_out = if options.leave_out_oldest { self.left_out } else { 0 };
        let mut turn = Turn { left_out, ..Turn::default() };
        let mut prefill = |done, total| observer.prefill(done, total);
        let mut generation = Generation::start(&mut self.session, self.llm.tokenizer(), request, &mut prefill)?;
        for part in generation.by_ref() {
            let part = part?;
            observer.part(&part)?;
            match part.kind {
                Kind::Reasoning => turn.reasoning.push_str(&part.text),
                Kind::Answer | Kind::Call => turn.answer.push_str(&part.text),
                Kind::Unsaid => turn.reasoning.push_str(std::mem::take(&mut turn.answer).trim()),
            }
        }
        turn.stats = generation.stats().clone();
        let mut message = match self.llm.template() {
            Some(template) => template.assistant_turn(&turn.reasoning, &turn.answer),
            None => json!({"role": "assistant", "content": turn.answer}),
        };
        // A thought is part of what was said, though the template has no place for it.
        let kept = THOUGHTS.iter().any(|name| message.get(name).is_some());
        if !kept && !turn.reasoning.is_empty() {
            message[THOUGHTS[0]] = turn.reasoning.as_str().into();
        }
        self.messages.push(message);
        Ok(turn)
    }

    /// The last question, where it has no answer.
    pub fn unanswered(&self) -> Option<&str> {
        self.messages.last().filter(|last| last["role"] == "user")?["content"].as_str()
    }

    /// Takes the last question back if it has no answer.
    pub fn take_back_unanswered(&mut self) -> bool {
        let unanswered = self.messages.last().is_some_and(|last| last["role"] == "user");
        if unanswered {
            self.messages.pop();
        }
        unanswered
    }

    /// What a session file holds beside the cache.
    fn notes(&self) -> Value {
        let model = self.session.model().gguf.path();
        let model = std::path::absolute(model).unwrap_or_else(|_| model.to_path_buf());
        let context = self.session.options().context;
        json!({ "messages": self.messages, "raw": self.raw, "model": model.to_str(), "context": context })
    }

    /// The file of the model that a session was held with, where the session says so.
    ///
    /// # Errors
    /// What is no session.
    pub fn model_of(session: &std::path::Path) -> Result<Option<std::path::PathBuf>> {
        Ok(super::session_file::notes(session)?["model"].as_str().map(std::path::PathBuf::from))
    }

    /// The context that a session was held in; 0 where the session does not say.
    ///
    /// # Errors
    /// What is no session.
    pub fn context_of(session: &std::path::Path) -> Result<usize> {
        Ok(super::session_file::notes(session)?["context"].as_u64().unwrap_or_default() as usize)
    }

    /// Notes the question that is answered next in the file that this process keeps the conversation in.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn note_question_in(&self, file: &mut super::session_file::SessionFile) -> Result<()> {
        file.ask(&self.session, self.notes())
    }

    /// Writes messages and cache to a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: &std::path::Path) -> Result<()> {
        super::session_file::save(&self.session, self.notes(), path)
    }

    /// Writes messages and cache to the file that this process keeps them in.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keep_in(&self, file: &mut super::session_file::SessionFile) -> Result<()> {
        file.save(&self.session, self.notes())
    }

    /// Continues from a file. What was said before stays where that fails.
    ///
    /// # Errors
    /// As [`super::session_file::load`], and for notes that hold no messages, or those of a conversation of the other form.
    pub fn restore(&mut self, path: &std::path::Path) -> Result<()> {
        let (model, pool) = (Arc::clone(self.session.model()), Arc::clone(self.session.pool()));
        let (mut session, mut notes) = super::session_file::load(path, model, pool, self.session.options().clone())?;
        let wrong = |wanted: &str, found: &str| Error::input(path.display().to_string(), wanted, found);
        let messages =
            notes.get_mut("messages").map(Value::take).ok_or_else(|| wrong("a session with messages", "none"))?;
        let messages = messages::read(messages).map_err(|(wanted, found)| wrong(&wanted, &found))?;
        match (notes.get("raw").and_then(Value::as_bool), self.raw) {
            (Some(true), false) => return Err(wrong("a chat", "plain text").hint("continue it with `raw`")),
            (Some(false), true) => return Err(wrong("plain text", "a chat").hint("continue it without `raw`")),
            _ => {}
        }
        session.stop_when(self.session.cancel_flag());
        (self.session, self.messages, self.left_out) = (session, messages, 0);
        Ok(())
    }
}

crate::text::opaque!(Conversation);
