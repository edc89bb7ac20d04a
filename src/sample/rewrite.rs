//! Words of JSON schema that the compiler does not know, said in words that it knows, where both mean the same.
//!
//! - `dependentRequired`, `dependentSchemas`, `dependencies`: without the one name, or with what it asks for.
//! - `if`, `then`, `else`: where the condition is about the values of one name that has to be there and has few of them, one
//!   alternative for those that fit and one for the rest; else where the condition has an opposite.
//! - `not`: by the opposite of what it holds.
//! - `propertyNames`: by patterns of names, where no name is declared.
//! - `uniqueItems`: where there is one item at most.
//! - `format`: those that the compiler does not know, by a narrower one that it knows, a pattern or bounds; those whose texts
//!   could go on for ever get an end.
//!
//! What is left of them afterwards is refused.

use super::keywords::within_mut;
use super::negate::{and, negated};
use serde_json::{Map, Value, json};

/// Rewrites a schema and all in it.
pub(super) fn rewrite(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    within_mut(map).for_each(rewrite);
    dependent(map);
    condition(map);
    negation(map);
    names(map);
    format(map);
    if map.get("maxItems").and_then(Value::as_u64).is_some_and(|most| most <= 1) {
        map.remove("uniqueItems");
    }
}

fn dependent(map: &mut Map<String, Value>) {
    for word in ["dependentRequired", "dependentSchemas", "dependencies"] {
        let Some(Value::Object(dependencies)) = map.get(word).cloned() else { continue };
        let names = |value: &Value| value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
        let good = |value: &Value| match word {
            "dependentRequired" => names(value),
            "dependentSchemas" => value.is_object(),
            _ => names(value) || value.is_object(),
        };
        if !dependencies.values().all(good) {
            continue;
        }
        map.remove(word);
        for (name, asked) in dependencies {
            let with = match asked {
                Value::Array(others) => json!({"required": others}),
                schema => json!({"allOf": [{"required": [name]}, schema]}),
            };
            and(map, json!({"anyOf": [{"properties": {name: false}}, with]}));
        }
    }
}

/// The values that `schema` allows, if it lists them.
fn listed(schema: &Value) -> Option<Vec<Value>> {
    match (schema.get("const"), schema.get("enum"), schema.get("type")) {
        (Some(value), None, _) => Some(vec![value.clone()]),
        (None, Some(Value::Array(values)), _) => Some(values.clone()),
        (None, None, Some(kind)) if kind == "boolean" => Some(vec![json!(true), json!(false)]),
        _ => None,
    }
}

fn condition(map: &mut Map<String, Value>) {
    let Some(all) = split(map).or_else(|| opposites(map)) else { return };
    for word in ["if", "then", "else"] {
        map.remove(word);
    }
    and(map, all);
}

/// The one type of a schema, if it says one.
fn kind(map: &Map<String, Value>) -> Option<&str> {
    map.get("type").and_then(Value::as_str)
}

/// Two alternatives in the place of a condition that has an opposite.
fn opposites(map: &Map<String, Value>) -> Option<Value> {
    let condition = map.get("if")?;
    let side = |is: Value, word: &str| match (is, map.get(word)) {
        (Value::Bool(false), _) | (_, Some(Value::Bool(false))) => None,
        (is, then) => Some(json!({"allOf": [is, then.cloned().unwrap_or(Value::Bool(true))]})),
    };
    let not = negated(condition, kind(map))?;
    let sides: Vec<Value> = [side(condition.clone(), "then"), side(not, "else")].into_iter().flatten().collect();
    Some(json!({"anyOf": sides}))
}

/// Two alternatives in the place of a condition, where it can be told apart by the values of one name.
fn split(map: &Map<String, Value>) -> Option<Value> {
    let condition = map.get("if")?.as_object()?;
    let known = condition.iter().all(|(word, value)| match word.as_str() {
        "properties" => value.as_object().is_some_and(|inner| inner.len() == 1),
        "required" => true,
        "type" => value == "object",
        _ => false,
    });
    let (name, wanted) = condition.get("properties")?.as_object()?.iter().next()?;
    let only = |value: &Value| value.as_object().is_some_and(|words| words.keys().all(|w| w == "const" || w == "enum"));
    let required = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
    // The name has to be there, and nothing else may be asked for.
    let there = required(map.get("required")).contains(&json!(name));
    let alone = required(condition.get("required")).iter().all(|other| other == name);
    let object = map.get("type").is_some_and(|kind| kind == "object");
    if !object || !known || !only(wanted) || !there || !alone {
        return None;
    }
    let values = listed(map.get("properties")?.get(name)?)?;
    let wanted = listed(wanted)?;
    let (fit, rest): (Vec<Value>, Vec<Value>) = values.into_iter().partition(|value| wanted.contains(value));
    let side = |values: Vec<Value>, word: &str| {
        let then = map.get(word).cloned().unwrap_or_else(|| json!({}));
        (!values.is_empty())
            .then(|| json!({"allOf": [{"properties": {name: {"enum": values}}, "required": [name]}, then]}))
    };
    let sides: Vec<Value> = [side(fit, "then"), side(rest, "else")].into_iter().flatten().collect();
    Some(json!({"anyOf": sides}))
}

fn negation(map: &mut Map<String, Value>) {
    let Some(forbidden) = map.get("not").cloned() else { return };
    // Of few values those that are left.
    if let (Some(values), Some(out)) = (listed(&Value::Object(map.clone())), listed(&forbidden))
        && forbidden.as_object().is_some_and(|words| words.keys().all(|word| word == "const" || word == "enum"))
    {
        map.retain(|word, _| word != "not" && word != "const");
        let left: Vec<Value> = values.into_iter().filter(|value| !out.contains(value)).collect();
        map.insert("enum".to_owned(), Value::Array(left));
        return;
    }
    match negated(&forbidden, kind(map)) {
        // Nothing would fit: the word stays, and is refused by its place.
        None | Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) => drop(map.remove("not")),
        Some(mut fits) => {
            map.remove("not");
            // An opposite may hold what was denied in it.
            rewrite(&mut fits);
            and(map, fits);
        }
    }
}

fn names(map: &mut Map<String, Value>) {
    let declared = ["properties", "patternProperties"].iter().any(|word| map.contains_key(*word));
    let Some(Value::Object(words)) = map.get("propertyNames") else { return };
    let mut said = words.iter().filter(|(word, value)| !(*word == "type" && *value == "string"));
    let (Some((word, value)), None) = (said.next(), said.next()) else { return };
    let allowed = map.get("additionalProperties").cloned().unwrap_or(Value::Bool(true));
    if declared || map.get("type").is_none_or(|kind| kind != "object") {
        return;
    }
    let pattern = match (word.as_str(), value) {
        ("pattern", Value::String(pattern)) => pattern.clone(),
        ("maxLength", most) if most.is_u64() => format!("^[\\s\\S]{{0,{most}}}$"),
        ("minLength", least) if least.is_u64() => format!("^[\\s\\S]{{{least},}}$"),
        ("enum", Value::Array(names)) if names.iter().all(Value::is_string) => {
            let of = names.iter().filter_map(|name| Some((name.as_str()?.to_owned(), allowed.clone()))).collect();
            map.insert("properties".to_owned(), Value::Object(of));
            map.insert("additionalProperties".to_owned(), Value::Bool(false));
            map.remove("propertyNames");
            return;
        }
        _ => return,
    };
    map.remove("propertyNames");
    map.insert("patternProperties".to_owned(), json!({ pattern: allowed }));
    map.insert("additionalProperties".to_owned(), Value::Bool(false));
}

/// What a format is kept to by.
enum Kept {
    /// Another format, all of whose texts are of this one, too.
    As(&'static str),
    Pattern(&'static str),
    /// Bounds of a whole number.
    Within(i64, i64),
    /// It says nothing about the text.
    Free,
}

/// An address whose parts are no longer than RFC 5321 lets them be: 64 letters before the `@`, 63 in a label. What the compiler
/// takes for one has no bounds, and a model that does not find the end of a part writes on until the whole is too long.
const EMAIL: &str = "^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,30}(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,16}){0,2}\
    @[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?){1,2}$";

/// Formats that the compiler keeps to otherwise than is wanted, or does not know. THE TABLE.
const STRING_FORMATS: &[(&str, Kept)] = &[
    ("uri-reference", Kept::As("uri")),
    ("iri", Kept::As("uri")),
    ("iri-reference", Kept::As("uri")),
    ("url", Kept::As("uri")),
    ("email", Kept::Pattern(EMAIL)),
    ("idn-email", Kept::Pattern(EMAIL)),
    ("idn-hostname", Kept::As("hostname")),
    ("ip", Kept::As("ipv4")),
    ("ip-address", Kept::As("ipv4")),
    ("datetime", Kept::As("date-time")),
    ("json-pointer", Kept::Pattern("^(/([^~/]|~[01])*)*$")),
    ("relative-json-pointer", Kept::Pattern("^(0|[1-9][0-9]*)(#|(/([^~/]|~[01])*)*)$")),
    ("byte", Kept::Pattern("^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")),
    ("base64", Kept::Pattern("^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")),
    ("color", Kept::Pattern("^#[0-9a-fA-F]{6}$")),
    ("int32", Kept::Within(i32::MIN as i64, i32::MAX as i64)),
    ("uint32", Kept::Within(0, u32::MAX as i64)),
    ("int64", Kept::Within(-(1 << 62), 1 << 62)),
    ("uint64", Kept::Within(0, 1 << 62)),
    ("float", Kept::Free),
    ("double", Kept::Free),
    ("decimal", Kept::Free),
    ("password", Kept::Free),
    ("binary", Kept::Free),
    ("text", Kept::Free),
    ("textarea", Kept::Free),
    ("markdown", Kept::Free),
];

/// Formats that the compiler keeps to.
const COMPILED: &[&str] =
    &["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];

/// Formats that are kept to.
pub(super) fn known_format(name: &str) -> bool {
    COMPILED.contains(&name)
}

/// The letters that a text of a format gets, where nothing is said of its length: a model that does not find the end of an
/// address would write one for ever. THE TABLE.
const MAX_LENGTHS: &[(&str, u64)] = &[
    ("hostname", 253),
    ("uri", 500),
    ("date-time", 35),
    ("time", 24),
    ("duration", 40),
    ("json-pointer", 200),
    ("relative-json-pointer", 200),
];

/// Says how long a text of the format `name` may be, where the schema neither does nor lists the texts.
fn bounded(map: &mut Map<String, Value>, name: &str) {
    let said = ["minLength", "maxLength", "const", "enum"].iter().any(|word| map.contains_key(*word));
    if let Some((_, most)) = MAX_LENGTHS.iter().find(|(known, _)| *known == name).filter(|_| !said) {
        map.insert("maxLength".to_owned(), json!(most));
    }
}

fn format(map: &mut Map<String, Value>) {
    let Some(name) = map.get("format").and_then(Value::as_str).map(str::to_owned) else { return };
    let about_numbers = matches!(kind(map), Some("integer" | "number"));
    let row = STRING_FORMATS.iter().find(|(known, _)| *known == name);
    match row {
        Some((_, Kept::As(other))) => bounded(map, other),
        _ => bounded(map, &name),
    }
    let Some((_, kept)) = row else { return };
    match kept {
        Kept::As(other) => drop(map.insert("format".to_owned(), json!(other))),
        Kept::Pattern(pattern) => {
            map.remove("format");
            and(map, json!({ "pattern": pattern }));
        }
        Kept::Within(least, most) => {
            map.remove("format");
            if about_numbers {
                and(map, json!({ "type": kind(map), "minimum": least, "maximum": most }));
            }
        }
        Kept::Free => drop(map.remove("format")),
    }
}
