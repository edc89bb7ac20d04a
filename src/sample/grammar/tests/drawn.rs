//! Schemas that are drawn at random, with all the words that are said in others: what they let pass is valid by the plain
//! reading of the words, and of texts, numbers and lists nothing valid is kept out.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Form, Grammars, accepts, grammars};
use crate::testing::Rng;
use serde_json::{Map, Value, json};

/// Whether `value` fits `schema`, by the meaning of each word.
fn fits(schema: &Value, value: &Value) -> bool {
    let Value::Object(words) = schema else { return schema == &Value::Bool(true) };
    let get = |word: &str| words.get(word);
    let all = |word: &str, test: &dyn Fn(&Value) -> bool| get(word).is_none_or(test);
    let number = value.as_f64();
    let length = |word: &str, n: Option<usize>, test: fn(u64, u64) -> bool| {
        all(word, &|most| n.is_none_or(|n| test(n as u64, most.as_u64().unwrap())))
    };
    let bound =
        |word: &str, test: fn(f64, f64) -> bool| all(word, &|b| number.is_none_or(|n| test(n, b.as_f64().unwrap())));
    let chars = value.as_str().map(|text| text.chars().count());
    let names = |names: &Value, object: &Map<String, Value>| {
        names.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
    };
    let object = |test: &dyn Fn(&Map<String, Value>) -> bool| value.as_object().is_none_or(test);
    let list = |word: &str, some: bool| {
        let of = |schemas: &Value| {
            let mut fit = schemas.as_array().unwrap().iter().map(|schema| fits(schema, value));
            if some { fit.any(|fit| fit) } else { fit.all(|fit| fit) }
        };
        all(word, &of)
    };
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    all("type", &|kind| match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| is(kind.as_str().unwrap())),
        kind => is(kind.as_str().unwrap()),
    }) && all("const", &|wanted| value == wanted)
        && all("enum", &|values| values.as_array().unwrap().contains(value))
        && bound("minimum", |n, b| n >= b)
        && bound("maximum", |n, b| n <= b)
        && length("minLength", chars, |n, m| n >= m)
        && length("maxLength", chars, |n, m| n <= m)
        && length("minItems", value.as_array().map(Vec::len), |n, m| n >= m)
        && length("maxItems", value.as_array().map(Vec::len), |n, m| n <= m)
        && all("required", &|wanted| object(&|object| names(wanted, object)))
        && all("dependentRequired", &|of| {
            object(&|object| {
                of.as_object().unwrap().iter().all(|(name, asked)| !object.contains_key(name) || names(asked, object))
            })
        })
        && all("properties", &|of| {
            object(&|object| {
                of.as_object().unwrap().iter().all(|(name, schema)| object.get(name).is_none_or(|v| fits(schema, v)))
            })
        })
        && list("allOf", false)
        && list("anyOf", true)
        && all("not", &|schema| !fits(schema, value))
        && match get("if") {
            None => true,
            Some(condition) if fits(condition, value) => all("then", &|schema| fits(schema, value)),
            Some(_) => all("else", &|schema| fits(schema, value)),
        }
}

const TEXTS: [&str; 6] = ["", "a", "ab", "b", "가", "a\"b"];

fn scalar(rng: &mut Rng, kind: &str) -> Value {
    match kind {
        "string" => json!(TEXTS[rng.below(TEXTS.len())]),
        "integer" => json!(rng.below(7) as i64 - 3),
        "boolean" => json!(rng.below(2) == 0),
        _ => Value::Null,
    }
}

/// Words about values of one type; or a combination of some.
fn words(rng: &mut Rng, kind: &str, depth: usize) -> Value {
    let below = depth.saturating_sub(1);
    match rng.below(if depth == 0 { 4 } else { 9 }) {
        0 => json!({ "const": scalar(rng, kind) }),
        1 => json!({ "enum": (0..1 + rng.below(3)).map(|_| scalar(rng, kind)).collect::<Vec<_>>() }),
        2 | 3 => {
            let words: &[&str] = match kind {
                "string" => &["minLength", "maxLength"],
                "integer" => &["minimum", "maximum"],
                "object" => return object(rng),
                _ => return json!({ "type": kind }),
            };
            json!({ words[rng.below(2)]: rng.below(4) })
        }
        4 | 5 => json!({ "not": words(rng, kind, below) }),
        6 => json!({ "anyOf": [words(rng, kind, below), words(rng, kind, below)] }),
        7 => json!({ "allOf": [words(rng, kind, below), words(rng, kind, below)] }),
        _ => json!({ "if": words(rng, kind, below), "then": words(rng, kind, below), "else": words(rng, kind, below) }),
    }
}

fn object(rng: &mut Rng) -> Value {
    match rng.below(3) {
        0 => json!({ "required": ["a"] }),
        1 => json!({ "properties": { "a": { "const": "x" } } }),
        _ => json!({ "dependentRequired": { "a": ["b"] } }),
    }
}

/// A schema of one type, and values to try it with.
fn drawn(rng: &mut Rng) -> (Value, Vec<Value>) {
    let kind = ["string", "integer", "boolean", "object", "string", "integer"][rng.below(6)];
    let mut schema = json!({ "type": kind });
    let values = match kind {
        "string" => TEXTS.iter().map(|text| json!(text)).collect(),
        "integer" => (-4..5).map(|n| json!(n)).collect(),
        "boolean" => vec![json!(true), json!(false)],
        _ => {
            let text = json!({ "type": "string", "maxLength": 3 });
            schema = json!({ "type": kind, "properties": { "a": text, "b": text }, "additionalProperties": false });
            [r#"{}"#, r#"{"a":"x"}"#, r#"{"a":"y"}"#, r#"{"b":"x"}"#, r#"{"a":"x","b":"y"}"#]
                .map(|text| serde_json::from_str(text).unwrap())
                .to_vec()
        }
    };
    let Value::Object(more) = words(rng, kind, 2) else { unreachable!("words") };
    // The base says `properties` of its own.
    let map = schema.as_object_mut().unwrap();
    match kind {
        "object" => drop(map.insert("allOf".to_owned(), json!([more]))),
        _ => map.extend(more),
    }
    (schema, values)
}

fn wrong(grammars: &Grammars, schema: &Value, values: &[Value]) -> Option<String> {
    // What is refused is refused; how often is counted by the test.
    grammars.constraint(&Form::JsonSchema(schema.clone())).ok()?;
    values.iter().find_map(|value| {
        let (is, text) = (fits(schema, value), value.to_string());
        // A text with a quote is kept out by any pattern that forbids one somewhere.
        let kept_out = is && text.contains('\\') && !accepts(grammars, schema, &text);
        (accepts(grammars, schema, &text) != is && !kept_out).then(|| format!("{schema}: {text} fits: {is}"))
    })
}

#[test]
fn opposites_mean_what_they_say() {
    let grammars = grammars();
    let mut rng = Rng::new(22);
    let (mut tried, mut refused, mut faults) = (0, Vec::new(), Vec::new());
    let count = std::env::var("TOKKI_TEST_DRAWN").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    for _ in 0..count {
        let (schema, values) = drawn(&mut rng);
        let possible = values.iter().any(|value| fits(&schema, value));
        match grammars.constraint(&Form::JsonSchema(schema.clone())) {
            Ok(_) => faults.extend(wrong(&grammars, &schema, &values)),
            Err(error) if possible => refused.push(format!("{schema}: {error}")),
            Err(_) => {}
        }
        tried += 1;
    }
    assert!(faults.is_empty(), "{} of {tried}:\n{}", faults.len(), faults.join("\n"));
    assert!(refused.len() * 4 < tried, "{} of {tried} were refused:\n{}", refused.len(), refused.join("\n"));
}
