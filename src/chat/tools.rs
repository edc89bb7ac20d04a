//! Tools that a request offers, and the schemas of calls of them.

use serde_json::{Map, Value, json};

/// Most tools of a request.
const MAX_TOOLS: usize = 1024;

/// The tools that a request offers.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    /// Names with the schemas of their arguments.
    tools: Vec<(String, Value)>,
}

impl Tools {
    /// Reads the `tools` of a request in OpenAI's form.
    ///
    /// # Errors
    /// What is wrong with which tool, in words.
    pub fn read(tools: &[Value]) -> Result<Self, String> {
        if tools.len() > MAX_TOOLS {
            return Err(format!("there are {} of them, and {MAX_TOOLS} are the most", tools.len()));
        }
        let none = || json!({ "type": "object", "properties": {}, "additionalProperties": false });
        let one = |(index, tool): (usize, &Value)| {
            let function = if tool["function"].is_object() { &tool["function"] } else { tool };
            let name = function["name"].as_str().filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| format!("tool {index} has no function with a name"))?;
            let parameters = &function["parameters"];
            if !is_of_objects(parameters) {
                return Err(format!("the parameters of tool {index} ({name}) are no schema of an object"));
            }
            Ok((name.to_owned(), if takes_none(parameters) { none() } else { parameters.clone() }))
        };
        let tools = tools.iter().enumerate().map(one).collect::<Result<_, String>>()?;
        Ok(Self { tools })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Whether there is a tool of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tools.iter().any(|(known, _)| known == name)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().map(|(name, _)| name.as_str())
    }

    /// The schema of a tool's arguments, if it has one.
    pub fn parameters(&self, tool: &str) -> Option<&Value> {
        self.tools.iter().find(|(name, _)| name == tool).map(|(_, schema)| schema).filter(|schema| schema.is_object())
    }

    /// The schema of an answer that is a call: of `name`, or of any tool; with the tools' own schemas if it is `typed`, with
    /// any arguments else.
    pub fn schema(&self, name: Option<&str>, typed: bool) -> Value {
        let call = |(tool, parameters): &(String, Value)| {
            let typed = typed && parameters.is_object();
            let mut arguments = if typed { parameters.clone() } else { json!({ "type": "object" }) };
            move_references(&mut arguments, "#/properties/arguments");
            json!({
                "type": "object",
                "properties": { "name": { "const": tool }, "arguments": arguments },
                "required": ["name", "arguments"],
                "additionalProperties": false,
            })
        };
        let chosen = self.tools.iter().filter(|(tool, _)| name.is_none_or(|name| name == tool));
        any_of(chosen.map(call).collect())
    }

    /// A value of an argument that was written as plain text: by the schema, a text or JSON.
    pub(super) fn value(&self, tool: &str, argument: &str, text: &str) -> Value {
        let kind = self.parameters(tool).and_then(|schema| schema["properties"][argument]["type"].as_str());
        match kind {
            Some("string") => text.into(),
            _ => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        }
    }

    /// The schema of a tool's argument.
    pub(super) fn parameter(&self, tool: &str, name: &str) -> Option<&Value> {
        let schema = &self.parameters(tool)?["properties"][name];
        // One that leads elsewhere would be lost without the rest.
        let leads = schema.to_string().contains("\"$ref\"");
        (schema.is_object() && !leads).then_some(schema)
    }

    /// The tool, if there is no other.
    pub(super) fn only(&self) -> Option<&str> {
        let mut names = self.names();
        names.next().filter(|_| names.next().is_none())
    }
}

/// Whether objects may fit a schema of arguments, or there is none.
fn is_of_objects(parameters: &Value) -> bool {
    let kind = &parameters["type"];
    let named =
        kind.is_null() || kind == "object" || kind.as_array().is_some_and(|kinds| kinds.contains(&"object".into()));
    parameters.is_null() || (parameters.is_object() && named)
}

/// Whether a tool that says this of its parameters has none: nothing at all, or an empty list of them.
fn takes_none(parameters: &Value) -> bool {
    let Value::Object(map) = parameters else { return parameters.is_null() };
    let silent = !["additionalProperties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf"]
        .iter()
        .any(|word| map.contains_key(*word));
    let empty = |name: &str| map.get(name).is_none_or(|of| of.as_object().is_some_and(Map::is_empty));
    map.is_empty() || (silent && map.contains_key("properties") && empty("properties"))
}

/// A schema that one of these fits.
pub fn any_of(mut schemas: Vec<Value>) -> Value {
    if schemas.len() == 1 {
        return schemas.remove(0);
    }
    for (index, schema) in schemas.iter_mut().enumerate() {
        move_references(schema, &format!("#/anyOf/{index}"));
    }
    json!({ "anyOf": schemas })
}

/// Lets a schema's references to places in itself find them when the schema stands at `place`.
fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, place)),
        Value::Object(map) => map.iter_mut().for_each(|(word, value)| match (word.as_str(), value) {
            ("$ref", Value::String(target)) if target == "#" || target.starts_with("#/") => {
                *target = format!("{place}{}", &target[1..]);
            }
            ("const" | "enum" | "default" | "example" | "examples", _) => {}
            // Names, not words.
            (
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" | "dependencies",
                Value::Object(named),
            ) => {
                named.values_mut().for_each(|schema| move_references(schema, place));
            }
            (_, value) => move_references(value, place),
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn references_move_with_their_schemas_whatever_names_there_are() {
        let part =
            |target: &str| json!({ "properties": { "default": { "$ref": target } }, "default": { "$ref": "#" } });
        let both = any_of(vec![part("#/$defs/a"), json!({})]);
        assert_eq!(both["anyOf"][0], {
            let mut moved = part("#/anyOf/0/$defs/a");
            moved["default"] = json!({ "$ref": "#" });
            moved
        });
    }

    #[test]
    fn there_may_be_many_but_not_any_number() {
        let tools = |count: usize| vec![json!({ "name": "f" }); count];
        assert!(Tools::read(&tools(MAX_TOOLS)).is_ok());
        assert!(Tools::read(&tools(MAX_TOOLS + 1)).unwrap_err().contains("1024 are the most"));
    }
}
