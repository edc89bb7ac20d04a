//! References inside a JSON schema.

use super::refusal::refuse;
use crate::Result;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Where definitions are put that the compiler would not find under their own names.
const PLACE: &str = "$defs";

/// The schema that a reference such as `#/$defs/a~1b` means.
pub(super) fn find<'s>(root: &'s Value, reference: &str) -> Option<&'s Value> {
    let path = unpercent(reference.strip_prefix('#')?);
    root.pointer(&path)
}

/// Checks the references inside a schema, and spells those anew that hold escapes.
///
/// # Errors
/// One that leads nowhere, by its text.
pub(super) fn resolve(root: &mut Value) -> Result<()> {
    let mut found = Vec::new();
    collect(root, &mut found);
    let mut renamed = HashMap::new();
    let mut added = Map::new();
    for reference in found {
        if !reference.starts_with('#') || renamed.contains_key(&reference) {
            continue;
        }
        let Some(target) = find(root, &reference) else {
            return refuse("references to what is in the schema", format!("`$ref` to {reference:?}"));
        };
        if reference.contains(['~', '%']) {
            let name = format!("tokki-{}", renamed.len());
            added.insert(name.clone(), target.clone());
            renamed.insert(reference, format!("#/{PLACE}/{name}"));
        }
    }
    if renamed.is_empty() {
        return Ok(());
    }
    if let Value::Object(map) = root
        && let Value::Object(definitions) = map.entry(PLACE).or_insert_with(|| Value::Object(Map::new()))
    {
        definitions.extend(added);
    }
    rename(root, &renamed);
    Ok(())
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(map) => map.iter().for_each(|(key, item)| match item {
            Value::String(reference) if key == "$ref" => found.push(reference.clone()),
            _ => collect(item, found),
        }),
        _ => {}
    }
}

fn rename(value: &mut Value, renamed: &HashMap<String, String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, renamed)),
        Value::Object(map) => map.iter_mut().for_each(|(key, item)| match item {
            Value::String(reference) if key == "$ref" => {
                if let Some(name) = renamed.get(reference.as_str()) {
                    *reference = name.clone();
                }
            }
            _ => rename(item, renamed),
        }),
        _ => {}
    }
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
