#![allow(clippy::unwrap_used, reason = "tests")]

mod drawn;

use super::*;
use crate::sample::{Params, Sampler};
use crate::testing::Rng;
use serde_json::{Value, json};

/// 256 bytes, some longer tokens (one twice), unused ones, and two that end an answer.
fn vocabulary() -> (Vec<Vec<u8>>, Vec<u32>) {
    let mut words: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let longer = ["\"name\"", "\": ", "true", "false", "null", "12", "가나", " \"", "},", "null", "{\"", "  ", "abc"];
    words.extend(longer.iter().map(|word| word.as_bytes().to_vec()));
    words.extend([vec![], vec![0xff, b'<', b'x', b'>'], vec![b'a'; 5000], vec![], vec![]]);
    let eog = vec![words.len() as u32 - 2, words.len() as u32 - 1];
    (words, eog)
}

fn grammars() -> Grammars {
    let (words, eog) = vocabulary();
    Grammars::new(words, &eog).unwrap()
}

/// Draws an answer from random logits.
fn answer(grammars: &Grammars, form: &Form, seed: u64, most: usize) -> (Vec<u8>, bool) {
    let (words, eog) = vocabulary();
    let mut constraint = grammars.constraint(form).unwrap();
    let mut sampler = Sampler::new(Params { temperature: 1.0, ..Params::default() }, seed).unwrap();
    let mut rng = Rng::new(seed);
    let mut bytes = Vec::new();
    for position in 0..most as u64 {
        // More logits than tokens, as padded models have.
        let mut logits: Vec<f32> = (0..words.len() + 7).map(|_| rng.signed()).collect();
        eog.iter().for_each(|&id| logits[id as usize] += 3.0);
        let mask = constraint.allowed().unwrap();
        let token = sampler.sample_masked(&mut logits, &[], position, Some(mask)).unwrap();
        assert!(constraint.mask.contains(token));
        constraint.accept(token).unwrap();
        if eog.contains(&token) {
            assert!(constraint.is_finished());
            return (bytes, true);
        }
        bytes.extend_from_slice(&words[token as usize]);
    }
    (bytes, false)
}

/// A model that never comes to the end of a text by itself is brought there: each format has a longest text.
#[test]
fn texts_of_a_format_come_to_an_end() {
    let grammars = grammars();
    let (words, eog) = vocabulary();
    for name in ["email", "idn-email", "hostname", "uri", "iri", "date-time", "time", "duration", "json-pointer"] {
        let form = Form::JsonSchema(json!({"type": "string", "format": name}));
        let mut constraint = grammars.constraint(&form).unwrap();
        let mut text = Vec::new();
        while !constraint.is_finished() {
            let mask = constraint.allowed().unwrap();
            // Anything rather than a quote.
            let single = |letters: std::ops::RangeInclusive<u8>| letters.map(u32::from).find(|&id| mask.contains(id));
            let token = single(b'0'..=b'z').or_else(|| single(b'!'..=b'~')).or_else(|| single(0..=255));
            let token = token.or_else(|| eog.iter().copied().find(|&id| mask.contains(id))).unwrap();
            constraint.accept(token).unwrap();
            if eog.contains(&token) {
                break;
            }
            text.extend_from_slice(&words[token as usize]);
            assert!(text.len() < 600, "{name}: {}", String::from_utf8_lossy(&text));
        }
        assert!(serde_json::from_slice::<String>(&text).is_ok(), "{name}: {}", String::from_utf8_lossy(&text));
    }
    // Who says how long it may be is not told otherwise.
    let own = Form::JsonSchema(json!({"type": "string", "format": "email", "maxLength": 9}));
    let (text, ended) = answer(&grammars, &own, 3, 60);
    assert!(ended && serde_json::from_slice::<String>(&text).unwrap().len() <= 9);
}

/// Whole numbers that floats do not hold come out digit by digit, wherever their constants stand.
#[test]
fn large_whole_numbers_are_exact() {
    const ID: i64 = 1_180_000_000_000_000_003;
    let grammars = grammars();
    let ids = json!({"enum": [1_180_000_000_000_000_001_i64, ID, "none", u64::MAX]});
    let holds = |value: &Value| ids["enum"].as_array().unwrap().contains(value);
    type Check<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let cases: Vec<(Value, Check<'_>)> = vec![
        (ids.clone(), Box::new(holds)),
        (json!({"const": i64::MIN}), Box::new(|value| value == &json!(i64::MIN))),
        (json!({"const": {"a": [ID, null]}}), Box::new(|value| value == &json!({"a": [ID, null]}))),
        (
            json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}, "id": ids, "ok": {"type": "boolean"}},
                "required": ["id"], "additionalProperties": false}),
            Box::new(|value| {
                let map = value.as_object().unwrap();
                map.keys().all(|key| ["name", "id", "ok"].contains(&key.as_str())) && holds(&map["id"])
            }),
        ),
        (
            json!({"$defs": {"id": {"const": ID}}, "type": "array", "items": {"anyOf": [{"$ref": "#/$defs/id"}, {"type": "null"}]},
                "minItems": 2, "maxItems": 4}),
            Box::new(|value| {
                let items = value.as_array().unwrap();
                (2..=4).contains(&items.len()) && items.iter().all(|item| item.is_null() || item == &json!(ID))
            }),
        ),
        (
            json!({"type": "integer", "minimum": 9_007_199_254_740_993_i64, "exclusiveMaximum": 9_007_199_254_741_003_i64}),
            Box::new(|value| (9_007_199_254_740_993..9_007_199_254_741_003).contains(&value.as_i64().unwrap())),
        ),
        (json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX}), Box::new(|value| value.is_i64())),
    ];
    for (schema, check) in &cases {
        for seed in 0..12 {
            let (bytes, whole) = answer(&grammars, &Form::JsonSchema(schema.clone()), seed, 400);
            let text = String::from_utf8(bytes).unwrap();
            assert!(whole, "{schema}: {text}");
            let value: Value = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{schema}: {text}: {why}"));
            assert!(check(&value), "{schema}: {text}");
        }
    }
}

/// Schemas that cannot be kept to, or not in time, are refused with a sentence that names the fault.
#[test]
fn schemas_are_refused_by_name() {
    let grammars = grammars();
    let patterns: Vec<Value> = (0..23).map(|i| json!({"type": "string", "pattern": format!("a.{{{i}}}b")})).collect();
    let cases = [
        (json!({ "allOf": patterns }), "patterns"),
        (json!({"const": 1e20}), "2^64"),
        (json!({"properties": {"a": {"enum": [1_180_000_000_000_000_001_i64]}}, "minProperties": 1}), "minProperties"),
        (json!({"type": "number", "minimum": 100_000_000_000_000_001_i64}), "2^53"),
        (json!({"type": "integer", "minimum": i64::MAX}), "2^62"),
        (json!({"$ref": "#"}), "itself"),
        (
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
            "itself",
        ),
        (json!({"$ref": "#/$defs/none"}), "none"),
        (json!({"x-guidance": {"whitespace_flexible": true}}), "x-guidance"),
        (json!({"type": "object", "patternProperties": {"^x": {"type": "integer"}}, "minProperties": 2}), "its top"),
        (json!({"properties": {"a": {"type": "object", "minProperties": 2}}}), "#/properties/a"),
        (json!(false), "false"),
        (json!([1]), "object"),
        (json!({"type": "integer", "minimum": 5, "maximum": 4}), "5"),
    ];
    for (schema, says) in cases {
        let error = grammars.constraint(&Form::JsonSchema(schema.clone())).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(says), "{schema}: {error}");
    }
    for lark in ["start: start", "start: \"\"", "start: a\na: b\nb: a", "start: start \"a\""] {
        let error = grammars.constraint(&Form::Lark(lark.to_owned())).unwrap_err();
        assert!(error.exit_code() == 2 && !error.to_string().contains('<'), "{lark}: {error}");
    }
}

/// What random models say under schemas with bounds, references and white space fits those schemas.
#[test]
fn bounds_references_and_white_space() {
    let grammars = grammars();
    let number = |text: &str| text.trim().parse::<f64>().unwrap();
    let schema = json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5});
    let whole = json!({"$defs": {"a/b c": {"type": "integer", "exclusiveMinimum": 2, "maximum": 9}}, "$ref": "#/$defs/a~1b%20c"});
    let endless = json!({"type": "array", "items": {"type": "boolean"}, "minItems": 3, "maxItems": 3});
    let wide = json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX});
    for seed in 0..30 {
        let text = |schema: &Value, most: usize| {
            let (bytes, finished) = answer(&grammars, &Form::JsonSchema(schema.clone()), seed, most);
            finished.then(|| String::from_utf8(bytes).unwrap())
        };
        if let Some(text) = text(&schema, 200) {
            assert!(0.0 < number(&text) && number(&text) < 0.5, "{text}");
        }
        if let Some(text) = text(&whole, 200) {
            assert!((3..=9).contains(&text.trim().parse::<i64>().unwrap()), "{text}");
        }
        if let Some(text) = text(&wide, 400) {
            assert!(text.trim().trim_start_matches('-').len() <= 20, "{text}");
        }
        if let Some(text) = text(&endless, 400) {
            let longest = text.split(|c: char| !c.is_whitespace()).map(str::len).max().unwrap_or(0);
            assert!(longest <= 12, "{text:?}");
        }
    }
    let unquoted = Form::JsonSchema(json!({"type": "string", "pattern": "^[^\"]*$", "maxLength": 8}));
    for seed in 0..60 {
        let (bytes, finished) = answer(&grammars, &unquoted, seed, 300);
        if finished {
            let text: String = serde_json::from_slice(&bytes).unwrap();
            assert!(!text.contains('"'), "{text:?}");
        }
    }
}

#[test]
fn answers_keep_to_a_schema() {
    let grammars = grammars();
    let schema = json!({
        "type": "object",
        "properties": {"kind": {"enum": ["가나", "b"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}, "ok": {"type": "boolean"}},
        "required": ["kind", "n", "ok"],
        "additionalProperties": false
    });
    for seed in 0..20 {
        let (bytes, finished) = answer(&grammars, &Form::JsonSchema(schema.clone()), seed, 4000);
        let Ok(text) = String::from_utf8(bytes) else { panic!("not UTF-8") };
        if finished {
            let value: Value = serde_json::from_str(&text).unwrap();
            assert!(value["kind"] == "가나" || value["kind"] == "b", "{text}");
            assert!(value["n"].as_u64().unwrap() < 100 && value["ok"].is_boolean(), "{text}");
            assert_eq!(value.as_object().unwrap().len(), 3);
        } else {
            // Random logits like whitespace; what there is has to be a beginning.
            assert!(text.trim_start().starts_with('{') || text.trim().is_empty(), "{text}");
        }
    }
}

#[test]
fn answers_keep_to_expressions_and_grammars() {
    let grammars = grammars();
    for seed in 0..20 {
        let (bytes, finished) = answer(&grammars, &Form::Regex("[0-9]{3}-(가|나){2}/x".into()), seed, 100);
        let text = String::from_utf8(bytes).unwrap();
        assert!(finished && text.len() == 12 && text.ends_with("/x") && text.as_bytes()[3] == b'-', "{text}");
        let lark = "start: pair (\",\" pair)*\npair: \"(\" start? \")\" | \"abc\"\n";
        let (bytes, finished) = answer(&grammars, &Form::Lark(lark.into()), seed, 3000);
        let depth = bytes.iter().try_fold(0_i32, |depth, byte| match byte {
            b'(' => Some(depth + 1),
            b')' => (depth > 0).then_some(depth - 1),
            _ => Some(depth),
        });
        assert!(!finished || depth == Some(0), "{}", String::from_utf8_lossy(&bytes));
        assert!(depth.is_some());
    }
}

#[test]
fn only_allowed_tokens_are_accepted() {
    let grammars = grammars();
    let mut constraint = grammars.constraint(&Form::Regex("abc?".into())).unwrap();
    let mask = constraint.allowed().unwrap();
    assert!(mask.contains(u32::from(b'a')) && mask.contains(256 + 12) && !mask.contains(u32::from(b'b')));
    let (words, eog) = vocabulary();
    assert!(!eog.iter().any(|&id| mask.contains(id)));
    constraint.accept(u32::from(b'a')).unwrap();
    constraint.accept(u32::from(b'b')).unwrap();
    let mask = constraint.allowed().unwrap();
    assert_eq!(mask.len(), 3, "c and the two ends");
    assert!(eog.iter().all(|&id| mask.contains(id)));
    assert!(constraint.accept(u32::from(b'x')).is_err());
    assert!(Grammars::new(&words, &[]).is_err());
    assert!(Grammars::new(&words, &[9999]).is_err());
}

/// Hostile forms end with an error or within the limits; none hangs, overflows the stack or takes the process down.
#[test]
fn harm_ends_with_an_error() {
    let grammars = grammars();
    let nested = (0..MAX_SCHEMA_DEPTH + 5).fold(json!({}), |schema, _| json!({"items": schema}));
    let forms = [
        Form::Regex("(".repeat(30_000)),
        Form::Regex(format!("{}a{}", "(".repeat(30_000), ")".repeat(30_000))),
        Form::Regex("(a".into()),
        Form::Regex("(((a{1,1000}){1,1000}){1,1000}){1,1000}".into()),
        Form::Regex("a".repeat(MAX_FORM_BYTES + 1)),
        Form::Lark(format!("start: {}\"a\"{}", "(".repeat(30_000), ")".repeat(30_000))),
        Form::Lark("start: nothing".into()),
        Form::Lark(String::new()),
        Form::Lark("\"".repeat(1000)),
        Form::JsonSchema(nested),
        Form::JsonSchema(json!({"$ref": "https://example.com/schema.json"})),
        Form::JsonSchema(json!({"type": "nonsense"})),
        Form::JsonSchema(json!({"type": "integer", "multipleOf": 9_999_991})),
        Form::JsonSchema(json!({"type": "number", "multipleOf": 99999.91})),
        Form::JsonSchema(
            json!({"allOf": [{"multipleOf": 97}, {"multipleOf": 89}, {"multipleOf": 83}, {"multipleOf": 79}]}),
        ),
        Form::JsonSchema(json!({"type": "string", "minLength": 1e30})),
        Form::JsonSchema(json!({"type": "string", "pattern": "(x+x+)+y{1000,100000}"})),
        Form::JsonSchema(json!(7)),
    ];
    for form in forms {
        let start = Instant::now();
        let name = format!("{form:?}").chars().take(60).collect::<String>();
        match grammars.constraint(&form) {
            Err(error) => {
                let said = error.to_string().to_lowercase();
                assert!(
                    error.exit_code() == 2 && said.starts_with(&form.name().to_lowercase()) && said.len() < 4096,
                    "{name}: {error}"
                )
            }
            Ok(mut constraint) => {
                let _ = constraint.allowed();
            }
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{name}: {:?}", start.elapsed());
    }
}

#[test]
fn numbers_end() {
    let words: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte]).chain([b"000000".to_vec(), Vec::new()]).collect();
    let grammars = Grammars::new(&words, &[257]).unwrap();
    for kind in ["integer", "number"] {
        let mut constraint = grammars.constraint(&Form::JsonSchema(json!({ "type": kind }))).unwrap();
        constraint.accept(u32::from(b'4')).unwrap();
        let mut digits = 1;
        while constraint.allowed().unwrap().contains(u32::from(b'0')) {
            constraint.accept(u32::from(b'0')).unwrap();
            digits += 1;
            assert!(digits <= 20, "{kind}");
        }
        assert_eq!(digits, 20, "{kind}");
        assert!(!constraint.allowed().unwrap().contains(256));
        assert!(constraint.allowed().unwrap().contains(257));
    }
}

/// A number that is nearly its bound, zero after zero, comes to another digit and to an end.
#[test]
fn numbers_near_a_bound_end() {
    let grammars = grammars();
    let (_, eog) = vocabulary();
    for schema in [
        json!({"type": "number", "maximum": 5}),
        json!({"type": "number", "minimum": 5}),
        json!({"type": "number", "exclusiveMaximum": 0}),
        json!({"type": "number", "minimum": -1, "maximum": 1}),
    ] {
        for start in ["-0.", "0.", "5.", "-5.", "4.", "-1.", "6."] {
            let mut constraint = grammars.constraint(&Form::JsonSchema(schema.clone())).unwrap();
            let mut accepts = |byte: u8| {
                let may = constraint.allowed().unwrap().contains(u32::from(byte));
                if may {
                    constraint.accept(u32::from(byte)).unwrap();
                }
                may
            };
            if !start.bytes().all(&mut accepts) {
                continue;
            }
            let zeros = (0..100).take_while(|_| accepts(b'0')).count();
            assert!(zeros <= 20, "{schema} {start}: {zeros} zeros");
            // At the latest after one digit more it may end.
            (b'1'..=b'9').find(|&digit| accepts(digit));
            let allowed = constraint.allowed().unwrap();
            assert!(eog.iter().any(|&end| allowed.contains(end)), "{schema} {start} {zeros}");
        }
    }
}

/// Whether an answer may be this text, and end there.
fn accepts(grammars: &Grammars, schema: &Value, text: &str) -> bool {
    let mut constraint = grammars.constraint(&Form::JsonSchema(schema.clone())).unwrap();
    for byte in text.bytes() {
        if !constraint.allowed().unwrap().contains(u32::from(byte)) {
            return false;
        }
        constraint.accept(u32::from(byte)).unwrap();
    }
    let (_, eog) = vocabulary();
    constraint.allowed().is_ok_and(|allowed| eog.iter().any(|&end| allowed.contains(end)))
}

/// The largest divisor that is taken is followed to the end of a number.
#[test]
fn multiples_of_a_large_number_are_found() {
    let grammars = grammars();
    for divisor in [9973, 10_000] {
        let schema = json!({"type": "integer", "multipleOf": divisor});
        assert!(accepts(&grammars, &schema, &(divisor * 77_777_777i64).to_string()));
        assert!(!accepts(&grammars, &schema, &(divisor * 77_777_777 + 1).to_string()));
    }
}

/// A class of control characters has no quote and no backslash in it.
#[test]
fn classes_of_control_characters_are_kept_to() {
    let grammars = grammars();
    for class in [r"[\x00-\x1f]", r"[\x00-\x09\x0b-\x1f]", r"\pC", r"[[:cntrl:]]"] {
        let schema = json!({"type": "string", "pattern": format!("^{class}{{2}}$")});
        for (text, fits) in [
            (r#""\t\r""#, true),
            (r#""\\\t""#, false),
            (r#""\"\t""#, false),
            (r#""\t\"""#, false),
            (r#""\t\\""#, false),
        ] {
            assert_eq!(accepts(&grammars, &schema, text), fits, "{class} {text}");
        }
    }
}

/// A character that cannot be written is refused, and not left out.
#[test]
fn constants_are_whole_or_refused() {
    let grammars = grammars();
    for schema in [
        json!({"const": "b\u{7f}c"}),
        json!({"enum": ["\u{7f}", "a\u{1}"]}),
        json!({"type": "object", "properties": {"a\u{7f}": {}}}),
        json!({"type": "string", "pattern": "^\\x7f$"}),
    ] {
        assert!(grammars.constraint(&Form::JsonSchema(schema.clone())).is_err(), "{schema}");
    }
    assert!(accepts(&grammars, &json!({"const": "\u{80}\u{9f}\u{2028}"}), "\"\u{80}\u{9f}\u{2028}\""));
}

/// What bounds no answer is no bound; whole numbers of any length are exact.
#[test]
fn numbers_of_a_schema_may_be_long() {
    let grammars = grammars();
    let schema = json!({"type": "string", "maxLength": 4_294_967_296_u64});
    assert!(accepts(&grammars, &schema, r#""abc""#));
    let schema: Value = serde_json::from_str(&format!("{{\"const\": 1{}}}", "0".repeat(400))).unwrap();
    assert!(accepts(&grammars, &schema, &format!("1{}", "0".repeat(400))));
    assert!(!accepts(&grammars, &schema, &format!("1{}", "0".repeat(399))));
}

/// Names of an object are counted where none can come twice.
#[test]
fn names_are_counted_where_none_comes_twice() {
    let grammars = grammars();
    let number = json!({"type": "integer"});
    let closed = json!({"type": "object", "properties": {"a": number, "b": number}, "required": ["a", "b"],
        "additionalProperties": false, "minProperties": 2});
    assert!(accepts(&grammars, &closed, r#"{"a":1,"b":2}"#));
    assert!(!accepts(&grammars, &closed, r#"{"a":1}"#) && !accepts(&grammars, &closed, r#"{"a":1,"a":2}"#));
    let open = json!({"type": "object", "properties": {"a": number}, "required": ["a"],
        "additionalProperties": number, "minProperties": 2});
    assert!(accepts(&grammars, &open, r#"{"a":1,"z":2}"#));
    assert!(!accepts(&grammars, &open, r#"{"a":1}"#) && !accepts(&grammars, &open, r#"{"a":1,"a":2}"#));
}

/// Words that the compiler does not know are kept to where they can be said in others.
#[test]
fn conditions_dependencies_and_negations() {
    let grammars = grammars();
    let text = json!({"type": "string"});
    let card = json!({
        "type": "object", "additionalProperties": false,
        "properties": {"name": text, "card": text, "address": text},
        "required": ["name"], "dependentRequired": {"card": ["address"]},
    });
    assert!(accepts(&grammars, &card, r#"{"name":"a"}"#));
    assert!(accepts(&grammars, &card, r#"{"name":"a","card":"b","address":"c"}"#));
    assert!(accepts(&grammars, &card, r#"{"name":"a","address":"c"}"#));
    assert!(!accepts(&grammars, &card, r#"{"name":"a","card":"b"}"#));
    let pet = json!({
        "type": "object", "additionalProperties": false,
        "properties": {"kind": {"enum": ["cat", "fish"]}, "lives": {"type": "integer"}, "tank": text},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "cat"}}},
        "then": {"required": ["lives"]}, "else": {"required": ["tank"]},
    });
    assert!(accepts(&grammars, &pet, r#"{"kind":"cat","lives":9}"#));
    assert!(accepts(&grammars, &pet, r#"{"kind":"fish","tank":"t"}"#));
    assert!(!accepts(&grammars, &pet, r#"{"kind":"cat"}"#));
    assert!(!accepts(&grammars, &pet, r#"{"kind":"fish"}"#));
    let few = json!({"enum": [1, 2, 3], "not": {"enum": [2]}});
    assert!(accepts(&grammars, &few, "3") && !accepts(&grammars, &few, "2"));
    let bare = json!({
        "type": "object", "additionalProperties": false, "properties": {"a": text, "b": text},
        "required": ["b"], "not": {"required": ["a"]},
    });
    assert!(accepts(&grammars, &bare, r#"{"b":"x"}"#) && !accepts(&grammars, &bare, r#"{"a":"x","b":"x"}"#));
    for (schema, good, bad) in [
        (json!({"not": {"type": "string"}}), vec!["1", "null", "[]"], vec!["\"a\""]),
        (
            json!({"type": "string", "not": {"enum": ["yes", "no"]}}),
            vec!["\"ye\"", "\"\"", "\"nope\""],
            vec!["\"yes\"", "\"no\""],
        ),
        (json!({"not": {"const": "a\nb"}}), vec!["\"a\"", "3"], vec!["\"a\\nb\""]),
        (json!({"type": "integer", "not": {"enum": [3, 5]}}), vec!["4", "-3", "53"], vec!["3", "5"]),
        (json!({"type": "integer", "format": "int32"}), vec!["2147483647"], vec!["2147483648"]),
        (json!({"type": "string", "format": "byte"}), vec!["\"aGk=\""], vec!["\"a\""]),
        (json!({"type": "string", "format": "password"}), vec!["\"x\""], vec!["1"]),
        (json!({"type": "string", "format": "uri-reference"}), vec!["\"https://a.b/c?d\""], vec!["\"a b\""]),
        (
            json!({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "integer"}}),
            vec!["{\"ab\":1}", "{}"],
            vec!["{\"A\":1}", "{\"a\":\"x\"}"],
        ),
        (json!({"type": "object", "propertyNames": {"enum": ["a"]}}), vec!["{\"a\":1}"], vec!["{\"b\":1}"]),
        (
            json!({"type": "object", "properties": {"a": text, "b": text}, "additionalProperties": false,
                "dependencies": {"a": ["b"]}, "dependentSchemas": {"b": {"properties": {"b": {"const": "x"}}}}}),
            vec!["{}", "{\"b\":\"x\"}", "{\"a\":\"q\",\"b\":\"x\"}"],
            vec!["{\"a\":\"q\"}", "{\"b\":\"y\"}"],
        ),
    ] {
        good.iter().for_each(|text| assert!(accepts(&grammars, &schema, text), "{schema} {text}"));
        bad.iter().for_each(|text| assert!(!accepts(&grammars, &schema, text), "{schema} {text}"));
    }
    // What cannot be said so is refused with its place.
    for (schema, place) in [
        (json!({"properties": {"a/b": {"not": {"pattern": "x"}}}}), "`not` at #/properties/a~1b"),
        (json!({"type": "object", "properties": {"q": {"pattern": "^a\"b[^\"]*$"}}}), "which a pattern there forbids"),
        (json!({"const": "a\u{1}b"}), "without control characters"),
        (json!({"pattern": "^a\u{2}b$"}), "without control characters"),
        (json!({"items": {"type": "integar"}}), "`type`: \"integar\" at #/items"),
        (json!({"type": "string", "format": "regex"}), "`format`: \"regex\" at its top"),
        (json!({"items": {"uniqueItems": true}}), "`uniqueItems` at #/items"),
        (json!({"if": {"pattern": "x"}, "then": {"maxLength": 3}}), "at its top"),
        (json!({"allOf": [{}, {"contains": {}}]}), "`contains` at #/allOf/1"),
    ] {
        let error = grammars.constraint(&Form::JsonSchema(schema)).unwrap_err().to_string();
        assert!(error.contains(place), "{error}");
    }
    // A name of a property is no word; a misspelt word is told.
    let odd = json!({"type": "object", "properties": {"not": text, "if": {"type": "string", "maxlength": 3}}});
    let constraint = grammars.constraint(&Form::JsonSchema(odd)).unwrap();
    assert!(constraint.warnings().iter().any(|warning| warning.contains("`maxlength` at #/properties/if")));
    assert_eq!(constraint.warnings().len(), 1, "{:?}", constraint.warnings());
}

#[test]
fn a_value_amid_text() {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"],
                         "additionalProperties": false });
    let grammars = grammars();
    let takes = |form: &Form, text: &str| grammars.constraint(form).unwrap().accept_text(text).is_ok();
    let object = Form::Within { schema, end: "" };
    for text in ["{\"n\":1}", " {\"n\": 12}}\n</tool_call> and <so> on {", "\n{\"n\":1} ", "{", " ", "{\"n"] {
        assert!(takes(&object, text), "{text:?}");
    }
    for text in ["{\"m", "1", "\"{", "{}", "  {", "{\"n\":1.5", "{\"n\":1,"] {
        assert!(!takes(&object, text), "{text:?}");
    }
    let number = Form::Within { schema: json!({ "type": "integer" }), end: "</v>" };
    for text in ["12</v>", "\n-3\n</v>\n<v>free", "1"] {
        assert!(takes(&number, text), "{text:?}");
    }
    for text in ["12 3", "1.5", "\"1\"", "12<x", "</v>"] {
        assert!(!takes(&number, text), "{text:?}");
    }
    let one = Form::one_of(&["a \"b\"".to_owned(), "가".to_owned()], "</v>");
    assert!(takes(&one, "\na \"b\"\n</v>x") && takes(&one, "가</v>") && !takes(&one, "c") && !takes(&one, "\"a"));
    // Whole numbers that floats do not hold are told apart here, too.
    let large = json!({ "type": "object", "properties": { "n": { "const": 9007199254740993u64 } }, "required": ["n"] });
    let large = Form::Within { schema: large, end: "" };
    assert!(takes(&large, " {\"n\":9007199254740993}}") && !takes(&large, "{\"n\":9007199254740992}"));
}

/// As many tools as there may be, half of them with a schema that cannot be kept to: the good ones are, in time.
#[test]
fn many_alternatives_are_looked_at_in_time() {
    let grammars = grammars();
    let one = |index: usize, arguments: Value| {
        let properties = json!({ "name": { "const": format!("f{index}") }, "arguments": arguments });
        json!({ "type": "object", "properties": properties, "required": ["name", "arguments"], "additionalProperties": false })
    };
    let odd = json!({ "type": "integer", "minimum": 5, "maximum": 2 });
    // It refers to a place in itself, which is another one where it stands alone.
    let good =
        |index: usize| json!({ "items": { "$ref": format!("#/anyOf/{index}/properties/name") }, "type": "array" });
    let typed = |index: usize| one(index, if index.is_multiple_of(2) { good(index) } else { odd.clone() });
    for count in [40, 4000] {
        let schema = json!({ "anyOf": (0..count).map(typed).collect::<Vec<_>>() });
        let rest =
            json!({ "anyOf": (0..count).map(|index| one(index, json!({ "type": "object" }))).collect::<Vec<_>>() });
        let start = Instant::now();
        let made = grammars.constraint(&Form::Lenient { schema, rest });
        // Unoptimised compilers of grammars take longer.
        assert!(start.elapsed() < 20 * MAX_TRYING, "{count}: {:?}", start.elapsed());
        if count == 40 {
            let mut made = made.unwrap();
            assert_eq!(made.warnings().len(), 20, "{:?}", made.warnings());
            made.accept_text("{\"name\":\"f2\",\"arguments\":[\"f2\",\"f2\"]}").unwrap();
        } else {
            assert!(made.unwrap_err().to_string().contains("65536"));
        }
    }
}

/// Properties may have any name, that of a word of schemas too, and references may lead anywhere: what is there is looked at
/// like all else.
#[test]
fn names_that_look_like_words_are_checked() {
    let grammars = grammars();
    let far = json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MIN + 1 });
    let large = json!({ "type": "integer", "multipleOf": 9_999_991 });
    let exact = json!({ "const": 12345678901234567890123u128 });
    for name in
        ["default", "examples", "example", "const", "enum", "required", "properties", "$defs", "items", "$ref", "type"]
    {
        let with = |schema: &Value| json!({ "type": "object", "properties": { name: schema }, "required": [name], "additionalProperties": false });
        for refused in [&far, &large, &json!({ "pattern": "(?=x)" }), &json!({ "not": { "pattern": "x" } })] {
            let outcome = grammars.constraint(&Form::JsonSchema(with(refused)));
            assert!(outcome.is_err(), "{name}: {refused}");
            // Others' schemas are left out instead.
            let rest = json!({ "type": "object" });
            drop(grammars.constraint(&Form::Lenient { schema: with(refused), rest }));
        }
        // A constant is written with all of its digits.
        let outcome = grammars.constraint(&Form::JsonSchema(with(&exact)));
        if let Ok(mut made) = outcome {
            let short = format!("{{\"{name}\":12345678901234568000000}}");
            assert!(made.accept_text(&short).is_err(), "{name}");
        }
        let mut fine =
            grammars.constraint(&Form::JsonSchema(with(&json!({ "pattern": "^\\d$", "type": "string" })))).unwrap();
        fine.accept_text(&format!("{{\"{name}\":\"7\"}}")).unwrap();
    }
    for place in ["default", "examples/0", "const", "enum/0", "x/y"] {
        let mut schema = json!({ "$ref": format!("#/{place}") });
        let (first, second) = place.split_once('/').unwrap_or((place, ""));
        schema[first] = match second {
            "" => far.clone(),
            "0" => json!([far]),
            name => json!({ name: far }),
        };
        assert!(grammars.constraint(&Form::JsonSchema(schema)).is_err(), "{place}");
    }
}

#[test]
fn patterns_of_names_are_few() {
    let grammars = grammars();
    let named = |range: std::ops::Range<usize>| {
        let named: serde_json::Map<_, _> = range.map(|i| (format!("^a{i}$"), json!({ "type": "integer" }))).collect();
        json!({ "type": "object", "patternProperties": named, "additionalProperties": false })
    };
    grammars.constraint(&Form::JsonSchema(named(0..20))).unwrap().accept_text("{\"a7\":7}").unwrap();
    for many in [named(0..500), json!({ "allOf": [named(0..40), named(40..80)] })] {
        let why = grammars.constraint(&Form::JsonSchema(many)).unwrap_err().to_string();
        assert!(why.contains("at most 50 patterns under `patternProperties`"), "{why}");
    }
}
