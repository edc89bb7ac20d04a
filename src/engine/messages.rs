//! Messages that come from a file: what every template may rely on is checked before they become a conversation.

use serde_json::Value;

/// Who may have said something.
pub const ROLES: &[&str] = &["system", "developer", "user", "assistant", "tool", "function"];

/// Names under which a message holds the thought before it; the first is what is written where a template has none of its own.
pub const THOUGHTS: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];

/// The messages in `value`, a list of them or an object that holds one under `messages`. Content in parts of text becomes
/// one text.
///
/// # Errors
/// What was wanted and what was found, with the number of the message.
pub fn read(value: Value) -> Result<Vec<Value>, (String, String)> {
    let list = match value {
        Value::Array(list) => list,
        Value::Object(mut object) => match object.remove("messages") {
            Some(Value::Array(list)) => list,
            _ => return Err(("a list of messages".to_owned(), "an object without one".to_owned())),
        },
        other => return Err(("a list of messages".to_owned(), kind(&other).to_owned())),
    };
    let number = |(index, message)| {
        one(message).map_err(|(wanted, found)| (wanted, format!("{found} in message {}", index + 1)))
    };
    list.into_iter().enumerate().map(number).collect()
}

fn one(mut message: Value) -> Result<Value, (String, String)> {
    let wrong = |wanted: &str, found: &str| (wanted.to_owned(), found.to_owned());
    let Some(fields) = message.as_object_mut() else {
        return Err(wrong("an object with role and content", kind(&message)));
    };
    match fields.get("role") {
        Some(Value::String(role)) if ROLES.contains(&role.as_str()) => {}
        Some(Value::String(role)) => return Err((format!("a role of {}", ROLES.join(", ")), format!("{role:?}"))),
        Some(other) => return Err(wrong("a role", kind(other))),
        None => return Err(wrong("a role", "none")),
    }
    for key in THOUGHTS.iter().copied().chain(["name"]) {
        if let Some(other) = fields.get(key).filter(|value| !value.is_string() && !value.is_null()) {
            return Err((format!("a text as {key}"), kind(other).to_owned()));
        }
    }
    // An answer that only calls tools, or that ended within its thought, says nothing.
    let silent = fields.get("role").is_some_and(|role| role == "assistant");
    let content = match fields.remove("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => joined(parts)?,
        None | Some(Value::Null) if silent => String::new(),
        None => return Err(wrong("a content", "none")),
        Some(other) => return Err(wrong("a text as content", kind(&other))),
    };
    fields.insert("content".to_owned(), Value::String(content));
    Ok(message)
}

fn joined(parts: Vec<Value>) -> Result<String, (String, String)> {
    let text = |part: Value| match part {
        Value::String(text) => Ok(text),
        Value::Object(part) if part.get("type").is_none_or(|kind| kind == "text") => {
            let text = part.get("text").and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(|| ("a part with a text".to_owned(), "none".to_owned()))
        }
        Value::Object(part) => Err(("parts of text".to_owned(), format!("one of type {}", part["type"]))),
        other => Err(("parts of text".to_owned(), kind(&other).to_owned())),
    };
    parts.into_iter().map(text).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_templates_rely_on_is_checked() {
        let good = json!([{"role": "system", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "a"}, "b"]},
            {"role": "assistant", "content": null, "reasoning_content": "hm"}]);
        let messages = read(good.clone()).unwrap();
        assert_eq!(messages[1]["content"], "ab");
        assert_eq!(messages[2]["content"], "");
        assert_eq!(read(json!({"messages": good})).unwrap(), messages);
        for (bad, found) in [
            (json!(5), "a number"),
            (json!({"x": 1}), "without one"),
            (json!([5]), "a number in message 1"),
            (json!([{"role": "user", "content": "x"}, {"role": "wizard", "content": "x"}]), "\"wizard\" in message 2"),
            (json!([{"content": "x"}]), "none"),
            (json!([{"role": 5, "content": "x"}]), "a number"),
            (json!([{"role": "user"}]), "none"),
            (json!([{"role": "user", "content": null}]), "null"),
            (json!([{"role": "user", "content": [{"type": "image"}]}]), "image"),
            (json!([{"role": "user", "content": [{"type": "text"}]}]), "none"),
            (json!([{"role": "assistant", "content": "x", "reasoning_content": [1]}]), "a list"),
        ] {
            let error = read(bad.clone()).unwrap_err();
            assert!(error.1.contains(found), "{bad}: {error:?}");
        }
    }
}
