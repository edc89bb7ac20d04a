//! `tokki run`: one answer for a prompt or piped text, else a chat.

use super::compute::Compute;
use super::output::{self, Paint};
use super::progress::{Bar, Prompt};
use super::waiting;
use crate::chat::{Kind, Part, ThinkingMode};
use crate::config::{ChatFlags, MachineFlags, SamplingFlags, Settings, Thinking};
use crate::engine::saved::SessionFile;
use crate::engine::{Conversation, Finish, Listener, Turn, Wishes, measure};
use crate::platform::input;
use crate::sample::{Constraint, Form, Overrides};
use crate::{Error, Result, interrupt, store};
use clap::Args;
use std::ffi::OsString;
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
    /// A path or a store name, or the prompt for the default model
    model: Option<OsString>,

    /// The prompt
    prompt: Option<String>,

    /// Continue the text as it is, without the chat template
    #[arg(long)]
    raw: bool,

    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// Print one JSON object: answer, reasoning, tokens, timings, finish reason
    #[arg(long)]
    json: bool,

    /// Keep the answer in the form of a JSON schema
    #[arg(long, value_name = "FILE", conflicts_with = "grammar")]
    json_schema: Option<PathBuf>,

    /// Keep the answer in the form of a grammar in Lark's notation
    #[arg(long, value_name = "FILE")]
    grammar: Option<PathBuf>,

    /// Keep the conversation with its cache in this file, and continue from it if it's there
    #[arg(long, value_name = "FILE")]
    session: Option<PathBuf>,

    #[command(flatten)]
    sampling: SamplingFlags,
    #[command(flatten)]
    chat: ChatFlags,
    #[command(flatten)]
    machine: MachineFlags,
}

/// Runs the command.
pub(super) fn run(args: &Run) -> Result<()> {
    let mut session = args.session.as_deref().map(SessionFile::open).transpose()?;
    let (model, prompt) = what(args)?;
    let piped = piped(prompt.is_some())?;
    let prompt = match (prompt, piped) {
        (Some(prompt), Some(piped)) => Some(format!("{prompt}\n\n{piped}")),
        (prompt, piped) => prompt.or(piped),
    };
    let compute = Compute::open_path(&model, &args.machine)?;
    let settings = compute.settings.clone().with(&args.sampling).with(&args.chat);
    let mut conversation = Conversation::new(compute.session(0)?, args.raw)?;
    conversation.stop_when(interrupt::flag());
    let wishes = wishes(args, &settings, &conversation)?;
    if let Some(file) = session.as_ref().filter(|file| !file.is_new()) {
        conversation.restore(file.path())?;
    }
    if let Some(system) = settings.system() {
        conversation.set_system(Some(&system));
    }
    let Some(prompt) = prompt else {
        return super::chat::run(conversation, wishes, &settings, session);
    };
    conversation.say(&prompt);
    let constraint = constraint(args, &conversation)?;
    let turn = once(args, &mut conversation, &wishes, constraint)?;
    if let Some(file) = &mut session {
        conversation.keep_in(file)?;
    }
    match turn.stats.finish {
        Some(Finish::Interrupted) => Err(Error::Interrupted),
        _ => Ok(()),
    }
}

/// The model's file and the prompt. A single argument is a model if it names one, else the prompt for the default model.
fn what(args: &Run) -> Result<(PathBuf, Option<String>)> {
    let default = |prompt: Option<String>| Ok((store::default_model(&Bar::default())?, prompt));
    match (&args.model, &args.prompt) {
        (None, _) => default(None),
        (Some(model), Some(prompt)) => Ok((store::resolve(model)?, Some(prompt.clone()))),
        (Some(only), None) => match only.to_str() {
            Some(text) if text.contains(char::is_whitespace) && !Path::new(only).exists() => {
                default(Some(text.to_owned()))
            }
            _ => Ok((store::resolve(only)?, None)),
        },
    }
}

/// Text that was piped in. Who gave a prompt already is not kept waiting by a pipe that stays silent.
fn piped(has_prompt: bool) -> Result<Option<String>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() || !waiting::comes(has_prompt) {
        return Ok(None);
    }
    let text = input::text("stdin", input::bounded(&mut stdin.lock(), "stdin", input::MOST_TEXT)?)?;
    Ok((!text.trim().is_empty()).then_some(text))
}

fn wishes(args: &Run, settings: &Settings, conversation: &Conversation) -> Result<Wishes> {
    let user = overrides(settings);
    let seed = settings.seed().unwrap_or_else(random_seed);
    let thinking = match settings.thinking() {
        Some(Thinking::On) => ThinkingMode::On,
        Some(Thinking::Off) => ThinkingMode::Off,
        Some(Thinking::Budget(tokens)) => ThinkingMode::Budget(tokens),
        Some(Thinking::View(_)) | None => ThinkingMode::Default,
    };
    Ok(Wishes {
        params: conversation.sampling(&user)?.params(),
        seed,
        max_tokens: settings.max_tokens(),
        stop: args.stop.clone(),
        thinking,
        ..Wishes::default()
    })
}

/// What the user set of the sampling parameters.
pub(super) fn overrides(settings: &Settings) -> Overrides {
    Overrides {
        temperature: settings.temperature(),
        top_k: settings.top_k(),
        top_p: settings.top_p(),
        min_p: settings.min_p(),
        repeat_penalty: settings.repeat_penalty(),
        presence_penalty: settings.presence_penalty(),
        frequency_penalty: settings.frequency_penalty(),
        ..Overrides::default()
    }
}

/// A seed that differs from run to run; it's reported, so that a run can be repeated.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() >> 32
}

/// The longest schema or grammar: beyond it there is a mistake, not a form.
const MOST_FORM: u64 = 16 << 20;

/// The form that the answer has to keep, if one was asked for.
fn constraint(args: &Run, conversation: &Conversation) -> Result<Option<Box<dyn Constraint>>> {
    let read = |path: &PathBuf| input::read_text(path, MOST_FORM);
    let form = match (&args.json_schema, &args.grammar) {
        (Some(path), _) => {
            let schema = serde_json::from_str(&read(path)?);
            let wrong = |why: serde_json::Error| Error::input(path.display().to_string(), "JSON", why.to_string());
            Form::JsonSchema(schema.map_err(wrong)?)
        }
        (None, Some(path)) => Form::Lark(read(path)?),
        (None, None) => return Ok(None),
    };
    let constraint = conversation.llm().constraint(&form)?;
    for warning in constraint.warnings() {
        output::say(&format!("tokki: {warning}"));
    }
    Ok(Some(Box::new(constraint)))
}

/// Generates and shows one answer.
fn once(
    args: &Run,
    conversation: &mut Conversation,
    wishes: &Wishes,
    constraint: Option<Box<dyn Constraint>>,
) -> Result<Turn> {
    let mut show = Show::new(args.json);
    let turn = conversation.answer(wishes, constraint, &mut show)?;
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
        }))?;
    } else {
        match turn.stats.finish {
            Some(Finish::Length) => output::say("tokki: the answer ends at --max-tokens"),
            Some(Finish::Context) => output::say("tokki: the answer ends because the context is full (see --ctx)"),
            _ => {}
        }
    }
    Ok(turn)
}

/// Shows an answer as it comes: the answer on stdout, the thought dimmed on stderr where that is a terminal.
struct Show {
    json: bool,
    thoughts: bool,
    paint: Paint,
    prompt: Prompt,
    last: Option<Kind>,
    ends_line: bool,
}

impl Show {
    fn new(json: bool) -> Self {
        let thoughts = !json && std::io::stderr().is_terminal();
        Self { json, thoughts, paint: Paint::stderr(), prompt: Prompt::default(), last: None, ends_line: true }
    }

    /// A newline after the last piece, where it has none.
    fn end(&mut self) -> Result<()> {
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
        output::piece(&text)
    }
}
