//! What every dialect's request becomes.

use super::error::ApiError;
use crate::chat::{ThinkingMode, Tools, Vars};
use crate::sample::{Form, Overrides};
use crate::tokenizer::Special;

type Result<T> = std::result::Result<T, ApiError>;

/// What a request continues.
#[derive(Debug, Clone)]
pub(super) enum Input {
    /// Variables of the chat template, `messages` among them.
    Chat(Vars),
    /// The same; the answer goes on from the last message.
    Continue(Vars),
    /// Text as it is; whether names of control tokens in it stand for those tokens.
    Text(String, Special),
    /// Tokens.
    Tokens(Vec<u32>),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) input: Input,
    pub(super) sampling: Overrides,
    /// Token ids and what is added to their logits.
    pub(super) logit_bias: Vec<(u32, f32)>,
    pub(super) seed: Option<u64>,
    pub(super) max_tokens: Option<usize>,
    /// Most tokens of prompt and answer together, where that is less than what the model is served with.
    pub(super) context: Option<usize>,
    pub(super) stop: Vec<String>,
    pub(super) n: usize,
    pub(super) logprobs: Option<usize>,
    /// Probabilities are those after the filters of sampling.
    pub(super) after_filters: bool,
    /// The slot that keeps what this request computes.
    pub(super) slot: Option<usize>,
    pub(super) form: Option<Form>,
    /// Tools that the model may call of itself: the arguments keep to their schemas.
    pub(super) calls: Option<Tools>,
    pub(super) thinking: ThinkingMode,
    pub(super) ignore_eos: bool,
    /// Fewest tokens of an answer.
    pub(super) min_tokens: usize,
    /// Tokens that end an answer beside those of the model.
    pub(super) stop_tokens: Vec<u32>,
    /// Whether what ended an answer is part of it.
    pub(super) keep_stop: bool,
    /// Whether control tokens are part of the answer's text.
    pub(super) show_control: bool,
    pub(super) priority: i32,
    /// Whether what was computed for others is used.
    pub(super) reuse: bool,
    /// It belongs to a request whose first prompt has been let in.
    pub(super) follows: bool,
    /// What of the request is not kept to.
    pub(super) warnings: Vec<String>,
    /// Texts of control tokens that are part of the answer's text.
    pub(super) shown: Vec<&'static str>,
}

impl Ask {
    /// A plain request for `input`.
    pub(super) fn new(input: Input) -> Self {
        Self {
            input,
            sampling: Overrides::default(),
            logit_bias: Vec::new(),
            seed: None,
            max_tokens: None,
            context: None,
            stop: Vec::new(),
            n: 1,
            logprobs: None,
            after_filters: false,
            slot: None,
            form: None,
            calls: None,
            thinking: ThinkingMode::Default,
            ignore_eos: false,
            min_tokens: 0,
            stop_tokens: Vec::new(),
            keep_stop: false,
            show_control: false,
            priority: 0,
            reuse: true,
            follows: false,
            warnings: Vec::new(),
            shown: Vec::new(),
        }
    }

    /// The answer keeps to `form`, which `field` asks for.
    ///
    /// # Errors
    /// 400 where it has to keep to another one already: none is thrown away.
    pub(super) fn keep_to(&mut self, field: &str, form: Form) -> Result<()> {
        match self.form.replace(form) {
            None => Ok(()),
            Some(_) => Err(ApiError::field(
                field,
                "two forms of one answer exclude each other: another field of this request asks for one, too",
            )),
        }
    }
}
