//! What requests of all dialects have in common: the model, sampling, forms, thinking and tools, by OpenAI's names.

use super::body::{Fields, kind};
use super::error::ApiError;
use super::models::Served;
use super::request::Ask;
use super::routes::State;
use crate::chat::{Thinking, ThinkingMode, Tools, Vars};
use crate::engine::{Llm, Logprob};
use crate::sample::{Form, PARAMETERS, Params};
use crate::tokenizer::Special;
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Result<T> = std::result::Result<T, ApiError>;

/// What answers say about the program that made them; clients of llama-server expect a number of a build, `b...`.
pub(super) const BUILD: &str = concat!("b0-tokki-", env!("CARGO_PKG_VERSION"));
/// Most stop texts.
const MAX_STOPS: usize = 64;
/// Most answers to one request.
const MAX_CHOICES: i64 = 64;
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
    "verbosity",
    "prediction",
    "reasoning_format",
    "sse_ping_interval",
    "parse_tool_calls",
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
    for row in PARAMETERS {
        for key in row.keys {
            let Some(value) = fields.take(key) else { continue };
            row.set(&mut ask.sampling, &value)
                .map_err(|wanted| fields.wrong(key, format!("{wanted} is wanted, not {}", brief(&value))))?;
        }
    }
    ask.seed = fields.int("seed")?.and_then(|seed| u64::try_from(seed).ok());
    ask.stop = fields.strings("stop")?.unwrap_or_default();
    if ask.stop.len() > MAX_STOPS {
        return Err(ApiError::field("stop", format!("at most {MAX_STOPS} texts are allowed")));
    }
    ask.n = fields.count("n", 1, MAX_CHOICES)?.unwrap_or(1);
    ask.ignore_eos = fields.bool("ignore_eos")?.unwrap_or(false);
    ask.slot = fields.int("id_slot")?.and_then(|slot| usize::try_from(slot).ok());
    ask.priority = fields.count("priority", -1000, 1000)?.map_or(0, |n| n as i32);
    ask.logit_bias = logit_bias(fields, llm)?;
    ask.form = form(fields)?;
    fields.skip(HINTS);
    fields.refuse(REFUSED)
}

/// What a value is: a number as it is, else its kind.
fn brief(value: &Value) -> String {
    if value.is_number() { value.to_string() } else { kind(value).to_owned() }
}

/// The parameters of sampling under the names that requests have for them.
pub(super) fn told(params: &Params) -> Map<String, Value> {
    let told = PARAMETERS.iter().filter_map(|row| Some(((*row.keys.first()?).to_owned(), row.get(params))));
    told.collect()
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
    let mut tools = Tools::read(&list).map_err(|why| ApiError::field("tools", why))?;
    if tools.is_empty() {
        return match choice.as_ref().map(|choice| choice.as_str().unwrap_or_default()) {
            None | Some("none" | "auto") => Ok(tools),
            Some(_) => Err(ApiError::field("tool_choice", "is only allowed when 'tools' are specified")),
        };
    }
    let forced = match &choice {
        None => None,
        Some(allowed) if allowed["type"] == "allowed_tools" => {
            let allowed = if allowed["allowed_tools"].is_object() { &allowed["allowed_tools"] } else { allowed };
            tools = some_of(&list, &tools, &allowed["tools"])?;
            match allowed["mode"].as_str() {
                None | Some("auto") => None,
                Some("required") => Some(None),
                Some(mode) => return Err(ApiError::field("tool_choice", format!("the mode '{mode}' is not known"))),
            }
        }
        Some(Value::String(word)) => match word.as_str() {
            "none" => return Ok(Tools::default()),
            "auto" => None,
            "required" | "any" => Some(None),
            _ => return Err(ApiError::field("tool_choice", format!("'{word}' is not known"))),
        },
        Some(named) => {
            let name = tool_name(named).filter(|name| tools.has(name));
            Some(Some(name.ok_or_else(|| ApiError::field("tool_choice", "it names no tool of this request"))?))
        }
    };
    if let Some(name) = forced {
        ask.form = Some(call_form(&tools, name));
    }
    ask.shown = Tools::markers().collect();
    vars.insert("tools".into(), list.into());
    Ok(tools)
}

/// The name of a tool, in the form of chats or of responses.
fn tool_name(tool: &Value) -> Option<&str> {
    tool["function"]["name"].as_str().or_else(|| tool["name"].as_str())
}

/// Those of the tools that a request allows for this answer; the prompt keeps all of them, so that it stays in the cache.
fn some_of(list: &[Value], all: &Tools, allowed: &Value) -> Result<Tools> {
    let names: Vec<&str> = allowed.as_array().into_iter().flatten().filter_map(tool_name).collect();
    if names.is_empty() || !names.iter().all(|name| all.has(name)) {
        return Err(ApiError::field("tool_choice", "it names no tool of this request"));
    }
    let is_allowed = |tool: &&Value| tool_name(tool).is_some_and(|name| names.contains(&name));
    let kept: Vec<Value> = list.iter().filter(is_allowed).cloned().collect();
    Tools::read(&kept).map_err(|why| ApiError::field("tools", why))
}

/// The form of an answer that is a call. Tools' schemas are written by others: what cannot be kept to is left out.
pub(super) fn call_form(tools: &Tools, name: Option<&str>) -> Form {
    Form::Lenient { schema: tools.schema(name, true), rest: tools.schema(name, false) }
}

/// The model that a request names.
pub(super) async fn model_of(state: &State, fields: &mut Fields) -> Result<Arc<Served>> {
    let name = fields.str("model")?;
    state.models.get(name.as_deref()).await
}

/// Chosen tokens with the logarithms of their probabilities, in OpenAI's shape.
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
fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}
