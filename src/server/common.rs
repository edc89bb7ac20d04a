//! What requests of all dialects have in common: the model, sampling, forms, thinking and tools, by OpenAI's names.

use super::ask::Ask;
use super::body::{Fields, kind};
use super::error::ApiError;
use super::models::Served;
use super::state::{Call, State};
use crate::chat::{Thinking, ThinkingMode, ToolCall, Tools, Vars, any_of};
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
/// Fields that steer others' servers and change no answer here: who asks, where it is kept, how a form is compiled.
const HINTS: &[&str] = &[
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "verbosity",
    "prediction",
    "sse_ping_interval",
    "guided_decoding_backend",
    "spaces_between_special_tokens",
    // What is kept where a context is shifted: here none is.
    "n_keep",
    "n_discard",
];

/// Fields that would change the answer, unless they say that it is to be as it is.
const REFUSED_FIELDS: &[&str] = &[
    "modalities",
    "audio",
    "functions",
    "function_call",
    "lora",
    "mirostat",
    "dynatemp_range",
    "top_n_sigma",
    "echo",
    "use_beam_search",
    "documents",
    "mm_processor_kwargs",
    "allowed_token_ids",
    "bad_words",
    "logits_processors",
    "truncate_prompt_tokens",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "guided_whitespace_pattern",
    "structural_tag",
    "t_max_predict_ms",
    "n_indent",
];

/// Fields that are refused with anything in them, and what to do instead.
const NEVER_FIELDS: &[(&str, &str)] = &[
    ("prompt_logprobs", "it tells probabilities of answers ('logprobs'), not of prompts"),
    ("web_search_options", "nothing is searched; put what the answer is to rest on into the messages"),
    ("moderation", "nothing looks through what is asked and answered; ask a model of its own to do so"),
    ("chat_template", "the template is the model's own; give variables for it in 'chat_template_kwargs'"),
];

/// Efforts of thinking; the first ones stand for none.
pub(super) const EFFORTS: [&str; 8] = ["none", "off", "minimal", "low", "medium", "high", "xhigh", "max"];
/// How many of them stand for none.
const NO_EFFORTS: usize = 3;

/// Reads the fields that all of OpenAI's requests, and llama-server's, have in common.
pub(super) fn sampling(fields: &mut Fields, ask: &mut Ask, llm: &Llm) -> Result<()> {
    for row in PARAMETERS {
        for key in row.keys {
            let Some(mut value) = fields.take(key) else { continue };
            if *key == "top_p" && value.as_f64() == Some(0.0) {
                // As at OpenAI: the likeliest token alone.
                value = f64::from(f32::MIN_POSITIVE).into();
            }
            row.set(&mut ask.sampling, &value)
                .map_err(|wanted| fields.wrong(key, format!("{wanted} is wanted, not {}", brief(&value))))?;
        }
    }
    ask.seed = fields.seed("seed")?;
    ask.stop = fields.strings("stop")?.unwrap_or_default();
    if ask.stop.len() > MAX_STOPS {
        return Err(ApiError::field("stop", format!("at most {MAX_STOPS} texts are allowed")));
    }
    ask.n = fields.count("n", 1, MAX_CHOICES)?.unwrap_or(1);
    ask.ignore_eos = fields.bool("ignore_eos")?.unwrap_or(false);
    ask.slot = fields.int("id_slot")?.and_then(|slot| usize::try_from(slot).ok());
    ask.priority = fields.count("priority", -1000, 1000)?.map_or(0, |n| n as i32);
    ask.logit_bias = logit_bias(fields, llm)?;
    from_template(fields)?;
    ask.form = form(fields)?;
    ends(fields, ask, llm)?;
    ask.reuse = fields.bool("cache_prompt")?.unwrap_or(true);
    if fields.int("best_of")?.is_some_and(|most| most != 1) {
        return Err(fields.wrong("best_of", "only 1 is supported: with 'n' all answers are told"));
    }
    let thinks = llm.capabilities().is_some_and(|c| c.thinking != Thinking::None);
    match fields.str("reasoning_format")?.as_deref() {
        None | Some("auto" | "deepseek") => {}
        Some("none") if !thinks => {}
        Some(_) => {
            return Err(fields.wrong("reasoning_format", "thoughts are told apart from the answer: auto is wanted"));
        }
    }
    samplers(fields)?;
    fields.skip(HINTS);
    fields.refuse_filled(NEVER_FIELDS)?;
    fields.refuse(REFUSED_FIELDS)
}

/// Most tokens whose probabilities are told beside each chosen one.
pub(super) const MAX_LOGPROBS: i64 = 20;

/// Steps of sampling in llama-server's words, in its usual order.
const STEPS: [&str; 9] = ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"];
/// The same as letters.
const STEP_LETTERS: &str = "edskypmxt";

/// `samplers`: only as usual, since the order is fixed here.
fn samplers(fields: &mut Fields) -> Result<()> {
    let usual = match fields.take("samplers") {
        None => true,
        Some(Value::String(letters)) => letters == STEP_LETTERS,
        Some(Value::Array(steps)) => {
            let named =
                |step: &Value| step.as_str().map(|step| if step == "typical_p" { "typ_p" } else { step }.to_owned());
            steps.iter().map(named).eq(STEPS.map(|step| Some(step.to_owned())))
        }
        Some(_) => false,
    };
    match usual {
        true => Ok(()),
        false => {
            let why =
                "the steps of sampling and their order are fixed; leave it out, and switch a step off by its own field";
            Err(fields.wrong("samplers", why))
        }
    }
}

/// What ends an answer besides the model and stop texts, and how that is shown: by vLLM's names.
fn ends(fields: &mut Fields, ask: &mut Ask, llm: &Llm) -> Result<()> {
    let vocab = llm.model().spec.vocab as u64;
    let id = |value: &Value| value.as_u64().filter(|&id| id < vocab).map(|id| id as u32);
    let list = fields.array("stop_token_ids")?.unwrap_or_default();
    let tokens: Option<Vec<u32>> = list.iter().map(id).collect();
    let wrong = || fields.wrong("stop_token_ids", format!("token ids below {vocab} are wanted"));
    ask.stop_tokens = tokens.filter(|tokens| tokens.len() <= MAX_STOPS).ok_or_else(wrong)?;
    ask.min_tokens = fields.count("min_tokens", 0, i64::from(i32::MAX))?.unwrap_or(0);
    ask.keep_stop = fields.bool("include_stop_str_in_output")?.unwrap_or(false);
    ask.show_control = !fields.bool("skip_special_tokens")?.unwrap_or(true);
    Ok(())
}

/// Takes a field that has no effect here, and says so in the answer's head.
pub(super) fn warn_of(fields: &mut Fields, name: &str, ask: &mut Ask) {
    if fields.take(name).is_some() {
        ask.warnings.push(format!("'{name}' has no effect here"));
    }
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

/// Forms that stand among the variables of the template, where gateways leave them, count as fields of the request.
fn from_template(fields: &mut Fields) -> Result<()> {
    const FORMS: [&str; 9] = [
        "grammar",
        "regex",
        "json_schema",
        "structured_outputs",
        "guided_json",
        "guided_regex",
        "guided_grammar",
        "guided_choice",
        "guided_json_object",
    ];
    let Some(mut variables) = fields.object("chat_template_kwargs")? else { return Ok(()) };
    for name in FORMS {
        let Some(form) = variables.remove(name).filter(|form| !form.is_null()) else { continue };
        if fields.peek(name).is_some_and(|other| !other.is_null()) {
            return Err(fields.wrong(name, "stands in 'chat_template_kwargs', too: only one of them is wanted"));
        }
        fields.put(name, form);
    }
    if !variables.is_empty() {
        fields.put("chat_template_kwargs", variables.into());
    }
    Ok(())
}

/// Dialects with one answer only do not take a number of answers.
///
/// # Errors
/// 400 where more than one are asked for.
pub(super) fn one_answer(ask: &Ask) -> Result<()> {
    match ask.n {
        1 => Ok(()),
        _ => Err(ApiError::field("n", "only 1 is supported here: /v1/chat/completions gives several answers")),
    }
}

/// The form that the answer has to keep.
fn form(fields: &mut Fields) -> Result<Option<Form>> {
    let mut forms = Vec::new();
    forms.extend(fields.take("json_schema").map(Form::JsonSchema));
    forms.extend(fields.filled("grammar")?.map(Form::Lark));
    forms.extend(fields.filled("regex")?.map(Form::Regex));
    forms.extend(fields.take("response_format").map(response_format).transpose()?.flatten());
    // As vLLM calls them, and as it called them before.
    forms_within(fields, "guided_", &mut forms)?;
    if let Some(mut inner) = fields.within("structured_outputs")? {
        forms_within(&mut inner, "", &mut forms)?;
        inner.refuse(&["structural_tag", "whitespace_pattern", "disable_additional_properties"])?;
        inner.skip(&["disable_fallback", "disable_any_whitespace", "_backend", "_backend_was_auto"]);
        fields.leave(inner);
    }
    let form = forms.pop();
    match forms.is_empty() {
        true => Ok(form),
        false => Err(ApiError::bad(
            "two forms of one answer exclude each other: 'response_format', 'json_schema', 'grammar', 'regex', \
             'structured_outputs', 'guided_...'",
        )),
    }
}

/// Forms whose names begin so: a schema (or its text), a regular expression, texts to choose from, a grammar, any object.
fn forms_within(fields: &mut Fields, head: &str, forms: &mut Vec<Form>) -> Result<()> {
    let name = |rest: &str| format!("{head}{rest}");
    match fields.take(&name("json")) {
        None => {}
        Some(Value::String(text)) => {
            let wrong = |why| fields.wrong(&name("json"), format!("a JSON schema is wanted: {why}"));
            forms.push(Form::JsonSchema(serde_json::from_str(&text).map_err(wrong)?));
        }
        Some(schema) => forms.push(Form::JsonSchema(schema)),
    }
    forms.extend(fields.filled(&name("regex"))?.map(Form::Regex));
    forms.extend(fields.filled(&name("grammar"))?.map(Form::Lark));
    if let Some(choices) = fields.strings(&name("choice"))? {
        let quoted: Vec<String> = choices.iter().map(|text| Value::from(text.as_str()).to_string()).collect();
        if choices.is_empty() || choices.iter().any(String::is_empty) {
            return Err(fields.wrong(&name("choice"), "texts to choose from are wanted"));
        }
        // As one word: of many rules each would be looked at at each letter.
        forms.push(Form::Lark(format!("start: CHOICE\nCHOICE: {}", quoted.join(" | "))));
    }
    if fields.bool(&name("json_object"))?.unwrap_or(false) {
        forms.push(Form::JsonSchema(json!({ "type": "object" })));
    }
    Ok(())
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
        "grammar" | "regex" => {
            let text = fields.filled(&kind)?;
            let text = text.ok_or_else(|| fields.wrong(&kind, "is missing"))?;
            Ok(Some(if kind == "regex" { Form::Regex(text) } else { Form::Lark(text) }))
        }
        _ => Err(ApiError::field("response_format.type", format!("'{kind}' is not known"))),
    }
}

/// An effort that is known.
///
/// # Errors
/// 400 with the list of those that are.
pub(super) fn effort(fields: &mut Fields, name: &str) -> Result<Option<String>> {
    let Some(effort) = fields.filled(name)? else { return Ok(None) };
    match EFFORTS.contains(&effort.as_str()) {
        true => Ok(Some(effort)),
        false => Err(fields.wrong(name, format!("one of {} is wanted, not '{effort}'", EFFORTS.join(", ")))),
    }
}

/// Whether to think, and how much, as an object or as true or false.
fn thinking_field(fields: &mut Fields) -> Result<(Option<bool>, Option<usize>)> {
    if let Some(Value::Bool(on)) = fields.peek("thinking") {
        fields.skip(&["thinking"]);
        return Ok((Some(on), None));
    }
    let Some(mut inner) = fields.within("thinking")? else { return Ok((None, None)) };
    let budget = inner.count("budget_tokens", 0, i64::from(i32::MAX))?;
    let on = match inner.str("type")?.as_deref() {
        Some("enabled" | "adaptive" | "auto") => true,
        Some("disabled") => false,
        _ => return Err(inner.wrong("type", "enabled, adaptive or disabled is wanted")),
    };
    fields.leave(inner);
    Ok((Some(on), budget))
}

/// How much to think: an effort, a budget, a switch, or variables of the template.
pub(super) fn thinking(fields: &mut Fields, vars: &mut Vars, llm: &Llm) -> Result<ThinkingMode> {
    let mut effort = effort(fields, "reasoning_effort")?;
    let (mut on, mut budget) = thinking_field(fields)?;
    if let Some(mut reasoning) = fields.within("reasoning")? {
        effort = effort.or(self::effort(&mut reasoning, "effort")?);
        budget = budget.or(reasoning.count("max_tokens", 0, i64::from(i32::MAX))?);
        on = on.or(reasoning.bool("enabled")?);
        reasoning.skip(&["summary", "generate_summary"]);
        fields.leave(reasoning);
    }
    on = on.or(fields.bool("enable_thinking")?);
    let kwargs = fields.object("chat_template_kwargs")?.unwrap_or_default();
    const BUDGETS: [&str; 5] = [
        "reasoning_budget_tokens",
        "thinking_budget_tokens",
        "thinking_token_budget",
        "thinking_budget",
        "reasoning_budget",
    ];
    for name in BUDGETS {
        let tokens = fields.int(name)?.or_else(|| kwargs.get(name).and_then(Value::as_i64));
        budget = budget.or(tokens.filter(|&n| n >= 0).map(|n| usize::try_from(n).unwrap_or(usize::MAX)));
    }
    vars.extend(kwargs.into_iter().filter(|(name, _)| name != "messages" && !BUDGETS.contains(&name.as_str())));
    let none = effort.as_ref().is_some_and(|effort| EFFORTS[..NO_EFFORTS].contains(&effort.as_str()));
    if let Some(effort) = effort.filter(|_| !none) {
        vars.insert("reasoning_effort".into(), effort.into());
    }
    if none || on == Some(false) || budget == Some(0) {
        return Ok(off(llm));
    }
    let thinks = llm.capabilities().is_some_and(|c| c.thinking != Thinking::None);
    Ok(match budget {
        _ if !thinks => ThinkingMode::Default,
        Some(tokens) => ThinkingMode::Budget(tokens),
        None if on == Some(true) => ThinkingMode::On,
        None => ThinkingMode::Default,
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
    let parsed = fields.bool("parse_tool_calls")?.unwrap_or(true);
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
    match forced {
        Some(name) => {
            let form = call_form(&tools, name, &mut ask.warnings);
            ask.keep_to("tool_choice", form)?;
        }
        None => allow_calls(&tools, ask)?,
    }
    ask.shown = Tools::markers().collect();
    vars.insert("tools".into(), list.into());
    // Whether calls are told apart from text.
    if parsed { Ok(tools) } else { Ok(Tools::default()) }
}

/// A tool in the form of chats, as most clients write it: what a prompt says of it is the same in every dialect.
pub(super) fn chat_tool(name: &Value, description: &Value, parameters: &Value) -> Value {
    let members = [("name", name), ("description", description), ("parameters", parameters)];
    let function: Map<String, Value> =
        members.into_iter().filter(|(_, v)| !v.is_null()).map(|(name, v)| (name.to_owned(), v.clone())).collect();
    json!({ "type": "function", "function": function })
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

/// Says in an answer, or in its last piece, what there is to say of it: what is known before it stands in the head.
pub(super) fn warn(object: &mut Value, warnings: &[&str]) {
    if !warnings.is_empty() {
        object["warnings"] = warnings.into();
    }
}

/// Calls, of which only the first counts where a request wants no more.
pub(super) fn first_if(mut calls: Vec<ToolCall>, only_one: bool) -> Vec<ToolCall> {
    if only_one {
        calls.truncate(1);
    }
    calls
}

/// The form of an answer that is a call. Tools' schemas are written by others: what cannot be kept to is left out, and told.
pub(super) fn call_form(tools: &Tools, name: Option<&str>, warnings: &mut Vec<String>) -> Form {
    warnings.extend(not_held(tools, name));
    Form::Lenient { schema: tools.schema(name, true), rest: tools.schema(name, false) }
}

/// What of the schemas of all tools, or of one, the arguments of a call are not held to.
pub(super) fn not_held(tools: &Tools, name: Option<&str>) -> Vec<String> {
    let chosen = tools.names().filter(|tool| name.is_none_or(|name| name == *tool));
    let told = |tool: &str| {
        let why = Form::JsonSchema(tools.parameters(tool)?.clone()).check().err()?;
        Some(format!("tool '{tool}': its schema is not kept to as a whole: {why}"))
    };
    chosen.filter_map(told).collect()
}

/// The model is free to call. Where the answer has to keep a form, it may be a call instead.
///
/// # Errors
/// 400 for a form that is no JSON schema.
pub(super) fn allow_calls(tools: &Tools, ask: &mut Ask) -> Result<()> {
    ask.form = match ask.form.take() {
        None => {
            ask.calls = Some(tools.clone());
            None
        }
        Some(Form::JsonSchema(schema @ Value::Object(_))) => {
            // Tools' schemas are written by others: those that cannot be kept to do not make the answer's fail.
            let schema_of = |name: &str| {
                let typed = tools.schema(Some(name), true);
                let kept = Form::JsonSchema(typed.clone()).check().is_ok();
                if kept { typed } else { tools.schema(Some(name), false) }
            };
            let calls = any_of(tools.names().map(schema_of).collect());
            Some(Form::JsonSchema(any_of(vec![schema, calls])))
        }
        Some(Form::Regex(_) | Form::Lark(_)) => {
            let why = "with a grammar, a regular expression or a choice of texts no tool could be called: leave out one of \
                       them, say \"tool_choice\": \"none\", or ask for a JSON schema";
            return Err(ApiError::field("tools", why));
        }
        other => other,
    };
    Ok(())
}

/// The model that a request names.
pub(super) async fn model_of(state: &State, call: &Call, fields: &mut Fields) -> Result<Arc<Served>> {
    let name = fields.str("model")?;
    let model = state.models.get(name.as_deref()).await?;
    call.asker.note.model(&model.name);
    Ok(model)
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
