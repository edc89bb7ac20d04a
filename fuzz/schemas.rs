//! Schemas that grow out of any bytes: words of JSON schema, also as names of properties; references to anywhere; numbers at the
//! edges of types.

use super::{Form, followed};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

const NAMES: [&str; 16] = [
    "a",
    "b",
    "default",
    "const",
    "enum",
    "examples",
    "properties",
    "items",
    "$ref",
    "pattern",
    "type",
    "$defs",
    "a/b",
    "a~b",
    "%25",
    "required",
];

/// Words that hold one schema, several, schemas by names, a number.
const ONE: [&str; 9] =
    ["items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems"];
const SEVERAL: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED: [&str; 6] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "components"];
const NUMBER: [&str; 11] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
const TYPES: [&str; 8] = ["object", "array", "string", "integer", "number", "boolean", "null", "any"];
const PATTERNS: [&str; 8] = ["^a*$", "a", "[^\"]", "(a|b){2,3}", "\\d+", "(?=a)", "^.{0,200}$", "[\\x00-\\x1f]"];
const FORMATS: [&str; 6] = ["date", "email", "uri", "uuid", "regex", "int32"];

/// The bytes that a schema grows out of; zeros when they are over.
struct Seed<'a>(&'a [u8]);

impl Seed<'_> {
    fn next(&mut self) -> usize {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(first)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.next() % all.len()]
    }

    fn number(&mut self) -> Value {
        match self.next() % 12 {
            0 => json!(i64::MIN),
            1 => json!(i64::MAX),
            2 => json!(9_007_199_254_740_993_i64),
            3 => json!(9_999_991),
            4 => json!(1e300),
            5 => json!(-0.1),
            6 => json!(u32::MAX),
            7 => json!(i64::MIN + 1),
            8 => json!(u64::MAX),
            _ => json!(self.next() as i64 - 8),
        }
    }

    fn reference(&mut self) -> String {
        let parts = (0..self.next() % 4).map(|_| match self.next() % 3 {
            0 => self.of(&NAMED).to_owned(),
            1 => self.of(&NAMES).replace('~', "~0").replace('/', "~1"),
            _ => (self.next() % 3).to_string(),
        });
        parts.fold("#".to_owned(), |path, part| format!("{path}/{part}"))
    }

    fn schema(&mut self, depth: usize) -> Value {
        if depth == 0 || self.next().is_multiple_of(9) {
            return if self.next().is_multiple_of(4) { json!(false) } else { json!({ "type": self.of(&TYPES) }) };
        }
        let mut schema = Map::new();
        for _ in 0..self.next() % 4 + 1 {
            let (word, value) = self.word(depth - 1);
            schema.insert(word.to_owned(), value);
        }
        Value::Object(schema)
    }

    fn several(&mut self, depth: usize) -> Value {
        (0..self.next() % 4).map(|_| self.schema(depth)).collect()
    }

    fn word(&mut self, depth: usize) -> (&'static str, Value) {
        match self.next() % 12 {
            0 => (self.of(&ONE), self.schema(depth)),
            1 => (self.of(&SEVERAL), self.several(depth)),
            2 | 3 => {
                let named = (0..self.next() % 4 + 1).map(|_| (self.of(&NAMES).to_owned(), self.schema(depth)));
                ("properties", named.collect::<Map<_, _>>().into())
            }
            4 => {
                let word = self.of(&NAMED);
                let named = (0..self.next() % 3).map(|_| (self.of(&NAMES).to_owned(), self.schema(depth)));
                (word, named.collect::<Map<_, _>>().into())
            }
            5 | 6 => (self.of(&NUMBER), self.number()),
            7 => (self.of(&DATA), if self.next().is_multiple_of(2) { self.several(depth) } else { self.schema(depth) }),
            8 => ("$ref", self.reference().into()),
            9 => ("type", self.of(&TYPES).into()),
            10 => ("pattern", self.of(&PATTERNS).into()),
            _ => match self.next() % 3 {
                0 => ("format", self.of(&FORMATS).into()),
                1 => ("required", (0..self.next() % 3).map(|_| self.of(&NAMES)).collect()),
                _ => ("const", self.number()),
            },
        }
    }
}

/// A schema by itself, as a tool's, and within a grammar: it is kept to or refused, in time.
pub fn grown(data: &[u8]) {
    let schema = Seed(data).schema(5);
    let start = Instant::now();
    followed(&Form::JsonSchema(schema.clone()), true);
    let rest = json!({ "type": "object" });
    followed(&Form::Lenient { schema: schema.clone(), rest }, true);
    followed(&Form::Lark(format!("start: %json {schema}")), true);
    // Less than what a form is given before its thread is left to itself.
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}: {schema}", start.elapsed());
}
