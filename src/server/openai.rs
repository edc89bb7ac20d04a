//! OpenAI's dialect: chat completions, completions, models.

use super::body::Fields;
use super::error::{ApiError, Dialect};
use super::infill::Fim;
use super::models::Served;
use super::request::{self, Ask, Input, Progress, Running, Whole, finish_reason};
use super::routes::{Call, State, json as respond_json, note_ignored};
use super::stream::{self, Writer, data};
use super::{llama_server, messages};
use crate::chat::{CallFinder, Kind, Thinking, ThinkingMode, ToolCall, Tools, Vars};
use crate::engine::{Finish, Llm, Logprob, Stats};
use crate::sample::Form;
use crate::tokenizer::Special;
use axum::body::Body;
use axum::http::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

type Result<T> = std::result::Result<T, ApiError>;

/// Most tokens whose probabilities are told beside each chosen one.
const MAX_LOGPROBS: i64 = 20;
/// Most answers to one request.
const MAX_CHOICES: i64 = 64;
/// Most stop texts.
const MAX_STOPS: usize = 64;

/// Fields that steer others' servers and change no answer here.
const HINTS: &[&str] = &[
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "cache_prompt",
    "id_slot",
    "verbosity",
    "prediction",
    "timings_per_token",
    "reasoning_format",
    "sse_ping_interval",
    "parse_tool_calls",
    "return_tokens",
    "extra_body",
];

/// Fields that would change the answer.
const REFUSED: &[&str] = &[
    "modalities",
    "audio",
    "web_search_options",
    "functions",
    "function_call",
    "lora",
    "typical_p",
    "dry_multiplier",
    "xtc_probability",
    "mirostat",
    "dynatemp_range",
    "top_n_sigma",
    "best_of",
    "echo",
    "use_beam_search",
    "guided_json",
];

/// Reads the fields that all of OpenAI's requests, and llama-server's, have in common.
pub(super) fn sampling(fields: &mut Fields, ask: &mut Ask, llm: &Llm) -> Result<()> {
    ask.sampling.temperature = fields.number("temperature")?;
    ask.sampling.top_p = fields.number("top_p")?;
    ask.sampling.top_k = fields.int("top_k")?.map(|k| usize::try_from(k).unwrap_or(0));
    ask.sampling.min_p = fields.number("min_p")?;
    ask.sampling.presence_penalty = fields.number("presence_penalty")?;
    ask.sampling.frequency_penalty = fields.number("frequency_penalty")?;
    let repeat = [fields.number("repeat_penalty")?, fields.number("repetition_penalty")?];
    ask.sampling.repeat_penalty = repeat.into_iter().flatten().next();
    ask.sampling.penalty_window =
        fields.int("repeat_last_n")?.map(|n| if n < 0 { usize::MAX } else { usize::try_from(n).unwrap_or(0) });
    ask.seed = fields.int("seed")?.and_then(|seed| u64::try_from(seed).ok());
    ask.stop = fields.strings("stop")?.unwrap_or_default();
    if ask.stop.len() > MAX_STOPS {
        return Err(ApiError::field("stop", format!("at most {MAX_STOPS} texts are allowed")));
    }
    ask.n = fields.count("n", 1, MAX_CHOICES)?.unwrap_or(1);
    ask.ignore_eos = fields.bool("ignore_eos")?.unwrap_or(false);
    ask.priority = fields.count("priority", -1000, 1000)?.map_or(0, |n| n as i32);
    ask.logit_bias = logit_bias(fields, llm)?;
    ask.form = form(fields)?;
    fields.skip(HINTS);
    fields.refuse(REFUSED)
}

/// `max_tokens` under any of its names; -1 stands for no limit.
pub(super) fn max_tokens(fields: &mut Fields, names: &[&str]) -> Result<Option<usize>> {
    let mut found = None;
    for name in names {
        match fields.int(name)? {
            Some(-1) | None => {}
            Some(n) if n >= 0 => found = found.or(usize::try_from(n).ok()),
            Some(n) => return Err(ApiError::field(name, format!("a number of tokens is wanted, not {n}"))),
        }
    }
    Ok(found)
}

/// An object of token ids (or texts), or pairs of them, and what is added; `false` bans a token.
fn logit_bias(fields: &mut Fields, llm: &Llm) -> Result<Vec<(u32, f32)>> {
    let wrong = |why: String| ApiError::field("logit_bias", why);
    let pairs: Vec<(Value, Value)> = match fields.take("logit_bias") {
        None => return Ok(Vec::new()),
        Some(Value::Object(map)) => map.into_iter().map(|(token, bias)| (Value::String(token), bias)).collect(),
        Some(Value::Array(pairs)) => pairs
            .into_iter()
            .map(|pair| match pair {
                Value::Array(pair) => match <[Value; 2]>::try_from(pair) {
                    Ok([token, bias]) => Ok((token, bias)),
                    Err(_) => Err(wrong("pairs of a token and a number are wanted".into())),
                },
                _ => Err(wrong("pairs of a token and a number are wanted".into())),
            })
            .collect::<Result<_>>()?,
        Some(_) => return Err(wrong("an object of token ids and numbers is wanted".into())),
    };
    let vocab = llm.model().spec.vocab as u64;
    let mut biases = Vec::new();
    for (token, bias) in pairs {
        let bias = match bias {
            Value::Bool(false) => f32::NEG_INFINITY,
            ref number => match number.as_f64() {
                Some(x) if x.is_finite() => x as f32,
                _ => return Err(wrong(format!("the bias of {token} is no number"))),
            },
        };
        let id = token.as_u64().or_else(|| token.as_str().and_then(|text| text.parse().ok()));
        match (id, token.as_str()) {
            (Some(id), _) if id < vocab => biases.push((id as u32, bias)),
            (Some(id), _) => return Err(wrong(format!("token ids are below {vocab}, not {id}"))),
            (None, Some(text)) => {
                biases.extend(llm.tokenizer().encode(text, Special::Parse).into_iter().map(|id| (id, bias)));
            }
            (None, None) => return Err(wrong("pairs of a token and a number are wanted".into())),
        }
    }
    Ok(biases)
}

/// The form that the answer has to keep.
fn form(fields: &mut Fields) -> Result<Option<Form>> {
    let schema = fields.take("json_schema").map(Form::JsonSchema);
    let grammar = match fields.str("grammar")? {
        Some(text) if !text.trim().is_empty() => Some(Form::Lark(text)),
        _ => None,
    };
    let regex = fields.str("regex")?.map(Form::Regex);
    let format = fields.take("response_format").map(response_format).transpose()?.flatten();
    let mut forms = [schema, grammar, regex, format].into_iter().flatten();
    let first = forms.next();
    match forms.next() {
        Some(_) => Err(ApiError::bad("'response_format', 'json_schema', 'grammar' and 'regex' exclude each other")),
        None => Ok(first),
    }
}

fn response_format(value: Value) -> Result<Option<Form>> {
    let mut fields = Fields::of(value, "response_format")?;
    let kind = fields.str("type")?.unwrap_or_else(|| "text".to_owned());
    match kind.as_str() {
        "text" => Ok(None),
        "json_object" => {
            let schema = fields.take("schema").unwrap_or_else(|| json!({ "type": "object" }));
            Ok(Some(Form::JsonSchema(schema)))
        }
        "json_schema" => {
            let named = fields.take("json_schema");
            let schema = named.as_ref().map(|named| named["schema"].clone()).or_else(|| fields.take("schema"));
            match schema {
                Some(schema @ (Value::Object(_) | Value::Bool(_))) => Ok(Some(Form::JsonSchema(schema))),
                _ => Err(ApiError::field("response_format.json_schema.schema", "a JSON schema is wanted")),
            }
        }
        "grammar" => Ok(fields.str("grammar")?.map(Form::Lark)),
        "regex" => Ok(fields.str("regex")?.map(Form::Regex)),
        _ => Err(ApiError::field("response_format.type", format!("'{kind}' is not known"))),
    }
}

/// How much to think: an effort, a budget, or switches of the template.
pub(super) fn thinking(fields: &mut Fields, vars: &mut Vars, llm: &Llm) -> Result<ThinkingMode> {
    let mut budget = None;
    let mut effort = fields.str("reasoning_effort")?;
    if let Some(mut reasoning) = fields.object("reasoning")? {
        effort = effort.or_else(|| reasoning.remove("effort").and_then(|e| e.as_str().map(str::to_owned)));
    }
    let kwargs = fields.object("chat_template_kwargs")?.unwrap_or_default();
    const BUDGETS: [&str; 4] =
        ["reasoning_budget_tokens", "thinking_budget_tokens", "thinking_budget", "reasoning_budget"];
    for name in BUDGETS {
        let tokens = fields.int(name)?.or_else(|| kwargs.get(name).and_then(Value::as_i64));
        budget = budget.or(tokens.filter(|&n| n >= 0).map(|n| usize::try_from(n).unwrap_or(usize::MAX)));
    }
    vars.extend(kwargs.into_iter().filter(|(name, _)| name != "messages" && !BUDGETS.contains(&name.as_str())));
    let mut mode = ThinkingMode::Default;
    if let Some(effort) = effort {
        match effort.as_str() {
            "none" | "minimal" | "off" => mode = off(llm),
            "low" | "medium" | "high" | "xhigh" | "max" => drop(vars.insert("reasoning_effort".into(), effort.into())),
            _ => return Err(ApiError::field("reasoning_effort", format!("'{effort}' is not known"))),
        }
    }
    Ok(match budget {
        Some(0) => off(llm),
        Some(tokens) if llm.capabilities().is_some_and(|c| c.thinking != Thinking::None) => {
            ThinkingMode::Budget(tokens)
        }
        _ => mode,
    })
}

/// No thinking: by the template's switch, or by closing the thought at once.
pub(super) fn off(llm: &Llm) -> ThinkingMode {
    match llm.capabilities().map(|capabilities| &capabilities.thinking) {
        Some(Thinking::Switch(_)) => ThinkingMode::Off,
        Some(Thinking::Forced | Thinking::Free | Thinking::Effort) => ThinkingMode::Budget(0),
        Some(Thinking::None) | None => ThinkingMode::Default,
    }
}

/// The tools of a request and what is to be done with them.
pub(super) fn tools(fields: &mut Fields, vars: &mut Vars, ask: &mut Ask) -> Result<Tools> {
    let list = fields.array("tools")?.unwrap_or_default();
    let choice = fields.take("tool_choice");
    let tools = Tools::read(&list).map_err(|why| ApiError::field("tools", why))?;
    if tools.is_empty() {
        return Ok(tools);
    }
    let forced = match &choice {
        None => None,
        Some(Value::String(word)) => match word.as_str() {
            "none" => return Ok(Tools::default()),
            "auto" => None,
            "required" | "any" => Some(None),
            _ => return Err(ApiError::field("tool_choice", format!("'{word}' is not known"))),
        },
        Some(named) => {
            let name = named["function"]["name"].as_str().or_else(|| named["name"].as_str());
            let name = name.filter(|name| tools.has(name));
            Some(Some(name.ok_or_else(|| ApiError::field("tool_choice", "it names no tool of this request"))?))
        }
    };
    if let Some(name) = forced {
        ask.form = Some(Form::JsonSchema(tools.schema(name)));
    }
    ask.shown = Tools::markers().collect();
    vars.insert("tools".into(), list.into());
    Ok(tools)
}

/// A chat request: what it asks for, and how the answer is written.
struct Chat {
    ask: Ask,
    tools: Tools,
    parallel_calls: bool,
    stream: bool,
    usage: bool,
    progress: bool,
    ignored: Vec<String>,
}

fn read_chat(fields: &mut Fields, llm: &Llm) -> Result<Chat> {
    let list = fields.array("messages")?.ok_or_else(|| ApiError::field("messages", "is missing"))?;
    let mut list = messages::read(llm, list)?;
    strip_billing_line(&mut list);
    let mut vars = Vars::new();
    let mut ask = Ask::new(Input::Tokens(Vec::new()));
    sampling(fields, &mut ask, llm)?;
    ask.max_tokens = max_tokens(fields, &["max_completion_tokens", "max_tokens", "n_predict"])?;
    ask.thinking = thinking(fields, &mut vars, llm)?;
    let tools = tools(fields, &mut vars, &mut ask)?;
    let wants = fields.bool("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", 0, MAX_LOGPROBS)?;
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
    let mut options = fields.object("stream_options")?.unwrap_or_default();
    let usage = options.remove("include_usage").and_then(|on| on.as_bool()).unwrap_or(false);
    let (stream, progress) =
        (fields.bool("stream")?.unwrap_or(false), fields.bool("return_progress")?.unwrap_or(false));
    let parallel_calls = fields.bool("parallel_tool_calls")?.unwrap_or(true);
    Ok(Chat { ask, tools, parallel_calls, stream, usage, progress, ignored: fields.rest() })
}

fn strip_billing_line(list: &mut [Value]) {
    let Some(first) = list.first_mut().filter(|first| first["role"] == "system") else { return };
    let rest = first["content"].as_str().and_then(messages::without_billing_line).map(str::to_owned);
    if let Some(rest) = rest {
        first["content"] = rest.into();
    }
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

/// `POST /v1/chat/completions/input_tokens`
pub(super) async fn input_tokens(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = model_of(&state, &mut fields)?;
    let Chat { ask, ignored, .. } = read_chat(&mut fields, model.engine.llm())?;
    let work = tokio::task::spawn_blocking(move || request::prompt(&model, ask.input, ask.thinking));
    let prompt = work.await.map_err(|_| ApiError::internal("rendering failed"))??;
    Ok(respond_json(&json!({ "object": "response.input_tokens", "input_tokens": prompt.tokens.len() }), &ignored))
}

/// The model that a request names.
pub(super) fn model_of(state: &State, fields: &mut Fields) -> Result<Arc<Served>> {
    let name = fields.str("model")?;
    state.models.get(name.as_deref())
}

/// `POST /v1/chat/completions`
pub(super) async fn chat(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = model_of(&state, &mut fields)?;
    let chat = read_chat(&mut fields, model.engine.llm())?;
    let Chat { ask, tools, parallel_calls, stream, usage, progress, ignored } = chat;
    let running = request::start(&state, model, ask, call.client).await?;
    let head = Head::new("chatcmpl", &running);
    let finders = (0..running.n).map(|_| (!tools.is_empty()).then(|| CallFinder::new(tools.clone()))).collect();
    let mut response = if stream {
        let choices = vec![Choice::default(); running.n];
        let writer = ChatStream {
            head,
            finders,
            choices,
            parallel_calls,
            usage,
            progress,
            prompt_tokens: running.prompt_tokens,
        };
        stream::respond(running, writer)
    } else {
        let (answers, running) = running.whole().await?;
        respond_json(&whole_chat(&head, &running, answers, finders, parallel_calls), &[])
    };
    note_ignored(&mut response, &ignored);
    Ok(response)
}

/// What all chunks of an answer begin with.
struct Head {
    id: String,
    created: u64,
    served: Arc<Served>,
}

impl Head {
    fn new(prefix: &str, running: &Running) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("{prefix}-{:x}{:08x}", now.as_micros(), running.seed as u32);
        Self { id, created: now.as_secs(), served: Arc::clone(&running.model) }
    }

    fn object(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.served.name,
            "system_fingerprint": concat!("tokki-", env!("CARGO_PKG_VERSION")),
            "choices": choices,
        })
    }

    fn llm(&self) -> &Llm {
        self.served.engine.llm()
    }
}

fn whole_chat(
    head: &Head,
    running: &Running,
    answers: Vec<Whole>,
    finders: Vec<Option<CallFinder>>,
    parallel_calls: bool,
) -> Value {
    let usage = usage(running.prompt_tokens, answers.iter().map(|answer| &answer.stats));
    let timings = answers.first().map(|answer| llama_server::timings(&answer.stats));
    let mut choices = Vec::new();
    for (index, (answer, finder)) in answers.into_iter().zip(finders).enumerate() {
        let (content, calls) = match finder {
            Some(mut finder) => {
                let text = finder.push(&answer.content);
                let (rest, calls) = finder.finish();
                (text + &rest, first_if(calls, !parallel_calls))
            }
            None => (answer.content, Vec::new()),
        };
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
            choice["logprobs"] = json!({ "content": logprobs(head.llm(), &answer.logprobs) });
        }
        choices.push(choice);
    }
    let mut object = head.object("chat.completion", choices.into());
    object["usage"] = usage;
    object["timings"] = timings.unwrap_or_default();
    object
}

fn first_if(mut calls: Vec<ToolCall>, only_one: bool) -> Vec<ToolCall> {
    if only_one {
        calls.truncate(1);
    }
    calls
}

fn call_id(head: &Head, choice: usize, call: usize) -> String {
    format!("call_{}_{choice}_{call}", head.id.trim_start_matches("chatcmpl-"))
}

/// Tokens of a request, all answers together.
pub(super) fn usage<'a>(prompt: usize, stats: impl Iterator<Item = &'a Stats>) -> Value {
    let (mut tokens, mut reasoning, mut cached) = (0, 0, 0);
    for stats in stats {
        tokens += stats.tokens;
        reasoning += stats.reasoning_tokens;
        cached = stats.cached_tokens;
    }
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": tokens,
        "total_tokens": prompt + tokens,
        "prompt_tokens_details": { "cached_tokens": cached },
        "completion_tokens_details": { "reasoning_tokens": reasoning },
    })
}

pub(super) fn logprobs(llm: &Llm, chosen: &[Logprob]) -> Value {
    let one = |token: u32, logprob: f32| {
        let bytes = llm.tokenizer().piece(token, true);
        let text = String::from_utf8_lossy(bytes);
        json!({ "id": token, "token": text, "bytes": bytes, "logprob": finite(logprob) })
    };
    let entry = |chosen: &Logprob| {
        let mut entry = one(chosen.token, chosen.logprob);
        entry["top_logprobs"] = chosen.top.iter().map(|&(token, logprob)| one(token, logprob)).collect();
        entry
    };
    chosen.iter().map(entry).collect()
}

/// JSON has no infinity.
pub(super) fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}

/// What has been sent of one answer.
#[derive(Clone, Default)]
struct Choice {
    stats: Option<Stats>,
    logprobs: Vec<Logprob>,
}

struct ChatStream {
    head: Head,
    finders: Vec<Option<CallFinder>>,
    choices: Vec<Choice>,
    parallel_calls: bool,
    usage: bool,
    progress: bool,
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
        let chosen = std::mem::take(&mut self.choices[index].logprobs);
        if !chosen.is_empty() {
            chunk["choices"][0]["logprobs"] = json!({ "content": logprobs(self.head.llm(), &chosen) });
        }
        data(&chunk)
    }

    fn done(&mut self, index: usize, stats: Stats) -> String {
        let mut out = String::new();
        let mut reason = finish_reason(&stats);
        let found = self.finders[index].as_mut().map(CallFinder::finish);
        if let Some((rest, calls)) = found {
            if !rest.is_empty() {
                out += &self.delta(index, &json!({ "content": rest }));
            }
            for (at, call) in first_if(calls, !self.parallel_calls).into_iter().enumerate() {
                let header = json!({ "index": at, "id": call_id(&self.head, index, at), "type": "function",
                                     "function": { "name": call.name, "arguments": "" } });
                out += &self.delta(index, &json!({ "tool_calls": [header] }));
                let arguments = json!({ "index": at, "function": { "arguments": call.arguments } });
                out += &self.delta(index, &json!({ "tool_calls": [arguments] }));
                reason = "tool_calls";
            }
        }
        if !self.choices[index].logprobs.is_empty() {
            out += &self.delta(index, &json!({}));
        }
        let mut last = self.chunk(index, &json!({}), Some(reason));
        last["timings"] = llama_server::timings(&stats);
        self.choices[index].stats = Some(stats);
        out + &data(&last)
    }
}

impl Writer for ChatStream {
    const DIALECT: Dialect = Dialect::OpenAi;
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn begin(&mut self, _: &Running) -> String {
        let delta = json!({ "role": "assistant", "content": null });
        (0..self.choices.len()).map(|index| data(&self.chunk(index, &delta, None))).collect()
    }

    fn event(&mut self, progress: Progress) -> String {
        match progress {
            Progress::Prefill { done, total, cached } if self.progress => {
                let mut chunk = self.head.object("chat.completion.chunk", json!([]));
                chunk["prompt_progress"] = json!({ "total": total, "cache": cached, "processed": done });
                data(&chunk)
            }
            Progress::Prefill { .. } => String::new(),
            Progress::Token { choice, chosen } => {
                self.choices[choice].logprobs.push(chosen);
                String::new()
            }
            Progress::Piece { choice, kind: Kind::Reasoning, text } => {
                self.delta(choice, &json!({ "reasoning_content": text }))
            }
            Progress::Piece { choice, text, .. } => {
                let text = match &mut self.finders[choice] {
                    Some(finder) => finder.push(&text),
                    None => text,
                };
                if text.is_empty() { String::new() } else { self.delta(choice, &json!({ "content": text })) }
            }
            Progress::Done { choice, stats } => self.done(choice, stats),
        }
    }

    fn end(&mut self) -> String {
        let mut out = String::new();
        if self.usage {
            let mut chunk = self.head.object("chat.completion.chunk", json!([]));
            chunk["usage"] = usage(self.prompt_tokens, self.choices.iter().filter_map(|choice| choice.stats.as_ref()));
            let stats = self.choices.iter().find_map(|choice| choice.stats.as_ref());
            chunk["timings"] = stats.map(llama_server::timings).unwrap_or_default();
            out += &data(&chunk);
        }
        out + "data: [DONE]\n\n"
    }

    fn keep_alive(&mut self) -> String {
        ":\n\n".to_owned()
    }

    fn error(&mut self, error: &ApiError) -> String {
        data(&error.body(Self::DIALECT, &self.head.id))
    }
}

/// `POST /v1/completions`
pub(super) async fn completions(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = model_of(&state, &mut fields)?;
    let llm = Arc::clone(model.engine.llm());
    let mut ask = Ask::new(Input::Tokens(Vec::new()));
    sampling(&mut fields, &mut ask, &llm)?;
    ask.max_tokens = max_tokens(&mut fields, &["max_tokens", "max_completion_tokens", "n_predict"])?;
    ask.logprobs = fields.count("logprobs", 0, MAX_LOGPROBS)?;
    let suffix = fields.str("suffix")?.filter(|suffix| !suffix.is_empty());
    let prompt = fields.take("prompt").ok_or_else(|| ApiError::field("prompt", "is missing"))?;
    let mut prompts = llama_server::prompts(&llm, prompt)?;
    if let Some(suffix) = suffix {
        let fim = Fim::of(&llm)?;
        for input in &mut prompts {
            let Input::Text(text, _) = input else {
                return Err(ApiError::field("suffix", "needs a prompt that is a text"));
            };
            *input = Input::Tokens(fim.prompt(&llm, text, &suffix, &[]));
        }
    }
    let mut options = fields.object("stream_options")?.unwrap_or_default();
    let usage = options.remove("include_usage").and_then(|on| on.as_bool()).unwrap_or(false);
    let stream = fields.bool("stream")?.unwrap_or(false);
    let ignored = fields.rest();
    let mut response = if stream {
        let [input] = <[Input; 1]>::try_from(prompts)
            .map_err(|_| ApiError::field("prompt", "one prompt is wanted for a stream, not several"))?;
        let running = request::start(&state, model, Ask { input, ..ask }, call.client).await?;
        let stats = vec![None; running.n];
        let writer = TextStream { head: Head::new("cmpl", &running), stats, usage, prompt: running.prompt_tokens };
        stream::respond(running, writer)
    } else {
        let mut begun = Vec::new();
        for input in prompts {
            begun.push(request::start(&state, Arc::clone(&model), Ask { input, ..ask.clone() }, call.client).await?);
        }
        let head = begun.first().map(|running| Head::new("cmpl", running));
        let (mut choices, mut all, mut prompt_tokens) = (Vec::new(), Vec::new(), 0);
        for running in begun {
            let (answers, running) = running.whole().await?;
            prompt_tokens += running.prompt_tokens;
            for answer in answers {
                let logprobs =
                    (!answer.logprobs.is_empty()).then(|| json!({ "content": logprobs(&llm, &answer.logprobs) }));
                choices.push(json!({ "index": choices.len(), "text": answer.reasoning + &answer.content,
                                     "finish_reason": finish_reason(&answer.stats), "logprobs": logprobs }));
                all.push(answer.stats);
            }
        }
        let mut object = head.map_or_else(Value::default, |head| head.object("text_completion", choices.into()));
        object["usage"] = self::usage(prompt_tokens, all.iter());
        object["timings"] = all.first().map(llama_server::timings).unwrap_or_default();
        respond_json(&object, &[])
    };
    note_ignored(&mut response, &ignored);
    Ok(response)
}

struct TextStream {
    head: Head,
    stats: Vec<Option<Stats>>,
    usage: bool,
    prompt: usize,
}

impl TextStream {
    fn chunk(&self, index: usize, text: &str, finish: Option<&str>) -> String {
        let choice = json!({ "index": index, "text": text, "finish_reason": finish, "logprobs": null });
        data(&self.head.object("text_completion", json!([choice])))
    }
}

impl Writer for TextStream {
    const DIALECT: Dialect = Dialect::OpenAi;
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn begin(&mut self, _: &Running) -> String {
        ":\n\n".to_owned()
    }

    fn event(&mut self, progress: Progress) -> String {
        match progress {
            Progress::Piece { choice, text, .. } => self.chunk(choice, &text, None),
            Progress::Done { choice, stats } => {
                let last = self.chunk(choice, "", Some(finish_reason(&stats)));
                self.stats[choice] = Some(stats);
                last
            }
            Progress::Prefill { .. } | Progress::Token { .. } => String::new(),
        }
    }

    fn end(&mut self) -> String {
        let mut out = String::new();
        if self.usage {
            let mut chunk = self.head.object("text_completion", json!([]));
            chunk["usage"] = usage(self.prompt, self.stats.iter().flatten());
            out += &data(&chunk);
        }
        out + "data: [DONE]\n\n"
    }

    fn keep_alive(&mut self) -> String {
        ":\n\n".to_owned()
    }

    fn error(&mut self, error: &ApiError) -> String {
        data(&error.body(Self::DIALECT, &self.head.id))
    }
}

fn model_object(model: &Served) -> Value {
    let (llm, context) = (model.engine.llm(), model.engine.options().session.context);
    let spec = &llm.model().spec;
    json!({
        "id": model.name,
        "aliases": [],
        "tags": [],
        "object": "model",
        "created": model.created,
        "owned_by": "tokki",
        "max_model_len": context,
        "context_length": context,
        "meta": {
            "n_vocab": spec.vocab,
            "n_ctx": context,
            "n_ctx_train": spec.context_train,
            "n_embd": spec.embd,
            "size": llm.model().gguf.file_bytes(),
        },
    })
}

/// `GET /v1/models`
pub(super) async fn models(state: Arc<State>, _: Call) -> Result<Response<Body>> {
    let data: Vec<Value> = state.models.all().iter().map(|model| model_object(model)).collect();
    let entries: Vec<Value> = state.models.all().iter().map(|model| super::ollama::entry(model)).collect();
    let first = state.models.all().first().map(|model| model.name.clone());
    let last = state.models.all().last().map(|model| model.name.clone());
    let list = json!({ "object": "list", "data": data, "models": entries,
                       "has_more": false, "first_id": first, "last_id": last });
    Ok(respond_json(&list, &[]))
}

/// `GET /v1/models/NAME`
pub(super) async fn model(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let name = call.uri.path().trim_start_matches("/v1/models/");
    let found = state.models.all().iter().find(|model| model.name == name);
    found.map(|model| respond_json(&model_object(model), &[])).ok_or_else(|| ApiError::no_model(name))
}

/// Whether the context, not a limit of the request, ended an answer.
pub(super) fn ended_by_context(stats: &Stats) -> bool {
    stats.finish == Some(Finish::Context)
}
