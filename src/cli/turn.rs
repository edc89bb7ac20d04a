//! What one answer needs and tells, in `tokki run` as in its chat.

use super::output;
use crate::Result;
use crate::chat::ThinkingMode;
use crate::config::{Settings, ThinkingSetting};
use crate::engine::{Conversation, GenerateOptions, Turn};
use crate::sample::{Constraint, Form};
use crate::units::show_rate;

/// How much the user wants the model to think.
pub(super) fn thinking(settings: &Settings) -> ThinkingMode {
    match settings.thinking() {
        Some(ThinkingSetting::On) => ThinkingMode::On,
        Some(ThinkingSetting::Off) => ThinkingMode::Off,
        Some(ThinkingSetting::Budget(tokens)) => ThinkingMode::Budget(tokens),
        Some(ThinkingSetting::View(_)) | None => ThinkingMode::Default,
    }
}

/// Takes from the settings what holds for each answer; without a seed there the one in `options` stays.
pub(super) fn take(options: &mut GenerateOptions, settings: &Settings, conversation: &Conversation) -> Result<()> {
    options.params = conversation.sampling(&settings.sampling())?.params();
    options.seed = settings.seed().unwrap_or(options.seed);
    options.max_tokens = settings.max_tokens();
    options.leave_out_oldest = settings.overflow().as_deref() == Some("tail");
    Ok(())
}

/// What keeps an answer in this form.
pub(super) fn constraint(form: &Form, conversation: &Conversation) -> Result<Box<dyn Constraint>> {
    let constraint = conversation.llm().constraint(form)?;
    for warning in constraint.warnings() {
        output::say(&format!("tokki: {warning}"));
    }
    Ok(Box::new(constraint))
}

/// Why there is no answer.
pub(super) fn empty(options: &GenerateOptions, turn: &Turn) -> &'static str {
    match options.stop.as_slice() {
        [] if turn.reasoning.trim().is_empty() => "the model ended at once: its answer is empty",
        [] => "the model ended after its thought: its answer is empty",
        _ => "the answer is empty: a text that ends it came first, or the model ended at once",
    }
}

/// That a chat lost its beginning.
pub(super) fn left_out(questions: usize) -> String {
    match questions {
        1 => "the oldest question does not fit any more, and the model no longer sees it".to_owned(),
        many => format!("the {many} oldest questions do not fit any more, and the model no longer sees them"),
    }
}

/// What an answer took, on one line.
pub(super) fn timings(turn: &Turn) -> String {
    let stats = &turn.stats;
    let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
    format!(
        "prompt {} tokens ({} cached), {} tok/s; answer {} tokens ({} of thought), {} tok/s",
        stats.prompt_tokens,
        stats.cached_tokens,
        show_rate(rate(stats.prompt_tokens - stats.cached_tokens, stats.prefill_s)),
        stats.tokens,
        stats.reasoning_tokens,
        show_rate(rate(stats.tokens, stats.decode_s)),
    )
}
