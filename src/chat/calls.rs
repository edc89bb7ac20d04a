//! Calls of tools in a model's answer: found while it streams, read when it has ended.
//!
//! Each family writes them in its own markup (THE TABLE below says how it begins). What comes after the beginning is held
//! back; at the end it is read as calls, or, if that fails, given as text: an answer is never lost.

use super::reasoning::Kind;
use super::stop::open_end;
use super::tools::Tools;
use serde_json::{Map, Value};

/// A call that a model makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Name of the tool.
    pub name: String,
    /// Its arguments: a JSON object as text.
    pub arguments: String,
}

/// THE TABLE: how calls begin, and how they are read from there on.
const CALL_FORMS: &[(&str, Reader)] = &[
    ("<tool_call>", tagged),
    ("<|tool_call|>", array),
    ("[TOOL_CALLS]", bracketed),
    ("<|python_tag|>", objects),
    ("<｜tool▁calls▁begin｜>", fenced),
    ("<｜tool▁call▁begin｜>", fenced),
    ("<function=", tagged),
    ("<function_call>", tagged),
    ("functools[", array),
    ("<|tool_call:begin|>", segments),
    ("to=functions.", segments),
    ("-> tool/function_call\n", objects),
];

type Reader = fn(&str, &Tools) -> Option<Vec<ToolCall>>;

impl Tools {
    /// Texts of control tokens that have to be seen for calls to be found.
    pub fn markers() -> impl Iterator<Item = &'static str> {
        const INNER: [&str; 10] = [
            "</tool_call>",
            "[ARGS]",
            "[CALL_ID]",
            "<｜tool▁sep｜>",
            "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁end｜>",
            "<|eom_id|>",
            "<|tool_call:name|>",
            "<|tool_call:args|>",
            "<|tool_call:end|>",
        ];
        CALL_FORMS.iter().map(|(open, _)| *open).chain(INNER)
    }
}

/// Finds calls in an answer as it comes.
#[derive(Debug, Clone)]
pub struct CallFinder {
    tools: Tools,
    /// Not decided yet.
    held: String,
    /// From the beginning of the first call on.
    raw: Option<(String, Reader)>,
    /// Nothing but white space has been shown.
    at_start: bool,
    /// What began as a call was none that could be read.
    unread: bool,
}

impl CallFinder {
    /// A finder for calls of these tools; without any, all is text.
    pub fn new(tools: Tools) -> Self {
        Self { tools, held: String::new(), raw: None, at_start: true, unread: false }
    }

    /// Takes more of the answer; returns what of it is text.
    pub fn push(&mut self, text: &str) -> String {
        if self.tools.is_empty() {
            return text.to_owned();
        }
        if let Some((raw, _)) = &mut self.raw {
            raw.push_str(text);
            return String::new();
        }
        self.held.push_str(text);
        match self.at_start.then(|| begins_call(&self.held)) {
            Some(Some(true)) => {
                self.raw = Some((std::mem::take(&mut self.held), objects));
                return String::new();
            }
            Some(None) => return String::new(),
            Some(Some(false)) | None => {}
        }
        let found = CALL_FORMS.iter().filter_map(|(open, read)| self.held.find(open).map(|at| (at, *read)));
        if let Some((at, read)) = found.min_by_key(|(at, _)| *at) {
            let raw = self.held.split_off(at);
            self.raw = Some((raw, read));
            return self.show(usize::MAX);
        }
        let keep = CALL_FORMS.iter().map(|(open, _)| open_end(&self.held, open)).max().unwrap_or(0);
        let shown = self.held.len() - keep;
        self.show(shown)
    }

    /// The same of a piece that the model's own segments tell from the answer, or not.
    pub fn push_part(&mut self, kind: Kind, text: &str) -> String {
        if kind != Kind::Call || self.tools.is_empty() {
            return self.push(text);
        }
        let shown = if self.raw.is_none() { self.show(usize::MAX) } else { String::new() };
        self.raw.get_or_insert_with(|| (String::new(), segments)).0.push_str(text);
        shown
    }

    /// The text from the first call on, once one has begun.
    pub fn begun(&self) -> Option<&str> {
        self.raw.as_ref().map(|(raw, _)| raw.as_str())
    }

    fn show(&mut self, bytes: usize) -> String {
        let rest = self.held.split_off(bytes.min(self.held.len()));
        let shown = std::mem::replace(&mut self.held, rest);
        self.at_start &= shown.trim().is_empty();
        shown
    }

    /// What there is to say of an answer that has ended: an object that may just be an answer is no call that failed.
    pub fn warnings(&self) -> Vec<&'static str> {
        let told = "what seems to be a call of a tool could not be read as one, and is given as text";
        self.unread.then_some(told).into_iter().collect()
    }

    /// Text and calls of a whole answer, and of what its segments say are calls.
    pub fn whole(&mut self, answer: &str, called: &str) -> (String, Vec<ToolCall>) {
        let mut text = self.push(answer);
        if !called.is_empty() {
            text += &self.push_part(Kind::Call, called);
        }
        let (rest, calls) = self.finish();
        (text + &rest, calls)
    }

    /// The end of the answer: text that was held back, and the calls. Calls that cannot be read are text.
    pub fn finish(&mut self) -> (String, Vec<ToolCall>) {
        let held = std::mem::take(&mut self.held);
        match self.raw.take() {
            None => {
                // Cut before it was decided.
                self.unread = self.at_start && held.contains('{') && begins_call(&held).is_none();
                (held, Vec::new())
            }
            Some((raw, read)) => match read(&raw, &self.tools) {
                Some(calls) if !calls.is_empty() => (held, calls),
                _ => {
                    let is_answer = || json_text(&raw).is_some() && !raw.contains("\"name\"");
                    self.unread = !raw.trim_start().starts_with(['{', '[']) || !is_answer();
                    (held + &raw, Vec::new())
                }
            },
        }
    }
}

/// Names of a call's members, which families choose: the tool's, and the arguments'.
const NAME_FIELDS: [&str; 3] = ["name", "function", "tool_name"];
const ARGUMENTS: [&str; 3] = ["arguments", "parameters", "input"];

/// Whether a text that begins an answer is the beginning of a call without any mark: an object with members of a call, or a
/// list of such, in a fence of code or not. `None` while that is not decided.
fn begins_call(text: &str) -> Option<bool> {
    let mut rest = text.trim_start();
    let fence = "```json";
    if rest.is_empty() || fence.starts_with(rest) {
        return None;
    }
    rest = rest.strip_prefix(fence).or_else(|| rest.strip_prefix("```")).unwrap_or(rest).trim_start();
    rest = rest.strip_prefix('[').unwrap_or(rest).trim_start();
    for mark in ['{', '"'] {
        match rest.strip_prefix(mark) {
            Some(after) => rest = if mark == '{' { after.trim_start() } else { after },
            None => return (!rest.is_empty()).then_some(false),
        }
    }
    let mut keys = NAME_FIELDS.iter().chain(&ARGUMENTS).chain(&["type", "id"]);
    match rest.split_once('"') {
        Some((key, _)) => Some(keys.any(|known| *known == key)),
        None => {
            if keys.any(|known| known.starts_with(rest)) {
                None
            } else {
                Some(false)
            }
        }
    }
}

/// A call from a JSON object.
fn object(value: &Value, tools: &Tools) -> Option<ToolCall> {
    let value = if value["function"].is_object() { &value["function"] } else { value };
    let name = NAME_FIELDS.iter().find_map(|key| value[*key].as_str())?;
    if !tools.has(name) {
        return None;
    }
    let arguments = ARGUMENTS.iter().map(|key| &value[*key]).find(|a| !a.is_null());
    let arguments = match arguments {
        None => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(arguments) => arguments.to_string(),
    };
    Some(ToolCall { name: name.to_owned(), arguments })
}

/// JSON values one after the other, objects or arrays of them, with anything between that is no JSON.
fn objects(raw: &str, tools: &Tools) -> Option<Vec<ToolCall>> {
    let mut calls = Vec::new();
    let mut rest = raw;
    while let Some(at) = rest.find(['{', '[']) {
        let mut values = serde_json::Deserializer::from_str(&rest[at..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                let found = match &value {
                    Value::Array(items) => items.iter().map(|item| object(item, tools)).collect::<Option<Vec<_>>>(),
                    one => object(one, tools).map(|call| vec![call]),
                };
                calls.extend(found?);
                rest = &rest[at + values.byte_offset()..];
            }
            _ => rest = &rest[at + 1..],
        }
    }
    Some(calls)
}

/// Segments of calls: `<|tool_call:begin|>id<|tool_call:name|>name<|tool_call:args|>{...}`; a head with `to=functions.name`, a
/// line end (or the mark that stands there) and the arguments; or objects.
fn segments(raw: &str, tools: &Tools) -> Option<Vec<ToolCall>> {
    let call = |name: &str, arguments: &str| {
        let arguments = json_text(arguments)?;
        tools.has(name).then(|| ToolCall { name: name.to_owned(), arguments })
    };
    if raw.contains("<|tool_call:args|>") {
        let parts = raw.split("<|tool_call:begin|>").filter(|part| !part.trim().is_empty());
        let parts = parts.map(|part| part.split_once("<|tool_call:name|>")?.1.split_once("<|tool_call:args|>"));
        return parts.map(|part| part.and_then(|(name, arguments)| call(name.trim(), arguments))).collect();
    }
    if !raw.lines().next().is_some_and(|head| head.contains("to=")) {
        return objects(raw, tools);
    }
    let mut rest = raw;
    let mut calls = Vec::new();
    while let Some((_, head)) = rest.split_once("to=") {
        let name = recipient(head);
        let (_, arguments) = head.split_once(['\n', '>'])?;
        calls.push(call(name, &arguments[arguments.find('{')?..])?);
        let written = calls.last().map_or(0, |call| call.arguments.len());
        rest = &arguments[arguments.find('{')? + written..];
    }
    Some(calls)
}

/// The tool to which a head sends what follows it.
pub(super) fn recipient(head: &str) -> &str {
    let name = head.split(|c: char| c.is_whitespace() || c == '<').next().unwrap_or_default();
    name.strip_prefix("functions.").unwrap_or(name)
}

/// `<tag>[{...}, ...]`.
fn array(raw: &str, tools: &Tools) -> Option<Vec<ToolCall>> {
    objects(&raw[raw.find('[')?..], tools)
}

/// `[TOOL_CALLS][{...}]`, or `[TOOL_CALLS]name[ARGS]{...}` for each call.
fn bracketed(raw: &str, tools: &Tools) -> Option<Vec<ToolCall>> {
    if !raw.contains("[ARGS]") {
        let rest = raw.trim_start_matches("[TOOL_CALLS]");
        return objects(rest, tools);
    }
    let parts = raw.split("[TOOL_CALLS]").filter(|part| !part.trim().is_empty());
    parts
        .map(|part| {
            let (name, arguments) = part.split_once("[ARGS]")?;
            let name = name.split("[CALL_ID]").next()?.trim();
            json_text(arguments).filter(|_| tools.has(name)).map(|arguments| ToolCall { name: name.into(), arguments })
        })
        .collect()
}

/// The first JSON value of a text, as it stands there.
fn json_text(text: &str) -> Option<String> {
    let text = text.trim_start();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    values.next()?.ok()?;
    Some(text[..values.byte_offset()].to_owned())
}

/// `function<｜tool▁sep｜>name` and the arguments in a fence of code, or `name<｜tool▁sep｜>{...}`.
fn fenced(raw: &str, tools: &Tools) -> Option<Vec<ToolCall>> {
    let calls = raw.split("<｜tool▁call▁begin｜>").skip(1).map(|part| {
        let (head, rest) = part.split_once("<｜tool▁sep｜>")?;
        let name = if head.trim() == "function" { rest.lines().next()?.trim() } else { head.trim() };
        let arguments = json_text(&rest[rest.find('{')?..])?;
        tools.has(name).then(|| ToolCall { name: name.to_owned(), arguments })
    });
    calls.collect()
}

/// Blocks of `<tool_call>`: a JSON object, `<function=name><parameter=x>`, or a name with `<arg_key>` and `<arg_value>`.
fn tagged(raw: &str, tools: &Tools) -> Option<Vec<ToolCall>> {
    let (open, close) = match raw {
        _ if raw.starts_with("<function=") => return elements(raw, tools),
        _ if raw.starts_with("<function_call>") => ("<function_call>", "</function_call>"),
        _ => ("<tool_call>", "</tool_call>"),
    };
    let mut calls = Vec::new();
    for part in raw.split(open).skip(1) {
        let block = part.split(close).next()?.trim();
        if block.starts_with(['{', '[']) {
            calls.extend(objects(block, tools)?);
        } else if block.contains("<function=") {
            calls.extend(elements(block, tools)?);
        } else {
            calls.push(keyed(block, tools)?);
        }
    }
    Some(calls)
}

/// `<function=name><parameter=x>value</parameter></function>`.
fn elements(raw: &str, tools: &Tools) -> Option<Vec<ToolCall>> {
    let calls = raw.split("<function=").skip(1).map(|part| {
        let (name, rest) = part.split_once('>')?;
        let name = name.trim();
        let body = rest.split("</function>").next()?.trim();
        if body.starts_with('{') {
            return Some(ToolCall { name: name.to_owned(), arguments: json_text(body)? })
                .filter(|c| tools.has(&c.name));
        }
        let mut arguments = Map::new();
        for part in body.split("<parameter=").skip(1) {
            let (key, value) = part.split_once('>')?;
            let value = value.split("</parameter>").next()?;
            let value = value.strip_prefix('\n').unwrap_or(value);
            let value = value.strip_suffix('\n').unwrap_or(value);
            arguments.insert(key.trim().to_owned(), tools.value(name, key.trim(), value));
        }
        let arguments = Value::Object(arguments).to_string();
        tools.has(name).then(|| ToolCall { name: name.to_owned(), arguments })
    });
    calls.collect()
}

/// A name, then pairs of `<arg_key>` and `<arg_value>`.
fn keyed(block: &str, tools: &Tools) -> Option<ToolCall> {
    let name = block.split(['\n', '<']).next()?.trim();
    let mut arguments = Map::new();
    for part in block.split("<arg_key>").skip(1) {
        let (key, rest) = part.split_once("</arg_key>")?;
        let (_, value) = rest.split_once("<arg_value>")?;
        let value = value.split("</arg_value>").next()?;
        arguments.insert(key.trim().to_owned(), tools.value(name, key.trim(), value));
    }
    let arguments = Value::Object(arguments).to_string();
    tools.has(name).then(|| ToolCall { name: name.to_owned(), arguments })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn tools() -> Tools {
        let parameters = json!({"type": "object", "properties": {
            "city": {"type": "string"}, "days": {"type": "integer"}, "note": {"type": "string"}
        }});
        Tools::read(&[
            json!({"type": "function", "function": {"name": "weather", "parameters": parameters}}),
            json!({"type": "function", "function": {"name": "now"}}),
        ])
        .unwrap()
    }

    /// Whatever the borders of pieces, the result is the same.
    fn read(answer: &str) -> (String, Vec<ToolCall>) {
        let whole = cut(answer, usize::MAX);
        for size in [1, 2, 5] {
            assert_eq!(cut(answer, size), whole, "pieces of {size}");
        }
        whole
    }

    fn cut(answer: &str, size: usize) -> (String, Vec<ToolCall>) {
        let mut finder = CallFinder::new(tools());
        let chars: Vec<char> = answer.chars().collect();
        let mut text = String::new();
        for piece in chars.chunks(size.min(chars.len().max(1))) {
            text += &finder.push(&piece.iter().collect::<String>());
        }
        let (rest, calls) = finder.finish();
        (text + &rest, calls)
    }

    fn call(name: &str, arguments: &str) -> ToolCall {
        ToolCall { name: name.into(), arguments: arguments.into() }
    }

    #[test]
    fn every_familys_markup() {
        let seoul = call("weather", r#"{"city":"Seoul","days":3}"#);
        let same = [
            "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Seoul\", \"days\": 3}}\n</tool_call>",
            "<tool_call>\n<function=weather>\n<parameter=city>\nSeoul\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
            "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Seoul</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
            "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"city\": \"Seoul\", \"days\": 3}}]",
            "{\"name\": \"weather\", \"parameters\": {\"city\": \"Seoul\", \"days\": 3}}",
            "<|python_tag|>{\"name\": \"weather\", \"parameters\": {\"city\": \"Seoul\", \"days\": 3}}<|eom_id|>",
            "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Seoul\", \"days\": 3}}]",
            "<function=weather>{\"city\":\"Seoul\",\"days\":3}</function>",
            "```json\n{\n  \"name\": \"weather\",\n  \"arguments\": {\"city\": \"Seoul\", \"days\": 3}\n}\n```",
            "```\n[ {\"name\": \"weather\", \"arguments\": {\"city\": \"Seoul\", \"days\": 3}}]\n```",
            "[TOOL_CALLS]weather[ARGS]{\"city\":\"Seoul\",\"days\":3}",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\":\"Seoul\",\"days\":3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\":\"Seoul\",\"days\":3}<｜tool▁call▁end｜>",
        ];
        for answer in same {
            assert_eq!(read(answer), (String::new(), vec![seoul.clone()]), "{answer}");
        }
        let two = "Let me see.\n<tool_call>{\"name\": \"now\"}</tool_call>\n<tool_call>{\"name\": \"weather\", \"arguments\": {}}</tool_call>";
        assert_eq!(read(two), ("Let me see.\n".into(), vec![call("now", "{}"), call("weather", "{}")]));
    }

    #[test]
    fn segments_of_calls_are_calls() {
        let seoul = call("weather", r#"{"city": "to=now"}"#);
        let (city, now) = (r#"{"city": "to=now"}"#, call("now", "{}"));
        let called = |text: &str| CallFinder::new(tools()).whole("", text);
        let channels = format!("assistant commentary to=functions.weather json\n{city}");
        assert_eq!(called(&channels), (String::new(), vec![seoul.clone()]));
        let two = format!("{channels}assistant to=functions.now commentary json\n{{}}");
        assert_eq!(called(&two), (String::new(), vec![seoul.clone(), now.clone()]));
        let marks = format!(
            "<|tool_call:begin|>1<|tool_call:name|>weather<|tool_call:args|>{city}<|tool_call:end|>\n\
             <|tool_call:begin|>2<|tool_call:name|>now<|tool_call:args|>{{}}<|tool_call:end|>"
        );
        assert_eq!(called(&marks), (String::new(), vec![seoul.clone(), now]));
        let list = format!("assistant -> tool/function_call\n[{{\"name\": \"weather\", \"arguments\": {city}}}]");
        assert_eq!(called(&list), (String::new(), vec![call("weather", r#"{"city":"to=now"}"#)]));
        // The same as pieces, after an answer.
        let mut finder = CallFinder::new(tools());
        assert_eq!(finder.push_part(Kind::Answer, "Wait. <tool"), "Wait. ");
        assert_eq!(finder.push_part(Kind::Call, &channels[..20]), "<tool");
        assert_eq!(finder.push_part(Kind::Call, &channels[20..]), "");
        assert_eq!(finder.finish(), (String::new(), vec![seoul]));
        for text in
            ["assistant to=functions.other json\n{}", "assistant to=functions.weather json\n{\"ci", "to=functions."]
        {
            let mut finder = CallFinder::new(tools());
            assert_eq!((finder.whole("", text), finder.warnings().len()), ((text.to_owned(), vec![]), 1), "{text}");
        }
        assert_eq!(
            CallFinder::new(Tools::default()).whole("a", "to=functions.now json\n{}").0,
            "ato=functions.now json\n{}"
        );
    }

    #[test]
    fn what_is_no_call_is_text() {
        for text in [
            "A < b, and {\"name\": 1}.",
            "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>",
            "<tool_call>{\"name\": \"weather\", \"argum",
            "{\"city\": \"Seoul\"}",
            "{\"name\": \"Anna\", \"age\": 3}",
            "```json\n{\"city\": \"Seoul\"}\n```",
            "```python\nprint(\"name\")\n```",
            "``",
            "{}",
            "{ \"",
            "[1, 2]",
            "[TOOL_CALLS]",
            "",
            "한국어 <tool",
        ] {
            assert_eq!(read(text), (text.to_owned(), vec![]), "{text}");
        }
    }

    #[test]
    fn what_can_be_no_call_is_not_held_back() {
        for (text, shown) in [
            ("{\"na", ""),
            ("{\"nb", "{\"nb"),
            ("```json\n{\"city\"", "```json\n{\"city\""),
            ("```py", "```py"),
            ("[[1", "[[1"),
        ] {
            assert_eq!(CallFinder::new(tools()).push(text), shown, "{text}");
        }
    }

    #[test]
    fn texts_stay_texts_where_the_schema_says_so() {
        let (_, calls) = read("<tool_call><function=weather><parameter=note>\n12\n</parameter></function></tool_call>");
        assert_eq!(calls, [call("weather", r#"{"note":"12"}"#)]);
    }
}
