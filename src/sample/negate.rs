//! The opposite of a JSON schema, said in words that say what fits: a form that is written token by token has to know what
//! may come next.
//!
//! Not all of them can be said so; what can are types, values, bounds of numbers and lengths, names of an object, and what is
//! made of these by `allOf`, `anyOf`, `not`.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The types of JSON, `integer` being a part of `number`.
pub(super) const TYPES: [&str; 7] = ["null", "boolean", "number", "integer", "string", "array", "object"];

/// A schema that fits the values of type `kind` (all, where it is `None`) that do not fit `schema`; `None` where that cannot be
/// said. The schemas it is made of do not say `kind` again.
pub(super) fn negated(schema: &Value, kind: Option<&str>) -> Option<Value> {
    match schema {
        Value::Bool(fits) => Some(Value::Bool(!fits)),
        Value::Object(words) => {
            // Not this and that: not this, or not that.
            let silent = ["title", "description", "$comment", "default", "examples"];
            let said = words.iter().filter(|(word, _)| !silent.contains(&word.as_str()));
            let sides: Vec<Value> = said.map(|(word, value)| word_negated(word, value, kind)).collect::<Option<_>>()?;
            Some(any_of(sides))
        }
        _ => None,
    }
}

/// One of these, without those that nothing fits.
fn any_of(mut sides: Vec<Value>) -> Value {
    sides.retain(|side| *side != Value::Bool(false));
    match sides.len() {
        0 => Value::Bool(false),
        1 => sides.swap_remove(0),
        _ => json!({ "anyOf": sides }),
    }
}

fn word_negated(word: &str, value: &Value, kind: Option<&str>) -> Option<Value> {
    let is = |wanted: &[&str]| kind.is_some_and(|kind| wanted.contains(&kind));
    let number = || is(&["number", "integer"]).then(|| value.is_number()).filter(|&is| is);
    let count = |wanted: &str| is(&[wanted]).then(|| value.as_u64()).flatten();
    let fewer = |word: &str, n: u64| n.checked_sub(1).map_or(Value::Bool(false), |n| json!({ word: n }));
    let more = |word: &str, n: u64| n.checked_add(1).map(|n| json!({ word: n }));
    match word {
        "type" => without_types(value, kind),
        "const" => without_values(std::slice::from_ref(value), kind),
        "enum" => without_values(value.as_array()?, kind),
        "minimum" => number().map(|_| json!({ "exclusiveMaximum": value })),
        "maximum" => number().map(|_| json!({ "exclusiveMinimum": value })),
        "exclusiveMinimum" => number().map(|_| json!({ "maximum": value })),
        "exclusiveMaximum" => number().map(|_| json!({ "minimum": value })),
        "minLength" => count("string").map(|n| fewer("maxLength", n)),
        "maxLength" => count("string").and_then(|n| more("minLength", n)),
        "minItems" => count("array").map(|n| fewer("maxItems", n)),
        "maxItems" => count("array").and_then(|n| more("minItems", n)),
        "required" if is(&["object"]) => {
            let names = value.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?;
            Some(any_of(names.into_iter().map(|name| json!({ "properties": { name: false } })).collect()))
        }
        "properties" if is(&["object"]) => {
            let side = |(name, schema): (&String, &Value)| {
                let own = schema.get("type").and_then(Value::as_str);
                // Of another type is another value, too.
                let inner = match own {
                    Some(own) => negated(&without(schema, "type"), Some(own))
                        .and_then(|inner| Some(any_of(vec![of_type(inner, own), without_types(&json!(own), None)?])))?,
                    None => negated(schema, None)?,
                };
                Some(match inner {
                    Value::Bool(false) => Value::Bool(false),
                    inner => json!({ "properties": { name: inner }, "required": [name] }),
                })
            };
            Some(any_of(value.as_object()?.iter().map(side).collect::<Option<Vec<_>>>()?))
        }
        "not" => Some(value.clone()),
        "anyOf" => {
            let all = value.as_array()?.iter().map(|one| negated(one, kind)).collect::<Option<Vec<_>>>()?;
            if all.contains(&Value::Bool(false)) { Some(Value::Bool(false)) } else { Some(json!({ "allOf": all })) }
        }
        "allOf" => Some(any_of(value.as_array()?.iter().map(|one| negated(one, kind)).collect::<Option<Vec<_>>>()?)),
        _ => None,
    }
}

fn without(schema: &Value, word: &str) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(words) = &mut schema {
        words.remove(word);
    }
    schema
}

fn of_type(schema: Value, kind: &str) -> Value {
    match schema {
        Value::Bool(true) => json!({ "type": kind }),
        Value::Object(mut words) if !words.contains_key("type") => {
            words.insert("type".to_owned(), json!(kind));
            Value::Object(words)
        }
        other => other,
    }
}

/// All types but these.
fn without_types(out: &Value, kind: Option<&str>) -> Option<Value> {
    let out: Vec<&str> = match out {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    let is_out = |kind: &str| out.contains(&kind) || (kind == "integer" && out.contains(&"number"));
    if let Some(kind) = kind {
        // Of the numbers, those that are not whole cannot be told from the others.
        let part = kind == "number" && out.contains(&"integer") && !out.contains(&"number");
        return (!part).then_some(Value::Bool(!is_out(kind)));
    }
    if out.contains(&"integer") && !out.contains(&"number") {
        return None;
    }
    let left: Vec<&str> = TYPES.into_iter().filter(|kind| *kind != "integer" && !is_out(kind)).collect();
    Some(if left.is_empty() { Value::Bool(false) } else { json!({ "type": left }) })
}

/// All values but these.
fn without_values(out: &[Value], kind: Option<&str>) -> Option<Value> {
    let of = |wanted: &'static str| out.iter().filter(move |value| type_of(value) == wanted);
    let texts: Vec<&str> = of("string").filter_map(Value::as_str).collect();
    // The compiler cannot tell a class without the quote from its escape.
    if texts.iter().any(|text| text.contains(['"', '\\'])) {
        return None;
    }
    let text = json!({ "type": "string", "pattern": all_but(&texts) });
    let booleans: Vec<bool> = [true, false].into_iter().filter(|&b| !out.contains(&Value::Bool(b))).collect();
    match kind {
        Some("string") => {
            Some(if texts.is_empty() { Value::Bool(true) } else { json!({ "pattern": all_but(&texts) }) })
        }
        Some("boolean") => {
            Some(json!({ "enum": booleans })).filter(|_| !booleans.is_empty()).or(Some(Value::Bool(false)))
        }
        Some("null") => Some(Value::Bool(!out.contains(&Value::Null))),
        Some("integer") => between(of("number").map(Value::as_i64).collect::<Option<Vec<_>>>()?),
        Some("array" | "object" | "number") => of(type_name(kind?)).next().is_none().then_some(Value::Bool(true)),
        Some(_) => None,
        None => {
            // Numbers, arrays and objects in between cannot be left out one by one.
            if ["number", "array", "object"].iter().any(|kind| of(kind).next().is_some()) {
                return None;
            }
            let mut sides = vec![json!({ "type": ["number", "array", "object"] }), text];
            if !out.contains(&Value::Null) {
                sides.push(json!({ "type": "null" }));
            }
            if !booleans.is_empty() {
                sides.push(json!({ "enum": booleans }));
            }
            Some(any_of(sides))
        }
    }
}

fn type_name(kind: &str) -> &'static str {
    TYPES.into_iter().find(|known| *known == kind).unwrap_or("null")
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whole numbers between and beside these.
fn between(mut out: Vec<i64>) -> Option<Value> {
    out.sort_unstable();
    out.dedup();
    let (Some(&first), Some(&last)) = (out.first(), out.last()) else { return Some(Value::Bool(true)) };
    let mut sides = vec![json!({ "maximum": first.checked_sub(1)? }), json!({ "minimum": last.checked_add(1)? })];
    for pair in out.windows(2) {
        if pair[1] - 1 > pair[0] {
            sides.push(json!({ "minimum": pair[0] + 1, "maximum": pair[1] - 1 }));
        }
    }
    Some(any_of(sides))
}

/// A regular expression of all texts but these.
fn all_but(out: &[&str]) -> String {
    #[derive(Default)]
    struct Node {
        ends: bool,
        next: BTreeMap<char, Node>,
    }
    fn write(node: &Node, text: &mut String) {
        // Another letter and anything; or one of these letters, with what may follow it; or the end.
        let mut sides = Vec::new();
        let class = |c: char| if c.is_alphanumeric() { c.to_string() } else { format!("\\u{{{:x}}}", c as u32) };
        match node.next.is_empty() {
            true => sides.push("[\\s\\S]+".to_owned()),
            false => sides.push(format!("[^{}][\\s\\S]*", node.next.keys().map(|&c| class(c)).collect::<String>())),
        }
        for (&c, next) in &node.next {
            let mut side = if c.is_alphanumeric() { c.to_string() } else { format!("[{}]", class(c)) };
            write(next, &mut side);
            sides.push(side);
        }
        text.push_str(&format!("({}{})", sides.join("|"), if node.ends { "" } else { "|" }));
    }
    let mut root = Node::default();
    for text in out {
        let mut node = &mut root;
        for c in text.chars() {
            node = node.next.entry(c).or_default();
        }
        node.ends = true;
    }
    let mut text = String::from("^");
    write(&root, &mut text);
    text + "$"
}

/// What else a schema has to fit.
pub(super) fn and(map: &mut Map<String, Value>, schema: Value) {
    if let Value::Array(all) = map.entry("allOf").or_insert_with(|| json!([])) {
        all.push(schema);
    }
}
