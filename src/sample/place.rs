//! Where in a JSON schema that is which stands in the way.

use super::schema::parts;
use crate::Error;
use serde_json::Value;

/// Most schemas within one that are tried by themselves.
const MAX_TRIES: usize = 64;

/// Words under which a schema holds others for references.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// The refusal of a schema with the place of the smallest one in it that is refused by itself for the same reason. `tried`
/// says why one is refused, if it is.
pub(super) fn located(schema: &Value, why: Error, tried: impl Fn(&Value) -> Option<Error>) -> Error {
    let says = why.to_string();
    if says.contains(" at #") || says.contains(" at its top") {
        return why;
    }
    // What comes before is on the way to it.
    let reason = |says: &str| says.rsplit(": ").next().unwrap_or_default().to_owned();
    let fails = |part: &Value| tried(&alone(part, schema)).is_some_and(|why| reason(&why.to_string()) == reason(&says));
    let (mut place, mut here, mut tries) = ("#".to_owned(), schema, 0);
    while let Value::Object(map) = here {
        let mut parts = parts(map);
        // What a reference leads to is nearer to the fault than the reference.
        parts.sort_by_key(|(_, part)| refers(part));
        tries += parts.len();
        if tries > MAX_TRIES {
            break;
        }
        let Some((name, part)) = parts.into_iter().find(|(_, part)| fails(part)) else { break };
        place = format!("{place}/{name}");
        here = part;
    }
    let parted = schema.as_object().is_some_and(|map| !parts(map).is_empty());
    match place.as_str() {
        "#" if parted => at(why, "its top"),
        "#" => why,
        place => at(why, place),
    }
}

/// A schema of another by itself, with the definitions that it may refer to.
fn alone(part: &Value, root: &Value) -> Value {
    let mut part = part.clone();
    if let (true, Some(map)) = (refers(&part), part.as_object_mut()) {
        for word in DEFINITIONS {
            if let Some(definitions) = root.get(word) {
                map.entry(word).or_insert_with(|| definitions.clone());
            }
        }
    }
    part
}

fn refers(schema: &Value) -> bool {
    match schema {
        Value::Array(items) => items.iter().any(refers),
        Value::Object(map) => map.contains_key("$ref") || map.values().any(refers),
        _ => false,
    }
}

fn at(why: Error, at: &str) -> Error {
    match why {
        Error::Input { kind, place, wanted, found, hint } => {
            Error::Input { kind, place: format!("{place} at {at}"), wanted, found, hint }
        }
        Error::Usage { kind, message } => {
            let (said, end) = message.strip_suffix('.').map_or((message.as_str(), ""), |said| (said, "."));
            let message = format!("{said} (at {at}){end}");
            Error::Usage { kind, message }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn place(schema: &Value) -> String {
        let odd = |schema: &Value| schema.to_string().contains("odd").then(|| Error::usage("It is odd."));
        located(schema, Error::usage("It is odd."), odd).to_string()
    }

    #[test]
    fn the_smallest_schema_that_is_refused_is_the_place() {
        let deep = json!({ "properties": { "a/b": { "items": [{}, { "title": "odd" }] }, "c": {} } });
        assert!(place(&deep).ends_with("odd (at #/properties/a~1b/items/1)."), "{}", place(&deep));
        let referred = json!({ "properties": { "a": { "$ref": "#/$defs/x" } }, "$defs": { "x": { "title": "odd" } } });
        assert!(place(&referred).ends_with("(at #/$defs/x)."), "{}", place(&referred));
        assert_eq!(place(&json!({ "title": "odd", "properties": { "a": {} } })), "It is odd (at its top).");
        assert_eq!(place(&json!({ "title": "odd" })), "It is odd.");
    }

    #[test]
    fn many_schemas_are_not_tried_one_by_one() {
        let many: Vec<Value> = (0..100).map(|_| json!({ "title": "odd" })).collect();
        assert_eq!(place(&json!({ "anyOf": many })), "It is odd (at its top).");
    }
}
