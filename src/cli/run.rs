//! `tokki run`: one answer for a prompt or piped text, else a chat.

use super::compute::Compute;
use super::display::Show;
use super::output;
pub(super) use super::question::RunArgs;
use super::question::{as_question, called, given_prompt, joined, question, what};
use super::turn::{constraint, empty, left_out, thinking, timings};
use crate::chat;
use crate::config::Settings;
use crate::engine::session_file::SessionFile;
use crate::engine::{Conversation, FinishReason, GenerateOptions, Turn};
use crate::platform::input;
use crate::sample::{Constraint, Form, random_seed};
use crate::store;
use crate::{Error, ErrorKind, Result, interrupt};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Runs the command.
pub(super) fn run(args: &RunArgs) -> Result<()> {
    let settings = Settings::load()?.with(&args.machine).with(&args.sampling).with(&args.chat).with(&args.thinking);
    check_flags(args, &settings)?;
    let form = form(args)?;
    let session = args.session.as_deref().map(|path| path.to_str().map_or_else(|| path.to_owned(), output::home_path));
    let session = session.as_deref().map(SessionFile::open).transpose()?;
    let kept = args.go_on.then(|| last_chat(args, &settings)).transpose()?;
    let there = session.as_ref().filter(|file| !file.is_new());
    let (model, prompt) = model_and_prompt(args, &settings, kept.as_ref(), there)?;
    let settings = settings.for_model(&model);
    let prompt = joined(prompt, args)?;
    if args.json && prompt.is_none() {
        return Err(Error::usage("--json writes one answer for a program and needs a prompt. A chat is for people."));
    }
    let (mut conversation, options) = open(args, &settings, &model, kept.as_ref(), there)?;
    let Some(prompt) = prompt else {
        let start = super::repl::Start { model, machine: args.machine.clone(), raw: args.raw, verbose: args.verbose };
        return super::repl::run(
            conversation,
            options,
            &settings,
            super::repl::ChatPlace { session, form, chat: kept },
            start,
        );
    };
    if kept.is_none() {
        of_chats_alone(&settings, session.is_some());
    }
    let form = form.as_ref().map(|form| constraint(form, &conversation)).transpose()?;
    let history = kept.filter(|_| settings.history().unwrap_or(true));
    let history = history.map(|chat| Ok::<_, Error>((store::chats::Chats::of(&settings)?, chat))).transpose()?;
    let mut keeper = Keeper { session, history };
    if conversation.take_back_unanswered() {
        output::say("tokki: the last question was never answered; this one takes its place");
    }
    conversation.say(&prompt);
    keeper.asked(&conversation)?;
    let turn = once(args, &settings, &mut conversation, &options, form);
    if turn.is_err() && conversation.take_back_unanswered() {
        keeper.taken_back(&conversation)?;
    }
    let turn = turn?;
    keeper.answered(&conversation, turn.is_cut())?;
    outcome(&turn)
}

/// The model's file, and what it is asked: as they are named, or the model that a kept chat or a session (`there`) was held with.
fn model_and_prompt(
    args: &RunArgs,
    settings: &Settings,
    kept: Option<&store::chats::KeptChat>,
    there: Option<&SessionFile>,
) -> Result<(PathBuf, Option<String>)> {
    let held_with = match (kept, there) {
        (Some(kept), _) => store::resolve_again(&kept.model).map_err(|error| gone(&kept.model, error))?,
        (None, Some(file)) if args.model.is_none() || question(args).is_some() => session_model(file)?,
        (None, _) => return what(args, settings, there.and_then(|file| session_model(file).ok()).as_deref()),
    };
    Ok((held_with, question(args).or_else(|| given_prompt(args))))
}

/// The conversation, with all that was said in it before, and what holds for its answers.
fn open(
    args: &RunArgs,
    settings: &Settings,
    model: &Path,
    kept: Option<&store::chats::KeptChat>,
    there: Option<&SessionFile>,
) -> Result<(Conversation, GenerateOptions)> {
    let compute = Compute::open_path(model, &args.machine)?;
    // A long conversation goes on in the context that it was held in.
    let context = there.map_or(Ok(0), |file| Conversation::context_of(file.path()))?;
    let mut conversation = Conversation::new(compute.session(context)?, args.raw)?;
    conversation.stop_when(interrupt::flag());
    if let Some(warning) = conversation.tokenizer().warning() {
        output::say(&format!("tokki: {warning}"));
    }
    let options = options(args, settings, &conversation)?;
    if let Some(capabilities) = conversation.capabilities() {
        // Found out now, not at the first question.
        options.thinking.apply(capabilities, &mut options.vars.clone())?;
    }
    without_effect(settings, &conversation);
    if let Some(kept) = kept {
        *conversation.messages_mut() = kept.messages.clone();
    }
    if let Some(file) = there {
        conversation.restore(file.path()).map_err(|why| held_with_another(file, model, why))?;
    }
    if let Some(system) = settings.system().filter(|_| !args.raw) {
        conversation.set_system(Some(&system));
    }
    if let Some(note) = conversation.system_note() {
        output::say(&format!("tokki: {note}"));
    }
    Ok((conversation, options))
}

/// Whether the command has done what it was asked for.
fn outcome(turn: &Turn) -> Result<()> {
    let unfinished = |why: &str| Err(Error::failed("the answer", why));
    match turn.stats.finish {
        Some(FinishReason::Interrupted) => Err(Error::Interrupted),
        _ if turn.stats.ended_in_thought => {
            let said = if turn.answer.trim().is_empty() { "had not begun to answer" } else { "did not end its answer" };
            unfinished(&format!("the model ended inside its thought and {said}"))
        }
        _ if turn.stats.form_incomplete => unfinished("it was cut before its form was complete"),
        _ => Ok(()),
    }
}

/// What keeps a conversation: its question before the answer is computed, and both when it is there.
struct Keeper {
    session: Option<SessionFile>,
    history: Option<(store::chats::Chats, store::chats::KeptChat)>,
}

impl Keeper {
    fn asked(&mut self, conversation: &Conversation) -> Result<()> {
        self.session.as_mut().map_or(Ok(()), |file| conversation.note_question_in(file))?;
        self.in_history(conversation)
    }

    fn taken_back(&mut self, conversation: &Conversation) -> Result<()> {
        self.session.iter_mut().for_each(SessionFile::take_back);
        self.in_history(conversation)
    }

    fn answered(&mut self, conversation: &Conversation, cut: bool) -> Result<()> {
        if let (Some((_, chat)), true) = (&mut self.history, cut) {
            chat.cut.push(conversation.messages().len().saturating_sub(1));
        }
        self.session.as_mut().map_or(Ok(()), |file| conversation.keep_in(file))?;
        self.in_history(conversation)
    }

    fn in_history(&mut self, conversation: &Conversation) -> Result<()> {
        let Some((place, chat)) = &mut self.history else { return Ok(()) };
        let model = chat.model.clone();
        place.keep_on(chat, &model, conversation.messages())
    }
}

/// The model of the session that is gone on with, where none is named.
fn session_model(file: &SessionFile) -> Result<PathBuf> {
    let path = file.path();
    let name_it = format!("Name it: tokki run MODEL --session {}", path.display());
    let Some(model) = Conversation::model_of(path)? else {
        return Err(Error::usage(format!("{} does not say which model it was held with. {name_it}", path.display())));
    };
    store::resolve_again(&model).map_err(|error| match model.exists() {
        true => error,
        false => Error::usage(format!(
            "{} was held with {}, which is not there any more. Bring it back, or say where it is now. {name_it}",
            path.display(),
            model.display()
        ))
        .of(ErrorKind::NotFound),
    })
}

/// That a session was held with another model, where that is why it cannot be gone on with.
fn held_with_another(file: &SessionFile, model: &Path, why: Error) -> Error {
    let same =
        |a: &Path, b: &Path| std::fs::canonicalize(a).ok().is_some_and(|a| std::fs::canonicalize(b).ok() == Some(a));
    match Conversation::model_of(file.path()) {
        Ok(Some(held)) if !same(&held, model) && why.kind() == ErrorKind::Invalid => Error::usage(format!(
            "{} was held with {}, not with {}. Leave the model out to go on with it, or begin a new one with another \
             --session file.",
            file.path().display(),
            held.display(),
            model.display()
        )),
        _ => why,
    }
}

/// The chat that `--continue` goes on with.
fn last_chat(args: &RunArgs, settings: &Settings) -> Result<store::chats::KeptChat> {
    let chats = store::chats::Chats::of(settings)?;
    chats.readable()?;
    output::left_out(&chats.damaged());
    let wanted = args.model.as_ref().filter(|_| question(args).is_none());
    let model = |name: &OsString| {
        store::resolve(name).map_err(|error| match chats.last(None).filter(|_| args.prompt.is_empty()) {
            Some(last) => Error::usage(format!("{error} {}", as_question(&called(&last.model), name))).of(error.kind()),
            None => error,
        })
    };
    let wanted = wanted.map(model).transpose()?;
    chats.last(wanted.as_deref()).ok_or_else(|| {
        if let (Some(model), true) = (&wanted, chats.last(None).is_some()) {
            let model = store::name_of(model);
            return Error::usage(format!(
                "No chat was held with {model}. tokki history lists those with other models."
            ));
        }
        Error::usage(
            "There is no chat to continue. Chats are kept as they go on, unless history = false is configured.",
        )
    })
}

/// That the model of an earlier chat cannot be opened, with the ways on.
fn gone(model: &Path, error: Error) -> Error {
    if model.exists() {
        return error;
    }
    Error::usage(format!(
        "The last chat was held with {}, which is not there any more. Bring it back, or take what was said to another model: \
         tokki history --show 1 --json > last-chat.json, then /load last-chat.json in a chat. tokki run --continue MODEL goes on with the \
         last chat of that model.",
        model.display()
    ))
    .of(ErrorKind::NotFound)
}

fn changes_nothing(flag: &str, why: &str) {
    output::say(&format!("tokki: {flag} changes nothing: {why}"));
}

/// Says which flags change nothing of a question that goes on with no chat.
fn of_chats_alone(settings: &Settings, has_session: bool) {
    if settings.is_flag("history") {
        changes_nothing("--history", "a question alone is not kept; chats are");
    }
    if settings.is_flag("overflow") && !has_session {
        changes_nothing("--overflow", "before a question alone there are no older ones that could be left out");
    }
}

/// Says which flags change nothing with this model.
fn without_effect(settings: &Settings, conversation: &Conversation) {
    let given = |key: &str| settings.is_flag(key);
    let tell = changes_nothing;
    let thinks = conversation.capabilities().is_some_and(|able| able.thinking != chat::Thinking::None);
    for key in ["thinking", "thoughts"] {
        if given(key) && !thinks && conversation.capabilities().is_some() {
            tell(&format!("--{key}"), "this model does not think");
        }
    }
    let Ok(params) = conversation.sampling(&settings.sampling()).map(|sampling| sampling.params()) else { return };
    if given("repeat_last_n") && !params.is_penalizing() {
        tell("--repeat-last-n", "no penalty is on");
    }
    let dry = ["dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers"];
    for (off, keys, by) in [
        (!params.is_dry(), &dry[..], "dry_multiplier"),
        (params.xtc_probability <= 0.0, &["xtc_threshold"], "xtc_probability"),
    ] {
        for key in keys.iter().filter(|key| off && given(key)) {
            tell(&format!("--{}", key.replace('_', "-")), &format!("{by} is 0"));
        }
    }
}

/// Refuses flags that would have no effect beside others. What the environment or the configuration says of them is simply
/// not applied there.
fn check_flags(args: &RunArgs, settings: &Settings) -> Result<()> {
    let given = |key: &str| settings.is_flag(key);
    let flag = |key: &str| format!("--{}", key.replace('_', "-"));
    for key in ["system", "thinking", "thoughts"] {
        if args.raw && given(key) {
            let flag = flag(key);
            return Err(Error::usage(format!(
                "{flag} is for chats, and --raw continues text as it is. Leave one of them out."
            )));
        }
    }
    if args.json && given("thoughts") {
        return Err(Error::usage(
            "--thoughts is for people; --json has the thought beside the answer. Leave one of them out.",
        ));
    }
    if args.stop.iter().any(String::is_empty) {
        return Err(Error::usage("--stop needs a text before which the answer ends."));
    }
    if args.raw && given("overflow") {
        return Err(Error::usage("--overflow leaves out the oldest questions of a chat; with --raw there are none."));
    }
    Ok(())
}

/// How much to think. What the environment or the configuration says holds for all models: where this one cannot think so, it
/// does as it does by itself, which a flag must not be taken for.
fn thinking_of(settings: &Settings, conversation: &Conversation) -> chat::ThinkingMode {
    let wanted = thinking(settings);
    let Some(able) = conversation.capabilities().filter(|_| !settings.is_flag("thinking")) else { return wanted };
    match wanted.apply(able, &mut chat::Vars::default()) {
        Ok(()) => wanted,
        Err(why) => {
            // A model that never thinks is none that the setting was made for.
            if able.thinking != chat::Thinking::None {
                output::say(&format!("tokki: the setting thinking is left out: {why}"));
            }
            chat::ThinkingMode::Default
        }
    }
}

fn options(args: &RunArgs, settings: &Settings, conversation: &Conversation) -> Result<GenerateOptions> {
    let mut options = GenerateOptions {
        seed: random_seed(),
        stop: args.stop.clone(),
        thinking: thinking_of(settings, conversation),
        special: args.special,
        ..GenerateOptions::default()
    };
    super::turn::take(&mut options, settings, conversation)?;
    Ok(options)
}

/// The longest schema or grammar: beyond it there is a mistake, not a form.
const MAX_FORM: u64 = 16 << 20;

/// The form that the answer has to keep, if one was asked for.
fn form(args: &RunArgs) -> Result<Option<Form>> {
    // The form itself cannot be mistaken for the name of a file.
    let read = |path: &PathBuf, inline: fn(&str) -> bool| match path.to_str() {
        Some(text) if inline(text.trim_start()) => Ok(text.to_owned()),
        Some(text) => {
            super::stdin::for_path(path);
            input::read_text(&output::home_path(text), MAX_FORM)
        }
        None => input::read_text(path, MAX_FORM),
    };
    let form = match (&args.json_schema, &args.grammar) {
        (Some(path), _) => {
            let inline = |text: &str| text.starts_with('{') || matches!(text.trim_end(), "true" | "false");
            let schema = serde_json::from_str(&read(path, inline)?);
            let wrong = |why: serde_json::Error| {
                Error::usage(format!("The schema of --json-schema is not JSON: {why} in {}", path.display()))
            };
            Some(Form::JsonSchema(schema.map_err(wrong)?))
        }
        (None, Some(path)) => Some(Form::Lark(read(path, |text| text.contains("::=") || text.starts_with("start:"))?)),
        (None, None) => None,
    };
    // What is wrong with it is told before a model is read.
    form.as_ref().map(Form::check).transpose()?;
    Ok(form)
}

/// Generates and shows one answer.
fn once(
    args: &RunArgs,
    settings: &Settings,
    conversation: &mut Conversation,
    options: &GenerateOptions,
    constraint: Option<Box<dyn Constraint>>,
) -> Result<Turn> {
    let mut show = Show::new(args.json, settings);
    let questions = conversation.messages().iter().filter(|message| message["role"] == "user").count();
    let spec = &conversation.session().model().spec;
    let (most, indexed) = (spec.context_train, spec.context_most.is_some());
    let turn = conversation.answer(options, constraint, &mut show).map_err(|error| match error {
        Error::ContextFull { needed, .. } if needed > most && indexed => Error::usage(format!(
            "The prompt is too long for this model: {needed} tokens needed, and its attention goes over {most} at most here; \
             choosing among more, by its indexer, is not supported. Shorten it."
        )),
        Error::ContextFull { needed, .. } if needed > most => Error::usage(format!(
            "The prompt is too long for this model: {needed} tokens needed, and it was made for {most}. Shorten it, or take a \
             model with a longer context."
        )),
        Error::ContextFull { needed, available } if questions > 1 && !options.leave_out_oldest => Error::usage(format!(
            "The context is full: {needed} tokens needed, {available} available. --overflow tail leaves out the oldest \
             questions; a larger --ctx holds more."
        )),
        error => error,
    })?;
    show.end()?;
    if let Some(why) = &turn.stats.thought_closed {
        output::say(&format!("tokki: {why}"));
    }
    if args.json {
        let (resident, anonymous) = crate::platform::process::peak_memory();
        output::json(&serde_json::json!({
            "answer": turn.answer,
            "reasoning": turn.reasoning,
            "finish_reason": turn.stats.finish,
            "seed": options.seed,
            "usage": turn.stats,
            "memory": { "peak_resident_bytes": resident, "peak_anonymous_bytes": anonymous },
            "options": super::compute::options(conversation.session()),
        }))?;
    } else {
        if turn.left_out > 0 {
            output::say(&format!("tokki: {}", left_out(turn.left_out)));
        }
        match turn.stats.finish {
            Some(FinishReason::Length) => {
                let most = options.max_tokens.map_or(String::new(), |most| format!(" {most}"));
                output::say(&format!(
                    "tokki: the answer was cut off at max_tokens{most} (--max-tokens): with more it goes on"
                ));
            }
            Some(FinishReason::Context) => {
                output::say("tokki: the answer ends because the context is full (see --ctx)")
            }
            Some(FinishReason::Stop) if turn.answer.trim().is_empty() && !turn.stats.ended_in_thought => {
                output::say(&format!("tokki: {}", empty(options, &turn)));
            }
            _ => {}
        }
    }
    if args.verbose {
        output::say(&format!("tokki: {}", timings(&turn)));
    }
    Ok(turn)
}
