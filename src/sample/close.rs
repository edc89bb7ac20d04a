//! Objects get no names beside the declared ones, unless the schema speaks of others.
//!
//! A schema that lists properties and is silent about others allows any. But a caller who lists the properties of an answer means
//! these, and a model that may add others does so until its limit. Other engines read such schemas in this way, too; every
//! answer that is left is valid.

use super::keywords::{within, within_mut};
use serde_json::{Map, Value};

/// Words that look at an object from several sides, where a closed side would shut out the names of another.
const SEVERAL_SIDES: [&str; 10] = [
    "if",
    "then",
    "else",
    "not",
    "dependencies",
    "dependentSchemas",
    "propertyNames",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
];

/// Closes the objects of a schema, if none of them is looked at from several sides.
pub(super) fn close(root: &mut Value) {
    if is_one_sided(root) {
        close_all(root);
    }
}

fn is_one_sided(schema: &Value) -> bool {
    let Value::Object(map) = schema else { return true };
    let has = |word: &str| map.contains_key(word);
    let sides = ["allOf", "anyOf", "oneOf", "$ref"].iter().filter(|word| has(word)).count();
    let all = map.get("allOf").and_then(Value::as_array).map_or(0, Vec::len);
    let mut sided = SEVERAL_SIDES.iter().filter_map(|word| map.get(*word));
    let several = sided.any(|side| has("properties") || speaks_of_names(side))
        || all > 1
        || sides > 1
        || (sides == 1 && has("properties"));
    !several && within(map).all(|(_, inner)| is_one_sided(inner))
}

/// Whether a schema, or one within it, says something of an object's names.
fn speaks_of_names(schema: &Value) -> bool {
    let own = ["properties", "required", "$ref"];
    let Value::Object(map) = schema else { return false };
    own.iter().any(|word| map.contains_key(*word)) || within(map).any(|(_, inner)| speaks_of_names(inner))
}

fn close_all(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    within_mut(map).for_each(close_all);
    if is_silent(map) {
        map.insert("additionalProperties".to_owned(), false.into());
    }
}

/// Whether a schema lists the properties of an object, and nothing in it speaks of others.
fn is_silent(map: &Map<String, Value>) -> bool {
    let Some(listed) = map.get("properties").and_then(Value::as_object).filter(|listed| !listed.is_empty()) else {
        return false;
    };
    let speaks = ["additionalProperties", "patternProperties"].iter().any(|word| map.contains_key(*word));
    let mut required = map.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let least = map.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
    !speaks && required.all(|name| listed.contains_key(name)) && least <= listed.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn closed(mut schema: Value) -> Value {
        close(&mut schema);
        schema
    }

    #[test]
    fn objects_are_closed_where_nothing_speaks_against_it() {
        let inner = json!({"properties": {"a": {"type": "integer"}}});
        let shut = json!({"properties": {"a": {"type": "integer"}}, "additionalProperties": false});
        assert_eq!(closed(inner.clone()), shut);
        assert_eq!(closed(json!({"items": inner})), json!({"items": shut}));
        assert_eq!(closed(json!({"anyOf": [inner, {"type": "null"}]})), json!({"anyOf": [shut, {"type": "null"}]}));
        let not = json!({"properties": {"a": {"not": {"type": "string"}}}});
        assert_eq!(closed(not)["additionalProperties"], false);
        let named = |of: &Value| json!({"$defs": {"properties": of}, "allOf": [{"$ref": "#/$defs/properties"}]});
        assert_eq!(closed(named(&inner)), named(&shut));
        for open in [
            json!({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}),
            json!({"properties": {"a": {}}, "patternProperties": {"^x": {}}}),
            json!({"properties": {"a": {}}, "required": ["a", "b"]}),
            json!({"properties": {"a": {}}, "minProperties": 2}),
            json!({"properties": {}}),
            json!({"type": "object"}),
            json!({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}),
            json!({"properties": {"a": {}}, "anyOf": [{"properties": {"b": {}}}, {"properties": {"c": {}}}]}),
            json!({"properties": {"a": {"properties": {"x": {}}}}, "if": {"required": ["b"]}}),
            json!({"properties": {"a": {}}, "$ref": "#/$defs/b", "$defs": {"b": {"properties": {"b": {}}}}}),
            json!({"const": {"properties": {"a": {}}}}),
            json!({"properties": {"a": {}}, "not": {"minProperties": 2}}),
            json!({"anyOf": [{"properties": {"a": {}}}, {"not": {"required": ["a"]}}]}),
            json!(true),
        ] {
            assert_eq!(closed(open.clone()), open);
        }
    }
}
