//! Words of JSON schema that the compiler does not know, said in words that it knows, where both mean the same.
//!
//! - `dependentRequired`: without the one name, or with the others.
//! - `if`, `then`, `else`: where the condition is about the values of one name that has to be there and has few of them, one
//!   alternative for those that fit and one for the rest.
//! - `not`: where it forbids a name, or some of the values that are listed beside it.
//! - `uniqueItems`: where there is one item at most.
//!
//! What is left of them afterwards is refused.

use serde_json::{Map, Value, json};

/// Rewrites a schema and all in it.
pub(super) fn rewrite(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        Value::Object(map) => {
            for (word, inner) in map.iter_mut() {
                match (word.as_str(), inner) {
                    ("const" | "enum" | "default" | "examples" | "required", _) => {}
                    // Names, not words.
                    (
                        "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas",
                        Value::Object(of),
                    ) => {
                        of.values_mut().for_each(rewrite);
                    }
                    (_, inner) => rewrite(inner),
                }
            }
            dependent(map);
            condition(map);
            negation(map);
            if map.get("maxItems").and_then(Value::as_u64).is_some_and(|most| most <= 1) {
                map.remove("uniqueItems");
            }
        }
        _ => {}
    }
}

/// Adds a schema that has to hold, too.
fn and(map: &mut Map<String, Value>, schema: Value) {
    if let Value::Array(all) = map.entry("allOf").or_insert_with(|| json!([])) {
        all.push(schema);
    }
}

fn dependent(map: &mut Map<String, Value>) {
    // Beside properties of that name it would be a property.
    let Some(Value::Object(dependencies)) = map.get("dependentRequired").cloned() else { return };
    if !dependencies.values().all(|names| names.as_array().is_some_and(|names| names.iter().all(Value::is_string))) {
        return;
    }
    map.remove("dependentRequired");
    for (name, others) in dependencies {
        and(map, json!({"anyOf": [{"properties": {name: false}}, {"required": others}]}));
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
    let Some(all) = split(map) else { return };
    for word in ["if", "then", "else"] {
        map.remove(word);
    }
    and(map, all);
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
    let Some(Value::Object(forbidden)) = map.get("not").cloned() else { return };
    let mut words = forbidden.iter();
    let (Some((word, value)), None) = (words.next(), words.next()) else { return };
    match (word.as_str(), value) {
        ("required", Value::Array(names)) if names.len() == 1 => {
            let Some(name) = names.first().and_then(Value::as_str).map(str::to_owned) else { return };
            // Of what is no object a name cannot be required, and this would be said of it all the same.
            if map.get("type").is_none_or(|kind| kind != "object") {
                return;
            }
            map.remove("not");
            and(map, json!({"properties": {name: false}}));
        }
        ("const" | "enum", _) => {
            let Some(Value::Array(values)) = map.get("enum").cloned() else { return };
            let Some(out) = listed(&Value::Object(forbidden.clone())) else { return };
            map.remove("not");
            let left: Vec<Value> = values.into_iter().filter(|value| !out.contains(value)).collect();
            map.insert("enum".to_owned(), Value::Array(left));
        }
        _ => {}
    }
}
