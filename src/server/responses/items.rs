//! What a request for a response says besides its question: items of the input, as they are listed afterwards, and fields that
//! the answer repeats.

use super::super::ask::Ask;
use super::super::body::Fields;
use super::super::common;
use super::super::error::ApiError;
use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, ApiError>;

/// What may be told besides the answer: probabilities are; the rest belongs to tools that do not run here, or to thoughts that
/// are told openly.
const INCLUDED: [&str; 8] = [
    LOGPROBS,
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
];
const LOGPROBS: &str = "message.output_text.logprobs";
/// Classes of service; there is one here.
const TIERS: [&str; 5] = ["auto", "default", "flex", "scale", "priority"];
/// Fields that would bring in what is kept elsewhere.
const KEPT_ELSEWHERE: &[(&str, &str)] = &[
    ("conversation", "go on from an answer with 'previous_response_id'"),
    ("prompt", "no prompts are kept here; send the text"),
];
/// Most pairs of `metadata`, and most characters of a key and of a value.
const METADATA: (usize, usize, usize) = (16, 64, 512);

/// Reads the fields that an answer repeats, most of which say what holds here anyway.
pub(super) fn echo(fields: &mut Fields, ask: &mut Ask) -> Result<Map<String, Value>> {
    fields.refuse_filled(KEPT_ELSEWHERE)?;
    let truncation = fields.filled("truncation")?.unwrap_or_else(|| "disabled".to_owned());
    if truncation != "disabled" {
        return Err(fields.wrong(
            "truncation",
            "only 'disabled' is supported: nothing is cut; a prompt that is too long is refused",
        ));
    }
    // Such tools do not run here: none is called more often than this.
    let max_tool_calls = fields.count("max_tool_calls", 1, i64::MAX)?;
    if let Some(tier) = fields.str("service_tier")?.filter(|tier| !TIERS.contains(&tier.as_str())) {
        return Err(fields.wrong("service_tier", format!("one of {} is wanted, not '{tier}'", TIERS.join(", "))));
    }
    let included = fields.strings("include")?.unwrap_or_default();
    if let Some(odd) = included.iter().find(|name| !INCLUDED.contains(&name.as_str())) {
        return Err(fields.wrong("include", format!("'{odd}' is not known; {} are", INCLUDED.join(", "))));
    }
    let empty = included.iter().filter(|name| *name != LOGPROBS);
    ask.warnings.extend(empty.map(|name| format!("'include': there is no {name} here")));
    let top = fields.count("top_logprobs", 0, common::MAX_LOGPROBS)?;
    let wanted = included.iter().any(|name| name == LOGPROBS) || top.is_some_and(|top| top > 0);
    ask.logprobs = wanted.then_some(top.unwrap_or(0));
    let asked = |name: &str, or: Value| fields.peek(name).filter(|value| !value.is_null()).unwrap_or(or);
    let mut echo = Map::new();
    for (name, or) in [
        ("instructions", Value::Null),
        ("reasoning", json!({ "effort": null, "summary": null })),
        ("text", json!({ "format": { "type": "text" } })),
    ] {
        echo.insert(name.to_owned(), asked(name, or));
    }
    for name in ["user", "safety_identifier", "prompt_cache_key"] {
        echo.insert(name.to_owned(), fields.str(name)?.into());
    }
    echo.insert("metadata".to_owned(), metadata(fields)?.into());
    echo.insert("max_tool_calls".to_owned(), max_tool_calls.into());
    echo.insert("truncation".to_owned(), truncation.into());
    echo.insert("service_tier".to_owned(), "default".into());
    echo.insert("top_logprobs".to_owned(), top.unwrap_or(0).into());
    Ok(echo)
}

/// `metadata`: pairs of short texts.
fn metadata(fields: &mut Fields) -> Result<Map<String, Value>> {
    let pairs = fields.object("metadata")?.unwrap_or_default();
    let (most, key, value) = METADATA;
    let fits = |text: &str, most: usize| text.chars().count() <= most;
    let short =
        |(name, text): (&String, &Value)| fits(name, key) && text.as_str().is_some_and(|text| fits(text, value));
    match pairs.len() <= most && pairs.iter().all(short) {
        true => Ok(pairs),
        false => Err(fields.wrong(
            "metadata",
            format!("at most {most} pairs of texts are wanted, of {key} characters and {value} characters at most"),
        )),
    }
}

/// An input as items.
pub(super) fn of_input(input: Value) -> Vec<Value> {
    match input {
        Value::String(_) => vec![json!({ "type": "message", "role": "user", "content": input })],
        Value::Array(items) => items.into_iter().filter(Value::is_object).collect(),
        _ => Vec::new(),
    }
}

/// Items as they are listed: each with an id, a kind and, where it is a message, parts.
pub(super) fn numbered(mut items: Vec<Value>, number: &str) -> Vec<Value> {
    for (index, item) in items.iter_mut().enumerate() {
        let kind = item["type"].as_str().unwrap_or("message").to_owned();
        if !item["id"].is_string() {
            let head = match kind.as_str() {
                "message" => "msg",
                "function_call" => "fc",
                "function_call_output" => "fco",
                "reasoning" => "rs",
                _ => "item",
            };
            item["id"] = format!("{head}_{number}_in{index}").into();
        }
        if kind == "message" {
            let part = if item["role"] == "assistant" { "output_text" } else { "input_text" };
            if let Some(text) = item["content"].as_str() {
                item["content"] = json!([{ "type": part, "text": text }]);
            }
            if part == "output_text" {
                for part in item["content"].as_array_mut().into_iter().flatten().filter(|part| part.is_object()) {
                    if part["annotations"].is_null() {
                        part["annotations"] = json!([]);
                    }
                }
            }
            if item["status"].is_null() {
                item["status"] = "completed".into();
            }
        }
        item["type"] = kind.into();
    }
    items
}
