//! Tools for templates that know none: told in the system message, with calls and results as texts of the conversation.
//!
//! Calls are written in the markup that most families share, so that those of the answer are found as any model's are.

use super::probe::SystemRole;
use super::template::Vars;
use serde_json::{Value, json};

/// What a model is told of tools, but for their descriptions.
const BEFORE: &str = "Tools that can be called, in JSON:\n<tools>\n";
const AFTER: &str = "</tools>\nTo call one, answer with this alone:\n<tool_call>\n{\"name\": NAME, \"arguments\": {...}}\n\
</tool_call>\nIts result follows in <tool_response>.";

/// Puts `tools`, calls and their results into the texts of `messages`, where a template would not show them.
pub fn tell_tools(vars: &mut Vars, system: SystemRole) {
    let tools = vars.remove("tools");
    let Some(Value::Array(messages)) = vars.get_mut("messages") else { return };
    let mut told: Vec<Value> = Vec::with_capacity(messages.len() + 1);
    for message in std::mem::take(messages) {
        let (message, is_result) = plain(message);
        // Templates want users and assistants to take turns.
        match told.last_mut().filter(|last| last["role"] == "user" && message["role"] == "user") {
            Some(last) if is_result || said(last).ends_with(RESULT_END) => {
                last["content"] = joined(said(last), said(&message)).into();
            }
            _ => told.push(message),
        }
    }
    let list = tools.as_ref().and_then(Value::as_array).filter(|tools| !tools.is_empty());
    if let Some(tools) = list {
        let lines: String = tools.iter().map(|tool| format!("{tool}\n")).collect();
        describe(&mut told, &format!("{BEFORE}{lines}{AFTER}"), system);
    }
    *messages = told;
}

const RESULT_END: &str = "</tool_response>";

/// A message without anything but its text, and whether it is the result of a call.
fn plain(mut message: Value) -> (Value, bool) {
    let content = said(&message).to_owned();
    if message["role"] == "tool" {
        let text = format!("<tool_response>\n{content}\n{RESULT_END}");
        return (json!({ "role": "user", "content": text }), true);
    }
    if let Some(Value::Array(calls)) = message.as_object_mut().and_then(|message| message.remove("tool_calls")) {
        let call = |call: &Value| {
            let (name, arguments) = (&call["function"]["name"], &call["function"]["arguments"]);
            format!("<tool_call>\n{}\n</tool_call>", json!({ "name": name, "arguments": arguments }))
        };
        let calls: Vec<String> = calls.iter().map(call).collect();
        message["content"] = joined(&content, &calls.join("\n")).into();
    }
    (message, false)
}

/// The description as a part of the first message that the template shows.
fn describe(messages: &mut Vec<Value>, text: &str, system: SystemRole) {
    let role = if system == SystemRole::Supported { "system" } else { "user" };
    match messages.iter_mut().find(|message| message["role"] == role) {
        Some(first) if role == "system" => {
            first["content"] = joined(said(first), text).into();
        }
        Some(first) => first["content"] = joined(text, said(first)).into(),
        None => messages.insert(0, json!({ "role": role, "content": text })),
    }
}

fn said(message: &Value) -> &str {
    message["content"].as_str().unwrap_or_default()
}

fn joined(first: &str, second: &str) -> String {
    let between = if first.is_empty() || second.is_empty() { "" } else { "\n\n" };
    format!("{first}{between}{second}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(messages: Value, tools: Value, system: SystemRole) -> Value {
        let mut vars = Vars::from_iter([("messages".to_owned(), messages), ("tools".to_owned(), tools)]);
        tell_tools(&mut vars, system);
        assert!(!vars.contains_key("tools"));
        vars["messages"].clone()
    }

    #[test]
    fn tools_calls_and_results_are_told_in_texts() {
        let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}});
        let call =
            json!({"id": "1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Seoul"}}});
        let talk = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How is it?"},
            {"role": "assistant", "content": "", "tool_calls": [call.clone(), call]},
            {"role": "tool", "content": "rain", "tool_call_id": "1"},
            {"role": "tool", "content": "wind", "tool_call_id": "2"},
            {"role": "user", "content": "And now?"},
        ]);
        let messages = told(talk, json!([tool]), SystemRole::Supported);
        let roles: Vec<&str> = messages.as_array().into_iter().flatten().filter_map(|m| m["role"].as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
        let text = |at: usize| messages[at]["content"].as_str().unwrap_or_default().to_owned();
        assert!(
            text(0).starts_with("Be brief.\n\nTools that") && text(0).contains("\"name\":\"weather\""),
            "{}",
            text(0)
        );
        let one = "<tool_call>\n{\"name\":\"weather\",\"arguments\":{\"city\":\"Seoul\"}}\n</tool_call>";
        assert_eq!(text(2), format!("{one}\n{one}"));
        let results = "<tool_response>\nrain\n</tool_response>\n\n<tool_response>\nwind\n</tool_response>\n\nAnd now?";
        assert_eq!(text(3), results);
        assert!(messages[2].get("tool_calls").is_none());
    }

    #[test]
    fn without_a_system_message_the_first_question_tells_them() {
        let talk = json!([{"role": "user", "content": "Hi"}, {"role": "user", "content": "there"}]);
        let messages = told(talk.clone(), json!([{"name": "f"}]), SystemRole::Ignored);
        assert_eq!(messages.as_array().map(Vec::len), Some(2));
        let first = messages[0]["content"].as_str().unwrap_or_default();
        assert!(first.starts_with(BEFORE) && first.ends_with("\n\nHi"), "{first}");
        let messages = told(talk.clone(), json!([{"name": "f"}]), SystemRole::Supported);
        assert_eq!(messages[0]["role"], "system");
        assert_eq!(told(talk.clone(), Value::Null, SystemRole::Supported), talk);
    }
}
