//! Schemas of requests' bodies, for the OpenAPI document.

use super::common::EFFORTS;
use super::doc::object;
use crate::sample::PARAMETERS;
use serde_json::{Map, Value, json};

/// An object whose members are of these kinds: `kind name`, with `!` after those that must be there. `1..20` is a whole number
/// within these bounds, `1..` one from 1 on, `string|number` either of these.
fn fields(rows: &[(&str, &str)]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (kind, names) in rows {
        for name in names.split_whitespace() {
            let needed = name.strip_suffix('!');
            let name = needed.unwrap_or(name);
            required.extend(needed);
            properties.insert(name.to_owned(), kind_of(kind, needed.is_some()));
        }
    }
    object(&required, properties.into())
}

/// A kind of value as a schema; what need not be there may be null.
fn kind_of(kind: &str, needed: bool) -> Value {
    let types = |names: &[&str]| {
        let none = if needed { None } else { Some("null") };
        json!({ "type": names.iter().copied().chain(none).collect::<Vec<_>>() })
    };
    match kind {
        "texts" => {
            let mut schema = types(&["string", "array"]);
            schema["items"] = json!({ "type": "string" });
            schema
        }
        "messages" => {
            let message = json!({ "type": "object", "required": ["role"], "properties": {
                "role": { "type": "string" }, "content": { "type": ["string", "array", "null"], "items": part() } } });
            json!({ "type": "array", "minItems": 1, "items": message })
        }
        "input" => json!({ "type": ["string", "array"] }),
        "any" => json!({}),
        "effort" => {
            json!({ "enum": EFFORTS.iter().map(|&effort| json!(effort)).chain([Value::Null]).collect::<Vec<_>>() })
        }
        "tools" => {
            let mut schema = types(&["array"]);
            schema["items"] = json!({ "type": "object" });
            schema
        }
        "ids" => {
            let mut schema = types(&["array"]);
            schema["items"] = json!({ "type": "integer", "minimum": 0 });
            schema
        }
        "integer" => whole(types(&["integer"]), ".."),
        range if range.contains("..") => whole(types(&["integer"]), range),
        kinds => types(&kinds.split('|').collect::<Vec<_>>()),
    }
}

/// A whole number within bounds.
fn whole(mut schema: Value, range: &str) -> Value {
    let (least, most) = range.split_once("..").unwrap_or_default();
    schema["minimum"] = json!(least.parse::<i64>().unwrap_or(i64::MIN));
    schema["maximum"] = json!(most.parse::<i64>().unwrap_or(i64::MAX));
    schema
}

/// A part of a message: a text, or an object with one.
fn part() -> Value {
    let object = object(&["text"], json!({ "type": { "enum": ["text", null] }, "text": { "type": "string" } }));
    json!({ "anyOf": [{ "type": "string" }, object] })
}

/// `one` with the members of `other`.
fn with(mut one: Value, other: &Value) -> Value {
    if let (Some(own), Some(more)) = (one["properties"].as_object_mut(), other["properties"].as_object()) {
        own.extend(more.clone());
    }
    let required = other["required"].as_array().cloned().unwrap_or_default();
    if let Some(own) = one["required"].as_array_mut() {
        own.extend(required);
    }
    one
}

/// Fields that all requests for an answer have in common.
fn sampling() -> Value {
    let mut schema = fields(&[
        ("string", "model grammar regex guided_regex guided_grammar reasoning_format"),
        ("integer", "seed id_slot"),
        ("-1000..1000", "priority"),
        ("0..2147483647", "min_tokens"),
        ("1..1", "best_of"),
        ("boolean", "ignore_eos cache_prompt skip_special_tokens include_stop_str_in_output guided_json_object"),
        ("texts", "stop guided_choice"),
        ("ids", "stop_token_ids"),
        ("object", "response_format structured_outputs"),
        ("any", "json_schema logit_bias guided_json"),
    ]);
    for row in PARAMETERS {
        for key in row.keys {
            let schema_of = if row.texts { kind_of("texts", false) } else { kind_of("number", false) };
            let mut one = schema_of;
            one["description"] = format!("{}: {}", row.help.trim(), row.wanted).into();
            schema["properties"][key] = one;
        }
    }
    schema["properties"]["n"] = json!({ "type": ["integer", "null"], "minimum": 1, "maximum": 64 });
    schema
}

/// [`sampling`], and how much to think.
fn thinking() -> Value {
    let own = fields(&[
        ("effort", "reasoning_effort"),
        ("integer", "reasoning_budget_tokens thinking_token_budget"),
        ("boolean", "enable_thinking"),
        ("object", "chat_template_kwargs reasoning"),
        ("any", "thinking"),
    ]);
    with(own, &sampling())
}

pub(super) fn chat() -> Value {
    let own = fields(&[
        ("messages", "messages!"),
        ("-1..", "max_tokens max_completion_tokens n_predict"),
        ("0..20", "top_logprobs"),
        (
            "boolean",
            "stream logprobs return_progress parallel_tool_calls timings_per_token verbose add_generation_prompt \
             continue_final_message parse_tool_calls",
        ),
        ("object", "stream_options"),
        ("tools", "tools"),
        ("any", "tool_choice"),
    ]);
    with(own, &thinking())
}

pub(super) fn completions() -> Value {
    let own = fields(&[
        ("input", "prompt!"),
        ("-1..", "max_tokens max_completion_tokens n_predict"),
        ("0..20", "logprobs"),
        ("string", "suffix"),
        ("boolean", "stream"),
        ("object", "stream_options"),
    ]);
    with(own, &sampling())
}

pub(super) fn completion() -> Value {
    let own = fields(&[
        ("any", "prompt!"),
        ("-1..", "n_predict max_tokens"),
        ("0..100", "n_probs"),
        ("texts", "response_fields"),
        ("boolean", "stream post_sampling_probs return_tokens return_progress"),
    ]);
    with(own, &sampling())
}

pub(super) fn infill() -> Value {
    let own = fields(&[
        ("string", "input_prefix input_suffix prompt"),
        ("array", "input_extra"),
        ("-1..", "n_predict max_tokens"),
        ("0..100", "n_probs"),
        ("boolean", "stream"),
    ]);
    with(own, &sampling())
}

pub(super) fn responses() -> Value {
    let own = fields(&[
        ("input", "input"),
        ("string", "instructions previous_response_id user"),
        ("-1..", "max_output_tokens max_tokens"),
        ("1..", "max_tool_calls"),
        ("0..20", "top_logprobs"),
        ("texts", "include"),
        ("tools", "tools"),
        ("boolean", "stream store background return_progress timings_per_token parallel_tool_calls"),
        ("object", "text metadata"),
        ("any", "tool_choice"),
    ]);
    let mut schema = with(own, &thinking());
    schema["properties"]["truncation"] = json!({ "enum": ["disabled", null] });
    schema["properties"]["service_tier"] = json!({ "enum": ["auto", "default", "flex", "scale", "priority", null] });
    schema
}

pub(super) fn messages() -> Value {
    let own = fields(&[
        ("messages", "messages!"),
        ("input", "system"),
        ("-1..", "max_tokens"),
        ("texts", "stop_sequences"),
        ("boolean", "stream"),
        ("object", "output_config tool_choice"),
        ("tools", "tools"),
    ]);
    let mut schema = with(own, &thinking());
    schema["properties"]["system"] = json!({ "type": ["string", "array", "null"], "items": part() });
    schema
}

fn ollama(rows: &[(&str, &str)]) -> Value {
    let common = fields(&[
        ("string", "model"),
        ("object", "options"),
        ("boolean", "stream logprobs"),
        ("0..20", "top_logprobs"),
        ("string|object", "format"),
        ("boolean|string", "think"),
        ("number|string", "keep_alive"),
    ]);
    with(fields(rows), &common)
}

pub(super) fn ollama_chat() -> Value {
    let mut schema = ollama(&[("tools", "tools"), ("array", "messages")]);
    schema["properties"]["messages"] = kind_of("messages", true);
    // Without any, the model is opened.
    schema["properties"]["messages"]["minItems"] = 0.into();
    schema
}

pub(super) fn generate() -> Value {
    ollama(&[("string", "prompt system suffix"), ("boolean", "raw")])
}

pub(super) fn ollama_embed() -> Value {
    fields(&[("string", "model"), ("input", "input!"), ("1..", "dimensions"), ("boolean", "truncate")])
}

pub(super) fn prompted() -> Value {
    fields(&[("string", "model prompt")])
}

pub(super) fn embeddings() -> Value {
    let mut schema = fields(&[("string", "model"), ("any", "input"), ("1..", "dimensions")]);
    schema["properties"]["encoding_format"] = json!({ "enum": ["float", "base64", null] });
    schema
}

pub(super) fn plain_embeddings() -> Value {
    fields(&[("string", "model"), ("any", "input content"), ("integer", "embd_normalize")])
}

pub(super) fn rerank() -> Value {
    fields(&[
        ("string", "model query!"),
        ("array", "documents texts"),
        ("0..", "top_n"),
        ("boolean", "return_documents return_text"),
    ])
}

pub(super) fn decisions() -> Value {
    let mut schema = fields(&[("string", "model"), ("input", "input!"), ("array", "questions!")]);
    // Which answers a question takes follows from its type: more than words a schema does not say of them.
    let told = |what: &str| json!({ "description": what });
    schema["properties"]["questions"]["items"] = object(
        &["type", "instructions"],
        json!({
            "type": { "enum": ["predicate", "choice", "score"] },
            "name": told("comes back with the answer"),
            "instructions": told("the question, a text"),
            "choices": told("of a choice, 2 to 26 that differ: {\"value\": text or boolean, \"description\": text}"),
            "levels": told("of a score, 2 to 26 from the lowest to the highest: {\"label\": text, \"description\": text}"),
        }),
    );
    schema
}

pub(super) fn batch() -> Value {
    fields(&[("string", "input_file_id! endpoint! completion_window"), ("any", "metadata")])
}

pub(super) fn upload() -> Value {
    object(
        &["purpose", "file"],
        json!({ "purpose": { "enum": ["batch"] }, "file": { "type": "string", "format": "binary" } }),
    )
}

pub(super) fn tokenize() -> Value {
    fields(&[("string", "model content"), ("boolean", "add_special parse_special with_pieces")])
}

pub(super) fn detokenize() -> Value {
    let mut schema = fields(&[("string", "model")]);
    schema["properties"]["tokens"] = json!({ "type": ["array", "null"], "items": { "type": "integer" } });
    schema
}

pub(super) fn show() -> Value {
    fields(&[("string", "model name")])
}

pub(super) fn named() -> Value {
    fields(&[("string", "model!")])
}

pub(super) fn slot() -> Value {
    fields(&[("string", "filename")])
}

pub(super) fn control() -> Value {
    object(&["id", "action"], json!({ "id": { "type": "string" }, "action": { "enum": ["reasoning_end"] } }))
}

pub(super) fn lookup() -> Value {
    fields(&[("texts", "conversation_ids!")])
}

pub(super) fn nothing() -> Value {
    json!({})
}
