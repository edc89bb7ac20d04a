//! References inside a JSON schema.

use super::keywords::within_mut;
use super::refusal::refuse;
use crate::Result;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Where definitions are put that the compiler would not find, or no look at a schema would come by, at their own places.
const PLACE: &str = "$defs";
/// Most values that are copied there.
const MAX_COPIED: usize = 100_000;

/// The schema that a reference such as `#/$defs/a~1b` means.
pub(super) fn find<'s>(root: &'s Value, reference: &str) -> Option<&'s Value> {
    let path = unpercent(reference.strip_prefix('#')?);
    root.pointer(&path)
}

/// Makes every reference lead to the top of the schema or to one of its definitions, and nowhere else: what is referred to by
/// another way (`#/properties/a`, `#/components/schemas/a`, `#/default`, by escapes) is copied to a definition. So it lies where
/// all looks at a schema come by, and where the compiler finds it.
///
/// # Errors
/// A reference that leads nowhere, or to what is no schema, by its text; and those that would have too much copied.
pub(super) fn resolve(root: &mut Value) -> Result<()> {
    let refused = |what: &str, reference: &str| refuse(what, format!("`$ref` to {reference:?}"));
    let mut open = Vec::new();
    visit(root, &mut |reference| open.push(reference.clone()));
    let taken = |root: &Value, name: &str| root.get(PLACE).is_some_and(|definitions| definitions.get(name).is_some());
    let (mut renamed, mut added, mut copied) = (HashMap::new(), Map::new(), 0);
    while let Some(reference) = open.pop() {
        if !reference.starts_with('#') || renamed.contains_key(&reference) {
            continue;
        }
        let Some(target) = find(root, &reference) else {
            return refused("references to what is in the schema", &reference);
        };
        if !matches!(target, Value::Object(_) | Value::Bool(_)) {
            return refused("references to schemas", &reference);
        }
        if is_plain(&reference) {
            continue;
        }
        copied += weight(target);
        if copied > MAX_COPIED {
            return refused("references to definitions under `$defs`", &reference);
        }
        let mut target = target.clone();
        visit(&mut target, &mut |reference| open.push(reference.clone()));
        let free = |name: &String| !taken(root, name) && !added.contains_key(name);
        let name = (renamed.len()..).map(|n| format!("tokki-{n}")).find(free).unwrap_or_default();
        added.insert(name.clone(), target);
        renamed.insert(reference, format!("#/{PLACE}/{name}"));
    }
    if renamed.is_empty() {
        return Ok(());
    }
    if let Value::Object(map) = root
        && let Value::Object(definitions) = map.entry(PLACE).or_insert_with(|| Value::Object(Map::new()))
    {
        definitions.extend(added);
    }
    visit(root, &mut |reference| {
        if let Some(name) = renamed.get(reference.as_str()) {
            reference.clone_from(name);
        }
    });
    Ok(())
}

/// An alternative of a schema, the `index`th of its `anyOf`, by itself: references to places in it find them there.
pub(super) fn alone(alternative: &Value, index: usize) -> Value {
    let (mut alone, place) = (alternative.clone(), format!("#/anyOf/{index}"));
    visit(&mut alone, &mut |reference| {
        if let Some(rest) = reference.strip_prefix(&place).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            *reference = format!("#{rest}");
        }
    });
    alone
}

/// Whether a reference leads to the top, or to a definition by its own letters.
fn is_plain(reference: &str) -> bool {
    let definition = ["#/$defs/", "#/definitions/"].iter().find_map(|place| reference.strip_prefix(place));
    reference == "#" || definition.is_some_and(|name| !name.contains(['/', '~', '%']))
}

/// Values in a schema.
fn weight(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 1,
        Value::Object(map) => map.values().map(weight).sum::<usize>() + 1,
        _ => 1,
    }
}

/// Hands on every reference of a schema and of those in it; what is data has none.
fn visit(schema: &mut Value, each: &mut dyn FnMut(&mut String)) {
    let Value::Object(map) = schema else { return };
    if let Some(Value::String(reference)) = map.get_mut("$ref") {
        each(reference);
    }
    within_mut(map).for_each(|inner| visit(inner, each));
}

/// Percent escapes as characters; what is none stays.
fn unpercent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = hex.filter(|_| first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn resolved(mut schema: Value) -> Value {
        resolve(&mut schema).unwrap();
        schema
    }

    #[test]
    fn what_is_referred_to_becomes_a_definition() {
        let plain = json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#"}}}});
        assert_eq!(resolved(plain.clone()), plain);
        let elsewhere = resolved(json!({"$ref": "#/default", "default": {"type": "null"}, "$defs": {"tokki-0": true}}));
        assert_eq!(
            (&elsewhere["$ref"], &elsewhere["$defs"]["tokki-1"]),
            (&json!("#/$defs/tokki-1"), &json!({"type": "null"}))
        );
        let both =
            json!({"anyOf": [{"$ref": "#/x"}, {"$ref": "#/y"}], "x": true, "y": false, "$defs": {"tokki-0": true}});
        let both = resolved(both);
        let mut copies: Vec<&Value> = both["$defs"].as_object().unwrap().values().collect();
        copies.sort_by_key(|copy| copy.as_bool());
        assert_eq!(copies, [&json!(false), &json!(true), &json!(true)]);
        // What refers to itself does so in its copy, and what others refer to comes along.
        let schema = json!({
            "properties": {"default": {"items": {"$ref": "#/properties/default"}, "not": {"$ref": "#/x/y~1z"}}},
            "x": {"y/z": {"const": {"$ref": "#/nowhere"}}}
        });
        let found = resolved(schema);
        assert_eq!(found["properties"]["default"]["items"]["$ref"], "#/$defs/tokki-1");
        assert_eq!(found["$defs"]["tokki-1"], found["properties"]["default"]);
        assert_eq!(found["$defs"]["tokki-0"], json!({"const": {"$ref": "#/nowhere"}}));
    }

    #[test]
    fn what_leads_nowhere_or_to_too_much_is_refused() {
        for schema in
            [json!({"$ref": "#/a"}), json!({"$ref": "#/a", "a": 3}), json!({"$ref": "#/a", "a": {"$ref": "#/b"}})]
        {
            assert!(resolve(&mut schema.clone()).is_err(), "{schema}");
        }
        let mut deep = json!(true);
        for level in 0..120 {
            deep = json!({"a": deep, "b": vec![level; 50]});
        }
        let all: Vec<Value> = (1..120).map(|depth| json!({"$ref": format!("#{}", "/a".repeat(depth))})).collect();
        deep["allOf"] = json!(all);
        assert!(resolve(&mut deep).is_err());
    }
}
