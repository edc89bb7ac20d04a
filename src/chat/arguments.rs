//! Where the arguments of a call begin and end, seen while the call is written, so that they can be held to the schema of
//! their tool. Which tool is called, and whether, stays the model's choice.

use super::calls::{CallFinder, recipient};
use super::tools::Tools;
use serde_json::Value;

/// What a value of a call has to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// JSON by a schema, and what follows it: nothing after an object, which ends by itself.
    Json(Value, &'static str),
    /// One of these texts, written as they are, and what follows it.
    Texts(Vec<String>, &'static str),
}

impl Argument {
    /// What follows the value.
    fn end(&self) -> &'static str {
        match self {
            Self::Json(_, end) | Self::Texts(_, end) => end,
        }
    }
}

/// Follows an answer, and tells where values of calls begin that a schema speaks of.
#[derive(Debug, Clone)]
pub struct ArgumentWatch {
    finder: CallFinder,
    tools: Tools,
    /// Bytes of the calls' text that are settled: values that ended, and such as cannot be held.
    settled: usize,
    /// The value under way.
    open: Option<Open>,
}

#[derive(Debug, Clone)]
struct Open {
    /// Where it begins in the calls' text.
    at: usize,
    /// Up to where it was read.
    read: usize,
    end: &'static str,
    depth: Depth,
}

impl ArgumentWatch {
    /// For an answer that may call these tools.
    pub fn new(tools: Tools) -> Self {
        Self { finder: CallFinder::new(tools.clone()), tools, settled: 0, open: None }
    }

    /// Takes more of the answer.
    pub fn push(&mut self, text: &str) {
        // What is no call is the caller's to show, not ours.
        let _ = self.finder.push(text);
    }

    /// The value that begins where the answer stands, and what of it is written; it is under way from now on.
    pub fn begin(&mut self) -> Option<(Argument, &str)> {
        if self.open.is_some() {
            return None;
        }
        let calls = self.finder.begun()?;
        let (at, argument) = PLACES.iter().find_map(|place| place(calls, self.settled, &self.tools))?;
        self.open = Some(Open { at, read: at, end: argument.end(), depth: Depth::default() });
        Some((argument, &calls[at..]))
    }

    /// Whether no value is under way any more.
    pub fn ended(&mut self) -> bool {
        let (Some(open), Some(calls)) = (&mut self.open, self.finder.begun()) else { return true };
        let over = if open.end.is_empty() {
            open.depth.read(&calls[open.read..])
        } else {
            calls[open.at..].contains(open.end)
        };
        open.read = calls.len();
        if over {
            self.settled = calls.len();
            self.open = None;
        }
        over
    }

    /// The value under way is not held after all.
    pub fn give_up(&mut self) {
        if let Some(open) = self.open.take() {
            self.settled = open.at.max(self.settled);
        }
    }
}

/// Brackets of a JSON value that are open.
#[derive(Debug, Clone, Copy, Default)]
struct Depth {
    open: usize,
    in_text: bool,
    escaped: bool,
}

impl Depth {
    /// Reads on; whether an object or a list that began has ended.
    fn read(&mut self, json: &str) -> bool {
        for byte in json.bytes() {
            match byte {
                _ if std::mem::take(&mut self.escaped) => {}
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.open += 1,
                b'}' | b']' => {
                    self.open = self.open.saturating_sub(1);
                    if self.open == 0 {
                        return true;
                    }
                }
                _ => {}
            }
        }
        false
    }
}

/// Where a value begins in the text of calls after the settled bytes, and what it has to be.
type Place = fn(&str, usize, &Tools) -> Option<(usize, Argument)>;

/// The ways in which families write a value after what it belongs to.
const PLACES: [Place; 8] =
    [member, after_args, after_separator, in_function, parameter, arg_value, after_mark, after_head];

/// `rest` is the end of `calls`: a place in it.
fn place_of(calls: &str, rest: &str) -> usize {
    calls.len() - rest.len()
}

/// All arguments of a tool, as an object that begins where `rest` does.
fn whole(calls: &str, rest: &str, tool: &str, tools: &Tools) -> Option<(usize, Argument)> {
    let mut schema = tools.parameters(tool)?.clone();
    let object = schema.as_object_mut()?;
    if object.entry("type").or_insert_with(|| "object".into()) != "object" {
        return None;
    }
    let begins = rest.trim_start();
    (begins.is_empty() || begins.starts_with('{')).then(|| (place_of(calls, rest), Argument::Json(schema, "")))
}

/// `{"name": "tool", "arguments": ` by the names that families give the two.
fn member(calls: &str, settled: usize, tools: &Tools) -> Option<(usize, Argument)> {
    let new = &calls[settled..];
    // Texts between marks may hold anything.
    if new.contains("<parameter=") || new.contains("<arg_key>") {
        return None;
    }
    let keys = ["\"arguments\"", "\"parameters\"", "\"input\""];
    let (at, key) = keys.iter().filter_map(|key| Some((new.rfind(key)?, key))).max()?;
    let rest = new[at + key.len()..].trim_start().strip_prefix(':')?;
    let before = new[..at].trim_end();
    if !before.ends_with(['{', ',']) {
        return None;
    }
    let names = ["\"name\"", "\"function\"", "\"tool_name\""].iter().flat_map(|key| new[..at].rmatch_indices(key));
    let text = |(at, key): (usize, &str)| {
        let value = new[at + key.len()..].trim_start().strip_prefix(':')?.trim_start();
        Some((at, value.strip_prefix('"')?.split('"').next()?))
    };
    match names.filter_map(text).max() {
        Some((_, tool)) => whole(calls, rest, tool, tools),
        // The arguments stand before the name.
        None if before.ends_with('{') => whole(calls, rest, tools.only()?, tools),
        None => None,
    }
}

/// `[TOOL_CALLS]tool[ARGS]`, with an id between.
fn after_args(calls: &str, settled: usize, tools: &Tools) -> Option<(usize, Argument)> {
    let (head, rest) = calls[settled..].rsplit_once("[ARGS]")?;
    let (_, tool) = head.rsplit_once("[TOOL_CALLS]")?;
    whole(calls, rest, tool.split("[CALL_ID]").next()?.trim(), tools)
}

/// `tool<｜tool▁sep｜>`, or `function<｜tool▁sep｜>tool` and a fence of code.
fn after_separator(calls: &str, settled: usize, tools: &Tools) -> Option<(usize, Argument)> {
    let (head, rest) = calls[settled..].rsplit_once("<｜tool▁sep｜>")?;
    let (_, tool) = head.rsplit_once("<｜tool▁call▁begin｜>")?;
    if tool.trim() != "function" {
        return whole(calls, rest, tool.trim(), tools);
    }
    let (tool, rest) = rest.split_once('\n')?;
    whole(calls, rest.strip_prefix("```json\n")?, tool.trim(), tools)
}

/// `<|tool_call:name|>tool<|tool_call:args|>`.
fn after_mark(calls: &str, settled: usize, tools: &Tools) -> Option<(usize, Argument)> {
    let (head, rest) = calls[settled..].rsplit_once("<|tool_call:args|>")?;
    whole(calls, rest, head.rsplit_once("<|tool_call:name|>")?.1.trim(), tools)
}

/// `to=functions.tool ...<|message|>`.
fn after_head(calls: &str, settled: usize, tools: &Tools) -> Option<(usize, Argument)> {
    let (_, head) = calls[settled..].rsplit_once("to=functions.")?;
    let (_, rest) = head.split_once("<|message|>")?;
    whole(calls, rest, recipient(head), tools)
}

/// `<function=tool>{`.
fn in_function(calls: &str, settled: usize, tools: &Tools) -> Option<(usize, Argument)> {
    let (_, call) = calls[settled..].rsplit_once("<function=")?;
    let (tool, rest) = call.split_once('>')?;
    if !rest.trim_start().starts_with('{') {
        return None;
    }
    whole(calls, rest, tool.trim(), tools)
}

/// `<function=tool><parameter=name>` and a line end.
fn parameter(calls: &str, settled: usize, tools: &Tools) -> Option<(usize, Argument)> {
    let (_, value) = calls[settled..].rsplit_once("<parameter=")?;
    let (name, rest) = value.split_once('>')?;
    let (tool, _) = calls[..place_of(calls, value)].rsplit_once("<function=")?.1.split_once('>')?;
    one(calls, rest, tools.parameter(tool.trim(), name.trim())?, "</parameter>")
}

/// `<tool_call>tool`, `<arg_key>name</arg_key>`, `<arg_value>`.
fn arg_value(calls: &str, settled: usize, tools: &Tools) -> Option<(usize, Argument)> {
    let (_, rest) = calls[settled..].rsplit_once("<arg_value>")?;
    let head = &calls[..place_of(calls, rest)];
    let (name, _) = head.rsplit_once("<arg_key>")?.1.split_once("</arg_key>")?;
    let tool = head.rsplit_once("<tool_call>")?.1.split(['\n', '<']).next()?;
    one(calls, rest, tools.parameter(tool.trim(), name.trim())?, "</arg_value>")
}

/// One argument between marks: a text as it is, or JSON. Texts that may be any are free.
fn one(calls: &str, rest: &str, schema: &Value, end: &'static str) -> Option<(usize, Argument)> {
    if rest.contains(end) {
        return None;
    }
    let texts = || {
        let values = schema["enum"].as_array()?.iter().map(Value::as_str);
        values.map(|text| text.map(str::to_owned)).collect::<Option<Vec<_>>>()
    };
    let argument = match schema["type"].as_str()? {
        "string" => Argument::Texts(texts().filter(|texts| !texts.is_empty())?, end),
        _ => Argument::Json(schema.clone(), end),
    };
    Some((place_of(calls, rest), argument))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn tools() -> Tools {
        let parameters = json!({"type": "object", "properties": {
            "city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"type": "string", "enum": ["C", "F"]}
        }});
        Tools::read(&[
            json!({"type": "function", "function": {"name": "weather", "parameters": parameters}}),
            json!({"type": "function", "function": {"name": "now", "parameters": {}}}),
        ])
        .unwrap()
    }

    /// What is held of an answer that comes in pieces, each value as it was written.
    fn held(answer: &str, size: usize) -> Vec<(String, String)> {
        let mut watch = ArgumentWatch::new(tools());
        let chars: Vec<char> = answer.chars().collect();
        let mut held: Vec<(String, String)> = Vec::new();
        let mut open = false;
        for piece in chars.chunks(size) {
            let piece: String = piece.iter().collect();
            watch.push(&piece);
            if open {
                held.last_mut().unwrap().1.push_str(&piece);
            } else if let Some((argument, written)) = watch.begin() {
                held.push((format!("{argument:?}"), written.to_owned()));
            }
            open = !watch.ended();
        }
        held
    }

    #[test]
    fn values_are_held_in_every_familys_markup() {
        let value = r#"{"city": "Se{o\"ul}", "days": 3}"#;
        for answer in [
            format!("Well.<tool_call>\n{{\"name\": \"weather\", \"arguments\": {value}}}\n</tool_call>"),
            format!(
                "<tool_call>{{\"type\":\"function\",\"function\":{{\"name\":\"weather\",\"arguments\": {value}}}}}"
            ),
            format!("[TOOL_CALLS][{{\"name\": \"weather\", \"arguments\": {value}}}]"),
            format!("{{\"name\": \"weather\", \"parameters\": {value}}}"),
            format!("[TOOL_CALLS]weather[CALL_ID]12[ARGS] {value}"),
            format!("<function=weather> {value}</function>"),
            format!("<|tool_call:begin|>1<|tool_call:name|>weather<|tool_call:args|> {value}<|tool_call:end|>"),
            format!(
                "<|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|> {value}<|call|>"
            ),
            format!("<|start|>assistant to=functions.weather<|channel|>commentary json<|message|> {value}<|call|>"),
            format!("<|im_start|>assistant -> tool/function_call\n[{{\"name\": \"weather\", \"arguments\": {value}}}]"),
            format!("<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n {value}\n```<｜tool▁call▁end｜>"),
            format!("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜> {value}<｜tool▁call▁end｜>"),
        ] {
            for size in [1, 3, 200] {
                let found = held(&answer, size);
                assert_eq!(found.len(), 1, "{answer} {found:?}");
                assert!(found[0].0.contains("days") && found[0].1.contains(value), "{answer} {found:?}");
            }
            assert_eq!(held(&answer, 1)[0].1.trim_start(), value, "{answer}");
        }
    }

    #[test]
    fn each_call_and_each_argument_is_held_by_itself() {
        let two = "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>\n\
                   <tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"\\\"arguments\\\": {\"}}</tool_call>";
        let found = held(two, 1);
        assert_eq!(
            found.iter().map(|found| found.1.trim()).collect::<Vec<_>>(),
            ["{}", "{\"city\": \"\\\"arguments\\\": {\"}"]
        );
        let xml = "<tool_call>\n<function=weather>\n<parameter=city>\nSeoul\n</parameter>\n<parameter=days>\n3\n</parameter>\n\
                   <parameter=unit>\nC\n</parameter>\n</function>\n</tool_call>";
        let keyed = "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Seoul</arg_value>\n<arg_key>days</arg_key>\n\
                     <arg_value>3</arg_value>\n<arg_key>unit</arg_key>\n<arg_value>C</arg_value></tool_call>";
        for answer in [xml, keyed] {
            let found = held(answer, 1);
            let kinds: Vec<&str> = found.iter().filter_map(|found| found.0.split(['(', ' ']).next()).collect();
            assert_eq!(kinds, ["Json", "Texts"], "{answer} {found:?}");
            assert!(found[0].1.trim_start().starts_with('3') && found[1].1.trim_start().starts_with('C'), "{found:?}");
        }
    }

    #[test]
    fn what_has_no_schema_is_free() {
        for answer in [
            "plain text with \"name\": \"weather\", \"arguments\": {",
            "{\"name\": \"unknown\", \"arguments\": {\"a\": 1}}",
            "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"weather\"}",
            "<tool_call>{\"name\": \"weather\", \"arguments\": \"",
            "{\"city\": \"Seoul\"}",
        ] {
            assert_eq!(held(answer, 1).len(), usize::from(answer.ends_with('"')), "{answer}");
        }
    }
}
