//! THE TABLE OF FIELDS WITHIN LISTS: what messages, parts, tools and questions may have, in any dialect. What else stands
//! there is not read, and told in the answer's head like the request's own unknown fields.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Where fields stand (`[]`: in each of a list), and which are read there, or say nothing to a model by their nature.
const KNOWN_FIELDS: &[(&str, &str)] = &[
    (
        "messages[]",
        "role content name tool_calls tool_call_id tool_name reasoning_content reasoning thinking images refusal audio \
         annotations function_call cache_control id type",
    ),
    ("messages[].content[]", PART_FIELDS),
    ("messages[].content[].content[]", PART_FIELDS),
    ("messages[].tool_calls[]", "id type function index"),
    ("messages[].tool_calls[].function", "name arguments index"),
    ("system[]", "type text cache_control citations"),
    (
        "input[]",
        "id type role content status phase call_id name arguments input output summary encrypted_content text \
         multimodal_data prompt_string",
    ),
    ("input[].content[]", PART_FIELDS),
    ("tools[]", "type function name description parameters strict input_schema cache_control input_examples"),
    ("tools[].function", "name description parameters strict"),
    ("response_format", "type json_schema schema grammar regex"),
    ("response_format.json_schema", "name schema strict description"),
    ("questions[]", "type name instructions choices levels"),
    ("questions[].choices[]", "value description"),
    ("questions[].levels[]", "label description"),
];

const PART_FIELDS: &str = "type text refusal annotations logprobs cache_control citations thinking signature data id name input \
                     tool_use_id content is_error image_url input_audio file source title context caller";

/// The fields within a request that are not read: of those that several of a list have, the first.
pub(super) fn unread(request: &Map<String, Value>) -> Vec<String> {
    let (mut told, mut found) = (BTreeSet::new(), Vec::new());
    for (pattern, names) in KNOWN_FIELDS {
        let Some(first) = pattern.split(['[', '.']).next().filter(|first| request.contains_key(*first)) else {
            continue;
        };
        let known: Vec<&str> = names.split_whitespace().collect();
        each(&request[first], first.to_owned(), &pattern[first.len()..], &mut |place, fields| {
            for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
                if told.insert((*pattern, name.clone())) {
                    found.push(format!("{place}.{name}"));
                }
            }
        });
    }
    found
}

/// Tells `see` every object that `rest` of a pattern leads to.
fn each(value: &Value, place: String, rest: &str, see: &mut dyn FnMut(&str, &Map<String, Value>)) {
    if let Some(rest) = rest.strip_prefix("[]") {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            each(item, format!("{place}[{index}]"), rest, see);
        }
    } else if let Some(rest) = rest.strip_prefix('.') {
        let name = rest.split(['[', '.']).next().unwrap_or_default();
        if let Some(inner) = value.get(name) {
            each(inner, format!("{place}.{name}"), &rest[name.len()..], see);
        }
    } else if let Some(fields) = value.as_object() {
        see(&place, fields);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_nobody_reads_is_found_where_it_stands() {
        let request = json!({
            "messages": [
                { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b", "mood": 1 }] },
                { "role": "assistant", "content": "c", "weight": 0, "tool_calls": [{ "function": { "name": "f", "why": "x" } }] },
                { "role": "user", "content": "d", "weight": 1 },
            ],
            "tools": [{ "type": "function", "function": { "name": "f", "parameters": { "anything": 1 }, "color": 1 } }],
            "response_format": { "type": "json_schema", "json_schema": { "schema": {}, "lax": true }, "kind": 1 },
            "questions": "none", "input": ["text"], "system": null,
        });
        let found = unread(request.as_object().unwrap());
        let wanted = [
            "messages[1].weight",
            "messages[0].content[1].mood",
            "messages[1].tool_calls[0].function.why",
            "tools[0].function.color",
            "response_format.kind",
            "response_format.json_schema.lax",
        ];
        assert_eq!(found, wanted);
    }
}
