//! Words of JSON schema, by what they hold.

use serde_json::{Map, Value};

/// The words under which a schema holds schemas that one and the same value has to fit.
pub(super) const SAME_VALUE: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// Words whose value is data, not a schema.
fn holds_data(word: &str) -> bool {
    matches!(word, "const" | "enum" | "default" | "example" | "examples" | "required")
}

/// Words whose value is an object of schemas, by names: these may be any, words of schemas among them.
pub(super) fn holds_names(word: &str) -> bool {
    matches!(word, "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" | "dependencies")
}

/// The schemas directly within a schema, each with the word that holds it. EVERY WALK over a schema goes by this, or by
/// [`within_mut`]: names of properties look like words, and are none.
pub(super) fn within(schema: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    schema.iter().filter(|(word, _)| !holds_data(word)).flat_map(|(word, value)| {
        let inner: Box<dyn Iterator<Item = &Value>> = match value {
            Value::Object(named) if holds_names(word) => Box::new(named.values()),
            Value::Array(items) => Box::new(items.iter()),
            value => Box::new(std::iter::once(value)),
        };
        inner.map(move |inner| (word.as_str(), inner))
    })
}

/// The same, to be changed.
pub(super) fn within_mut(schema: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    schema.iter_mut().filter(|(word, _)| !holds_data(word)).flat_map(|(word, value)| {
        let inner: Box<dyn Iterator<Item = &mut Value>> = if value.is_array() {
            Box::new(value.as_array_mut().into_iter().flatten())
        } else if value.is_object() && holds_names(word) {
            Box::new(value.as_object_mut().into_iter().flat_map(Map::values_mut))
        } else {
            Box::new(std::iter::once(value))
        };
        inner
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_no_words_and_data_is_no_schema() {
        let mut schema = json!({
            "properties": {"default": 1, "const": 2, "properties": 3}, "$defs": {"enum": 4}, "anyOf": [5, 6], "items": 7,
            "default": 0, "const": 0, "enum": [0], "examples": [0], "required": [0], "example": 0
        });
        let Value::Object(map) = &mut schema else { unreachable!("an object") };
        let found: Vec<_> = within(map).map(|(_, value)| value.as_u64()).collect();
        assert_eq!(found, (1..8).map(Some).collect::<Vec<_>>());
        assert_eq!(within_mut(map).count(), 7);
    }
}
