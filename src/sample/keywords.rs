//! Words of JSON schema, by what they hold.

/// The words under which a schema holds schemas that one and the same value has to fit.
pub(super) const SAME_VALUE: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// Words whose value is data, not a schema.
pub(super) fn holds_data(word: &str) -> bool {
    matches!(word, "const" | "enum" | "default" | "examples")
}

/// Words whose value is an object of schemas, by names.
pub(super) fn holds_names(word: &str) -> bool {
    matches!(word, "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" | "dependencies")
}
