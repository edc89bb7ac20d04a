//! OpenAI's responses: one request with items instead of messages, answered by a sequence of typed events.

mod events;
mod history;
mod items;

pub(super) use history::Stored;

use super::ask::{Ask, Input};
use super::body::Fields;
use super::common;
use super::completion::Pace;
use super::dialect::OPENAI;
use super::error::ApiError;
use super::messages;
use super::paging::{self, Limits};
use super::reply::{json as respond_json, note_ignored, note_warnings};
use super::request::{self, Progress};
use super::state::{Call, State};
use super::stream::{self, EventWriter};
use crate::chat::{CallFinder, Kind, Tools, Vars};
use crate::engine::Llm;
use crate::sample::Form;
use axum::body::Body;
use axum::http::Response;
use events::Made;
use history::StoredAnswer;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

type Result<T> = std::result::Result<T, ApiError>;

/// Calls of tools that run at OpenAI's: what came of them is in the messages that follow. Their outputs are called so, too.
const RAN_ELSEWHERE: [&str; 8] = [
    "web_search_call",
    "file_search_call",
    "computer_call",
    "code_interpreter_call",
    "image_generation_call",
    "local_shell_call",
    "shell_call",
    "mcp_call",
];

/// An item of the input as a message, or none for what says nothing to a model.
fn turn(llm: &Llm, index: usize, item: Value) -> Result<Option<Value>> {
    let place = format!("input[{index}]");
    let mut fields = Fields::of(item, &place)?;
    match fields.str("type")?.as_deref() {
        None | Some("message") => {
            let role = fields.str("role")?.ok_or_else(|| fields.wrong("role", "is missing"))?;
            let content = fields.take("content").unwrap_or_else(|| "".into());
            let message = json!({ "role": role, "content": content });
            messages::one(llm, &place, message).map(Some)
        }
        Some("function_call" | "custom_tool_call") => {
            let arguments = fields.str("arguments")?.or(fields.str("input")?).unwrap_or_default();
            let function = json!({ "name": fields.str("name")?, "arguments": arguments });
            let call = json!({ "id": fields.str("call_id")?, "type": "function", "function": function });
            let message = json!({ "role": "assistant", "content": "", "tool_calls": [call] });
            messages::one(llm, &place, message).map(Some)
        }
        Some("function_call_output" | "custom_tool_call_output") => {
            let output = match fields.take("output") {
                None => String::new(),
                Some(output) => messages::text(output, &format!("{place}.output"))?,
            };
            Ok(Some(json!({ "role": "tool", "content": output, "tool_call_id": fields.str("call_id")? })))
        }
        Some("reasoning") => Ok(None),
        // What ran elsewhere is told by the answer that came of it.
        Some(kind) if RAN_ELSEWHERE.iter().any(|own| kind.strip_suffix("_output").unwrap_or(kind) == *own) => Ok(None),
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
    /// The conversation before the answer as items; those of this request have no ids yet.
    items: Vec<Value>,
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

fn read(state: &State, owner: u64, fields: &mut Fields, llm: &Llm) -> Result<Read> {
    let (mut turns, mut items) = match fields.filled("previous_response_id")? {
        Some(id) => {
            let before = |kept: &StoredAnswer| {
                followable(&kept.object).map(|()| (kept.turns.clone(), history::of_kept(&kept.items, &kept.object)))
            };
            state.stored.find(owner, &id, before).map_err(|_| ApiError::no_previous(&id))??
        }
        None => Default::default(),
    };
    let mut ask = Ask::new(Input::Tokens(Vec::new()));
    let mut echo = items::echo(fields, &mut ask)?;
    let instructions = fields.str("instructions")?;
    if let Some(input) = fields.take("input") {
        let input = state.stored.resolved(owner, input)?;
        items.extend(items::of_input(input.clone()));
        turns.extend(self::turns(llm, input)?);
    }
    let shown = instructed(state, &turns, instructions);
    if shown.is_empty() {
        return Err(ApiError::field("input", "is empty"));
    }
    let mut vars = Vars::new();
    let summary = fields.peek("reasoning").is_some_and(|reasoning| !reasoning["summary"].is_null());
    let form = form(fields)?;
    let store = fields.bool("store")?.unwrap_or(true);
    let background = fields.bool("background")?.unwrap_or(false);
    if background && !store {
        return Err(ApiError::field("background", "needs an answer that is stored"));
    }
    common::sampling(fields, &mut ask, llm)?;
    common::one_answer(&ask)?;
    form.map(|form| ask.keep_to("text.format", form)).transpose()?;
    ask.max_tokens = common::max_tokens(fields, &["max_output_tokens", "max_tokens"])?;
    ask.thinking = common::thinking(fields, &mut vars, llm)?;
    let list = fields.array("tools")?.unwrap_or_default();
    let choice = fields.take("tool_choice");
    let mut inner = Fields::of(json!({ "tools": own_tools(&list, &mut ask), "tool_choice": choice }), "tools")?;
    let tools = common::tools(&mut inner, &mut vars, &mut ask)?;
    let stream = fields.bool("stream")?.unwrap_or(false);
    let progress = fields.bool("return_progress")?.unwrap_or(false);
    let pace = fields.bool("timings_per_token")?.filter(|&on| on).map(|_| Pace::default());
    let parallel = fields.bool("parallel_tool_calls")?.unwrap_or(true);
    common::warn_of(fields, "context_management", &mut ask);
    // What it may ask for beyond usage, padding against listeners, is not done.
    fields.skip(&["stream_options"]);
    vars.insert("messages".into(), shown.into());
    ask.input = Input::Chat(vars);
    let more = json!({ "tools": list, "tool_choice": choice.unwrap_or_else(|| "auto".into()),
                       "parallel_tool_calls": parallel, "temperature": ask.sampling.temperature,
                       "top_p": ask.sampling.top_p, "max_output_tokens": ask.max_tokens, "store": store, "background": background });
    echo.extend(more.as_object().cloned().unwrap_or_default());
    let (echo, ignored) = (echo.into(), fields.rest());
    Ok(Read { ask, turns, items, tools, stream, store, background, echo, summary, progress, pace, ignored })
}

/// Whether a conversation can go on from this answer: one that is still made, or was given up, is none.
fn followable(object: &Value) -> Result<()> {
    match object["status"].as_str() {
        Some("queued" | "in_progress") => Err(ApiError::conflict(
            "'previous_response_id': that response is still being made: wait for its end, or cancel it",
        )),
        Some(status @ ("cancelled" | "failed")) => Err(ApiError::field(
            "previous_response_id",
            format!("that response is {status} and has no answer: go on from the one before it"),
        )),
        _ => Ok(()),
    }
}

/// The turns that the model gets to see: instructions hold for one answer only, and are no part of what is kept.
fn instructed(state: &State, turns: &[Value], instructions: Option<String>) -> Vec<Value> {
    let mut shown = turns.to_vec();
    if let Some(text) = instructions {
        match shown.first_mut().filter(|first| first["role"] == "system") {
            // Many templates take one system prompt only.
            Some(first) => {
                first["content"] = format!("{text}\n\n{}", first["content"].as_str().unwrap_or_default()).into()
            }
            None => shown.insert(0, messages::plain("system", &text)),
        }
    }
    messages::strip_billing_line(state, &mut shown);
    shown
}

/// `text`: the form of the answer.
fn form(fields: &mut Fields) -> Result<Option<Form>> {
    let Some(mut text) = fields.within("text")? else { return Ok(None) };
    let mut form = None;
    if let Some(mut format) = text.within("format")? {
        form = match format.str("type")?.as_deref() {
            Some("json_schema") => Some(Form::JsonSchema(
                format.take("schema").ok_or_else(|| format.wrong("schema", "a JSON schema is wanted"))?,
            )),
            Some("json_object") => Some(Form::JsonSchema(json!({ "type": "object" }))),
            None | Some("text") => None,
            Some(_) => return Err(format.wrong("type", "text, json_object or json_schema is wanted")),
        };
    }
    text.skip(&["verbosity"]);
    fields.leave(text);
    Ok(form)
}

/// The tools that the client runs, in the form of chats. Others (web search, ...) would run at OpenAI's: coding agents name them
/// with every request, so they are left out with a warning.
fn own_tools(list: &[Value], ask: &mut Ask) -> Vec<Value> {
    let mut own = Vec::new();
    for tool in list {
        if tool["function"].is_object() {
            own.push(tool.clone());
        } else if tool["type"] == "function" {
            own.push(common::chat_tool(&tool["name"], &tool["description"], &tool["parameters"]));
        } else {
            let kind = tool["type"].as_str().unwrap_or("none");
            ask.warnings.push(format!("tools of type '{kind}' are left out"));
        }
    }
    own
}

/// `POST /v1/responses`
pub(super) async fn create(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let previous = fields.peek("previous_response_id").filter(|id| id != "");
    let model = common::model_of(&state, &call, &mut fields).await?;
    let Read { ask, turns, items, tools, stream, store, background, echo, summary, progress, pace, ignored } =
        read(&state, call.asker.owner, &mut fields, model.engine.llm())?;
    let running = request::start(&state, model, ask, &call.asker).await?;
    let warnings = running.warnings.clone();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let number = format!("{:x}{:08x}", now.as_micros(), running.seed as u32);
    let mut made = Made {
        inputs: items::numbered(items, &number),
        number,
        created: now.as_secs(),
        model: running.model.name.clone(),
        llm: Arc::clone(running.model.engine.llm()),
        echo,
        previous,
        finder: CallFinder::new(tools),
        prompt: running.prompt_tokens,
        state: Arc::clone(&state),
        owner: call.asker.owner,
        turns,
        store,
        background,
        summary,
        progress,
        pace,
        items: Vec::new(),
        logprobs: Vec::new(),
        told: Vec::new(),
        text: String::new(),
        open: None,
        sequence: 0,
    };
    let mut response = if background {
        let (id, begun) = (made.id(), made.response("in_progress", Value::Null));
        made.keep(begun.clone(), made.turns.clone());
        let followed = state.streams.keep(call.asker.owner, id, &OPENAI, stream::respond(running, made));
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
        // Those of a thought are not told.
        made.logprobs = answer.logprobs.into_iter().skip(answer.stats.reasoning_tokens).collect();
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
    let model = common::model_of(&state, &call, &mut fields).await?;
    let Read { ask, ignored, .. } = read(&state, call.asker.owner, &mut fields, model.engine.llm())?;
    let prompt = request::render(model, ask.input, ask.thinking).await?;
    Ok(respond_json(&json!({ "object": "response.input_tokens", "input_tokens": prompt.tokens.len() }), &ignored))
}

/// `GET /v1/responses/ID`; with `?stream=true`, the events of one that is made in the background.
pub(super) async fn get(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let id = id_of(&call);
    let object = state.stored.find(call.asker.owner, id, |kept| kept.object.clone())?;
    let query = paging::query(&call.uri)?;
    let after = paging::number(&query, "starting_after")?;
    match query.get("stream").map(String::as_str) {
        Some("true") => state.streams.after(call.asker.owner, id, after),
        None | Some("false") => Ok(respond_json(&object, &[])),
        Some(_) => Err(ApiError::field("stream", "true or false is wanted")),
    }
}

/// The answer that a path names.
fn id_of(call: &Call) -> &str {
    let rest = call.uri.path().strip_prefix("/v1/responses/").unwrap_or_default();
    rest.split('/').next().unwrap_or_default()
}

/// `GET /v1/responses/ID/input_items`: what an answer answers, the conversation before it included, the latest first.
pub(super) async fn input_items(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let items = state.stored.find(call.asker.owner, id_of(&call), |kept| kept.items.clone())?;
    Ok(respond_json(&paging::page(items, &paging::query(&call.uri)?, Limits { usual: 20, most: 100 })?, &[]))
}

/// `POST /v1/responses/ID/cancel`
pub(super) async fn cancel(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let id = id_of(&call);
    let kept = |kept: &StoredAnswer| (kept.turns.clone(), kept.items.clone(), kept.object.clone());
    let (turns, items, mut object) = state.stored.find(call.asker.owner, id, kept)?;
    if object["background"] != true {
        return Err(ApiError::bad("only a response that is made in the background can be cancelled"));
    }
    let mut ended = object.clone();
    ended["status"] = "cancelled".into();
    let last = |number: u64| events::last_event("response.cancelled", number, &ended);
    if state.streams.stop(call.asker.owner, id, last) {
        object = ended;
        state.stored.keep(call.asker.owner, id, turns, items, object.clone());
    }
    Ok(respond_json(&object, &[]))
}

/// `DELETE /v1/responses/ID`
pub(super) async fn delete(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let id = id_of(&call);
    let mut object = state.stored.find(call.asker.owner, id, |kept| kept.object.clone())?;
    object["status"] = "cancelled".into();
    // No client can ask for it any more: the work for one that is still made ends.
    state.streams.stop(call.asker.owner, id, |number| events::last_event("response.cancelled", number, &object));
    state.stored.remove(call.asker.owner, id);
    Ok(respond_json(&json!({ "id": id, "object": "response.deleted", "deleted": true }), &[]))
}
