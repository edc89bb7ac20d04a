//! Whole numbers beyond 2^53 in a JSON schema, kept to digit by digit.
//!
//! The compiler reads numbers as floats, which do not tell such ones apart. So the way from the root of a schema down to a
//! constant that holds one is written as a grammar in Lark's notation, with the number as text; whatever holds none stays a
//! schema (`%json`) of that grammar. Of what a schema leaves open on that way, less is allowed than it would allow: no names
//! beside the declared ones, and no white space but one blank after a separator. All that passes is valid.

use super::keywords::within;
use super::pointer;
use super::refusal::refuse;
use super::schema;
use crate::Result;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::fmt::Write;

/// Words on the way down that say nothing of a value.
const SILENT: [&str; 9] =
    ["title", "description", "default", "examples", "$comment", "$schema", "$id", "$defs", "definitions"];
/// Longest way down through references.
const MAX_CONSTANT_DEPTH: usize = 32;
/// Most parts that are written: each is looked through, with all that it refers to.
const MAX_PARTS: usize = 256;
/// Between two members.
const COMMA: &str = "/, ?/";

/// The grammar of a schema in which a constant holds a number that floats do not hold; `None` for any other schema.
///
/// # Errors
/// What cannot be kept to, by name.
pub(super) fn lark(root: &Value, lenient: bool) -> Result<Option<String>> {
    if !holds(root, root) {
        return Ok(None);
    }
    let mut writer = Writer { root, lenient, rules: String::new(), count: 0, parts: 0 };
    let start = writer.rule(root, MAX_CONSTANT_DEPTH)?;
    Ok(Some(format!("start: {start}\n{}", writer.rules)))
}

/// Whether a constant under `schema` holds a number that floats do not hold. What is referred to is looked at once.
fn holds<'s>(root: &'s Value, schema: &'s Value) -> bool {
    let (mut left, mut seen) = (vec![schema], HashSet::new());
    while let Some(schema) = left.pop() {
        let Value::Object(map) = schema else { continue };
        if ["const", "enum"].iter().filter_map(|word| map.get(*word)).any(|data| schema::beyond(data).is_some()) {
            return true;
        }
        let target = map.get("$ref").and_then(Value::as_str).and_then(|to| pointer::find(root, to));
        left.extend(target.filter(|to| seen.insert(std::ptr::from_ref::<Value>(to))));
        let about = |(word, _): &(&str, &Value)| !["$defs", "definitions"].contains(word);
        left.extend(within(map).filter(about).map(|(_, inner)| inner));
    }
    false
}

struct Writer<'s> {
    root: &'s Value,
    lenient: bool,
    rules: String,
    count: usize,
    /// Parts that were written.
    parts: usize,
}

impl Writer<'_> {
    /// What stands for `schema` in a rule.
    fn rule(&mut self, schema: &Value, depth: usize) -> Result<String> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return refuse(
                "a schema that is written out in time",
                format!("more than {MAX_PARTS} parts around large whole numbers"),
            );
        }
        let Some(below) = depth.checked_sub(1) else {
            return refuse("a schema that ends", "a `$ref` that leads to itself around a large whole number");
        };
        let Value::Object(map) = schema else { return self.plain(schema) };
        if !holds(self.root, schema) {
            return self.plain(schema);
        }
        let allow = |words: &[&str]| {
            let odd = map.keys().find(|word| !words.contains(&word.as_str()) && !SILENT.contains(&word.as_str()));
            match odd {
                Some(word) => refuse("whole numbers up to 2^53 beside this word", format!("`{word}`")),
                None => Ok(()),
            }
        };
        if let Some(values) =
            map.get("const").map(std::slice::from_ref).or(map.get("enum").and_then(|e| e.as_array().map(Vec::as_slice)))
        {
            allow(&["const", "enum", "type"])?;
            return constants(values, map.get("type"));
        }
        if let Some(target) = map.get("$ref").and_then(Value::as_str).and_then(|text| pointer::find(self.root, text)) {
            allow(&["$ref"])?;
            return self.rule(target, below);
        }
        if let Some(Value::Array(options)) = map.get("anyOf") {
            allow(&["anyOf"])?;
            let options = options.iter().map(|option| self.rule(option, below)).collect::<Result<Vec<_>>>()?;
            return Ok(format!("({})", options.join(" | ")));
        }
        if let Some(Value::Object(properties)) = map.get("properties") {
            allow(&["type", "properties", "required", "additionalProperties"])?;
            return self.object(properties, map.get("required"), below);
        }
        if let Some(items) = map.get("items") {
            allow(&["type", "items", "minItems", "maxItems"])?;
            return self.array(items, map, below);
        }
        refuse("whole numbers up to 2^53 in this place", format!("{:?}", map.keys().collect::<Vec<_>>()))
    }

    /// A part without such numbers, with the definitions that it may need.
    fn plain(&self, schema: &Value) -> Result<String> {
        let mut part = match schema {
            Value::Object(map) => map.clone(),
            Value::Bool(true) => Map::new(),
            _ => return refuse("an object or a boolean", schema.to_string()),
        };
        for word in ["$defs", "definitions"] {
            let Some(Value::Object(all)) = self.root.get(word) else { continue };
            let exact = all.iter().filter(|(_, value)| !holds(self.root, value));
            part.insert(word.into(), exact.map(|(name, value)| (name.clone(), value.clone())).collect());
        }
        Ok(format!("%json {}", schema::prepare(&Value::Object(part), self.lenient)?))
    }

    /// Properties in their order, those that need not be there left out at will.
    fn object(&mut self, properties: &Map<String, Value>, required: Option<&Value>, below: usize) -> Result<String> {
        let needed =
            |name: &str| required.and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == name));
        if let Some(name) = required
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .find(|name| !properties.contains_key(*name))
        {
            return refuse("required names among the properties", format!("{name:?}"));
        }
        let first = self.count;
        self.count += 2 * (properties.len() + 1);
        // Rule 2 i: nothing was written before property i; rule 2 i + 1: something was.
        for (i, (name, schema)) in properties.iter().enumerate() {
            let (value, optional) = (self.rule(schema, below)?, !needed(name));
            let name = quoted(&Value::String(name.clone()).to_string());
            let (here, next) = (first + 2 * i, first + 2 * (i + 1));
            let skip = |rule: usize| if optional { format!(" | r{rule}") } else { String::new() };
            let _ = writeln!(self.rules, "r{here}: {name} /: ?/ {value} r{}{}", next + 1, skip(next));
            let _ = writeln!(self.rules, "r{}: {COMMA} {name} /: ?/ {value} r{}{}", here + 1, next + 1, skip(next + 1));
        }
        let end = first + 2 * properties.len();
        let _ = writeln!(self.rules, "r{end}: \"\"\nr{}: \"\"", end + 1);
        Ok(format!("\"{{\" r{first} \"}}\""))
    }

    fn array(&mut self, items: &Value, map: &Map<String, Value>, below: usize) -> Result<String> {
        let count = |word: &str| map.get(word).and_then(Value::as_u64);
        let (least, most) = (count("minItems").unwrap_or(0), count("maxItems"));
        if most.is_some_and(|most| most < least.max(1)) || least > 1 << 12 {
            return refuse("numbers of items that can be kept to", format!("{least} to {most:?}"));
        }
        let item = self.rule(items, below)?;
        let (more, up) = (least.saturating_sub(1), most.map_or(String::new(), |most| (most - 1).to_string()));
        let some = format!("{item} ({COMMA} {item}){{{more},{up}}}");
        Ok(if least == 0 { format!("\"[\" ({some})? \"]\"") } else { format!("\"[\" {some} \"]\"") })
    }
}

/// Constants as the texts that they are, those of another type left out.
fn constants(values: &[Value], kind: Option<&Value>) -> Result<String> {
    let fits = |value: &Value| match kind.and_then(Value::as_str) {
        None => true,
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("boolean") => value.is_boolean(),
        Some(_) => value.is_null(),
    };
    let texts: Vec<String> =
        values.iter().filter(|value| fits(value)).map(|value| quoted(&value.to_string())).collect();
    if let Some(float) = values.iter().find(|value| schema::beyond(value).is_some_and(|text| text.contains('e'))) {
        return refuse("whole numbers up to 2^64", float.to_string());
    }
    if texts.is_empty() {
        return refuse("constants of the type that is asked for", json!(values).to_string());
    }
    Ok(format!("({})", texts.join(" | ")))
}

/// A text as Lark has it.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Definitions each of which is used by six properties of the one before.
    fn fan(levels: usize, last: Value) -> Value {
        let mut definitions = Map::from_iter([(format!("a{levels}"), last)]);
        for at in 0..levels {
            let next = json!({ "$ref": format!("#/$defs/a{}", at + 1) });
            let properties: Map<String, Value> = (0..6).map(|name| (format!("x{name}"), next.clone())).collect();
            definitions.insert(format!("a{at}"), json!({ "type": "object", "properties": properties }));
        }
        json!({ "$ref": "#/$defs/a0", "$defs": definitions })
    }

    #[test]
    fn what_is_referred_to_often_is_looked_at_once() {
        let begin = std::time::Instant::now();
        assert_eq!(lark(&fan(30, json!({ "type": "null" })), false).unwrap(), None);
        let options: Vec<Value> = (0..40)
            .map(|most| json!({ "type": "array", "items": { "$ref": "#/$defs/a" }, "maxItems": most }))
            .collect();
        let any = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "anyOf": options } } });
        assert_eq!(lark(&any, false).unwrap(), None);
        let large = lark(&fan(10, json!({ "const": 9_007_199_254_740_993_u64 })), false);
        assert!(large.is_err_and(|why| why.to_string().contains("written out")));
        // Many times what it takes.
        assert!(begin.elapsed() < std::time::Duration::from_secs(10), "{:?}", begin.elapsed());
    }
}
