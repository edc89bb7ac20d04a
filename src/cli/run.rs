//! `tokki run`: one answer for a prompt or piped text, else a chat.

use super::compute::Compute;
use super::flow::Flow;
use super::layout::{self, LayoutFlag};
use super::output::{self, Paint};
use super::progress::{Bar, Prompt};
use super::waiting;
use crate::chat::{self, Kind, Part, ThinkingMode};
use crate::config::{ChatFlags, MachineFlags, Origin, SamplingFlags, Settings, Thinking, ThinkingFlags, ThoughtView};
use crate::engine::saved::SessionFile;
use crate::engine::{Conversation, Finish, Listener, Turn, Wishes};
use crate::gguf::Gguf;
use crate::platform::input;
use crate::predict::measure;
use crate::sample::{Constraint, Form};
use crate::store::{self, Store};
use crate::{Error, ErrorKind, Result, interrupt};
use clap::Args;
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Answers a prompt, or opens a chat
///
/// With a prompt or piped text it answers once: the answer goes to stdout, everything else to stderr. With neither it opens
/// a chat. Without a MODEL it uses a small default model, which is fetched the first time.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tokki run \"What is the capital of France?\"\n  tokki run model.gguf\n  \
    cat report.txt | tokki run model.gguf \"Summarize this.\"\n  \
    tokki run model.gguf --json-schema person.json --json \"Invent a person.\"")]
pub(super) struct Run {
    /// A path, a name of the store or the catalogue, hf:ORG/REPO[:QUANT] or a URL, or a question to the default model
    model: Option<OsString>,

    /// The prompt; several words are joined, `-` is standard input
    prompt: Vec<String>,

    /// Continue the text as it is, without the chat template
    #[arg(long)]
    raw: bool,

    /// With --raw: names of control tokens in the text, such as `<|im_start|>`, are control tokens
    #[arg(long, requires = "raw")]
    special: bool,

    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// Print one JSON object: answer, reasoning, tokens, timings, finish reason
    #[arg(long)]
    json: bool,

    /// Keep the answer in the form of a JSON schema: a file, or the schema itself
    #[arg(long, value_name = "FILE|JSON", conflicts_with = "grammar")]
    json_schema: Option<PathBuf>,

    /// Keep the answer in the form of a grammar in Lark's notation or GBNF: a file, or the grammar itself
    #[arg(long, value_name = "FILE|TEXT")]
    grammar: Option<PathBuf>,

    /// Fetch a model that isn't here without asking, however large it is
    #[arg(long)]
    yes: bool,

    /// Keep the conversation with its cache in this file, and continue from it if it's there
    #[arg(long, value_name = "FILE")]
    session: Option<PathBuf>,

    /// Go on with the last chat (with MODEL: the last one with that model)
    #[arg(long = "continue", conflicts_with_all = ["raw", "session", "json"])]
    go_on: bool,

    /// Say on stderr what each answer took: tokens, seconds, tokens a second
    #[arg(short, long)]
    verbose: bool,

    #[command(flatten)]
    sampling: SamplingFlags,
    #[command(flatten)]
    chat: ChatFlags,
    #[command(flatten)]
    thinking: ThinkingFlags,
    #[command(flatten)]
    machine: MachineFlags,
}

/// Runs the command.
pub(super) fn run(args: &Run) -> Result<()> {
    let settings = Settings::load()?.with(&args.machine).with(&args.sampling).with(&args.chat).with(&args.thinking);
    check_flags(args, &settings)?;
    let form = form(args)?;
    let mut session = args.session.as_deref().map(SessionFile::open).transpose()?;
    let kept = args.go_on.then(|| last_chat(args, &settings)).transpose()?;
    let (model, prompt) = match &kept {
        Some(kept) => {
            let model = store::resolve(&kept.model).map_err(|error| gone(&kept.model, error))?;
            (model, question(args).or_else(|| given_prompt(args)))
        }
        None => what(args, &settings)?,
    };
    let settings = settings.for_model(&model);
    let prompt = joined(prompt, args)?;
    if args.json && prompt.is_none() {
        return Err(Error::usage("--json writes one answer for a program and needs a prompt. A chat is for people."));
    }
    let compute = Compute::open_path(&model, &args.machine)?;
    let mut conversation = Conversation::new(compute.session(0)?, args.raw)?;
    conversation.stop_when(interrupt::flag());
    let wishes = wishes(args, &settings, &conversation)?;
    if let Some(capabilities) = conversation.capabilities() {
        // Found out now, not at the first question.
        wishes.thinking.apply(capabilities, &mut wishes.vars.clone())?;
    }
    without_effect(&settings, &conversation);
    if let Some(kept) = &kept {
        *conversation.messages_mut() = kept.messages.clone();
    }
    if let Some(file) = session.as_ref().filter(|file| !file.is_new()) {
        conversation.restore(file.path())?;
    }
    if let Some(system) = settings.system().filter(|_| !args.raw) {
        conversation.set_system(Some(&system));
    }
    if let Some(note) = conversation.system_note() {
        output::say(&format!("tokki: {note}"));
    }
    let Some(prompt) = prompt else {
        let start = super::repl::Start { model, machine: args.machine.clone(), raw: args.raw, verbose: args.verbose };
        return super::repl::run(
            conversation,
            wishes,
            &settings,
            super::repl::Kept { session, form, chat: kept },
            start,
        );
    };
    conversation.say(&prompt);
    let constraint = form.as_ref().map(|form| constraint(form, &conversation)).transpose()?;
    let turn = once(args, &settings, &mut conversation, &wishes, constraint)?;
    if let Some(file) = &mut session {
        conversation.keep_in(file)?;
    }
    if let Some(mut chat) = kept.filter(|_| settings.history().unwrap_or(true)) {
        let model = chat.model.clone();
        store::chats::Chats::of(&settings)?.keep_on(&mut chat, &model, conversation.messages())?;
    }
    let unfinished = |why: &str| Err(Error::failed("the answer", why));
    match turn.stats.finish {
        Some(Finish::Interrupted) => Err(Error::Interrupted),
        _ if turn.stats.ended_in_thought => {
            unfinished("the model ended inside its thought and had not begun to answer")
        }
        _ if turn.stats.form_incomplete => unfinished("it was cut before its form was complete"),
        _ => Ok(()),
    }
}

/// The chat that `--continue` goes on with.
fn last_chat(args: &Run, settings: &Settings) -> Result<store::chats::Chat> {
    let wanted = args.model.as_ref().filter(|_| question(args).is_none()).map(store::resolve).transpose()?;
    let chats = store::chats::Chats::of(settings)?;
    chats.readable()?;
    chats.last(wanted.as_deref()).ok_or_else(|| {
        if let (Some(model), true) = (&wanted, chats.last(None).is_some()) {
            let model = store::name_of(model);
            return Error::usage(format!(
                "No chat was held with {model}. tokki history lists those with other models."
            ));
        }
        Error::usage("There is no chat to continue. Chats are kept from now on (unless history = false is configured).")
    })
}

/// That the model of an earlier chat cannot be opened, with the ways on.
fn gone(model: &Path, error: Error) -> Error {
    if model.exists() {
        return error;
    }
    Error::usage(format!(
        "The last chat was held with {}, which is not there any more. Bring it back, or take what was said to another model: \
         tokki history --show 1 --json > chat.json, then /load chat.json in a chat. tokki run --continue MODEL goes on with the \
         last chat of that model.",
        model.display()
    ))
    .of(ErrorKind::NotFound)
}

/// The first argument where it is a question rather than a model.
fn question(args: &Run) -> Option<String> {
    match First::read(args.model.as_ref()?) {
        First::Question(text) if args.prompt.is_empty() => Some(text),
        _ => None,
    }
}

/// Says which flags change nothing with this model.
fn without_effect(settings: &Settings, conversation: &Conversation) {
    let given = |key: &str| settings.get(key).is_some_and(|(_, origin)| *origin == Origin::Flag);
    let tell = |flag: &str, why: &str| output::say(&format!("tokki: {flag} changes nothing: {why}"));
    let thinks = conversation.capabilities().is_some_and(|able| able.thinking != chat::Thinking::None);
    for key in ["thinking", "thoughts"] {
        if given(key) && !thinks && conversation.capabilities().is_some() {
            tell(&format!("--{key}"), "this model does not think");
        }
    }
}

/// Refuses flags that would have no effect beside others. What the environment or the configuration says of them is simply
/// not applied there.
fn check_flags(args: &Run, settings: &Settings) -> Result<()> {
    let given = |key: &str| settings.get(key).is_some_and(|(_, origin)| *origin == Origin::Flag);
    let flag = |key: &str| format!("--{}", key.replace('_', "-"));
    for key in ["system", "thinking", "thoughts"] {
        if args.raw && given(key) {
            let flag = flag(key);
            return Err(Error::usage(format!(
                "{flag} is of chats, and --raw continues text as it is. Leave one of them out."
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

/// The prompt with what was piped in. Where there is neither a prompt nor a terminal to ask on, there is nothing to do.
fn joined(prompt: Option<String>, args: &Run) -> Result<Option<String>> {
    match (prompt, piped(given_prompt(args).is_some())?) {
        (Some(prompt), Some(piped)) if !prompt.trim().is_empty() => Ok(Some(format!("{prompt}\n\n{piped}"))),
        // What came of a variable that was never set. Text without a beginning is another matter.
        (Some(prompt), None) if prompt.trim().is_empty() && !args.raw => Err(Error::usage("The prompt is empty.")),
        (None, None) if !std::io::stdin().is_terminal() => {
            Err(Error::usage("There is nothing to answer: give a prompt, or start it in a terminal to chat."))
        }
        (prompt, piped) => {
            prompt.iter().for_each(|prompt| at_files(prompt));
            Ok(piped.or(prompt))
        }
    }
}

/// Says that `@FILE` in a prompt is text: who writes prompts by a program may not want files of others' choice in them.
fn at_files(prompt: &str) {
    let names = prompt.split_whitespace().filter_map(|word| word.strip_prefix('@'));
    let mut files = names.map(|name| name.trim_end_matches(|c: char| ",.;:?!)\"'".contains(c)));
    if let Some(name) = files.find(|name| output::home_path(name).is_file()) {
        output::say(&format!("tokki: @{name} is sent as text. In a chat it is the file; here: tokki run ... < {name}"));
    }
}

/// What the first argument is. One grammar for all that people type there.
enum First {
    /// It ends in .gguf, begins as paths do, or is there.
    Path(PathBuf),
    /// `hf:...`, `ORG/REPO`, or a URL.
    Remote(String),
    /// One word: a name of the store or the catalogue.
    Name(String),
    /// Text with blanks or other letters than names have: a question to the default model.
    Question(String),
}

impl First {
    fn read(text: &OsStr) -> Self {
        let path = Path::new(text);
        let Some(text) = text.to_str() else { return Self::Path(path.to_path_buf()) };
        let url = text.starts_with("https://") || text.starts_with("http://");
        // `models/x` may be ORG/REPO; where that folder is here, it is a file that is missing.
        let folder = path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && folder.is_dir());
        let slashes = text.matches('/').count();
        let repository = text.starts_with("hf:") || (slashes == 1 && !folder && !text.starts_with(['.', '~', '/']));
        if path.exists() || (!url && !text.starts_with("hf:") && text.to_lowercase().ends_with(".gguf")) {
            return Self::Path(path.to_path_buf());
        }
        if text.starts_with(['.', '~', '/']) && !text.contains(char::is_whitespace) {
            return Self::Path(output::home_path(text));
        }
        // One word can be a question too, where no name and no address has such letters.
        let named = |c: char| c.is_alphanumeric() || "._-+:/@~\\".contains(c);
        match !url && !text.chars().all(named) {
            true => Self::Question(text.to_owned()),
            false if url || repository => Self::Remote(text.to_owned()),
            false if slashes > 0 => Self::Path(path.to_path_buf()),
            false => Self::Name(text.to_owned()),
        }
    }
}

/// The prompt of the command line; `-` alone means that it comes on stdin.
fn given_prompt(args: &Run) -> Option<String> {
    (!args.prompt.is_empty() && args.prompt != ["-"]).then(|| args.prompt.join(" "))
}

/// The model's file and the prompt; what isn't here is fetched.
fn what(args: &Run, settings: &Settings) -> Result<(PathBuf, Option<String>)> {
    let bar = Bar::asking(args.yes);
    let default = |prompt: Option<String>| {
        let path = store::default_model(&bar)?;
        if prompt.is_some() {
            output::say(&format!("tokki: asking {}, the default model", store::catalogue::default_entry().name));
        }
        Ok((path, prompt))
    };
    let Some(first) = &args.model else { return default(None) };
    let fetched = |what: &str| {
        let pays = |gguf: &Gguf| layout::pays(settings, gguf);
        let request = store::Request { what, layout: LayoutFlag::Auto.choice(&pays), ..Default::default() };
        store::pull(settings, request, &bar).map(|pulled| pulled.path)
    };
    let path = match First::read(first) {
        First::Question(text) if args.prompt.is_empty() => return default(Some(text)),
        First::Question(text) => store::resolve(&text)?,
        First::Path(path) => store::resolve(&path)?,
        First::Remote(what) => match Store::of(settings)?.find(&what)? {
            Some(entry) => entry.path()?,
            None => fetched(&what)?,
        },
        First::Name(name) => match (Store::of(settings)?.find(&name)?, store::catalogue::knows(&name)) {
            (None, Some(known)) => fetched(known)?,
            _ => store::resolve(&name)?,
        },
    };
    Ok((path, given_prompt(args)))
}

/// Text that was piped in. Who gave a prompt already is not kept waiting by a pipe that stays silent.
fn piped(has_prompt: bool) -> Result<Option<String>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() || !waiting::comes(has_prompt) {
        return Ok(None);
    }
    let text = input::text("stdin", input::bounded(&mut stdin.lock(), "stdin", input::MAX_TEXT)?)?;
    Ok((!text.trim().is_empty()).then_some(text))
}

fn wishes(args: &Run, settings: &Settings, conversation: &Conversation) -> Result<Wishes> {
    let user = settings.sampling();
    let seed = settings.seed().unwrap_or_else(random_seed);
    Ok(Wishes {
        params: conversation.sampling(&user)?.params(),
        seed,
        max_tokens: settings.max_tokens(),
        stop: args.stop.clone(),
        thinking: thinking(settings),
        special: args.special,
        leave_out_oldest: settings.overflow().as_deref() == Some("tail"),
        ..Wishes::default()
    })
}

/// How much the user wants the model to think.
pub(super) fn thinking(settings: &Settings) -> ThinkingMode {
    match settings.thinking() {
        Some(Thinking::On) => ThinkingMode::On,
        Some(Thinking::Off) => ThinkingMode::Off,
        Some(Thinking::Budget(tokens)) => ThinkingMode::Budget(tokens),
        Some(Thinking::View(_)) | None => ThinkingMode::Default,
    }
}

/// A seed that differs from run to run; it's reported, so that a run can be repeated.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() >> 32
}

/// The longest schema or grammar: beyond it there is a mistake, not a form.
const MAX_FORM: u64 = 16 << 20;

/// The form that the answer has to keep, if one was asked for.
fn form(args: &Run) -> Result<Option<Form>> {
    // The form itself cannot be mistaken for the name of a file.
    let read = |path: &PathBuf, inline: fn(&str) -> bool| match path.to_str() {
        Some(text) if inline(text.trim_start()) => Ok(text.to_owned()),
        _ => input::read_text(&output::home_path(&path.to_string_lossy()), MAX_FORM),
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

/// What keeps an answer in this form.
pub(super) fn constraint(form: &Form, conversation: &Conversation) -> Result<Box<dyn Constraint>> {
    let constraint = conversation.llm().constraint(form)?;
    for warning in constraint.warnings() {
        output::say(&format!("tokki: {warning}"));
    }
    Ok(Box::new(constraint))
}

/// Generates and shows one answer.
fn once(
    args: &Run,
    settings: &Settings,
    conversation: &mut Conversation,
    wishes: &Wishes,
    constraint: Option<Box<dyn Constraint>>,
) -> Result<Turn> {
    let mut show = Show::new(args.json, settings);
    let questions = conversation.messages().iter().filter(|message| message["role"] == "user").count();
    let most = conversation.session().model().spec.context_train;
    let turn = conversation.answer(wishes, constraint, &mut show).map_err(|error| match error {
        Error::ContextFull { needed, .. } if needed > most => Error::usage(format!(
            "The prompt is too long for this model: {needed} tokens needed, and it was made for {most}. Shorten it, or take a \
             model with a longer context."
        )),
        Error::ContextFull { needed, available } if questions > 1 && !wishes.leave_out_oldest => Error::usage(format!(
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
        let (resident, anonymous) = measure::peak_memory();
        output::json(&serde_json::json!({
            "answer": turn.answer,
            "reasoning": turn.reasoning,
            "finish_reason": turn.stats.finish,
            "seed": wishes.seed,
            "usage": turn.stats,
            "memory": { "peak_resident_bytes": resident, "peak_anonymous_bytes": anonymous },
            "options": super::compute::options(conversation.session()),
        }))?;
    } else {
        if turn.left_out > 0 {
            output::say(&format!("tokki: {}", left_out(turn.left_out)));
        }
        match turn.stats.finish {
            Some(Finish::Length) => output::say("tokki: the answer ends at --max-tokens"),
            Some(Finish::Context) => output::say("tokki: the answer ends because the context is full (see --ctx)"),
            Some(Finish::Stop) if turn.answer.trim().is_empty() && !turn.stats.ended_in_thought => {
                output::say(&format!("tokki: {}", empty(wishes)));
            }
            _ => {}
        }
    }
    if args.verbose {
        output::say(&format!("tokki: {}", timings(&turn)));
    }
    Ok(turn)
}

/// Why there is no answer.
pub(super) fn empty(wishes: &Wishes) -> &'static str {
    match wishes.stop.as_slice() {
        [] => "the model ended at once: its answer is empty",
        _ => "the answer is empty: a text that ends it came first, or the model ended at once",
    }
}

/// That a chat lost its beginning.
pub(super) fn left_out(questions: usize) -> String {
    let (s, do_) = if questions == 1 { ("", "does") } else { ("s", "do") };
    format!("the {questions} oldest question{s} {do_} not fit any more and the model no longer sees them")
}

/// What an answer took, on one line.
pub(super) fn timings(turn: &Turn) -> String {
    let stats = &turn.stats;
    let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
    format!(
        "prompt {} tokens ({} cached), {:.1} tok/s; answer {} tokens ({} of thought), {:.1} tok/s",
        stats.prompt_tokens,
        stats.cached_tokens,
        rate(stats.prompt_tokens - stats.cached_tokens, stats.prefill_s),
        stats.tokens,
        stats.reasoning_tokens,
        rate(stats.tokens, stats.decode_s),
    )
}

/// Shows an answer as it comes: the answer on stdout, the thought dimmed on stderr where that is a terminal.
struct Show {
    json: bool,
    thoughts: bool,
    paint: Paint,
    prompt: Prompt,
    last: Option<Kind>,
    ends_line: bool,
    /// Lays the answer out where a terminal shows it.
    flow: Option<Flow>,
}

impl Show {
    /// Thoughts are shown where a person can see them, unless something else was asked for.
    fn new(json: bool, settings: &Settings) -> Self {
        let view = match (settings.thinking(), settings.thoughts()) {
            (Some(Thinking::View(view)), _) | (_, Some(view)) => Some(view),
            _ => None,
        };
        let thoughts = !json
            && match view {
                Some(ThoughtView::Show) => true,
                Some(ThoughtView::Hide | ThoughtView::Brief) => false,
                None => std::io::stderr().is_terminal(),
            };
        let flow = std::io::stdout().is_terminal().then(|| Flow::new(Paint::stdout()));
        let (paint, prompt) = (Paint::stderr(), Prompt::default());
        Self { json, thoughts, paint, prompt, last: None, ends_line: true, flow }
    }

    /// A newline after the last piece, where it has none.
    fn end(&mut self) -> Result<()> {
        if let Some(flow) = &mut self.flow {
            output::piece(&flow.end(output::width().unwrap_or(usize::MAX)))?;
        }
        if !self.ends_line { output::result(|out| writeln!(out)) } else { Ok(()) }
    }
}

impl Listener for Show {
    fn prefill(&mut self, done: usize, total: usize) {
        self.prompt.show(done, total);
    }

    fn part(&mut self, part: &Part) -> Result<()> {
        if self.json {
            return Ok(());
        }
        if part.kind == Kind::Unsaid {
            output::say("\ntokki: what stands above was the model's thought");
            return Ok(());
        }
        let text = crate::text::clean(&part.text);
        if part.kind == Kind::Reasoning {
            if self.thoughts {
                let mut err = std::io::stderr();
                // A closed stderr hides the thought and nothing else.
                let _ = write!(err, "{}", self.paint.dim(&text)).and_then(|()| err.flush());
                self.last = Some(part.kind);
            }
            return Ok(());
        }
        if self.last == Some(Kind::Reasoning) {
            output::say("\n");
        }
        self.last = Some(part.kind);
        self.ends_line = text.ends_with('\n');
        match (&mut self.flow, output::width()) {
            (Some(flow), Some(width)) => output::piece(&flow.push(&text, width)),
            _ => output::piece(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_first() {
        let kind = |text: &str| match First::read(OsStr::new(text)) {
            First::Path(_) => "path",
            First::Remote(_) => "remote",
            First::Name(_) => "name",
            First::Question(_) => "question",
        };
        for path in ["my model.gguf", "./x", "~/x", "/no/such/thing", "a/b/m.gguf", "M.GGUF", "Cargo.toml", "src/none"]
        {
            assert_eq!(kind(path), "path", "{path}");
        }
        for remote in ["hf:o/r", "hf:o/r:Q4_K_M", "o/r", "o/r:q4_0", "https://h/m.gguf", "hf:o/r/m.gguf"] {
            assert_eq!(kind(remote), "remote", "{remote}");
        }
        for name in ["qwen3:0.6b", "hello", "Why?"] {
            assert_eq!(kind(name), "name", "{name}");
        }
        for question in ["Why is it so?", "what is /etc for", "./x or y?"] {
            assert_eq!(kind(question), "question", "{question}");
        }
    }
}
