//! What is done to a JSON schema before it is compiled, so that it is kept to exactly, or refused with a sentence.
//!
//! - `$ref`s are found by the rules of JSON pointers, and those that lead to themselves are refused.
//! - Whole numbers beyond 2^53 cannot be told apart by the compiler, which reads them as floats. Where they are bounds,
//!   nearer ones are set, which let only valid answers pass; constants are written by [`super::exact`], or refused.
//! - Objects whose properties are listed have no others, where nothing speaks of them ([`super::close`]).
//! - Bounds that exclude themselves become bounds that do not, a little further in.
//! - Several patterns for one text multiply their states, and so do several divisors of one number ([`multiples`]); there may
//!   be a few.

use super::keywords::{SAME_VALUE, holds_names, within, within_mut};
use super::refusal::refuse;
use super::{close, multiples, negate, pattern, pointer, rewrite};
use crate::{Error, Result};
use serde_json::{Map, Number, Value, json};
use std::collections::HashSet;

/// The largest whole number below which floats tell all whole numbers apart.
const EXACT: i128 = 1 << 53;
/// The largest bound of a whole number, 2^62: the compiler counts in 64 bits.
const FARTHEST: f64 = (1u64 << 62) as f64;
/// What a bound of a number that excludes itself is moved in by.
const BOUND_STEP: f64 = 1e-6;
/// How far multiples go where no bound is given.
const MULTIPLES: f64 = 1e12;
/// Most patterns that one text may have to match at once.
const MAX_PATTERNS: usize = 3;
/// Most patterns of the names of one object, which are compared pair by pair.
const MAX_NAME_PATTERNS: usize = 50;
/// Most steps of the looks at a schema.
const MAX_STEPS: usize = 200_000;
/// White space between tokens of JSON: none, a blank, or a line end with an indentation.
const WHITE_SPACE: &str = "( |\\n {0,10}|\\n\\t{0,4})?";
/// What may follow a backslash. Without `u` every name and text is written in one way only, so that a name beside the
/// declared ones cannot be one of them in disguise.
const ESCAPES: &str = "nrbtf\\\"";

/// Makes a schema ready for the compiler, which leaves out what it does not know if it is `lenient`.
///
/// # Errors
/// What cannot be kept to, by name.
pub(super) fn prepare(schema: &Value, lenient: bool) -> Result<Value> {
    let mut root = match schema {
        Value::Bool(true) => json!({}),
        Value::Object(_) => schema.clone(),
        Value::Bool(false) => return refuse("a schema that something satisfies", "`false`"),
        _ => return refuse("an object or a boolean", "another JSON value"),
    };
    pointer::resolve(&mut root)?;
    patterns(&mut root, lenient)?;
    close::close(&mut root);
    rewrite::rewrite(&mut root);
    if !lenient {
        words(&root, "#", &mut refused)?;
    }
    let mut look = Look { root: &root, steps: 0 };
    look.walk(&root)?;
    multiples::check(&root)?;
    numbers(&mut root)?;
    let escapes = escapes(&root);
    writable(&root, &escapes)?;
    if let Value::Object(map) = &mut root {
        map.insert(
            "x-guidance".to_owned(),
            json!({ "whitespace_pattern": WHITE_SPACE, "json_allowed_escapes": escapes, "lenient": lenient }),
        );
    }
    Ok(root)
}

/// Refuses a word of a schema at `place` that cannot be kept to.
fn refused(word: &str, place: &str, schema: &Map<String, Value>) -> Result<()> {
    let value = &schema[word];
    let at = if place == "#" { "its top" } else { place };
    let says = |what: String| format!("The JSON schema says {what} at {at}");
    let unknown_type = |kind: &Value| kind.as_str().is_none_or(|kind| !negate::TYPES.contains(&kind));
    match (word, value) {
        (word, _) if UNENFORCED.contains(&word) => Err(Error::usage(format!(
            "{}, which cannot be kept to while an answer is written. Leave it out, or say it with enum, const, pattern, \
             anyOf or required.",
            says(format!("`{word}`"))
        ))),
        ("type", kinds)
            if kinds.as_array().map_or(std::slice::from_ref(kinds), Vec::as_slice).iter().any(unknown_type) =>
        {
            Err(Error::usage(format!("{}. Types are {}.", says(format!("`type`: {kinds}")), negate::TYPES.join(", "))))
        }
        ("format", Value::String(name)) if !rewrite::known_format(name) => Err(Error::usage(format!(
            "{}, which is not known here. Leave it out, or say it with pattern.",
            says(format!("`format`: {name:?}"))
        ))),
        ("minProperties", _) if value.as_u64().is_some_and(|least| !counts_names(schema, least)) => {
            Err(Error::usage(format!(
                "{} of an object that may have other names than those under `properties`, and one name could be given twice. \
                 Ask for names by required, or leave it out.",
                says(format!("`minProperties`: {value}"))
            )))
        }
        _ => Ok(()),
    }
}

/// Whether objects that are written by this schema have at least so many names. The compiler counts entries: a name of
/// `properties` comes once, but any other one may come again, and so only one of those surely counts.
fn counts_names(schema: &Map<String, Value>, least: u64) -> bool {
    let names = |word: &str| schema.get(word).and_then(Value::as_object);
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false))
        && names("patternProperties").is_none_or(Map::is_empty);
    let required: HashSet<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let declared = |name: &&&str| names("properties").is_some_and(|named| named.contains_key(**name));
    let sure = required.len().max(required.iter().filter(declared).count() + 1);
    closed || least <= sure as u64
}

/// Words of JSON schema that say something about a value and cannot be kept to token by token.
const UNENFORCED: &[&str] = &[
    "not",
    "if",
    "then",
    "else",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
];

/// Words that are known, beside those.
const KNOWN_WORDS: &[&str] = &[
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
    "const",
    "enum",
    "type",
    "items",
    "additionalItems",
    "prefixItems",
    "minItems",
    "maxItems",
    "properties",
    "additionalProperties",
    "patternProperties",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "$anchor",
    "$dynamicAnchor",
    "$defs",
    "definitions",
    "$schema",
    "$id",
    "id",
    "$comment",
    "title",
    "description",
    "default",
    "readOnly",
    "writeOnly",
    "deprecated",
    "nullable",
    "example",
    "examples",
    "contentMediaType",
    "contentEncoding",
    "$vocabulary",
];

/// What is done with a word, the place of its schema, and that schema.
type Visit<'v> = dyn FnMut(&str, &str, &Map<String, Value>) -> Result<()> + 'v;

/// Words of a schema that mean nothing and look like one that does: likely typing errors, each with its place.
pub(super) fn strange_words(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let outcome = words(schema, "#", &mut |word, place, schema| {
        if !KNOWN_WORDS.contains(&word) && !UNENFORCED.contains(&word) && !schema[word].is_object() {
            let near = crate::suggest::nearest(word, KNOWN_WORDS.iter().copied());
            found.extend(near.map(|near| format!("`{word}` at {place} means nothing; did you mean `{near}`?")));
        }
        Ok(())
    });
    // The walk itself never fails.
    debug_assert!(outcome.is_ok(), "the walk failed");
    found
}

/// Tells `visit` each word of each schema inside `schema`, the place of that schema, and that schema. What is `false`
/// says nothing.
fn words(schema: &Value, place: &str, visit: &mut Visit<'_>) -> Result<()> {
    let Value::Object(map) = schema else { return Ok(()) };
    let says = |(_, value): &(&String, &Value)| **value != Value::Bool(false);
    map.iter().filter(says).try_for_each(|(word, _)| visit(word, place, map))?;
    parts(map).into_iter().try_for_each(|(name, part)| words(part, &format!("{place}/{name}"), visit))
}

/// The schemas that a schema holds, each with its place in it, as in a JSON pointer.
pub(super) fn parts(schema: &Map<String, Value>) -> Vec<(String, &Value)> {
    let mut parts = Vec::new();
    for (word, value) in schema {
        let below = |name: &str| format!("{word}/{}", name.replace('~', "~0").replace('/', "~1"));
        match (word.as_str(), value) {
            (word, Value::Object(inner)) if holds_names(word) => {
                parts.extend(inner.iter().map(|(name, schema)| (below(name), schema)));
            }
            (
                "items"
                | "additionalItems"
                | "additionalProperties"
                | "not"
                | "if"
                | "then"
                | "else"
                | "contains"
                | "propertyNames"
                | "unevaluatedItems"
                | "unevaluatedProperties",
                Value::Object(_),
            ) => parts.push((word.clone(), value)),
            ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(inner)) => {
                parts.extend(inner.iter().enumerate().map(|(at, schema)| (below(&at.to_string()), schema)));
            }
            _ => {}
        }
    }
    parts
}

/// Patterns as the compiler reads them. Those that look around or back are more than a grammar can keep to: refused, or
/// left out.
fn patterns(schema: &mut Value, lenient: bool) -> Result<()> {
    match schema {
        Value::Object(map) => {
            let odd = map.get("pattern").and_then(Value::as_str).filter(|pattern| pattern::looks_around(pattern));
            if let Some(odd) = odd {
                if !lenient {
                    let found = format!("`pattern` {}", odd.chars().take(100).collect::<String>());
                    return refuse("a regular expression without look-around and back references", found);
                }
                map.remove("pattern");
            }
            if let Some(Value::String(pattern)) = map.get_mut("pattern") {
                *pattern = pattern::translated(pattern);
            }
            if let Some(Value::Object(named)) = map.get_mut("patternProperties") {
                *named = std::mem::take(named).into_iter().map(|(key, of)| (pattern::translated(&key), of)).collect();
            }
            within_mut(map).try_for_each(|inner| patterns(inner, lenient))
        }
        _ => Ok(()),
    }
}

/// The escapes that texts may have. Where a pattern forbids the quote or the backslash, no text may have it: the compiler
/// would let its escape pass under a repetition.
fn escapes(root: &Value) -> String {
    let mut patterns = Vec::new();
    collect_patterns(root, &mut patterns);
    let forbids = |c: char| patterns.iter().any(|pattern| pattern::forbids(pattern, c));
    ESCAPES.chars().filter(|c| !matches!(c, '"' | '\\') || !forbids(*c)).collect()
}

fn collect_patterns<'s>(schema: &'s Value, found: &mut Vec<&'s str>) {
    let Value::Object(map) = schema else { return };
    found.extend(map.get("pattern").and_then(Value::as_str));
    let named = map.get("patternProperties").and_then(Value::as_object);
    found.extend(named.into_iter().flatten().map(|(pattern, _)| pattern.as_str()));
    within(map).for_each(|(_, inner)| collect_patterns(inner, found));
}

/// Refuses constants, names and patterns with a character that cannot be written: the compiler would leave it out.
fn writable(root: &Value, escapes: &str) -> Result<()> {
    let mut patterns = Vec::new();
    collect_patterns(root, &mut patterns);
    let asked =
        |odd: &dyn Fn(char) -> bool| holds(root, odd) || patterns.iter().any(|pattern| pattern::asks_for(pattern, odd));
    if let Some(c) = ['"', '\\'].into_iter().find(|&c| !escapes.contains(c) && asked(&|letter| letter == c)) {
        return refuse(
            "a character either everywhere or nowhere",
            format!("a {c} here, which a pattern there forbids"),
        );
    }
    if asked(&|c| c.is_ascii_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{8}' | '\u{c}')) {
        return refuse("texts without control characters but \\n, \\r, \\t, \\b and \\f", "another one");
    }
    Ok(())
}

/// Whether a constant or the name of a property has such a character.
fn holds(schema: &Value, odd: &dyn Fn(char) -> bool) -> bool {
    fn in_data(data: &Value, odd: &dyn Fn(char) -> bool) -> bool {
        match data {
            Value::String(text) => text.contains(odd),
            Value::Array(items) => items.iter().any(|item| in_data(item, odd)),
            Value::Object(map) => map.iter().any(|(name, item)| name.contains(odd) || in_data(item, odd)),
            _ => false,
        }
    }
    let Value::Object(map) = schema else { return false };
    let data = ["const", "enum"].iter().filter_map(|word| map.get(*word));
    let mut names = map.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name);
    data.into_iter().any(|data| in_data(data, odd))
        || names.any(|name| name.contains(odd))
        || within(map).any(|(_, inner)| holds(inner, odd))
}

/// How many patterns meet in one value.
#[derive(Debug, Clone, Copy, Default)]
struct Patterns {
    /// A text has to match all of them.
    of_text: usize,
    /// Each name of an object may match some, and all are compared with each other.
    of_names: usize,
}

impl Patterns {
    fn and(self, other: Self) -> Self {
        Self { of_text: self.of_text + other.of_text, of_names: self.of_names + other.of_names }
    }

    fn or(self, other: Self) -> Self {
        Self { of_text: self.of_text.max(other.of_text), of_names: self.of_names.max(other.of_names) }
    }
}

/// A walk over all schemas of a schema.
struct Look<'s> {
    root: &'s Value,
    steps: usize,
}

impl<'s> Look<'s> {
    fn walk(&mut self, schema: &'s Value) -> Result<()> {
        let Value::Object(map) = schema else { return Ok(()) };
        if map.contains_key("x-guidance") {
            return refuse("words of JSON schema", "`x-guidance`, which steers the compiler");
        }
        let Patterns { of_text, of_names } = self.patterns(schema, &mut HashSet::new())?;
        if of_text > MAX_PATTERNS {
            let found = format!("{of_text} under one `allOf`");
            return refuse(format!("at most {MAX_PATTERNS} patterns for one text"), found);
        }
        if of_names > MAX_NAME_PATTERNS {
            let wanted = format!("at most {MAX_NAME_PATTERNS} patterns under `patternProperties` of one object");
            return refuse(wanted, of_names.to_string());
        }
        within(map).try_for_each(|(_, inner)| self.walk(inner))
    }

    /// Patterns that meet in one value; and no `$ref` on the way leads back.
    fn patterns(&mut self, schema: &'s Value, above: &mut HashSet<*const Value>) -> Result<Patterns> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return refuse("a schema that is looked through in time", "more alternatives than that");
        }
        let Value::Object(map) = schema else { return Ok(Patterns::default()) };
        let place: *const Value = schema;
        if !above.insert(place) {
            return refuse("a schema that says something", "a `$ref` that leads to itself (a circular reference)");
        }
        let mut found = Patterns {
            of_text: usize::from(map.contains_key("pattern")) + usize::from(map.contains_key("format")),
            of_names: map.get("patternProperties").and_then(Value::as_object).map_or(0, Map::len),
        };
        if let Some(target) = map.get("$ref").and_then(Value::as_str).and_then(|text| pointer::find(self.root, text)) {
            found = found.and(self.patterns(target, above)?);
        }
        for word in SAME_VALUE {
            let Some(Value::Array(all)) = map.get(word) else { continue };
            let mut most = Patterns::default();
            for one in all {
                let here = self.patterns(one, above)?;
                most = if word == "allOf" { most.and(here) } else { most.or(here) };
            }
            found = found.and(most);
        }
        above.remove(&place);
        Ok(found)
    }
}

/// Looks after the numbers of a schema and of those in it.
fn numbers(schema: &mut Value) -> Result<()> {
    let Value::Object(map) = schema else { return Ok(()) };
    for word in ["const", "enum"] {
        if let Some(number) = map.get(word).and_then(beyond) {
            return refuse(format!("whole numbers up to 2^53 under `{word}` in this place"), number);
        }
    }
    bounds(map)?;
    lengths(map)?;
    within_mut(map).try_for_each(numbers)
}

/// A whole number in `value` that floats do not hold.
pub(super) fn beyond(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => {
            let text = number.to_string();
            // One beyond 64 bits was read as a float, and is lost already.
            let large = match text.parse::<i128>() {
                Ok(n) => n.abs() > EXACT,
                Err(_) => {
                    text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit())
                        || number.as_f64().is_some_and(|x| (EXACT as f64..1e30).contains(&x.abs()))
                }
            };
            large.then_some(text)
        }
        Value::Array(items) => items.iter().find_map(beyond),
        Value::Object(map) => map.values().find_map(beyond),
        _ => None,
    }
}

/// Whether the schema is about whole numbers only.
fn is_integer(map: &Map<String, Value>) -> bool {
    map.get("type").and_then(Value::as_str) == Some("integer")
}

fn bounds(map: &mut Map<String, Value>) -> Result<()> {
    let read = |map: &Map<String, Value>, word: &str| match map.get(word) {
        Some(Value::Number(number)) => number.to_string().parse::<f64>().ok().map(|x| (x, number.to_string())),
        _ => None,
    };
    let integer = is_integer(map);
    let (mut low, mut high) = (None, None);
    for (word, exclusive, bound, inward) in
        [("minimum", "exclusiveMinimum", &mut low, 1.0), ("maximum", "exclusiveMaximum", &mut high, -1.0)]
    {
        let tighter = |a: f64, b: f64| if inward > 0.0 { a.max(b) } else { a.min(b) };
        let mut set = |x: f64| *bound = Some(bound.map_or(x, |y| tighter(x, y)));
        if let Some((x, text)) = read(map, word) {
            set(clamped(x, &text, word, inward, integer)?);
        }
        if let Some((x, text)) = read(map, exclusive) {
            let x = clamped(x, &text, exclusive, inward, integer)?;
            let rounded = if inward > 0.0 { x.floor() } else { x.ceil() };
            let beside =
                if x.abs() < EXACT as f64 { rounded + inward } else { x * (1.0 + x.signum() * inward * f64::EPSILON) };
            set(if integer { beside } else { x + inward * BOUND_STEP * x.abs().max(1.0) });
            map.remove(exclusive);
        }
    }
    if map.contains_key("multipleOf") {
        // A number that has to be a multiple might else go on for ever, looking for its last digit.
        low = low.or(Some(-MULTIPLES).filter(|least| high.is_none_or(|high| high > *least)));
        high = high.or(Some(MULTIPLES).filter(|most| low.is_none_or(|low| low < *most)));
    }
    for (word, bound) in [("minimum", low), ("maximum", high)] {
        if let Some(x) = bound {
            let whole = x.fract() == 0.0 && x.abs() <= FARTHEST;
            let number = if whole { Some(Number::from(x as i64)) } else { Number::from_f64(x) };
            map.insert(word.to_owned(), number.map_or(Value::Null, Value::Number));
        }
    }
    match (low, high) {
        (Some(low), Some(high)) if low > high => refuse("bounds that some number fits", format!("{low} to {high}")),
        _ => Ok(()),
    }
}

/// Lengths that no answer has bound nothing from above, and cannot be had from below.
fn lengths(map: &mut Map<String, Value>) -> Result<()> {
    const LONGEST: f64 = (1u32 << 30) as f64;
    for (least, most) in [("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties")] {
        let beyond = |word: &str| map.get(word).filter(|value| value.as_f64().is_none_or(|x| x > LONGEST));
        if let Some(length @ Value::Number(_)) = beyond(least) {
            return refuse(format!("`{least}` that an answer can have"), length.to_string());
        }
        if beyond(most).is_some_and(Value::is_number) {
            map.remove(most);
        }
    }
    Ok(())
}

/// A bound that the compiler can hold: a nearer one where it is too far out.
fn clamped(x: f64, text: &str, word: &str, inward: f64, integer: bool) -> Result<f64> {
    if x.abs() < EXACT as f64 || text == EXACT.to_string() {
        return Ok(x);
    }
    let most = if integer { FARTHEST } else { EXACT as f64 };
    if x.abs() <= most {
        // The float on the inner side of the number that is meant, or that number itself.
        let (step, exact) = (1.0 + x.signum() * inward * f64::EPSILON, text.parse::<i128>());
        let outside = exact.is_ok_and(|n| ((x as i128) - n) as f64 * inward < 0.0);
        return Ok(if outside { x * step } else { x });
    }
    if x * inward > 0.0 {
        return refuse(format!("`{word}` within {}", if integer { "2^62" } else { "2^53" }), text);
    }
    Ok(-inward * most)
}
