//! `tokki batch`: many requests from a file.

use super::output::{self, count};
use super::progress::ProgressLines;
use super::serve::{EngineFlags, Opening, offers};
use crate::config::Settings;
use crate::engine::KvKind;
use crate::engine::{DEFAULT_BATCH, Llm, not_generative};
use crate::model::Model;
use crate::parallel::Pool;
use crate::platform::files::is_one_place;
use crate::platform::output as file;
use crate::predict::speed::{Speed, can_be_tried};
use crate::server::{Estimate, Line, Models, Offer, Residency, batch, read_lines, read_requests};
use crate::store::Store;
use crate::{Error, Result, interrupt};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Answers many requests from a file
///
/// IN has a line of JSON for each request, in OpenAI's batch format: {"custom_id": "1", "url": "/v1/chat/completions",
/// "body": {"messages": [...]}}. OUT gets a line for each answer as soon as it is there. Started again after an interruption,
/// it goes on with the requests that have no answer yet: each custom_id is answered once.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  tokki batch --model model.gguf requests.jsonl answers.jsonl")]
pub(super) struct BatchArgs {
    /// The requests; - is stdin
    #[arg(value_name = "IN.jsonl")]
    input: PathBuf,

    /// The answers
    #[arg(value_name = "OUT.jsonl")]
    output: PathBuf,

    /// A path or store name; several if requests name them; without any those of the store that requests name, or the default
    /// model
    #[arg(long, value_name = "MODEL")]
    model: Vec<OsString>,

    #[command(flatten)]
    engine: EngineFlags,
}

/// Says what is ahead, before anything is computed.
fn estimate(ahead: &Estimate, model: &Model, pool: &Pool) -> Result<()> {
    /// Fewer are answered sooner than it is measured how long they take.
    const MANY: usize = 8;
    if ahead.requests == 0 {
        return Ok(());
    }
    let answers =
        ahead.answers.map_or("answers without a limit".to_owned(), |most| format!("at most {most} of answers"));
    let writes = not_generative(&model.spec).is_none();
    let time = match ahead.answers {
        Some(most) if ahead.requests >= MANY && writes && can_be_tried(model) => {
            output::say("tokki: trying for some seconds how fast this machine is, to tell how long the batch takes");
            let speed = Speed::measure(model, pool, &[KvKind::F16])?;
            let read = ahead.prompt as f64 / speed.prefill(DEFAULT_BATCH, 0, KvKind::F16);
            let seconds = read + most as f64 / speed.decode(DEFAULT_BATCH, KvKind::F16);
            format!(
                "; at most about {}, less where several are answered at once",
                HumanDuration(Duration::from_secs(seconds.ceil() as u64))
            )
        }
        _ => String::new(),
    };
    let requests = count(ahead.requests, "request");
    output::say(&format!("tokki: {requests} to answer: about {} tokens of prompts, {answers}{time}", ahead.prompt));
    Ok(())
}

/// What answers the requests: the models that are given, else those of the store that they name, and the default model for
/// requests that name none of these.
fn models_of(args: &BatchArgs, lines: &[Line], opening: &Arc<Opening>) -> Result<Vec<Offer>> {
    let mut named: Vec<&str> = lines.iter().filter_map(Line::model).collect();
    named.sort_unstable();
    named.dedup();
    let mut list = Vec::new();
    if args.model.is_empty() {
        let store = Store::open()?;
        let mut stored = Vec::new();
        for name in &named {
            if store.find(name)?.is_some() {
                stored.push((*name).to_owned());
            }
        }
        let is_stored = |line: &Line| line.model().is_some_and(|model| stored.iter().any(|name| name == model));
        if !lines.iter().all(is_stored) || stored.is_empty() {
            list = offers(&[""; 0], opening)?;
            stored.retain(|name| !list.iter().any(|offer| offer.names.contains(name)));
        }
        if !stored.is_empty() {
            list.extend(offers(&stored, opening)?);
        }
    } else {
        list = offers(&args.model, opening)?;
    }
    // One that is alone answers to every name.
    if let [only] = &list[..] {
        named.retain(|name| *name != "default" && !only.names.iter().any(|own| own == name));
        if !named.is_empty() {
            output::say(&format!("tokki: requests name {}: {} answers them", named.join(", "), only.names[0]));
        }
    }
    Ok(list)
}

/// Runs the command.
pub(super) fn run(args: &BatchArgs) -> Result<()> {
    interrupt::install();
    if args.output.as_os_str() == "-" {
        let why =
            "OUT.jsonl has to be a file: by what is in it the work is continued. tail -f FILE reads it as it grows.";
        return Err(Error::usage(why));
    }
    if is_one_place(&args.input, &args.output) {
        return Err(Error::usage("OUT.jsonl is IN.jsonl: name another file for the answers."));
    }
    // Before the weights are read.
    let lines = match args.input.as_os_str() == "-" {
        true => {
            super::stdin::comes(false);
            read_requests(&mut std::io::stdin().lock(), "stdin")?
        }
        false => read_lines(&args.input)?,
    };
    file::check(&args.output)?;
    let opening = Opening::new(&args.engine, u16::MAX, Settings::load()?)?;
    let models = Models::new(models_of(args, &lines, &opening)?, Residency::default());
    models.open_first()?;
    let (bar, mut spoken) = (ProgressBar::new(0), ProgressLines::new());
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos} of {len}, {eta} left") {
        bar.set_style(style);
    }
    let mut tell = |llm: &Llm, ahead: &Estimate| estimate(ahead, llm.model(), opening.pool());
    let outcome = batch(models, lines, &args.output, interrupt::flag(), &mut tell, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        if bar.is_hidden() && spoken.due() {
            output::say(&format!("tokki: {done} of {} done", count(all, "request")));
        }
    });
    bar.finish_and_clear();
    let outcome = outcome?;
    output::say(&format!(
        "tokki: {}: {} answered now, {} before, {} with an error",
        count(outcome.lines, "request"),
        outcome.answered,
        outcome.before,
        outcome.failed
    ));
    match outcome.failed {
        0 => Ok(()),
        failed => Err(Error::failed(
            "the batch",
            format!("{} could not be served, and {} says why", count(failed, "request"), args.output.display()),
        )
        .hint("a request whose line is taken out of there is tried again by the next run")),
    }
}
