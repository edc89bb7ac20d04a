//! What a model is to everyone who talks to it: weights, tokenizer, template and recommended sampling, read once and
//! shared by all sessions and by the server.

use crate::arch::{Output, Spec};
use crate::chat::{Capabilities, Controls, Segment, Splitter, Template, ThinkingMode, Vars, tell_tools};
use crate::gguf::{CHAT_TEMPLATE, Gguf};
use crate::machine::{self, Machine};
use crate::model::Model;
use crate::parallel::Pool;
use crate::sample::{Breakers, FamilyFacts, Overrides, Params, Sampler, SamplingSettings};
use crate::tokenizer::{Special, TokenKind, Tokenizer};
use crate::{Error, ErrorKind, Result};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
#[cfg(feature = "grammar")]
use {
    super::tool_calls::HeldCalls,
    crate::chat::Tools,
    crate::sample::{Constraint, Form, GrammarConstraint, Grammars},
};

/// A model with everything that its file says about talking to it.
pub struct Llm {
    model: Arc<Model>,
    tokenizer: Arc<Tokenizer>,
    template: Option<Template>,
    capabilities: Option<Capabilities>,
    /// Texts of the tokens that only the template may use.
    controls: Controls,
    /// Tokens that penalties leave alone: those that end an answer or steer the model.
    spared: Vec<u32>,
    facts: FamilyFacts,
    file: Overrides,
    /// Compiles forms; made when the first one is asked for.
    #[cfg(feature = "grammar")]
    grammars: Mutex<Option<Arc<Grammars>>>,
    breakers: Mutex<Option<(Vec<String>, Arc<Breakers>)>>,
    /// The threads of the sessions and embedders that are opened with it; they take turns.
    pool: Mutex<Option<Arc<Pool>>>,
}

/// A rendered conversation.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// Its text.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Tells the answer's thoughts from the rest.
    pub splitter: Splitter,
}

impl Llm {
    /// Opens the model at `path`.
    ///
    /// # Errors
    /// A file that is no usable model, or whose tokenizer or template cannot be used. A missing template is no error
    /// before a conversation is rendered.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(Arc::new(Model::open(path)?))
    }

    /// The same for a model that is open already.
    ///
    /// # Errors
    /// As [`Llm::open`].
    #[doc(hidden)]
    pub fn new(model: Arc<Model>) -> Result<Self> {
        let gguf = &model.gguf;
        let template = has_template(gguf).then(|| Template::from_gguf(gguf)).transpose()?;
        Self::with(model, template)
    }

    /// Opens the model at `path`, of which vectors are wanted, too: one that continues no text is not refused.
    ///
    /// # Errors
    /// As [`Llm::open`].
    pub fn open_for_vectors(path: &Path) -> Result<Self> {
        Self::for_vectors(Arc::new(Model::open(path)?))
    }

    /// The same model, with these threads for what is opened with it; else they are as many as this machine has useful cores.
    #[must_use]
    pub fn on(self, pool: Arc<Pool>) -> Self {
        Self { pool: Mutex::new(Some(pool)), ..self }
    }

    /// The threads of what is opened with it, started when they are wanted first.
    ///
    /// # Errors
    /// Threads that cannot be started.
    pub(super) fn pool(&self) -> Result<Arc<Pool>> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = &*pool {
            return Ok(Arc::clone(pool));
        }
        let started = Arc::new(Pool::new(machine::threads().0)?.on_cores(&Machine::read()));
        *pool = Some(Arc::clone(&started));
        Ok(started)
    }

    /// A model that continues plain text, whatever its file says of templates.
    ///
    /// # Errors
    /// A tokenizer that cannot be used.
    #[doc(hidden)]
    pub fn raw(model: Arc<Model>) -> Result<Self> {
        Self::with(model, None)
    }

    /// A model of which only vectors are wanted, too: one that continues no text is not refused.
    ///
    /// # Errors
    /// As [`Llm::open`].
    #[doc(hidden)]
    pub fn for_vectors(model: Arc<Model>) -> Result<Self> {
        match not_generative(&model.spec) {
            Some(_) => Self::of_any_kind(model, None),
            None => Self::new(model),
        }
    }

    fn with(model: Arc<Model>, template: Option<Template>) -> Result<Self> {
        if let Some(why) = not_generative(&model.spec) {
            return Err(Error::input(model.gguf.path().display().to_string(), "a model that continues text", why));
        }
        Self::of_any_kind(model, template)
    }

    fn of_any_kind(model: Arc<Model>, template: Option<Template>) -> Result<Self> {
        let tokenizer = Arc::new(Tokenizer::from_gguf(&model.gguf)?);
        let template = template.map(Template::with_extras);
        Ok(Self {
            capabilities: template.as_ref().map(Template::capabilities).transpose()?,
            controls: controls(&tokenizer),
            spared: spared(&tokenizer),
            facts: FamilyFacts::from_gguf(&model.gguf)?,
            file: Overrides::from_gguf(&model.gguf)?,
            #[cfg(feature = "grammar")]
            grammars: Mutex::default(),
            breakers: Mutex::default(),
            pool: Mutex::default(),
            model,
            tokenizer,
            template,
        })
    }

    /// The same model with another template.
    ///
    /// # Errors
    /// A template that cannot be used.
    pub fn with_template(mut self, template: Template) -> Result<Self> {
        let mut template = template.with_extras();
        if let Some(own) = &self.template {
            template.set_defaults(own.defaults().clone());
        }
        self.capabilities = Some(template.capabilities()?);
        self.template = Some(template);
        Ok(self)
    }

    /// The weights.
    #[doc(hidden)]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The chat template, if the file has one.
    pub fn template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    /// What the template can do; `None` for a model without one.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.capabilities.as_ref()
    }

    /// The sampling parameters that hold: neutral ones, then the maker's, then the file's, then the user's.
    ///
    /// # Errors
    /// A value out of its range.
    pub fn sampling(&self, user: &Overrides) -> Result<SamplingSettings> {
        SamplingSettings::resolve(&self.facts, &self.file, user)
    }

    /// The prompt of a conversation whose last message the answer goes on from: what the template puts after it is left
    /// out.
    ///
    /// # Errors
    /// As [`Llm::prompt`], and where the template does not show the last message as it is.
    pub fn prompt_continuing(&self, mut vars: Vars, thinking: ThinkingMode) -> Result<Prompt> {
        let last =
            vars.get("messages").and_then(|list| list.as_array()?.last()?["content"].as_str().map(str::to_owned));
        let last = last.unwrap_or_default();
        vars.insert("add_generation_prompt".to_owned(), last.is_empty().into());
        if last.is_empty() {
            return self.prompt_continuing_thought(vars, thinking);
        }
        let mut segments = self.segments(vars, thinking)?;
        let text: String = segments.iter().map(|segment| segment.text.as_str()).collect();
        let shown = [last.as_str(), last.trim_end(), last.trim()]
            .into_iter()
            .find_map(|last| text.rfind(last).map(|at| at + last.len()).filter(|_| !last.is_empty()));
        let Some(mut left) = shown else {
            let found = "one that changes it";
            return Err(Error::input("the chat template", "one that shows the last message as it is", found));
        };
        for segment in &mut segments {
            segment.text.truncate(left.min(segment.text.len()));
            left -= segment.text.len();
        }
        segments.retain(|segment| !segment.text.is_empty());
        let mut prompt = self.joined(segments);
        prompt.splitter.go_on(&last);
        Ok(prompt)
    }

    /// The prompt where the last message has said nothing yet: it is begun anew, and goes on from its thought if it has one.
    fn prompt_continuing_thought(&self, mut vars: Vars, thinking: ThinkingMode) -> Result<Prompt> {
        let list = vars.get_mut("messages").and_then(Value::as_array_mut);
        // Alone it stays: a template wants something to begin with.
        let last = list.filter(|list| list.len() > 1).and_then(Vec::pop);
        let thought = last.and_then(|last| last["reasoning_content"].as_str().map(str::to_owned)).unwrap_or_default();
        let mut segments = self.segments(vars, thinking)?;
        let splitter = self.splitter(&segments.iter().map(|segment| segment.text.as_str()).collect::<String>());
        let Some(tag) = splitter.opening_tag().filter(|_| !thought.is_empty()) else {
            return Ok(self.joined(segments));
        };
        if !splitter.is_thinking() {
            segments.push(Segment { text: format!("{tag}\n"), trusted: true });
        }
        segments.push(Segment { text: thought.clone(), trusted: false });
        let mut prompt = self.joined(segments);
        prompt.splitter.go_on(&format!("{tag}{thought}"));
        Ok(prompt)
    }

    /// The prompt of a conversation: `vars` holds `messages` and whatever else the template reads. Text that users wrote
    /// never becomes a control token.
    ///
    /// # Errors
    /// A model without a template, a template that refuses these messages, or has no switch for the wished thinking.
    pub fn prompt(&self, vars: Vars, thinking: ThinkingMode) -> Result<Prompt> {
        Ok(self.joined(self.segments(vars, thinking)?))
    }

    fn segments(&self, mut vars: Vars, thinking: ThinkingMode) -> Result<Vec<Segment>> {
        let Some((template, capabilities)) = self.template.as_ref().zip(self.capabilities.as_ref()) else {
            return Template::from_gguf(&self.model.gguf).and_then(|_| {
                Err(Error::input("the conversation", "a chat template", "none in use").of(ErrorKind::NoTemplate))
            });
        };
        if !capabilities.tools {
            tell_tools(&mut vars, capabilities.system);
        }
        if let Some(Value::Array(messages)) = vars.get_mut("messages") {
            template.check_questions(capabilities, messages)?;
            *messages = capabilities.content.of(messages);
        }
        thinking.apply(capabilities, &mut vars)?;
        template.render_segments(&vars, &self.controls)
    }

    fn joined(&self, segments: Vec<Segment>) -> Prompt {
        let tokens = self.encode(&segments);
        let text: String = segments.into_iter().map(|segment| segment.text).collect();
        let splitter = self.splitter(&text);
        Prompt { text, tokens, splitter }
    }

    /// What tells thoughts from answers in what follows a prompt of this text.
    fn splitter(&self, prompt: &str) -> Splitter {
        let source = self.template.as_ref().map_or("", Template::source);
        Splitter::new(source, &|text| self.tokenizer.token_id(text).is_some(), prompt)
    }

    /// The prompt that continues `text` as it is.
    pub fn plain_prompt(&self, text: &str, special: Special) -> Prompt {
        let tokens = self.tokenizer.encode_with_bos(&self.tokenizer.normalized(text), special);
        Prompt { text: text.to_owned(), tokens, splitter: Splitter::plain() }
    }

    /// Chooses tokens by `params`; penalties leave tokens alone that end an answer or steer the model.
    ///
    /// # Errors
    /// A value out of its range.
    pub fn sampler(&self, params: Params, seed: u64) -> Result<Sampler> {
        let breakers = params.is_dry().then(|| self.breakers(&params.dry_sequence_breakers));
        let sampler = Sampler::new(params, seed)?.sparing(self.spared.iter().copied());
        Ok(match breakers {
            Some(breakers) => sampler.breaking(breakers),
            None => sampler,
        })
    }

    /// Tokens of texts that repetitions do not reach across: the last ones are kept, as the whole vocabulary is looked at.
    fn breakers(&self, texts: &[String]) -> Arc<Breakers> {
        let mut last = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, breakers)) = last.as_ref().filter(|(of, _)| of == texts) {
            return Arc::clone(breakers);
        }
        let words = (0..self.tokenizer.vocab_size() as u32).map(|id| self.tokenizer.bytes(id));
        let breakers = Arc::new(Breakers::new(words, texts, |text| self.tokenizer.encode(text, Special::Parse)));
        *last = Some((texts.to_vec(), Arc::clone(&breakers)));
        breakers
    }

    /// What keeps an answer in `form`.
    ///
    /// # Errors
    /// A form that cannot be kept: what and where.
    #[cfg(feature = "grammar")]
    pub fn constraint(&self, form: &Form) -> Result<GrammarConstraint> {
        self.grammars()?.constraint(form)
    }

    /// What keeps the arguments of calls that a model makes of itself to the schemas of `tools`.
    ///
    /// # Errors
    /// A vocabulary without an end.
    #[cfg(feature = "grammar")]
    #[doc(hidden)]
    pub fn held_calls(&self, tools: Tools) -> Result<Box<dyn Constraint>> {
        Ok(Box::new(HeldCalls::new(self.grammars()?, &self.tokenizer, tools)))
    }

    /// The vocabulary, ready for constraints.
    #[cfg(feature = "grammar")]
    fn grammars(&self) -> Result<Arc<Grammars>> {
        let mut made = self.grammars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(grammars) = &*made {
            return Ok(Arc::clone(grammars));
        }
        let words = (0..self.tokenizer.vocab_size() as u32).map(|id| self.tokenizer.bytes(id));
        let grammars = Arc::new(Grammars::new(words, self.tokenizer.eog())?);
        *made = Some(Arc::clone(&grammars));
        Ok(grammars)
    }

    /// Control tokens count in the template's text only. BOS is added unless the template wrote it.
    fn encode(&self, segments: &[Segment]) -> Vec<u32> {
        let special = |segment: &Segment| if segment.trusted { Special::Parse } else { Special::Plain };
        let normalized = |segment: &'_ Segment| self.tokenizer.normalized(&segment.text).into_owned();
        let encode = |segment: &Segment| self.tokenizer.encode(&normalized(segment), special(segment));
        let mut tokens: Vec<u32> = segments.iter().flat_map(encode).collect();
        let bos = self.tokenizer.bos().filter(|bos| self.tokenizer.adds_bos() && tokens.first() != Some(bos));
        tokens.splice(0..0, bos);
        tokens
    }
}

fn has_template(gguf: &Gguf) -> bool {
    gguf.value(CHAT_TEMPLATE).is_some()
}

fn spared(tokenizer: &Tokenizer) -> Vec<u32> {
    (0..tokenizer.vocab_size() as u32).filter(|&id| tokenizer.is_control(id) || tokenizer.is_eog(id)).collect()
}

/// Why a model cannot continue text, if it cannot.
#[doc(hidden)]
pub fn not_generative(spec: &Spec) -> Option<&'static str> {
    match spec.output {
        Output::Vectors => {
            Some("a model of text vectors, which continues no text: use `tokki embed` or `tokki rerank`")
        }
        Output::Logits { .. } if !spec.causal => Some(
            "a model that reads whole texts (it fills in masked tokens), which continues no text from left to right",
        ),
        Output::Logits { .. } => None,
    }
}

/// Texts of the tokens that steer a model.
pub(super) fn controls(tokenizer: &Tokenizer) -> Controls {
    let steers = |id: &u32| matches!(tokenizer.kind(*id), Some(TokenKind::Control | TokenKind::Unknown));
    let ids = (0..tokenizer.vocab_size() as u32).filter(steers);
    Controls::new(ids.filter_map(|id| tokenizer.token_text(id)))
}

crate::text::opaque!(Llm);
