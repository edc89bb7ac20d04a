//! OpenAI's responses: one request with items instead of messages, answered by a sequence of typed events.

use super::body::Fields;
use super::common;
use super::completion::{self, Pace};
use super::error::{ApiError, Dialect};
use super::messages;
use super::request::{self, Ask, Input, Progress, Running};
use super::resume;
use super::routes::{Call, State, json as respond_json, note_ignored, note_warnings};
use super::stream::{self, Writer, named};
use crate::chat::{CallFinder, Kind, ToolCall, Tools, Vars};
use crate::engine::{Finish, Llm, Stats};
use crate::sample::Form;
use axum::body::Body;
use axum::http::Response;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

type Result<T> = std::result::Result<T, ApiError>;

/// Answers that can be gone on from, in memory: the oldest go first.
#[derive(Default)]
pub(super) struct Stored {
    kept: Mutex<VecDeque<Kept>>,
}

struct Kept {
    id: String,
    /// The whole conversation, the answer included.
    turns: Vec<Value>,
    object: Value,
    bytes: usize,
}

impl Stored {
    /// Bytes of text that are kept at most.
    const MAX_BYTES: usize = 64 << 20;

    fn keep(&self, id: &str, turns: Vec<Value>, object: Value) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = object.to_string().len() + turns.iter().map(|turn| turn.to_string().len()).sum::<usize>();
        kept.retain(|kept| kept.id != id);
        kept.push_back(Kept { id: id.to_owned(), turns, object, bytes });
        while kept.iter().map(|kept| kept.bytes).sum::<usize>() > Self::MAX_BYTES {
            kept.pop_front();
        }
    }

    fn find<R>(&self, id: &str, read: impl Fn(&Kept) -> R) -> Result<R> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|kept| kept.id == id).map(read);
        found.ok_or_else(|| ApiError::not_found(format!("response '{id}' not found (only the latest are kept)")))
    }

    fn remove(&self, id: &str) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|kept| kept.id != id);
    }
}

/// An item of the input as a message, or none for what says nothing to a model.
fn turn(llm: &Llm, index: usize, item: Value) -> Result<Option<Value>> {
    let place = format!("input[{index}]");
    let mut fields = Fields::of(item, &place)?;
    match fields.str("type")?.as_deref() {
        None | Some("message") => {
            let role = fields.str("role")?.ok_or_else(|| fields.wrong("role", "is missing"))?;
            let content = fields.take("content").unwrap_or_else(|| "".into());
            let message = json!({ "role": role, "content": content });
            Ok(messages::read(llm, vec![message])?.into_iter().next())
        }
        Some("function_call" | "custom_tool_call") => {
            let arguments = fields.str("arguments")?.or(fields.str("input")?).unwrap_or_default();
            let function = json!({ "name": fields.str("name")?, "arguments": arguments });
            let call = json!({ "id": fields.str("call_id")?, "type": "function", "function": function });
            let message = json!({ "role": "assistant", "content": "", "tool_calls": [call] });
            Ok(messages::read(llm, vec![message])?.into_iter().next())
        }
        Some("function_call_output" | "custom_tool_call_output") => {
            let output = match fields.take("output") {
                None => String::new(),
                Some(output) => messages::text(output, &format!("{place}.output"))?,
            };
            Ok(Some(json!({ "role": "tool", "content": output, "tool_call_id": fields.str("call_id")? })))
        }
        Some("reasoning" | "item_reference" | "compaction") => Ok(None),
        Some(kind) => Err(ApiError::field(&place, format!("items of type '{kind}' are not supported"))),
    }
}

/// An input, a text or items, as messages.
pub(super) fn turns(llm: &Llm, input: Value) -> Result<Vec<Value>> {
    match input {
        Value::String(text) => Ok(vec![messages::plain("user", &text)]),
        Value::Array(items) => {
            let turns = items.into_iter().enumerate().map(|(index, item)| turn(llm, index, item));
            turns.filter_map(Result::transpose).collect()
        }
        _ => Err(ApiError::field("input", "a string or an array of items is wanted")),
    }
}

struct Read {
    ask: Ask,
    turns: Vec<Value>,
    tools: Tools,
    stream: bool,
    store: bool,
    /// The answer is made whether a client waits for it or not.
    background: bool,
    /// Fields of the request that the answer repeats.
    echo: Value,
    summary: bool,
    progress: bool,
    pace: Option<Pace>,
    ignored: Vec<String>,
}

fn read(state: &State, fields: &mut Fields, llm: &Llm) -> Result<Read> {
    let mut turns = match fields.str("previous_response_id")? {
        Some(id) => state.stored.find(&id, |kept| kept.turns.clone())?,
        None => Vec::new(),
    };
    if let Some(text) = fields.str("instructions")? {
        turns.retain(|turn| turn["role"] != "system");
        turns.insert(0, messages::plain("system", &text));
    }
    turns.extend(fields.take("input").map(|input| self::turns(llm, input)).transpose()?.unwrap_or_default());
    if turns.is_empty() {
        return Err(ApiError::field("input", "is empty"));
    }
    let mut vars = Vars::new();
    let mut ask = Ask::new(Input::Tokens(Vec::new()));
    let reasoning = fields.object("reasoning")?.unwrap_or_default();
    let summary = reasoning.get("summary").is_some_and(|summary| !summary.is_null());
    if let Some(effort) = reasoning.get("effort").and_then(Value::as_str) {
        let mut fields = Fields::of(json!({ "reasoning_effort": effort }), "reasoning")?;
        ask.thinking = common::thinking(&mut fields, &mut vars, llm)?;
    }
    let text = fields.object("text")?.unwrap_or_default();
    let form = match text.get("format") {
        Some(format) if format["type"] == "json_schema" => Some(Form::JsonSchema(format["schema"].clone())),
        Some(format) if format["type"] == "json_object" => Some(Form::JsonSchema(json!({ "type": "object" }))),
        _ => None,
    };
    let store = fields.bool("store")?.unwrap_or(true);
    let background = fields.bool("background")?.unwrap_or(false);
    if background && !store {
        return Err(ApiError::field("background", "needs an answer that is stored"));
    }
    let thinking = ask.thinking;
    common::sampling(fields, &mut ask, llm)?;
    ask.form = form.or(ask.form.take());
    ask.max_tokens = common::max_tokens(fields, &["max_output_tokens", "max_tokens"])?;
    ask.thinking = match common::thinking(fields, &mut vars, llm)? {
        crate::chat::ThinkingMode::Default => thinking,
        other => other,
    };
    ask.n = 1;
    let list = fields.array("tools")?.unwrap_or_default();
    let choice = fields.take("tool_choice");
    // Tools that run elsewhere (web search, ...) are left out.
    let own = list.iter().filter(|tool| tool["type"] == "function" || tool["function"].is_object());
    let wrapped: Vec<Value> = own
        .map(|tool| match tool["function"].is_object() {
            true => tool.clone(),
            false => json!({ "type": "function", "function": { "name": tool["name"], "parameters": tool["parameters"],
                             "description": tool["description"].as_str().unwrap_or_default() } }),
        })
        .collect();
    let mut inner = Fields::of(json!({ "tools": wrapped, "tool_choice": choice }), "tools")?;
    let tools = common::tools(&mut inner, &mut vars, &mut ask)?;
    let stream = fields.bool("stream")?.unwrap_or(false);
    let progress = fields.bool("return_progress")?.unwrap_or(false);
    let pace = fields.bool("timings_per_token")?.filter(|&on| on).map(|_| Pace::default());
    let parallel = fields.bool("parallel_tool_calls")?.unwrap_or(true);
    fields.skip(&["include", "truncation", "max_tool_calls", "conversation", "context_management"]);
    vars.insert("messages".into(), turns.clone().into());
    ask.input = Input::Chat(vars);
    let echo = json!({ "tools": list, "tool_choice": choice.unwrap_or_else(|| "auto".into()),
                       "parallel_tool_calls": parallel, "temperature": ask.sampling.temperature,
                       "top_p": ask.sampling.top_p, "max_output_tokens": ask.max_tokens, "store": store, "background": background });
    Ok(Read { ask, turns, tools, stream, store, background, echo, summary, progress, pace, ignored: fields.rest() })
}

/// `POST /v1/responses`
pub(super) async fn create(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let previous = fields.peek("previous_response_id");
    let model = common::model_of(&state, &mut fields).await?;
    let Read { ask, turns, tools, stream, store, background, echo, summary, progress, pace, ignored } =
        read(&state, &mut fields, model.engine.llm())?;
    let running = request::start(&state, model, ask, call.client).await?;
    let warnings = running.warnings.clone();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let number = format!("{:x}{:08x}", now.as_micros(), running.seed as u32);
    let mut made = Made {
        number,
        created: now.as_secs(),
        model: running.model.name.clone(),
        echo,
        previous,
        finder: CallFinder::new(tools),
        prompt: running.prompt_tokens,
        state: Arc::clone(&state),
        turns,
        store,
        background,
        summary,
        progress,
        pace,
        items: Vec::new(),
        text: String::new(),
        open: None,
        sequence: 0,
    };
    let mut response = if background {
        let (id, begun) = (made.id(), made.response("in_progress", Value::Null));
        made.state.stored.keep(&id, made.turns.clone(), begun.clone());
        let followed = state.streams.keep(call.owner, id, stream::respond(running, made));
        if stream { followed } else { respond_json(&begun, &[]) }
    } else if stream {
        stream::respond(running, made)
    } else {
        let (mut answers, _running) = running.whole().await?;
        let answer = answers.remove(0);
        let piece = |kind, text| Progress::Piece { choice: 0, kind, text, tokens: Vec::new() };
        if !answer.reasoning.is_empty() {
            made.event(piece(Kind::Reasoning, answer.reasoning));
        }
        made.event(piece(Kind::Answer, answer.content));
        respond_json(&made.finish(&answer.stats).1, &[])
    };
    note_ignored(&mut response, &ignored);
    note_warnings(&mut response, &warnings);
    Ok(response)
}

/// `POST /v1/responses/input_tokens`
pub(super) async fn input_tokens(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &mut fields).await?;
    let Read { ask, ignored, .. } = read(&state, &mut fields, model.engine.llm())?;
    let prompt = request::render(&state, model, ask.input, ask.thinking).await?;
    Ok(respond_json(&json!({ "object": "response.input_tokens", "input_tokens": prompt.tokens.len() }), &ignored))
}

/// `GET /v1/responses/ID`; with `?stream=true`, the events of one that is made in the background.
pub(super) async fn get(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let id = call.uri.path().rsplit('/').next().unwrap_or_default();
    let object = state.stored.find(id, |kept| kept.object.clone())?;
    let query = resume::query(&call.uri)?;
    let after = resume::number(&query, "starting_after")?;
    match query.get("stream").map(String::as_str) {
        Some("true") => state.streams.after(call.owner, id, after),
        None | Some("false") => Ok(respond_json(&object, &[])),
        Some(_) => Err(ApiError::field("stream", "true or false is wanted")),
    }
}

/// `POST /v1/responses/ID/cancel`
pub(super) async fn cancel(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let path = call.uri.path();
    let (rest, action) = path.rsplit_once('/').unwrap_or_default();
    if action != "cancel" {
        return Err(ApiError::not_found(format!("there is no POST {path}")));
    }
    let id = rest.rsplit('/').next().unwrap_or_default();
    let (turns, mut object) = state.stored.find(id, |kept| (kept.turns.clone(), kept.object.clone()))?;
    if state.streams.stop(call.owner, id) {
        object["status"] = "cancelled".into();
        state.stored.keep(id, turns, object.clone());
    }
    Ok(respond_json(&object, &[]))
}

/// `DELETE /v1/responses/ID`
pub(super) async fn delete(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let id = call.uri.path().rsplit('/').next().unwrap_or_default();
    state.stored.find(id, |_| ())?;
    state.stored.remove(id);
    Ok(respond_json(&json!({ "id": id, "object": "response.deleted", "deleted": true }), &[]))
}

/// An answer as it is made, item by item.
struct Made {
    number: String,
    created: u64,
    model: String,
    echo: Value,
    previous: Option<Value>,
    finder: CallFinder,
    prompt: usize,
    state: Arc<State>,
    turns: Vec<Value>,
    store: bool,
    background: bool,
    /// Thoughts are sent as summaries.
    summary: bool,
    progress: bool,
    /// Speeds that go with every piece.
    pace: Option<Pace>,
    /// Items that are complete.
    items: Vec<Value>,
    /// Text of the item that is open.
    text: String,
    open: Option<Kind>,
    sequence: u64,
}

impl Made {
    fn id(&self) -> String {
        format!("resp_{}", self.number)
    }

    fn response(&self, status: &str, usage: Value) -> Value {
        let mut object = json!({
            "id": self.id(), "object": "response", "created_at": self.created, "status": status,
            "model": self.model, "output": self.items, "usage": usage, "error": null, "incomplete_details": null,
            "instructions": null, "metadata": {}, "previous_response_id": self.previous,
        });
        if let (Some(object), Some(echo)) = (object.as_object_mut(), self.echo.as_object()) {
            object.extend(echo.clone());
        }
        object
    }

    fn send(&mut self, kind: &str, mut value: Value) -> String {
        value["type"] = kind.into();
        value["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        named(kind, &value)
    }

    /// The id of the item at this place.
    fn item_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}_{}", self.number, self.items.len())
    }

    fn part(&self, kind: Kind, text: &str) -> Value {
        match kind {
            Kind::Reasoning if self.summary => json!({ "type": "summary_text", "text": text }),
            Kind::Reasoning => json!({ "type": "reasoning_text", "text": text }),
            Kind::Answer | Kind::Call | Kind::Unsaid => {
                json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
            }
        }
    }

    fn item(&self, kind: Kind, status: &str, parts: Vec<Value>) -> Value {
        match kind {
            Kind::Reasoning => {
                let (summary, content) = if self.summary { (parts, Vec::new()) } else { (Vec::new(), parts) };
                json!({ "id": self.item_id("rs"), "type": "reasoning", "summary": summary, "content": content,
                        "encrypted_content": null, "status": status })
            }
            Kind::Answer | Kind::Call | Kind::Unsaid => {
                json!({ "id": self.item_id("msg"), "type": "message", "role": "assistant",
                                                 "status": status, "content": parts })
            }
        }
    }

    fn ids(&self, kind: Kind) -> (String, usize) {
        (self.item_id(if kind == Kind::Reasoning { "rs" } else { "msg" }), self.items.len())
    }

    /// Names of the events of a part, and of the member that says which part.
    fn names(&self, kind: Kind) -> (&'static str, &'static str, &'static str, &'static str, &'static str) {
        match kind {
            Kind::Reasoning if self.summary => (
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
                "summary_index",
            ),
            Kind::Reasoning => (
                "response.content_part.added",
                "response.reasoning_text.delta",
                "response.reasoning_text.done",
                "response.content_part.done",
                "content_index",
            ),
            Kind::Answer | Kind::Call | Kind::Unsaid => (
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "content_index",
            ),
        }
    }

    fn begin_item(&mut self, kind: Kind) -> String {
        if self.open == Some(kind) {
            return String::new();
        }
        let mut out = self.end_item("completed");
        self.open = Some(kind);
        let (id, at) = self.ids(kind);
        let (added, _, _, _, index) = self.names(kind);
        let item = self.item(kind, "in_progress", Vec::new());
        out += &self.send("response.output_item.added", json!({ "output_index": at, "item": item }));
        let part = self.part(kind, "");
        out += &self.send(added, json!({ "item_id": id, "output_index": at, index: 0, "part": part }));
        out
    }

    fn delta(&mut self, kind: Kind, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let out = self.begin_item(kind);
        self.text.push_str(text);
        let (id, at) = self.ids(kind);
        let (_, delta, _, _, index) = self.names(kind);
        let mut value = json!({ "item_id": id, "output_index": at, index: 0, "delta": text, "logprobs": [] });
        if let Some(pace) = &self.pace {
            value["timings"] = pace.timings();
        }
        out + &self.send(delta, value)
    }

    fn end_item(&mut self, status: &str) -> String {
        let Some(kind) = self.open.take() else { return String::new() };
        let (id, at) = self.ids(kind);
        let (_, _, text_done, part_done, index) = self.names(kind);
        let text = std::mem::take(&mut self.text);
        let value = json!({ "item_id": id, "output_index": at, index: 0, "text": text, "logprobs": [] });
        let mut out = self.send(text_done, value);
        let part = self.part(kind, &text);
        out += &self.send(part_done, json!({ "item_id": id, "output_index": at, index: 0, "part": part }));
        let item = self.item(kind, status, vec![part]);
        out += &self.send("response.output_item.done", json!({ "output_index": at, "item": item }));
        self.items.push(item);
        out
    }

    fn call(&mut self, call: &ToolCall) -> String {
        let (at, id) = (self.items.len(), self.item_id("fc"));
        let item = |arguments: &str, status: &str| {
            json!({ "id": id, "type": "function_call", "call_id": id.replacen("fc", "call", 1), "name": call.name,
                    "arguments": arguments, "status": status })
        };
        let mut out =
            self.send("response.output_item.added", json!({ "output_index": at, "item": item("", "in_progress") }));
        let place = json!({ "item_id": id, "output_index": at });
        let with = |name: &str| {
            let mut value = place.clone();
            value[name] = call.arguments.clone().into();
            value
        };
        out += &self.send("response.function_call_arguments.delta", with("delta"));
        out += &self.send("response.function_call_arguments.done", with("arguments"));
        let done = item(&call.arguments, "completed");
        out += &self.send("response.output_item.done", json!({ "output_index": at, "item": done }));
        self.items.push(done);
        out
    }

    /// Everything that comes after the last piece, and the whole answer.
    fn finish(&mut self, stats: &Stats) -> (String, Value) {
        let (rest, calls) = self.finder.finish();
        let cut = matches!(stats.finish, Some(Finish::Length | Finish::Context));
        let mut out = self.delta(Kind::Answer, &rest);
        if self.open.is_none() && self.items.iter().all(|item| item["type"] == "reasoning") && calls.is_empty() {
            out += &self.begin_item(Kind::Answer);
        }
        out += &self.end_item(if cut { "incomplete" } else { "completed" });
        calls.iter().for_each(|call| out += &self.call(call));
        let usage = json!({
            "input_tokens": self.prompt, "output_tokens": stats.tokens, "total_tokens": self.prompt + stats.tokens,
            "input_tokens_details": { "cached_tokens": stats.cached_tokens },
            "output_tokens_details": { "reasoning_tokens": stats.reasoning_tokens },
        });
        let mut object = self.response(if cut { "incomplete" } else { "completed" }, usage);
        if cut {
            object["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        }
        if self.store {
            self.remember(&calls, object.clone());
        }
        (out, object)
    }

    fn remember(&self, calls: &[ToolCall], object: Value) {
        let text = |item: &Value| item["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        let said: String = self.items.iter().filter(|item| item["type"] == "message").map(text).collect();
        let mut answer = messages::plain("assistant", &said);
        if !calls.is_empty() {
            let call = |call: &ToolCall| {
                let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
                json!({ "type": "function", "function": { "name": call.name, "arguments": arguments } })
            };
            answer["tool_calls"] = calls.iter().map(call).collect();
        }
        let turns = self.turns.iter().cloned().chain([answer]).collect();
        self.state.stored.keep(&self.id(), turns, object);
    }
}

impl Writer for Made {
    const DIALECT: Dialect = Dialect::OpenAi;
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn begin(&mut self, _: &Running) -> String {
        let begun = self.response("in_progress", Value::Null);
        self.send("response.created", json!({ "response": begun }))
            + &self.send("response.in_progress", json!({ "response": begun }))
    }

    fn event(&mut self, progress: Progress) -> String {
        if let Some(pace) = &mut self.pace {
            pace.note(&progress);
        }
        match progress {
            Progress::Prefill { done, total, cached, seconds } if self.progress => {
                let begun = self.response("in_progress", Value::Null);
                let (told, timings) = completion::prefill(done, total, cached, seconds);
                let value = json!({ "response": begun, "prompt_progress": told, "timings": timings });
                self.send("response.in_progress", value)
            }
            Progress::Prefill { .. } | Progress::Token { .. } => String::new(),
            Progress::Piece { kind: Kind::Reasoning, text, .. } => self.delta(Kind::Reasoning, &text),
            Progress::Piece { text, .. } => {
                let text = self.finder.push(&text);
                self.delta(Kind::Answer, &text)
            }
            Progress::Done { stats, .. } => {
                let (out, object) = self.finish(&stats);
                // The official clients raise on "incomplete", as they do with OpenAI's own.
                let kind = format!("response.{}", object["status"].as_str().unwrap_or("completed"));
                let timings = completion::timings(&stats);
                out + &self.send(&kind, json!({ "response": object, "timings": timings }))
            }
        }
    }

    fn error(&mut self, error: &ApiError) -> String {
        if self.background {
            let mut failed = self.response("failed", Value::Null);
            failed["error"] = json!({ "code": "server_error", "message": error.message });
            self.state.stored.keep(&self.id(), self.turns.clone(), failed);
        }
        self.send("error", json!({ "code": error.status.as_str(), "message": error.message, "param": null }))
    }
}
