//! Messages as clients send them, made into what chat templates read.

use super::body::{Fields, kind};
use super::error::ApiError;
use super::state::State;
use crate::engine::Llm;
use crate::engine::messages::ROLES;
use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, ApiError>;

/// Most messages of a conversation.
const MAX_MESSAGES: usize = 10_000;

/// The `messages` of a request in OpenAI's form.
pub(super) fn read(llm: &Llm, messages: Vec<Value>) -> Result<Vec<Value>> {
    if messages.is_empty() {
        return Err(ApiError::field("messages", "at least one message is wanted"));
    }
    if messages.len() > MAX_MESSAGES {
        return Err(ApiError::field("messages", format!("at most {MAX_MESSAGES} are allowed")));
    }
    messages.into_iter().enumerate().map(|(index, message)| one(llm, &format!("messages[{index}]"), message)).collect()
}

/// The error for a role that is unknown.
pub(super) fn unknown_role(fields: &Fields, role: &str, known: &[&str]) -> ApiError {
    let role: String = role.chars().take(50).collect();
    fields.wrong("role", format!("one of {} is wanted, not '{role}'", known.join(", ")))
}

/// The message that stands at `place` in the request.
pub(super) fn one(llm: &Llm, place: &str, message: Value) -> Result<Value> {
    let mut fields = Fields::of(message, place)?;
    let role = fields.str("role")?.ok_or_else(|| fields.wrong("role", "is missing"))?;
    let role = match role.as_str() {
        "developer" => "system".to_owned(),
        "function" => "tool".to_owned(),
        known if ROLES.contains(&known) => role,
        _ => return Err(unknown_role(&fields, &role, ROLES)),
    };
    if fields.array("images")?.is_some_and(|images| !images.is_empty()) {
        return Err(fields.wrong("images", "images are not supported: this server runs text models"));
    }
    let content = match fields.take("content") {
        None => String::new(),
        Some(content) => text(content, &format!("{place}.content"))?,
    };
    let calls = fields.array("tool_calls")?.map(|calls| calls.into_iter().map(call).collect::<Vec<_>>());
    // The names under which clients send a thought back.
    let thought = [fields.str("reasoning_content")?, fields.str("reasoning")?, fields.str("thinking")?];
    let thought = thought.into_iter().flatten().next();
    let mut turn = match (role.as_str(), llm.template(), &thought) {
        ("assistant", Some(template), Some(thought)) => match template.assistant_turn(thought, &content) {
            Value::Object(turn) => turn,
            _ => Map::new(),
        },
        _ => Map::new(),
    };
    // One that has said nothing yet may be gone on with in its thought, whether or not the template shows those.
    if let Some(thought) = thought.filter(|_| role == "assistant" && content.is_empty()) {
        turn.entry("reasoning_content").or_insert(thought.into());
    }
    turn.insert("role".into(), role.into());
    turn.insert("content".into(), content.into());
    if let Some(calls) = calls.filter(|calls| !calls.is_empty()) {
        turn.insert("tool_calls".into(), calls.into());
    }
    for name in ["name", "tool_call_id", "tool_name"] {
        if let Some(value) = fields.take(name) {
            turn.insert(name.into(), value);
        }
    }
    Ok(Value::Object(turn))
}

/// Content: a text, or parts of which only texts are supported.
pub(super) fn text(content: Value, place: &str) -> Result<String> {
    let parts = match content {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        other => {
            return Err(ApiError::field(
                place,
                format!("a string or an array of parts is wanted, not {}", kind(&other)),
            ));
        }
    };
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.into_iter().enumerate() {
        let place = format!("{place}[{index}]");
        if let Value::String(text) = part {
            texts.push(text);
            continue;
        }
        let mut fields = Fields::of(part, &place)?;
        let kind = fields.str("type")?.unwrap_or_else(|| "text".to_owned());
        match kind.as_str() {
            "text" | "input_text" | "output_text" => {
                texts.push(fields.str("text")?.ok_or_else(|| fields.wrong("text", "is missing"))?);
            }
            "refusal" => texts.extend(fields.str("refusal")?),
            "image_url" | "input_image" | "image" => {
                return Err(ApiError::field(&place, "images are not supported: this server runs text models"));
            }
            _ => return Err(ApiError::field(&place, format!("parts of type '{kind}' are not supported"))),
        }
    }
    Ok(texts.join("\n\n"))
}

/// Templates read a call's arguments as an object, clients send them as text.
fn call(mut call: Value) -> Value {
    let arguments = &mut call["function"]["arguments"];
    if let Some(Ok(parsed @ Value::Object(_))) = arguments.as_str().map(serde_json::from_str::<Value>) {
        *arguments = parsed;
    }
    call
}

/// A message with this role and text.
pub(super) fn plain(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

/// Without the line that a popular coding agent puts before its system prompt and changes with every request: no prefix
/// of the conversation could be reused otherwise.
fn without_billing_line(text: &str) -> Option<&str> {
    const LINE: &str = "x-anthropic-billing-header:";
    let rest = text.strip_prefix(LINE)?;
    Some(rest.split_once('\n').map_or("", |(_, rest)| rest))
}

/// A system prompt without that line, unless the server leaves it in.
pub(super) fn system_prompt(state: &State, text: String) -> String {
    match without_billing_line(&text).filter(|_| !state.options.keep_billing_line) {
        Some(rest) => {
            state.log.line_dropped();
            rest.to_owned()
        }
        None => text,
    }
}

/// The same for a conversation, whose system prompt comes first.
pub(super) fn strip_billing_line(state: &State, list: &mut [Value]) {
    let Some(first) = list.first_mut().filter(|first| first["role"] == "system") else { return };
    if let Value::String(text) = &mut first["content"] {
        *text = system_prompt(state, std::mem::take(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_billing_line_goes_and_nothing_else() {
        assert_eq!(without_billing_line("x-anthropic-billing-header: cch=1;\nYou are."), Some("You are."));
        assert_eq!(without_billing_line("x-anthropic-billing-header: cch=1;"), Some(""));
        assert_eq!(without_billing_line("You are. x-anthropic-billing-header: 1"), None);
    }

    #[test]
    fn parts_become_text_and_images_are_refused() {
        let place = "messages[0].content";
        assert_eq!(text(json!("a"), place).ok().as_deref(), Some("a"));
        assert_eq!(text(json!([{"type": "text", "text": "a"}, "b"]), place).ok().as_deref(), Some("a\n\nb"));
        assert!(text(json!([{"type": "image_url", "image_url": {"url": "x"}}]), place).is_err());
        assert!(text(json!(3), place).is_err() && text(json!([{"type": "text"}]), place).is_err());
    }

    #[test]
    fn arguments_become_objects() {
        let parsed = call(json!({"function": {"name": "f", "arguments": "{\"a\": 1}"}}));
        assert_eq!(parsed["function"]["arguments"], json!({"a": 1}));
        let kept = call(json!({"function": {"name": "f", "arguments": "no json"}}));
        assert_eq!(kept["function"]["arguments"], "no json");
    }
}
