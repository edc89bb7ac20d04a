//! Anthropic's dialect: messages.

use super::ask::{Ask, Input};
use super::body::{self, Fields};
use super::common;
use super::dialect::Dialect;
use super::doc::object;
use super::error::ApiError;
use super::events::named;
use super::messages;
use super::reply::{json as respond_json, note_ignored, note_warnings};
use super::request::{self, Progress, Running};
use super::state::{Call, State};
use super::stream::{self, EventWriter};
use crate::chat::{CallFinder, Kind, ToolCall, Tools, Vars};
use crate::engine::{FinishReason, Llm, Stats};
use crate::sample::Form;
use axum::body::Body;
use axum::http::Response;
use serde_json::{Value, json};
use std::sync::Arc;

type Result<T> = std::result::Result<T, ApiError>;

/// How it tells errors.
pub(super) const DIALECT: Dialect = Dialect {
    error_name: "AnthropicError",
    prefix: Some("/v1/messages"),
    error,
    schema: error_schema,
    event: |error| named("error", error),
    overloaded: Some(529),
};

fn error(error: &ApiError, request_id: &str) -> Value {
    let kind = match error.status.as_u16() {
        400 | 405 | 408 | 501 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 | 431 => "request_too_large",
        429 => "rate_limit_error",
        _ if error.is_overload() => "overloaded_error",
        _ => "api_error",
    };
    let mut body = json!({ "type": kind, "message": error.message });
    if let Some((name, details)) = error.extra.iter().find(|(name, _)| *name == "details") {
        body[*name] = details.clone();
    }
    json!({ "type": "error", "error": body, "request_id": request_id })
}

fn error_schema() -> Value {
    let error = object(&["type", "message"], json!({ "type": { "type": "string" }, "message": { "type": "string" } }));
    object(
        &["type", "error"],
        json!({ "type": { "const": "error" }, "error": error, "request_id": { "type": "string" } }),
    )
}

/// Who speaks.
const MESSAGE_ROLES: &[&str] = &["user", "assistant", "system"];

/// Content blocks as one or more messages of the kind that templates read.
fn read_message(llm: &Llm, index: usize, message: Value, out: &mut Vec<Value>) -> Result<()> {
    let place = format!("messages[{index}]");
    let mut fields = Fields::of(message, &place)?;
    let role = fields.str("role")?.ok_or_else(|| fields.wrong("role", "is missing"))?;
    if !MESSAGE_ROLES.contains(&role.as_str()) {
        return Err(messages::unknown_role(&fields, &role, MESSAGE_ROLES));
    }
    let content = fields.take("content").unwrap_or_else(|| "".into());
    let blocks = match content {
        Value::String(text) => {
            out.push(messages::plain(&role, &text));
            return Ok(());
        }
        Value::Array(blocks) => blocks,
        _ => return Err(ApiError::field(&format!("{place}.content"), "a string or an array of blocks is wanted")),
    };
    let (mut texts, mut thought, mut calls) = (Vec::new(), String::new(), Vec::new());
    for (at, block) in blocks.into_iter().enumerate() {
        let place = format!("{place}.content[{at}]");
        let mut block = Fields::of(block, &place)?;
        match block.str("type")?.as_deref() {
            Some("text") => texts.push(block.str("text")?.unwrap_or_default()),
            Some("thinking") => thought += &block.str("thinking")?.unwrap_or_default(),
            Some("redacted_thinking") => {}
            Some("tool_use") => calls.push(json!({
                "id": block.str("id")?, "type": "function",
                "function": { "name": block.str("name")?, "arguments": block.take("input").unwrap_or_else(|| json!({})) },
            })),
            Some("tool_result") => {
                let result = match block.take("content") {
                    None => String::new(),
                    Some(content) => messages::text(content, &format!("{place}.content"))?,
                };
                out.push(json!({ "role": "tool", "content": result, "tool_call_id": block.str("tool_use_id")? }));
            }
            Some("document") => texts.push(document(&mut block)?),
            Some("image") => {
                return Err(ApiError::field(&place, "images are not supported: this server runs text models"));
            }
            other => {
                let why = format!("blocks of type '{}' are not supported", other.unwrap_or_default());
                return Err(ApiError::field(&place, why));
            }
        }
    }
    let text = texts.join("\n");
    if text.is_empty() && calls.is_empty() && thought.is_empty() {
        return Ok(());
    }
    let mut turn = match (role.as_str(), llm.template()) {
        ("assistant", Some(template)) => template.assistant_turn(&thought, &text),
        _ => messages::plain(&role, &text),
    };
    if !calls.is_empty() {
        turn["tool_calls"] = calls.into();
    }
    out.push(turn);
    Ok(())
}

/// A document that is text, with its title.
fn document(block: &mut Fields) -> Result<String> {
    let mut source = block.within("source")?.ok_or_else(|| block.wrong("source", "is missing"))?;
    let text = match source.str("type")?.as_deref() {
        Some("text") => source.str("data")?.unwrap_or_default(),
        Some("content") => messages::text(source.take("content").unwrap_or_default(), "source.content")?,
        _ => {
            let why = "documents that are no text are not supported: this server runs text models";
            return Err(source.wrong("type", why));
        }
    };
    source.skip(&["media_type"]);
    if block.within("citations")?.map(|mut citations| citations.bool("enabled")).transpose()?.flatten() == Some(true) {
        return Err(block.wrong("citations", "are not supported by this server"));
    }
    let before = [block.str("title")?, block.str("context")?].into_iter().flatten();
    Ok(before.chain([text]).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n"))
}

/// `system`: a text, or blocks of it.
fn system(state: &State, value: Value) -> Result<String> {
    let parts = match value {
        Value::String(text) => vec![text],
        Value::Array(blocks) => {
            let text = |block: Value| Ok(Fields::of(block, "system")?.str("text")?.unwrap_or_default());
            blocks.into_iter().map(text).collect::<Result<_>>()?
        }
        _ => return Err(ApiError::field("system", "a string or an array of text blocks is wanted")),
    };
    let kept = |text| messages::system_prompt(state, text);
    Ok(parts.into_iter().map(kept).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n"))
}

struct Read {
    ask: Ask,
    tools: Tools,
    /// Whether only the first call of an answer counts.
    one_call: bool,
    stream: bool,
    ignored: Vec<String>,
}

fn read(state: &State, fields: &mut Fields, llm: &Llm) -> Result<Read> {
    if fields.take("thread").is_some_and(|thread| !body::is_off(&thread)) {
        return Err(ApiError::no_threads());
    }
    let list = fields.array("messages")?.ok_or_else(|| ApiError::field("messages", "is missing"))?;
    if list.is_empty() {
        return Err(ApiError::field("messages", "at least one message is wanted"));
    }
    let mut turns = Vec::new();
    if let Some(value) = fields.take("system") {
        let text = system(state, value)?;
        if !text.is_empty() {
            turns.push(messages::plain("system", &text));
        }
    }
    for (index, message) in list.into_iter().enumerate() {
        read_message(llm, index, message, &mut turns)?;
    }
    let mut ask = Ask::new(Input::Tokens(Vec::new()));
    let mut vars = Vars::new();
    let stop = fields.strings("stop_sequences")?;
    ask.max_tokens = common::max_tokens(fields, &["max_tokens"])?;
    let form = output_config(fields)?;
    fields.refuse_filled(&[("mcp_servers", HERE), ("container", HERE), ("compaction", WHOLE)])?;
    common::sampling(fields, &mut ask, llm)?;
    common::one_answer(&ask)?;
    ask.thinking = common::thinking(fields, &mut vars, llm)?;
    ask.stop = stop.unwrap_or_default();
    form.map(|form| ask.keep_to("output_config.format", form)).transpose()?;
    let choice = fields.peek("tool_choice").unwrap_or_default();
    let one_call = choice["disable_parallel_tool_use"] == true;
    let tools = tools(fields, &mut vars, &mut ask)?;
    let stream = fields.bool("stream")?.unwrap_or(false);
    common::warn_of(fields, "context_management", &mut ask);
    fields.skip(&["betas", "cache_control", "inference_geo"]);
    // The assistant's own words at the end are gone on with.
    let last = turns.last().filter(|turn| turn["role"] == "assistant" && turn["tool_calls"].is_null());
    let go_on = last.is_some_and(|turn| turn["content"].as_str().is_some_and(|text| !text.is_empty()));
    vars.insert("messages".into(), turns.into());
    ask.input = if go_on { Input::Continue(vars) } else { Input::Chat(vars) };
    Ok(Read { ask, tools, one_call, stream, ignored: fields.rest() })
}

/// Where tools have to run.
const HERE: &str =
    "nothing runs on the server; offer the tool as your own, with a name and an input_schema, and run it";

/// Why conversations are not made shorter.
const WHOLE: &str =
    "nothing of a conversation is left out by the server; ask for a summary, and send that in its place";

/// `output_config`: the form of the answer, and the effort, which goes where all dialects' efforts are read.
fn output_config(fields: &mut Fields) -> Result<Option<Form>> {
    let mut form = fields.within("output_format")?.map(format).transpose()?;
    if let Some(mut config) = fields.within("output_config")? {
        if let Some(effort) = common::effort(&mut config, "effort")? {
            fields.put("reasoning_effort", effort.into());
        }
        form = config.within("format")?.map(format).transpose()?.or(form);
        fields.leave(config);
    }
    Ok(form)
}

/// The form that `output_config.format` asks for.
fn format(mut fields: Fields) -> Result<Form> {
    match (fields.str("type")?.as_deref(), fields.take("schema")) {
        (Some("json_schema"), Some(schema)) => Ok(Form::JsonSchema(schema)),
        (Some("json_schema"), None) => Err(fields.wrong("schema", "is missing")),
        _ => Err(fields.wrong("type", "json_schema is wanted")),
    }
}

/// A client's own tool, in the form that templates read. Those with a type of their own run at Anthropic's, or have a schema
/// that only its models know.
fn own_tool(index: usize, tool: Value) -> Result<Value> {
    let mut tool = Fields::of(tool, &format!("tools[{index}]"))?;
    if let Some(kind) = tool.str("type")?.filter(|kind| kind != "custom") {
        return Err(tool.wrong("type", format!("'{kind}' is not supported by this server: {HERE}")));
    }
    let schema = tool.take("input_schema").filter(Value::is_object);
    let schema = schema.ok_or_else(|| tool.wrong("input_schema", "a JSON schema is wanted"))?;
    let (name, description) = (tool.str("name")?, tool.str("description")?);
    Ok(common::chat_tool(&name.into(), &description.into(), &schema))
}

/// Tools, in the form that templates read.
fn tools(fields: &mut Fields, vars: &mut Vars, ask: &mut Ask) -> Result<Tools> {
    let list = fields.array("tools")?.unwrap_or_default();
    let choice = fields.object("tool_choice")?.unwrap_or_default();
    let own = list.into_iter().enumerate().map(|(index, tool)| own_tool(index, tool));
    let list: Vec<Value> = own.collect::<Result<_>>()?;
    let tools = Tools::read(&list).map_err(|why| ApiError::field("tools", why))?;
    if tools.is_empty() {
        return match choice.get("type").and_then(Value::as_str) {
            Some("any" | "tool") => Err(ApiError::field("tool_choice", "may only be specified while providing tools")),
            _ => Ok(tools),
        };
    }
    match choice.get("type").and_then(Value::as_str) {
        None | Some("auto") => common::allow_calls(&tools, ask)?,
        Some("none") => return Ok(Tools::default()),
        Some("any") => {
            let form = common::call_form(&tools, None, &mut ask.warnings);
            ask.keep_to("tool_choice", form)?;
        }
        Some("tool") => {
            let name = choice.get("name").and_then(Value::as_str).filter(|name| tools.has(name));
            let name = name.ok_or_else(|| ApiError::field("tool_choice", "it names no tool of this request"))?;
            let form = common::call_form(&tools, Some(name), &mut ask.warnings);
            ask.keep_to("tool_choice", form)?;
        }
        Some(other) => return Err(ApiError::field("tool_choice.type", format!("'{other}' is not known"))),
    }
    ask.shown = Tools::markers().collect();
    vars.insert("tools".into(), list.into());
    Ok(tools)
}

/// `POST /v1/messages/count_tokens`
pub(super) async fn count_tokens(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let Read { ask, ignored, .. } = read(&state, &mut fields, model.engine.llm())?;
    let prompt = request::render(model, ask.input, ask.thinking).await?;
    Ok(respond_json(&json!({ "input_tokens": prompt.tokens.len() }), &ignored))
}

/// `POST /v1/messages`
pub(super) async fn messages(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let Read { ask, tools, one_call, stream, ignored } = read(&state, &mut fields, model.engine.llm())?;
    let running = request::start(&state, model, ask, &call.asker).await?;
    let warnings = running.warnings.clone();
    let id = format!("msg_{}", call.id.trim_start_matches("req_"));
    let mut finder = CallFinder::new(tools);
    let mut response = if stream {
        let prompt = running.prompt_tokens;
        let (cached, index, open, started) = Default::default();
        stream::respond(
            running,
            MessageStream { request: call.id, id, finder, one_call, prompt, cached, index, open, started },
        )
    } else {
        let (mut answers, running) = running.whole().await?;
        let answer = answers.remove(0);
        let (text, calls) = finder.whole(&answer.content, &answer.called);
        let calls = common::first_if(calls, one_call);
        let mut content = Vec::new();
        if !answer.reasoning.is_empty() {
            content.push(json!({ "type": "thinking", "thinking": answer.reasoning, "signature": "" }));
        }
        if !text.is_empty() || (calls.is_empty() && content.is_empty()) {
            content.push(json!({ "type": "text", "text": text }));
        }
        let used = |(at, call): (usize, &ToolCall)| {
            let input: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
            json!({ "type": "tool_use", "id": tool_id(&id, at), "name": call.name, "input": input })
        };
        content.extend(calls.iter().enumerate().map(used));
        let (reason, word) = stop_reason(&answer.stats, !calls.is_empty());
        let usage = usage(running.prompt_tokens, answer.stats.cached_tokens, answer.stats.tokens);
        let mut object = json!({ "id": id, "type": "message", "role": "assistant", "model": running.model.name, "content": content,
                    "stop_reason": reason, "stop_sequence": word, "usage": usage });
        common::warn(&mut object, &finder.warnings());
        respond_json(&object, &[])
    };
    note_ignored(&mut response, &ignored);
    note_warnings(&mut response, &warnings);
    Ok(response)
}

fn tool_id(message: &str, index: usize) -> String {
    format!("toolu_{}_{index}", message.trim_start_matches("msg_"))
}

fn usage(prompt: usize, cached: usize, output: usize) -> Value {
    json!({ "input_tokens": prompt - cached, "output_tokens": output,
            "cache_read_input_tokens": cached, "cache_creation_input_tokens": 0 })
}

fn stop_reason(stats: &Stats, calls: bool) -> (&'static str, Option<String>) {
    match stats.finish {
        _ if calls => ("tool_use", None),
        Some(FinishReason::Length | FinishReason::Context) => ("max_tokens", None),
        _ if stats.stopped_by.is_some() => ("stop_sequence", stats.stopped_by.clone()),
        _ => ("end_turn", None),
    }
}

struct MessageStream {
    /// Of the request, which errors tell.
    request: String,
    id: String,
    finder: CallFinder,
    one_call: bool,
    prompt: usize,
    cached: usize,
    /// Number of the present block, or of the next one.
    index: usize,
    /// The kind of the block that is open.
    open: Option<&'static str>,
    started: bool,
}

impl MessageStream {
    /// Opens a block of this kind, unless one is open.
    fn block(&mut self, kind: &'static str, start: &Value) -> String {
        if self.open == Some(kind) {
            return String::new();
        }
        let mut out = self.close();
        self.open = Some(kind);
        self.started = true;
        out += &named(
            "content_block_start",
            &json!({ "type": "content_block_start", "index": self.index, "content_block": start }),
        );
        out
    }

    fn delta(&self, delta: &Value) -> String {
        named("content_block_delta", &json!({ "type": "content_block_delta", "index": self.index, "delta": delta }))
    }

    fn close(&mut self) -> String {
        let Some(kind) = self.open.take() else { return String::new() };
        let mut out = String::new();
        if kind == "thinking" {
            out += &self.delta(&json!({ "type": "signature_delta", "signature": "" }));
        }
        out += &named("content_block_stop", &json!({ "type": "content_block_stop", "index": self.index }));
        self.index += 1;
        out
    }

    fn text(&mut self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        self.block("text", &json!({ "type": "text", "text": "" }))
            + &self.delta(&json!({ "type": "text_delta", "text": text }))
    }
}

impl EventWriter for MessageStream {
    const DIALECT: &'static Dialect = &DIALECT;
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn begin(&mut self, running: &Running) -> String {
        let message = json!({ "id": self.id, "type": "message", "role": "assistant", "model": running.model.name,
                              "content": [], "stop_reason": null, "stop_sequence": null,
                              "usage": usage(self.prompt, 0, 0) });
        named("message_start", &json!({ "type": "message_start", "message": message }))
    }

    fn event(&mut self, progress: Progress) -> String {
        match progress {
            Progress::Prefill { cached, .. } => {
                self.cached = cached;
                String::new()
            }
            Progress::Token { .. } => String::new(),
            Progress::Piece { kind: Kind::Reasoning, text, .. } => {
                self.block("thinking", &json!({ "type": "thinking", "thinking": "", "signature": "" }))
                    + &self.delta(&json!({ "type": "thinking_delta", "thinking": text }))
            }
            Progress::Piece { kind, text, .. } => {
                let text = self.finder.push_part(kind, &text);
                self.text(&text)
            }
            Progress::Done { stats, .. } => {
                let (rest, calls) = self.finder.finish();
                let calls = common::first_if(calls, self.one_call);
                let mut out = self.text(&rest);
                if !self.started && calls.is_empty() {
                    out += &self.block("text", &json!({ "type": "text", "text": "" }));
                }
                for (at, call) in calls.iter().enumerate() {
                    out += &self.close();
                    let start =
                        json!({ "type": "tool_use", "id": tool_id(&self.id, at), "name": call.name, "input": {} });
                    out += &self.block("tool_use", &start);
                    out += &self.delta(&json!({ "type": "input_json_delta", "partial_json": call.arguments }));
                }
                out += &self.close();
                let (reason, word) = stop_reason(&stats, !calls.is_empty());
                let mut delta = json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": word },
                                    "usage": usage(self.prompt, stats.cached_tokens, stats.tokens) });
                common::warn(&mut delta, &self.finder.warnings());
                out + &named("message_delta", &delta)
            }
        }
    }

    fn end(&mut self) -> String {
        named("message_stop", &json!({ "type": "message_stop" }))
    }

    fn keep_alive(&mut self) -> String {
        named("ping", &json!({ "type": "ping" }))
    }

    fn error(&mut self, error: &ApiError) -> String {
        DIALECT.error_event(&self.request, error)
    }
}
