//! Ollama's dialect: lines of JSON.

use super::ask::{Ask, Input};
use super::body::Fields;
use super::card::{self, Card};
use super::common;
use super::dialect::Dialect;
use super::doc::object;
use super::error::ApiError;
use super::infill::Fim;
use super::log::Asker;
use super::messages;
use super::models::{Entry, Served};
use super::reply::{json as respond_json, note_ignored, note_warnings};
use super::request::{self, Progress, Running, finish_reason};
use super::state::{Call, State};
use super::stream::{self, EventWriter};
use crate::chat::{CallFinder, Kind, Thinking, ThinkingMode, Tools, Vars};
use crate::engine::{Llm, Logprob, Stats};
use crate::sample::Form;
use crate::tokenizer::Special;
use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

type Result<T> = std::result::Result<T, ApiError>;

/// How it tells errors.
pub(super) const DIALECT: Dialect = Dialect {
    error_name: "OllamaError",
    prefix: Some("/api/"),
    error: |error, _| json!({ "error": error.message }),
    schema: || object(&["error"], json!({ "error": { "type": "string" } })),
    event: |error| format!("{error}\n"),
    overloaded: None,
};

/// The version of the protocol: clients switch features by it.
const PROTOCOL: &str = "0.12.11";

/// `GET /`: the chat page for a browser, the words that Ollama's clients look for for everybody else.
pub(super) async fn root(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    if !state.options.page {
        return Err(ApiError::not_found("this server has no page"));
    }
    if call.wants_page {
        return Ok(super::page::page());
    }
    let mut response = Response::new(Body::from("Ollama is running"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

/// `GET /api/version`
pub(super) async fn version(_: Arc<State>, _: Call) -> Result<Response<Body>> {
    Ok(respond_json(&json!({ "version": PROTOCOL, "tokki": env!("CARGO_PKG_VERSION") }), &[]))
}

/// What lists tell of a model.
fn told(entry: &Entry, card: Option<&Card>) -> Value {
    card::entry(entry.name(), entry.bytes, entry.modified, card)
}

/// `GET /api/tags`
pub(super) async fn tags(state: Arc<State>, _: Call) -> Result<Response<Body>> {
    let models: Vec<Value> = state.models.list(told).await;
    Ok(respond_json(&json!({ "models": models }), &[]))
}

/// `GET /api/ps`
pub(super) async fn ps(state: Arc<State>, _: Call) -> Result<Response<Body>> {
    const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);
    let loaded = |model: &Arc<Entry>| {
        let served = model.served()?;
        let mut object = told(model, model.card().as_deref());
        object["expires_at"] =
            card::rfc3339(SystemTime::now() + model.expires().unwrap_or(FOREVER).min(FOREVER)).into();
        object["size_vram"] = 0.into();
        object["context_length"] = served.engine.options().session.context.into();
        Some(object)
    };
    let models: Vec<Value> = state.models.all().iter().filter_map(loaded).collect();
    Ok(respond_json(&json!({ "models": models }), &[]))
}

/// `POST /api/show`
pub(super) async fn show(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let name = fields.str("model")?.or(fields.str("name")?);
    let modified = state.models.find(name.as_deref())?.modified;
    let model = state.models.get(name.as_deref()).await?;
    let llm = model.engine.llm();
    let spec = &llm.model().spec;
    let mut info = Map::new();
    info.insert("general.architecture".into(), spec.arch.clone().into());
    info.insert(format!("{}.context_length", spec.arch), model.engine.options().session.context.into());
    info.insert(format!("{}.embedding_length", spec.arch), spec.embd.into());
    info.insert(format!("{}.block_count", spec.arch), spec.layers.len().into());
    Ok(respond_json(
        &json!({
            "modelfile": "", "parameters": "",
            "template": llm.template().map(|template| template.source()).unwrap_or_default(),
            "details": card::details(llm),
            "model_info": info,
            "capabilities": card::capabilities(llm),
            "modified_at": card::rfc3339(modified),
        }),
        &fields.rest(),
    ))
}

/// `options`, `format` and `think` of a request.
fn common(fields: &mut Fields, model: &Served) -> Result<Ask> {
    let llm = model.engine.llm();
    let mut ask = Ask::new(Input::Tokens(Vec::new()));
    let mut options = fields.within("options")?.unwrap_or_default();
    ask.max_tokens = match options.int("num_predict")? {
        Some(n) if n >= 0 => usize::try_from(n).ok(),
        _ => None,
    };
    ask.context = context(&mut options, model.engine.options().session.context)?;
    common::sampling(&mut options, &mut ask, llm)?;
    fields.leave(options);
    let wants = fields.bool("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", 0, common::MAX_LOGPROBS)?;
    if top.is_some_and(|top| top > 0) && !wants {
        return Err(ApiError::field("top_logprobs", "needs 'logprobs': true"));
    }
    ask.logprobs = wants.then_some(top.unwrap_or(0));
    // Nothing is cut in silence.
    fields.refuse(&["truncate", "shift"])?;
    common::one_answer(&ask)?;
    match fields.take("format") {
        None => {}
        Some(Value::String(word)) if word.is_empty() => {}
        Some(Value::String(word)) if word == "json" => {
            ask.keep_to("format", Form::JsonSchema(json!({ "type": "object" })))?;
        }
        Some(schema @ Value::Object(_)) => ask.keep_to("format", Form::JsonSchema(schema))?,
        Some(_) => return Err(ApiError::field("format", "\"json\" or a JSON schema is wanted")),
    }
    Ok(ask)
}

/// `num_ctx`: the most that this conversation may have, where that is less than what is served. Clients say a number with
/// every request, so that one that cannot be kept to counts as not read. The same holds for how to compute (`num_gpu`,
/// `num_thread`, ...): that is the server's.
fn context(options: &mut Fields, served: usize) -> Result<Option<usize>> {
    match options.int("num_ctx")? {
        Some(wanted) if wanted > 0 => {
            let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
            if wanted > served {
                options.put("num_ctx", wanted.into());
            }
            Ok(Some(wanted).filter(|&wanted| wanted < served))
        }
        _ => Ok(None),
    }
}

/// `think`: whether to think, or with how much effort.
fn think(fields: &mut Fields, vars: &mut Vars, llm: &Llm) -> Result<ThinkingMode> {
    let thinks = llm.capabilities().is_some_and(|c| c.thinking != Thinking::None);
    match fields.peek("think") {
        None | Some(Value::Null) => {
            fields.skip(&["think"]);
            Ok(ThinkingMode::Default)
        }
        Some(Value::Bool(false)) => {
            fields.skip(&["think"]);
            Ok(common::off(llm))
        }
        Some(Value::Bool(true) | Value::String(_)) if !thinks => {
            Err(ApiError::bad("this model does not support thinking"))
        }
        Some(Value::Bool(true)) => {
            fields.skip(&["think"]);
            Ok(ThinkingMode::On)
        }
        Some(Value::String(_)) => {
            let effort = common::effort(fields, "think")?.unwrap_or_default();
            let mut inner = Fields::of(json!({ "reasoning_effort": effort, "enable_thinking": true }), "think")?;
            common::thinking(&mut inner, vars, llm)
        }
        Some(_) => Err(ApiError::field("think", "true, false or an effort is wanted")),
    }
}

/// `POST /api/chat`
pub(super) async fn chat(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let llm = Arc::clone(model.engine.llm());
    let mut ask = common(&mut fields, &model)?;
    let mut vars = Vars::new();
    ask.thinking = think(&mut fields, &mut vars, &llm)?;
    let keep = keep_alive(&mut fields)?;
    let list = fields.array("messages")?.unwrap_or_default();
    let tools = fields.array("tools")?.unwrap_or_default();
    let known = Tools::read(&tools).map_err(|why| ApiError::field("tools", why))?;
    if list.is_empty() {
        return no_prompt(&state, model, keep, &mut fields, ("message", messages::plain("assistant", "")));
    }
    keep_for(&state, &model, keep);
    let mut list = messages::read(&llm, list)?;
    messages::strip_billing_line(&state, &mut list);
    vars.insert("messages".into(), list.into());
    if !tools.is_empty() {
        common::allow_calls(&known, &mut ask)?;
        ask.shown = Tools::markers().collect();
        vars.insert("tools".into(), tools.into());
    }
    ask.input = Input::Chat(vars);
    let finder = CallFinder::new(known);
    respond(&state, model, ask, &call.asker, &mut fields, true, finder).await
}

/// `POST /api/generate`
pub(super) async fn generate(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let llm = Arc::clone(model.engine.llm());
    let mut ask = common(&mut fields, &model)?;
    let mut vars = Vars::new();
    ask.thinking = think(&mut fields, &mut vars, &llm)?;
    let keep = keep_alive(&mut fields)?;
    let prompt = fields.str("prompt")?.unwrap_or_default();
    let raw = fields.bool("raw")?.unwrap_or(false) || llm.template().is_none();
    let system = fields.str("system")?;
    let suffix = fields.str("suffix")?.filter(|suffix| !suffix.is_empty());
    fields.refuse(&["images", "template", "context"])?;
    if prompt.is_empty() {
        return no_prompt(&state, model, keep, &mut fields, ("response", "".into()));
    }
    keep_for(&state, &model, keep);
    ask.input = if let Some(suffix) = suffix {
        Input::Tokens(Fim::of(&llm)?.prompt(&llm, &prompt, &suffix, &[]))
    } else if raw {
        Input::Text(prompt, Special::Parse)
    } else {
        let system = system.map(|text| messages::plain("system", &text));
        let mut list: Vec<Value> = system.into_iter().chain([messages::plain("user", &prompt)]).collect();
        messages::strip_billing_line(&state, &mut list);
        vars.insert("messages".into(), list.into());
        Input::Chat(vars)
    };
    respond(&state, model, ask, &call.asker, &mut fields, false, CallFinder::new(Tools::default())).await
}

/// How long a model is to stay open after this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeepAlive {
    /// As the server does by itself.
    Unsaid,
    For(Duration),
    Forever,
}

/// `keep_alive`: seconds, or a text such as "5m"; a negative one stands for ever.
fn keep_alive(fields: &mut Fields) -> Result<KeepAlive> {
    let wrong = || ApiError::field("keep_alive", "seconds, or a time such as \"5m\", are wanted");
    let seconds = match fields.take("keep_alive") {
        None => return Ok(KeepAlive::Unsaid),
        Some(Value::Number(number)) => number.as_f64().ok_or_else(wrong)?,
        Some(Value::String(text)) => match text.trim() {
            "" => return Ok(KeepAlive::Unsaid),
            text => match text.parse::<f64>() {
                Ok(seconds) => seconds,
                Err(_) => text.parse::<jiff::SignedDuration>().map_err(|_| wrong())?.as_secs_f64(),
            },
        },
        Some(_) => return Err(wrong()),
    };
    if seconds < 0.0 {
        return Ok(KeepAlive::Forever);
    }
    Duration::try_from_secs_f64(seconds).map(KeepAlive::For).map_err(|_| wrong())
}

/// `keep_alive` of a request that needs nothing else of it.
pub(super) fn keep_open(state: &State, model: &Served, fields: &mut Fields) -> Result<()> {
    keep_alive(fields).map(|keep| keep_for(state, model, keep))
}

fn keep_for(state: &State, model: &Served, keep: KeepAlive) {
    let Ok(entry) = state.models.find(Some(&model.name)) else { return };
    match keep {
        KeepAlive::Unsaid => {}
        KeepAlive::For(time) => entry.keep(Some(time)),
        KeepAlive::Forever => entry.keep(None),
    }
}

/// The answer to a request without a prompt, which opens a model, or closes it when it is to be kept for no time: one
/// object, with an empty text where the route has its own, and as a line where a stream is asked for.
fn no_prompt(
    state: &State,
    model: Arc<Served>,
    keep: KeepAlive,
    fields: &mut Fields,
    (member, empty): (&str, Value),
) -> Result<Response<Body>> {
    let stream = fields.bool("stream")?.unwrap_or(true);
    keep_for(state, &model, keep);
    let name = model.name.clone();
    drop(model);
    // While others use it, it is closed after them.
    let closed = keep == KeepAlive::For(Duration::ZERO);
    if closed {
        state.models.close(&name)?;
    }
    let mut object = json!({ "model": name, "created_at": card::rfc3339(SystemTime::now()),
                             "done": true, "done_reason": if closed { "unload" } else { "load" } });
    object[member] = empty;
    let mut response = respond_json(&object, &fields.rest());
    if stream {
        *response.body_mut() = Body::from(line(&object));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(Lines::CONTENT_TYPE));
    }
    Ok(response)
}

async fn respond(
    state: &Arc<State>,
    model: Arc<Served>,
    ask: Ask,
    asker: &Asker,
    fields: &mut Fields,
    chat: bool,
    finder: CallFinder,
) -> Result<Response<Body>> {
    let stream = fields.bool("stream")?.unwrap_or(true);
    let ignored = fields.rest();
    let running = request::start(state, model, Ask { n: 1, ..ask }, asker).await?;
    let warnings = running.warnings.clone();
    let (model, llm) = (running.model.name.clone(), Arc::clone(running.model.engine.llm()));
    let mut lines = Lines { model, llm, chat, finder, logprobs: Vec::new() };
    let mut response = if stream {
        stream::respond(running, lines)
    } else {
        let (mut answers, _running) = running.whole().await?;
        let answer = answers.remove(0);
        let (content, calls) = lines.finder.whole(&answer.content, &answer.called);
        let calls = calls.iter().map(call_object).collect();
        lines.logprobs = answer.logprobs;
        let mut last = lines.last(&content, &answer.reasoning, calls, &answer.stats);
        common::warn(&mut last, &lines.finder.warnings());
        respond_json(&last, &[])
    };
    note_ignored(&mut response, &ignored);
    note_warnings(&mut response, &warnings);
    Ok(response)
}

/// Arguments are an object here.
fn call_object(call: &crate::chat::ToolCall) -> Value {
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
    json!({ "function": { "name": call.name, "arguments": arguments } })
}

struct Lines {
    model: String,
    llm: Arc<Llm>,
    chat: bool,
    finder: CallFinder,
    /// Chosen tokens that have not been told yet.
    logprobs: Vec<Logprob>,
}

impl Lines {
    fn object(&mut self, content: &str, thinking: &str, calls: Vec<Value>) -> Value {
        let mut object = json!({ "model": self.model, "created_at": card::rfc3339(SystemTime::now()), "done": false });
        let chosen = std::mem::take(&mut self.logprobs);
        if !chosen.is_empty() {
            object["logprobs"] = common::logprobs(&self.llm, &chosen);
        }
        if self.chat {
            let mut message = messages::plain("assistant", content);
            if !thinking.is_empty() {
                message["thinking"] = thinking.into();
            }
            if !calls.is_empty() {
                message["tool_calls"] = calls.into();
            }
            object["message"] = message;
        } else {
            object["response"] = content.into();
            if !thinking.is_empty() {
                object["thinking"] = thinking.into();
            }
        }
        object
    }

    fn last(&mut self, content: &str, thinking: &str, calls: Vec<Value>, stats: &Stats) -> Value {
        let nanos = |seconds: f64| (seconds.max(0.0) * 1e9) as u64;
        let mut object = self.object(content, thinking, calls);
        object["done"] = true.into();
        object["done_reason"] = finish_reason(stats).into();
        object["total_duration"] = nanos(stats.prefill_s + stats.decode_s).into();
        object["load_duration"] = 0.into();
        object["prompt_eval_count"] = stats.prompt_tokens.into();
        object["prompt_eval_duration"] = nanos(stats.prefill_s).into();
        object["eval_count"] = stats.tokens.into();
        object["eval_duration"] = nanos(stats.decode_s).into();
        object
    }
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

impl EventWriter for Lines {
    const DIALECT: &'static Dialect = &DIALECT;
    const CONTENT_TYPE: &'static str = "application/x-ndjson";

    fn begin(&mut self, _: &Running) -> String {
        String::new()
    }

    fn event(&mut self, progress: Progress) -> String {
        match progress {
            Progress::Piece { kind: Kind::Reasoning, text, .. } => line(&self.object("", &text, Vec::new())),
            Progress::Piece { kind, text, .. } => {
                let text = self.finder.push_part(kind, &text);
                if text.is_empty() { String::new() } else { line(&self.object(&text, "", Vec::new())) }
            }
            Progress::Done { stats, .. } => {
                let (rest, calls) = self.finder.finish();
                let mut out = String::new();
                if !rest.is_empty() || !calls.is_empty() {
                    out += &line(&self.object(&rest, "", calls.iter().map(call_object).collect()));
                }
                let mut last = self.last("", "", Vec::new(), &stats);
                common::warn(&mut last, &self.finder.warnings());
                out + &line(&last)
            }
            Progress::Token { chosen, .. } => {
                self.logprobs.push(chosen);
                String::new()
            }
            Progress::Prefill { .. } => String::new(),
        }
    }

    /// An empty line would break clients.
    fn keep_alive(&mut self) -> String {
        line(&self.object("", "", Vec::new()))
    }
}
