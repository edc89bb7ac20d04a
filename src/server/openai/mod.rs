//! OpenAI's dialect: chat completions here, completions and models beside it.

mod completions;
mod models;
mod parts;
mod thoughts;

pub(super) use completions::completions;
pub(super) use models::{model, models};
pub(super) use thoughts::Thoughts;

use super::ask::{Ask, Input};
use super::body::Fields;
use super::common;
use super::completion::{self, Pace, Written};
use super::dialect::{Dialect, OPENAI};
use super::error::ApiError;
use super::events::data;
use super::messages;
use super::reply::{json as respond_json, note_ignored, note_warnings};
use super::request::{self, Progress, Running, Whole, finish_reason};
use super::state::{Call, State};
use super::stream::{self, EventWriter};
use crate::chat::{CallFinder, Kind, Tools, Vars};
use crate::engine::{Llm, Prompt, Stats};
use axum::body::Body;
use axum::http::Response;
use parts::{ChoiceSent, ChunkHead, usage, wants_usage};
use serde_json::{Value, json};
use std::sync::Arc;

type Result<T> = std::result::Result<T, ApiError>;

/// A chat request: what it asks for, and how the answer is written.
struct Chat {
    ask: Ask,
    tools: Tools,
    parallel_calls: bool,
    stream: bool,
    usage: bool,
    progress: bool,
    pace: Option<Pace>,
    /// How the answer is told once more in llama-server's own form, where that is asked for.
    verbose: bool,
    ignored: Vec<String>,
}

fn read_chat(state: &State, fields: &mut Fields, llm: &Llm) -> Result<Chat> {
    let list = fields.array("messages")?.ok_or_else(|| ApiError::field("messages", "is missing"))?;
    let mut list = messages::read(llm, list)?;
    messages::strip_billing_line(state, &mut list);
    let mut vars = Vars::new();
    let mut ask = Ask::new(Input::Tokens(Vec::new()));
    common::sampling(fields, &mut ask, llm)?;
    ask.max_tokens = common::max_tokens(fields, &["max_completion_tokens", "max_tokens", "n_predict"])?;
    ask.thinking = common::thinking(fields, &mut vars, llm)?;
    let tools = common::tools(fields, &mut vars, &mut ask)?;
    let wants = fields.bool("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", 0, common::MAX_LOGPROBS)?;
    if top.is_some_and(|top| top > 0) && !wants {
        return Err(ApiError::field("top_logprobs", "needs 'logprobs': true"));
    }
    ask.logprobs = wants.then_some(top.unwrap_or(0));
    if let Some(add) = fields.bool("add_generation_prompt")? {
        vars.insert("add_generation_prompt".into(), add.into());
    }
    let go_on = continues(fields, &vars, &list)?;
    vars.insert("messages".into(), list.into());
    ask.input = if go_on { Input::Continue(vars) } else { Input::Chat(vars) };
    let usage = wants_usage(fields)?;
    let (stream, progress) =
        (fields.bool("stream")?.unwrap_or(false), fields.bool("return_progress")?.unwrap_or(false));
    let parallel_calls = fields.bool("parallel_tool_calls")?.unwrap_or(true);
    let pace = fields.bool("timings_per_token")?.filter(|&on| on).map(|_| Pace::default());
    let verbose = fields.bool("verbose")?.unwrap_or(false);
    Ok(Chat { ask, tools, parallel_calls, stream, usage, progress, pace, verbose, ignored: fields.rest() })
}

/// Whether the answer goes on from the last message: where that is asked for, or where it is the assistant's own.
pub(super) fn continues(fields: &mut Fields, vars: &Vars, list: &[Value]) -> Result<bool> {
    let wanted = fields.bool("continue_final_message")?;
    let own =
        |turn: Option<&Value>| turn.is_some_and(|turn| turn["role"] == "assistant" && turn["tool_calls"].is_null());
    let prompted = vars.get("add_generation_prompt").and_then(Value::as_bool);
    match wanted {
        Some(true) if prompted == Some(true) => {
            Err(ApiError::field("continue_final_message", "and 'add_generation_prompt' exclude each other"))
        }
        Some(true) if !own(list.last()) => {
            Err(ApiError::field("continue_final_message", "the last message is not the assistant's"))
        }
        Some(wanted) => Ok(wanted),
        None if own(list.last()) && own(list.iter().rev().nth(1)) => {
            Err(ApiError::field("messages", "two messages of the assistant at the end cannot be continued"))
        }
        None => Ok(own(list.last()) && prompted.is_none()),
    }
}

/// The prompt that a chat would be answered with, and what of the request is not read.
async fn prompt(state: &Arc<State>, call: &Call) -> Result<(Prompt, Vec<String>)> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(state, call, &mut fields).await?;
    let Chat { ask, ignored, .. } = read_chat(state, &mut fields, model.engine.llm())?;
    Ok((request::render(model, ask.input, ask.thinking).await?, ignored))
}

/// `POST /apply-template`
pub(super) async fn apply_template(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let (prompt, ignored) = prompt(&state, &call).await?;
    Ok(respond_json(&json!({ "prompt": prompt.text }), &ignored))
}

/// `POST /v1/chat/completions/input_tokens`
pub(super) async fn input_tokens(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let (prompt, ignored) = prompt(&state, &call).await?;
    Ok(respond_json(&json!({ "object": "response.input_tokens", "input_tokens": prompt.tokens.len() }), &ignored))
}

/// `POST /v1/chat/completions`
pub(super) async fn chat(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let chat = read_chat(&state, &mut fields, model.engine.llm())?;
    let Chat { ask, tools, parallel_calls, stream, usage, progress, pace, verbose, ignored } = chat;
    let verbose = (verbose || state.options.verbose).then(|| Written::verbose(&ask, &model)).transpose()?;
    let running = request::start(&state, model, ask, &call.asker).await?;
    let warnings = running.warnings.clone();
    let head = ChunkHead::new("chatcmpl", &running);
    state.thoughts.note(call.asker.owner, &head.id, &running.end_thought);
    let finders = vec![CallFinder::new(tools); running.n];
    let mut response = if stream {
        let choices = vec![ChoiceSent::default(); running.n];
        let writer = ChatStream {
            head,
            finders,
            choices,
            parallel_calls,
            usage,
            progress,
            pace,
            prompt_tokens: running.prompt_tokens,
        };
        stream::respond(running, writer)
    } else {
        let told = verbose.map(|form| (completion::Head::new(&running), form));
        let (answers, running) = running.whole().await?;
        let told = told.zip(answers.first()).map(|((head, form), first)| head.whole(0, first.clone(), &form));
        let mut object = whole_chat(&head, &running, answers, finders, parallel_calls);
        if let Some(told) = told {
            object["__verbose"] = told;
        }
        respond_json(&object, &[])
    };
    note_ignored(&mut response, &ignored);
    note_warnings(&mut response, &warnings);
    Ok(response)
}

/// `POST /v1/chat/completions/control`: `reasoning_end` lets a model that thinks come to its answer.
pub(super) async fn control(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let id = fields.str("id")?.ok_or_else(|| ApiError::field("id", "is missing"))?;
    match fields.str("action")?.as_deref() {
        Some("reasoning_end") => {}
        _ => return Err(ApiError::field("action", "reasoning_end is wanted")),
    }
    match state.thoughts.end(call.asker.owner, id.clone()) {
        true => Ok(respond_json(&json!({ "success": true }), &fields.rest())),
        false => Err(ApiError::not_found(format!("no answer '{id}' is under way"))),
    }
}

fn whole_chat(
    head: &ChunkHead,
    running: &Running,
    answers: Vec<Whole>,
    finders: Vec<CallFinder>,
    parallel_calls: bool,
) -> Value {
    let usage = usage(running.prompt_tokens, answers.iter().map(|answer| &answer.stats));
    let timings = answers.first().map(|answer| completion::timings(&answer.stats));
    let (mut choices, mut warnings) = (Vec::new(), Vec::new());
    for (index, (answer, mut finder)) in answers.into_iter().zip(finders).enumerate() {
        let (content, calls) = finder.whole(&answer.content, &answer.called);
        warnings.extend(finder.warnings());
        let calls = common::first_if(calls, !parallel_calls);
        let mut message = json!({ "role": "assistant", "content": content });
        if !answer.reasoning.is_empty() {
            message["reasoning_content"] = answer.reasoning.into();
        }
        let mut reason = finish_reason(&answer.stats);
        if !calls.is_empty() {
            if content.trim().is_empty() {
                message["content"] = Value::Null;
            }
            let objects = calls.iter().enumerate().map(|(at, call)| {
                json!({ "id": call_id(head, index, at), "type": "function",
                        "function": { "name": call.name, "arguments": call.arguments } })
            });
            message["tool_calls"] = objects.collect();
            reason = "tool_calls";
        }
        let mut choice = json!({ "index": index, "message": message, "finish_reason": reason, "logprobs": null });
        if !answer.logprobs.is_empty() {
            choice["logprobs"] = json!({ "content": common::logprobs(head.llm(), &answer.logprobs) });
        }
        choices.push(choice);
    }
    let mut object = head.object("chat.completion", choices.into());
    object["usage"] = usage;
    object["timings"] = timings.unwrap_or_default();
    common::warn(&mut object, &warnings);
    object
}

fn call_id(head: &ChunkHead, choice: usize, call: usize) -> String {
    format!("call_{}_{choice}_{call}", head.id.trim_start_matches("chatcmpl-"))
}

struct ChatStream {
    head: ChunkHead,
    finders: Vec<CallFinder>,
    choices: Vec<ChoiceSent>,
    parallel_calls: bool,
    usage: bool,
    progress: bool,
    /// Speeds that go with every piece.
    pace: Option<Pace>,
    prompt_tokens: usize,
}

impl ChatStream {
    fn chunk(&self, index: usize, delta: &Value, finish: Option<&str>) -> Value {
        let choice = json!({ "index": index, "delta": delta, "finish_reason": finish, "logprobs": null });
        self.head.object("chat.completion.chunk", json!([choice]))
    }

    /// A delta, with the probabilities of the tokens that led to it.
    fn delta(&mut self, index: usize, delta: &Value) -> String {
        let mut chunk = self.chunk(index, delta, None);
        if let Some(pace) = &self.pace {
            chunk["timings"] = pace.timings();
        }
        let chosen = std::mem::take(&mut self.choices[index].logprobs);
        if !chosen.is_empty() {
            chunk["choices"][0]["logprobs"] = json!({ "content": common::logprobs(self.head.llm(), &chosen) });
        }
        data(&chunk)
    }

    fn done(&mut self, index: usize, stats: Stats) -> String {
        let mut out = String::new();
        let mut reason = finish_reason(&stats);
        let (rest, calls) = self.finders[index].finish();
        if !rest.is_empty() {
            out += &self.delta(index, &json!({ "content": rest }));
        }
        for (at, call) in common::first_if(calls, !self.parallel_calls).into_iter().enumerate() {
            let header = json!({ "index": at, "id": call_id(&self.head, index, at), "type": "function",
                                 "function": { "name": call.name, "arguments": "" } });
            out += &self.delta(index, &json!({ "tool_calls": [header] }));
            let arguments = json!({ "index": at, "function": { "arguments": call.arguments } });
            out += &self.delta(index, &json!({ "tool_calls": [arguments] }));
            reason = "tool_calls";
        }
        if !self.choices[index].logprobs.is_empty() {
            out += &self.delta(index, &json!({}));
        }
        let mut last = self.chunk(index, &json!({}), Some(reason));
        last["timings"] = completion::timings(&stats);
        common::warn(&mut last, &self.finders[index].warnings());
        self.choices[index].stats = Some(stats);
        out + &data(&last)
    }
}

impl EventWriter for ChatStream {
    const DIALECT: &'static Dialect = &OPENAI;
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn begin(&mut self, _: &Running) -> String {
        let delta = json!({ "role": "assistant", "content": null });
        (0..self.choices.len()).map(|index| data(&self.chunk(index, &delta, None))).collect()
    }

    fn event(&mut self, progress: Progress) -> String {
        if let Some(pace) = &mut self.pace {
            pace.note(&progress);
        }
        match progress {
            Progress::Prefill { done, total, cached, seconds, .. } if self.progress => {
                let mut chunk = self.head.object("chat.completion.chunk", json!([]));
                (chunk["prompt_progress"], chunk["timings"]) = completion::prefill(done, total, cached, seconds);
                data(&chunk)
            }
            Progress::Prefill { .. } => String::new(),
            Progress::Token { choice, chosen } => {
                self.choices[choice].logprobs.push(chosen);
                String::new()
            }
            Progress::Piece { choice, kind: Kind::Reasoning, text, .. } => {
                self.delta(choice, &json!({ "reasoning_content": text }))
            }
            Progress::Piece { choice, kind, text, .. } => {
                let text = self.finders[choice].push_part(kind, &text);
                if text.is_empty() { String::new() } else { self.delta(choice, &json!({ "content": text })) }
            }
            Progress::Done { choice, stats, .. } => self.done(choice, stats),
        }
    }

    fn end(&mut self) -> String {
        let mut out = String::new();
        if self.usage {
            let mut chunk = self.head.object("chat.completion.chunk", json!([]));
            chunk["usage"] = usage(self.prompt_tokens, self.choices.iter().filter_map(|choice| choice.stats.as_ref()));
            let stats = self.choices.iter().find_map(|choice| choice.stats.as_ref());
            chunk["timings"] = stats.map(completion::timings).unwrap_or_default();
            out += &data(&chunk);
        }
        out + "data: [DONE]\n\n"
    }
}
