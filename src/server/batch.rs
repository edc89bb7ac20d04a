//! Many requests from a file, each answered once, through the same handlers as the server's.

use super::journal::{AnswerFiles, Was, open_output};
use super::lines::{Line, answer_all};
use super::log::Log;
use super::models::Models;
use super::options::ServerOptions;
use super::routes::ROUTES;
use super::state::State;
use crate::Result;
use crate::engine::Llm;
use crate::tokenizer::Special;
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// How a batch went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Lines of the input.
    pub lines: usize,
    /// Lines that an earlier run answered.
    pub before: usize,
    /// Lines answered now.
    pub answered: usize,
    /// Lines whose answer, of now or of an earlier run, is an error.
    pub failed: usize,
}

/// What a batch has ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Requests that have no answer yet.
    pub requests: usize,
    /// Tokens of their texts, as the first model counts them, without what a template adds.
    pub prompt: usize,
    /// Tokens of their answers at most; `None` where one of them has no limit.
    pub answers: Option<usize>,
}

/// What is ahead, where these lines have no answer yet.
fn ahead(llm: &Llm, left: &[Line]) -> Estimate {
    let limits = ["max_completion_tokens", "max_tokens", "max_output_tokens", "n_predict"];
    let answer = |line: &Line| -> Option<usize> {
        let limit = limits.iter().find_map(|name| line.body[*name].as_u64()).or_else(|| {
            // Vectors and scores are no tokens.
            ["embed", "rerank", "decisions"].iter().any(|kind| line.path.contains(kind)).then_some(0)
        })?;
        usize::try_from(limit.saturating_mul(line.body["n"].as_u64().unwrap_or(1))).ok()
    };
    Estimate {
        requests: left.len(),
        prompt: left.iter().map(|line| tokens_in(llm, &line.body)).sum(),
        answers: left.iter().map(answer).try_fold(0usize, |sum, answer| sum.checked_add(answer?)),
    }
}

/// Tokens of the texts of a request.
fn tokens_in(llm: &Llm, value: &Value) -> usize {
    match value {
        Value::String(text) => llm.tokenizer().encode(text, Special::Plain).len(),
        Value::Array(items) => items.iter().map(|item| tokens_in(llm, item)).sum(),
        Value::Object(map) => {
            let said = map.iter().filter(|(name, _)| SAID.contains(&name.as_str()));
            said.map(|(_, value)| tokens_in(llm, value)).sum()
        }
        // The id of a token.
        Value::Number(_) => 1,
        _ => 0,
    }
}

/// The fields of a request that hold what a model reads, and those within them.
const SAID: &[&str] =
    &["messages", "prompt", "input", "instructions", "system", "query", "documents", "content", "text", "tools"];

/// Answers the lines of `lines` that `output` does not answer yet; `estimate` hears first what is ahead, `progress` is told how many are done and how many
/// there are. `stop` ends the work between answers.
///
/// # Errors
/// An output that cannot be read or written, [`Error::Interrupted`].
pub fn batch(
    models: Models,
    lines: Vec<Line>,
    output: &Path,
    stop: &AtomicBool,
    estimate: &mut dyn FnMut(&Llm, &Estimate) -> Result<()>,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Outcome> {
    let (file, done) = open_output(output)?;
    let mut journal = AnswerFiles { answers: file, errors: None, path: output.to_owned() };
    let mut outcome = Outcome { lines: lines.len(), ..Outcome::default() };
    let (before, left): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(|line| done.contains_key(&line.custom_id));
    outcome.before = before.len();
    outcome.failed = before.iter().filter(|line| done.get(&line.custom_id) == Some(&Was::Refused)).count();
    if let Some(llm) = models.first() {
        estimate(&llm, &ahead(&llm, &left))?;
    }
    let runtime = super::runtime::start("the batch")?;
    let state = State::new(models, ServerOptions::default(), Log::default(), ROUTES)?;
    let result = runtime.block_on(async {
        progress(outcome.before, outcome.lines);
        answer_all(&state, 0, left, &mut journal, stop, &mut |answer| {
            outcome.answered += 1;
            outcome.failed += usize::from(Was::of(answer) == Was::Refused);
            progress(outcome.before + outcome.answered, outcome.lines);
        })
        .await
    });
    runtime.shutdown_background();
    result.map(|()| outcome)
}
