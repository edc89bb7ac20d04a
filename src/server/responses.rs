//! OpenAI's responses: one request with items instead of messages, answered by a sequence of typed events.

mod made;

use super::body::Fields;
use super::common;
use super::completion::Pace;
use super::error::ApiError;
use super::messages;
use super::request::{self, Ask, Input, Progress};
use super::resume;
use super::routes::{Call, State, json as respond_json, note_ignored, note_warnings};
use super::stream::{self, Writer};
use crate::chat::{CallFinder, Kind, Tools, Vars};
use crate::engine::Llm;
use crate::sample::Form;
use axum::body::Body;
use axum::http::Response;
use made::Made;
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
    let path = call.uri.path();
    let id = path.strip_prefix("/v1/responses/").unwrap_or_default();
    if id.contains('/') {
        return Err(ApiError::not_found(format!("there is no GET {path}")));
    }
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
