//! The one internal request that every dialect maps to, and the events that come of it.

use super::ask::{Ask, Input};
use super::common;
use super::error::ApiError;
use super::log::{Asker, Note};
use super::models::Served;
use super::state::State;
use super::timings::{Broken, Measure, Measured};
use crate::chat::{Kind, Thinking, ThinkingMode, ThoughtGuard, Tools};
use crate::engine::{Event, FinishReason, Llm, Logprob, Prompt, Stats, Submission, Wanted};
use crate::sample::{Constraint, Form, random_seed};
use crate::tokenizer::Special;
use serde_json::Value;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

type Result<T> = std::result::Result<T, ApiError>;

/// A request under way. Dropping it ends the work.
pub(super) struct Running {
    pub(super) model: Arc<Served>,
    pub(super) prompt_tokens: usize,
    pub(super) prompt: Vec<u32>,
    /// The seed that was used.
    pub(super) seed: u64,
    pub(super) n: usize,
    /// Its number among those that the model remembers.
    pub(super) slot: usize,
    /// Whose it is.
    owner: u64,
    /// Set it to end thoughts that are under way.
    pub(super) end_thought: Vec<Arc<AtomicBool>>,
    /// What of the request is not kept to.
    pub(super) warnings: Vec<String>,
    /// Tokens of the first answer so far.
    said: Vec<u32>,
    events: UnboundedReceiver<Event>,
    cancelled: Arc<AtomicBool>,
    clock: Clock,
    /// The time for running answers is over.
    pub(super) deadline: watch::Receiver<bool>,
    /// The number of its first answer in what the client gets.
    first: usize,
}

/// Tells the metrics and the log how long things took, and how they ended.
struct Clock {
    measured: Arc<Measured>,
    note: Arc<Note>,
    /// What was in the cache has been noted.
    noted: bool,
    start: Instant,
    spoke: bool,
    /// Answers that have not ended.
    open: usize,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.clock.broke(Broken::Abort);
    }
}

/// What a handler gets to know.
#[derive(Debug)]
pub(super) enum Progress {
    /// Tokens of the prompt that have been read.
    Prefill { choice: usize, done: usize, total: usize, cached: usize, seconds: f64 },
    /// A chosen token with its probability.
    Token { choice: usize, chosen: Logprob },
    /// A piece of an answer.
    Piece { choice: usize, kind: Kind, text: String, tokens: Vec<u32> },
    /// An answer has ended.
    Done { choice: usize, stats: Stats, tokens: Vec<u32> },
}

impl Running {
    /// What happens next; `None` when all answers have ended.
    ///
    /// # Errors
    /// What stopped the work.
    pub(super) async fn next(&mut self) -> Result<Option<Progress>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Progress>>> {
        let event = self.events.poll_recv(context);
        event.map(|event| event.map(|event| self.progress(event)).transpose())
    }

    /// What an event is to a handler.
    fn progress(&mut self, event: Event) -> Result<Progress> {
        let first = self.first;
        Ok(match event {
            Event::Prefill { done, total, cached, seconds } => {
                self.clock.cached(cached);
                Progress::Prefill { choice: first, done, total, cached, seconds }
            }
            Event::Token { choice, chosen } => Progress::Token { choice: first + choice, chosen },
            Event::Part { choice, part, tokens } => {
                self.clock.speak();
                self.clock.note.generated(tokens.len());
                self.remember(choice, &tokens);
                // What a stream has told as the answer stays that, and so it does in a whole answer; where a thought ended
                // that was never opened, its marker tells.
                let kind = if part.kind == Kind::Unsaid { Kind::Answer } else { part.kind };
                Progress::Piece { choice: first + choice, kind, text: part.text, tokens }
            }
            Event::Done { choice, stats, tokens } => {
                self.clock.end(&stats);
                self.clock.note.generated(tokens.len());
                self.remember(choice, &tokens);
                if choice == 0 {
                    self.model.slots.keep(self.owner, self.slot, [&self.prompt[..], &self.said].concat());
                }
                Progress::Done { choice: first + choice, stats, tokens }
            }
            Event::Failed(error) => {
                self.clock.broke(Broken::Error);
                return Err(error.into());
            }
        })
    }

    /// What was wanted of it has come: the work ends, and that is no abort.
    pub(super) fn enough(mut self) {
        self.clock.open = 0;
    }

    fn remember(&mut self, choice: usize, tokens: &[u32]) {
        if choice == 0 {
            self.said.extend_from_slice(tokens);
        }
    }
}

impl Clock {
    /// The first event says how much of the prompt was in the cache, and later ones repeat it.
    fn cached(&mut self, tokens: usize) {
        if !std::mem::replace(&mut self.noted, true) {
            self.note.cached(tokens);
        }
    }

    fn speak(&mut self) {
        if !std::mem::replace(&mut self.spoke, true) {
            self.measured.record(Measure::FirstToken, self.start.elapsed().as_secs_f64());
            self.note.first_token();
        }
    }

    fn end(&mut self, stats: &Stats) {
        self.open -= 1;
        self.measured.ended(stats, self.start.elapsed().as_secs_f64());
        self.note.ended(finish_reason(stats));
    }

    fn broke(&mut self, why: Broken) {
        let open = std::mem::take(&mut self.open);
        if open > 0 {
            self.note.ended(why.name());
        }
        self.measured.broke(why, open);
    }
}

/// What happens next in any of these requests; `None` when all answers of all have ended.
///
/// # Errors
/// What stopped the work of one.
pub(super) async fn next_of(all: &mut [Running]) -> Result<Option<Progress>> {
    poll_fn(|context| {
        let mut over = true;
        for running in all.iter_mut() {
            match running.poll_next(context) {
                Poll::Ready(Ok(None)) => {}
                Poll::Pending => over = false,
                told => return told,
            }
        }
        if over { Poll::Ready(Ok(None)) } else { Poll::Pending }
    })
    .await
}

/// A whole answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Whole {
    pub(super) reasoning: String,
    pub(super) content: String,
    /// What the model's own segments say are calls of tools.
    pub(super) called: String,
    pub(super) logprobs: Vec<Logprob>,
    pub(super) tokens: Vec<u32>,
    pub(super) stats: Stats,
}

impl Whole {
    fn add(&mut self, kind: Kind, text: &str, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        match kind {
            Kind::Reasoning => self.reasoning.push_str(text),
            Kind::Call => self.called.push_str(text),
            _ => self.content.push_str(text),
        }
    }
}

impl Running {
    /// All answers, when they have ended.
    ///
    /// # Errors
    /// What stopped the work.
    pub(super) async fn whole(mut self) -> Result<(Vec<Whole>, Self)> {
        self.first = 0;
        let mut answers = vec![Whole::default(); self.n];
        let mut open = self.n;
        while let Some(progress) = self.next().await? {
            match progress {
                Progress::Prefill { .. } => {}
                Progress::Token { choice, chosen } => answers[choice].logprobs.push(chosen),
                Progress::Piece { choice, kind, text, tokens } => answers[choice].add(kind, &text, &tokens),
                Progress::Done { choice, stats, tokens } => {
                    answers[choice].tokens.extend(tokens);
                    answers[choice].stats = stats;
                    open -= 1;
                }
            }
        }
        if open > 0 {
            return Err(ApiError::stopping());
        }
        Ok((answers, self))
    }
}

/// The prompt of `input`, its text and tokens.
fn prompt(model: &Served, input: Input, thinking: ThinkingMode) -> Result<Prompt> {
    let llm = model.engine.llm();
    match input {
        Input::Chat(vars) => Ok(llm.prompt(vars, thinking)?),
        Input::Continue(vars) => Ok(llm.prompt_continuing(vars, thinking)?),
        Input::Text(text, special) => Ok(llm.plain_prompt(&text, special)),
        Input::Tokens(tokens) => {
            let vocab = llm.model().spec.vocab;
            if let Some(bad) = tokens.iter().find(|&&token| token as usize >= vocab) {
                return Err(ApiError::field("prompt", format!("token ids are below {vocab}, not {bad}")));
            }
            Ok(Prompt { tokens, ..llm.plain_prompt("", Special::Plain) })
        }
    }
}

/// How much to think where a request says nothing: as the model's settings say, if it can be.
fn thinking(model: &Served, asked: ThinkingMode) -> ThinkingMode {
    let llm = model.engine.llm();
    let thinks = || llm.capabilities().is_some_and(|c| c.thinking != Thinking::None);
    match (asked, model.defaults.thinking) {
        (ThinkingMode::Default, ThinkingMode::Off) => common::off(llm),
        (ThinkingMode::Default, wanted) if thinks() => wanted,
        (asked, _) => asked,
    }
}

/// [`prompt`], away from the threads that speak with clients.
pub(super) async fn render(model: Arc<Served>, input: Input, asked: ThinkingMode) -> Result<Prompt> {
    let thinking = thinking(&model, asked);
    let work = tokio::task::spawn_blocking(move || prompt(&model, input, thinking));
    work.await.unwrap_or_else(|_| Err(ApiError::internal("rendering failed")))
}

/// Hands a request to the engine.
///
/// # Errors
/// Everything that can be known before computing.
pub(super) async fn start(state: &Arc<State>, model: Arc<Served>, ask: Ask, asker: &Asker) -> Result<Running> {
    let begin = Instant::now();
    let (shared, asker) = (Arc::clone(state), asker.clone());
    // Templates, tokenizing and compiling a schema take time: not on the threads that speak with clients.
    let work = tokio::task::spawn_blocking(move || prepare(&shared, model, ask, asker, begin));
    work.await.unwrap_or_else(|_| Err(ApiError::internal("preparing the request failed")))
}

/// The same for several prompts.
///
/// # Errors
/// As [`start`].
pub(super) async fn start_all(
    state: &Arc<State>,
    model: &Arc<Served>,
    ask: &Ask,
    inputs: Vec<Input>,
    asker: &Asker,
) -> Result<Vec<Running>> {
    let mut begun: Vec<Running> = Vec::with_capacity(inputs.len());
    for input in inputs {
        let follows = !begun.is_empty();
        let mut running = start(state, Arc::clone(model), Ask { input, follows, ..ask.clone() }, asker).await?;
        running.first = begun.last().map_or(0, |before| before.first + before.n);
        begun.push(running);
    }
    Ok(begun)
}

/// Makes an answer's choices and prompt, and hands them to the engine.
fn prepare(state: &Arc<State>, model: Arc<Served>, mut ask: Ask, asker: Asker, start: Instant) -> Result<Running> {
    check(&ask, &model)?;
    let mut warnings = std::mem::take(&mut ask.warnings);
    warnings.extend(ask.calls.iter().flat_map(|tools| common::not_held(tools, None)));
    if has_tools(&ask.input) && !model.engine.llm().capabilities().is_some_and(|able| able.tools) {
        warnings.push("the template of this model knows no tools: they are described in its first message".to_owned());
    }
    let thinking = thinking(&model, ask.thinking);
    let seed = ask.seed.or(model.defaults.seed).unwrap_or_else(random_seed);
    let mut choices = choices(&ask, &model, seed, thinking, &mut warnings)?;
    let Prompt { tokens, splitter, .. } = prompt(&model, ask.input, thinking)?;
    let room = ask.context.map(|context| room_within(context, tokens.len())).transpose()?;
    for choice in &mut choices {
        choice.splitter = splitter.clone();
        choice.max_tokens = choice.max_tokens.into_iter().chain(room).min();
    }
    let end_thought = choices.iter().map(|choice| Arc::clone(&choice.end_thought)).collect();
    let (sender, events) = unbounded_channel();
    let cancelled = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&cancelled);
    model.engine.submit(Submission {
        prompt: tokens.clone(),
        choices,
        priority: ask.priority,
        client: asker.client,
        reuse: ask.reuse,
        follows: ask.follows,
        events: Box::new(move |event| {
            if sender.send(event).is_err() {
                gone.store(true, Ordering::Relaxed);
            }
        }),
        cancelled: Arc::clone(&cancelled),
    })?;
    asker.note.prompt(tokens.len());
    let (measured, note) = (Arc::clone(&model.measured), asker.note);
    Ok(Running {
        slot: model.slots.choose(asker.owner, ask.slot, &tokens),
        prompt_tokens: tokens.len(),
        prompt: tokens,
        seed,
        n: ask.n,
        owner: asker.owner,
        end_thought,
        warnings,
        said: Vec::new(),
        events,
        cancelled,
        clock: Clock { measured, note, noted: false, start, spoke: false, open: ask.n },
        deadline: state.deadline.subscribe(),
        first: 0,
        model,
    })
}

/// Refuses what cannot be had together, or not at this model.
fn check(ask: &Ask, model: &Served) -> Result<()> {
    if ask.min_tokens > 0 && ask.form.is_some() {
        let why =
            "a form that the answer has to keep ends where it is complete; a call that tools demand is such a form";
        return Err(ApiError::field("min_tokens", why));
    }
    let slots = model.engine.options().parallel;
    if let Some(slot) = ask.slot.filter(|&slot| slot >= slots) {
        let why = format!("slots are numbered from 0 to {}, or -1 for any; there is none {slot}", slots - 1);
        return Err(ApiError::field("id_slot", why));
    }
    if let Some(most) = max_tokens(ask, model).filter(|&most| ask.min_tokens > most) {
        let why = format!("{} are wanted, and no more than {most} are allowed ('max_tokens')", ask.min_tokens);
        return Err(ApiError::field("min_tokens", why));
    }
    Ok(())
}

/// Most tokens of an answer, by the request or else by the server.
fn max_tokens(ask: &Ask, model: &Served) -> Option<usize> {
    ask.max_tokens.or(model.defaults.max_tokens)
}

/// How each answer is made, but for what follows from the prompt.
fn choices(
    ask: &Ask,
    model: &Served,
    seed: u64,
    thinking: ThinkingMode,
    warnings: &mut Vec<String>,
) -> Result<Vec<Wanted>> {
    let llm = model.engine.llm();
    let mut params = llm.sampling(&ask.sampling.clone().or(&model.defaults.sampling))?.params();
    params.logit_bias.clone_from(&ask.logit_bias);
    params.check()?;
    // Choices keep to one form: its warnings are told once.
    let mut unsaid = Vec::new();
    let choice = |choice: usize| {
        let warnings = if choice == 0 { &mut *warnings } else { &mut unsaid };
        Ok(Wanted {
            max_tokens: max_tokens(ask, model),
            stop: ask.stop.clone(),
            guard: ThoughtGuard::new(thinking.budget()),
            constraint: constraint(llm, (ask.form.as_ref(), ask.calls.as_ref()), warnings)?,
            logprobs: ask.logprobs,
            after_filters: ask.after_filters,
            ignore_eos: ask.ignore_eos,
            min_tokens: ask.min_tokens,
            stop_tokens: ask.stop_tokens.clone(),
            keep_stop: ask.keep_stop,
            show_control: ask.show_control,
            shown: ask.shown.clone(),
            ..Wanted::plain(llm.sampler(params.clone(), seed.wrapping_add(choice as u64))?)
        })
    };
    (0..ask.n).map(choice).collect()
}

/// What keeps an answer in the form that is asked for, or the arguments of its calls in those of the tools.
fn constraint(
    llm: &Llm,
    wanted: (Option<&Form>, Option<&Tools>),
    warnings: &mut Vec<String>,
) -> Result<Option<Box<dyn Constraint>>> {
    Ok(match wanted {
        (Some(form), _) => {
            let constraint = llm.constraint(form)?;
            warnings.extend_from_slice(constraint.warnings());
            Some(Box::new(constraint))
        }
        (None, Some(tools)) => Some(llm.held_calls(tools.clone())?),
        (None, None) => None,
    })
}

fn has_tools(input: &Input) -> bool {
    matches!(input, Input::Chat(vars) | Input::Continue(vars) if vars.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty()))
}

/// How long an answer may be where a request limits the whole conversation.
fn room_within(context: usize, prompt: usize) -> Result<usize> {
    let room = context.checked_sub(prompt).filter(|&room| room > 0);
    let advice = "Shorten the conversation, or ask for a larger context ('num_ctx').";
    room.ok_or_else(|| ApiError::too_long(prompt, context.saturating_sub(1), context, advice))
}

/// Why an answer ended, in OpenAI's words.
pub(super) fn finish_reason(stats: &Stats) -> &'static str {
    match stats.finish {
        Some(FinishReason::Length | FinishReason::Context) => "length",
        _ => "stop",
    }
}
