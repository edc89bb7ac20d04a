//! Completions: text that goes on, without turns.

use super::super::ask::{Ask, Input};
use super::super::body::Fields;
use super::super::common;
use super::super::completion;
use super::super::dialect::{Dialect, OPENAI};
use super::super::error::ApiError;
use super::super::events::data;
use super::super::infill::Fim;
use super::super::reply::{json as respond_json, note_ignored};
use super::super::request::{self, Progress, Running, finish_reason};
use super::super::state::{Call, State};
use super::super::stream::{self, EventWriter};
use super::parts::{ChoiceSent, ChunkHead, usage as usage_of, wants_usage};
use crate::engine::{Llm, Logprob};
use axum::body::Body;
use axum::http::Response;
use serde_json::{Value, json};
use std::sync::Arc;

type Result<T> = std::result::Result<T, ApiError>;

/// `POST /v1/completions`
pub(in crate::server) async fn completions(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let llm = Arc::clone(model.engine.llm());
    let mut ask = Ask::new(Input::Tokens(Vec::new()));
    common::sampling(&mut fields, &mut ask, &llm)?;
    ask.max_tokens = common::max_tokens(&mut fields, &["max_tokens", "max_completion_tokens", "n_predict"])?;
    // `false` is how chats say none.
    ask.logprobs = match fields.peek("logprobs") {
        Some(Value::Bool(false)) => {
            fields.skip(&["logprobs"]);
            None
        }
        _ => fields.count("logprobs", 0, common::MAX_LOGPROBS)?,
    };
    let suffix = fields.str("suffix")?.filter(|suffix| !suffix.is_empty());
    let prompt = fields.take("prompt").ok_or_else(|| ApiError::field("prompt", "is missing"))?;
    let mut prompts = completion::prompts(&llm, prompt, "prompt", completion::MAX_PROMPTS)?;
    if let Some(suffix) = suffix {
        let fim = Fim::of(&llm)?;
        for input in &mut prompts {
            let Input::Text(text, _) = input else {
                return Err(ApiError::field("suffix", "needs a prompt that is a text"));
            };
            *input = Input::Tokens(fim.prompt(&llm, text, &suffix, &[]));
        }
    }
    let usage = wants_usage(&mut fields)?;
    let stream = fields.bool("stream")?.unwrap_or(false);
    let ignored = fields.rest();
    let mut response = if stream {
        let begun = request::start_all(&state, &model, &ask, prompts, &call.asker).await?;
        let head = begun.first().map(|running| ChunkHead::new("cmpl", running));
        let head = head.ok_or_else(|| ApiError::field("prompt", "is empty"))?;
        let n: usize = begun.iter().map(|running| running.n).sum();
        let prompt = begun.iter().map(|running| running.prompt_tokens).sum();
        let writer = TextStream { head, choices: vec![ChoiceSent::default(); n], offsets: vec![0; n], usage, prompt };
        stream::respond_all(begun, writer)
    } else {
        let begun = request::start_all(&state, &model, &ask, prompts, &call.asker).await?;
        let head = begun.first().map(|running| ChunkHead::new("cmpl", running));
        let (mut choices, mut all, mut prompt_tokens) = (Vec::new(), Vec::new(), 0);
        for running in begun {
            let (answers, running) = running.whole().await?;
            prompt_tokens += running.prompt_tokens;
            for answer in answers {
                let logprobs = told(&llm, &answer.logprobs, &mut 0);
                choices.push(json!({ "index": choices.len(), "text": answer.reasoning + &answer.content,
                                     "finish_reason": finish_reason(&answer.stats), "logprobs": logprobs }));
                all.push(answer.stats);
            }
        }
        let mut object = head.map_or_else(Value::default, |head| head.object("text_completion", choices.into()));
        object["usage"] = usage_of(prompt_tokens, all.iter());
        object["timings"] = all.first().map(completion::timings).unwrap_or_default();
        respond_json(&object, &[])
    };
    note_ignored(&mut response, &ignored);
    Ok(response)
}

/// Probabilities in the lists that completions have had from the beginning, and as chats (and llama-server) tell them; `offset`
/// is where the first token's text begins in the answer.
fn told(llm: &Llm, chosen: &[Logprob], offset: &mut usize) -> Value {
    if chosen.is_empty() {
        return Value::Null;
    }
    let content = common::logprobs(llm, chosen);
    let (mut tokens, mut logprobs, mut top, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for entry in content.as_array().into_iter().flatten() {
        offsets.push(*offset);
        // A letter of several tokens begins with the first of them.
        let begins = |byte: &&Value| byte.as_u64().is_some_and(|byte| byte & 0xc0 != 0x80);
        *offset += entry["bytes"].as_array().into_iter().flatten().filter(begins).count();
        tokens.push(entry["token"].clone());
        logprobs.push(entry["logprob"].clone());
        let likeliest = entry["top_logprobs"].as_array().into_iter().flatten();
        let pairs = likeliest.map(|one| (one["token"].as_str().unwrap_or_default().to_owned(), one["logprob"].clone()));
        top.push(Value::Object(pairs.collect()));
    }
    json!({ "tokens": tokens, "token_logprobs": logprobs, "top_logprobs": top, "text_offset": offsets, "content": content })
}

struct TextStream {
    head: ChunkHead,
    choices: Vec<ChoiceSent>,
    /// How many characters of each answer have been told with probabilities.
    offsets: Vec<usize>,
    usage: bool,
    prompt: usize,
}

impl TextStream {
    fn chunk(&mut self, index: usize, text: &str, finish: Option<&str>) -> String {
        let chosen = std::mem::take(&mut self.choices[index].logprobs);
        let logprobs = told(self.head.llm(), &chosen, &mut self.offsets[index]);
        let choice = json!({ "index": index, "text": text, "finish_reason": finish, "logprobs": logprobs });
        data(&self.head.object("text_completion", json!([choice])))
    }
}

impl EventWriter for TextStream {
    const DIALECT: &'static Dialect = &OPENAI;
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn begin(&mut self, _: &Running) -> String {
        ":\n\n".to_owned()
    }

    fn event(&mut self, progress: Progress) -> String {
        match progress {
            Progress::Piece { choice, text, .. } => self.chunk(choice, &text, None),
            Progress::Done { choice, stats, .. } => {
                let last = self.chunk(choice, "", Some(finish_reason(&stats)));
                self.choices[choice].stats = Some(stats);
                last
            }
            Progress::Token { choice, chosen } => {
                self.choices[choice].logprobs.push(chosen);
                String::new()
            }
            Progress::Prefill { .. } => String::new(),
        }
    }

    fn end(&mut self) -> String {
        let mut out = String::new();
        if self.usage {
            let mut chunk = self.head.object("text_completion", json!([]));
            chunk["usage"] = usage_of(self.prompt, self.choices.iter().filter_map(|choice| choice.stats.as_ref()));
            out += &data(&chunk);
        }
        out + "data: [DONE]\n\n"
    }
}
