//! JSON between the outside and templates: values in, and `tojson` out with the bytes of Python's `json.dumps`.

use super::dialect::Generator;
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};
use std::fmt::Write;

/// Deepest nesting of variables and of what `tojson` writes. Both recurse, so the stack has to hold it.
const MAX_DEPTH: usize = 128;
/// Widest indentation that `tojson` accepts.
const MAX_INDENT: usize = 64;

/// Converts JSON to a template value. Key order is kept; integers stay integers up to 128 bits.
///
/// (Going through `serde` would not do: with `serde_json/arbitrary_precision`, which some other crate of the tree
/// may turn on, numbers serialize as maps.)
pub(super) fn to_value(json: &serde_json::Value) -> Result<Value, String> {
    convert(json, 0)
}

fn convert(json: &serde_json::Value, depth: usize) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err(format!("nested deeper than {MAX_DEPTH} levels"));
    }
    Ok(match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(b) => Value::from(*b),
        serde_json::Value::Number(n) => number(n)?,
        serde_json::Value::String(s) => Value::from(s.as_str()),
        serde_json::Value::Array(items) => {
            Value::from(items.iter().map(|item| convert(item, depth + 1)).collect::<Result<Vec<_>, _>>()?)
        }
        serde_json::Value::Object(map) => {
            let pairs = map.iter().map(|(key, item)| Ok((key.as_str(), convert(item, depth + 1)?)));
            Value::from_pairs(pairs.collect::<Result<Vec<_>, String>>()?)
        }
    })
}

fn number(n: &serde_json::Number) -> Result<Value, String> {
    if let Some(n) = n.as_i64() {
        return Ok(Value::from(n));
    }
    let text = n.to_string();
    if !text.contains(['.', 'e', 'E']) {
        return text.parse::<i128>().map(Value::from).map_err(|_| format!("the integer {text} has more than 128 bits"));
    }
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(Value::from(x)),
        _ => Err(format!("the number {text} is out of range")),
    }
}

/// How `tojson` lays its text out: the parameters of Python's `json.dumps`.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub(super) ensure_ascii: bool,
    pub(super) indent: Option<String>,
    pub(super) item_separator: String,
    pub(super) key_separator: String,
    pub(super) sort_keys: bool,
    /// Longest text, in bytes.
    pub(super) limit: usize,
}

impl Style {
    /// Defaults of `json.dumps`: `", "` between items, `","` before a line break.
    pub(super) fn new(ensure_ascii: bool, indent: Option<String>, sort_keys: bool, limit: usize) -> Self {
        let item_separator = if indent.is_some() { "," } else { ", " }.to_owned();
        Self { ensure_ascii, indent, item_separator, key_separator: ": ".to_owned(), sort_keys, limit }
    }
}

/// The `indent` argument: a number of spaces or the text itself.
pub(super) fn indent_of(value: &Value) -> Result<Option<String>, Error> {
    if value.is_none() || value.is_undefined() {
        return Ok(None);
    }
    if let Some(text) = value.as_str() {
        if text.len() > MAX_INDENT {
            return Err(too_large(format!("an indentation of more than {MAX_INDENT} characters")));
        }
        return Ok(Some(text.to_owned()));
    }
    let width = i64::try_from(value.clone())
        .or_else(|error| if value.kind() == ValueKind::Bool { Ok(i64::from(value.is_true())) } else { Err(error) })?;
    match usize::try_from(width.max(0)) {
        Ok(width) if width <= MAX_INDENT => Ok(Some(" ".repeat(width))),
        _ => Err(too_large(format!("an indentation of more than {MAX_INDENT} characters"))),
    }
}

/// Writes `value` as Python's `json.dumps` would.
///
/// # Errors
/// Values that are no JSON (undefined, generators, objects), deeper nesting than the stack should hold, text beyond
/// the style's limit.
pub(super) fn dumps(value: &Value, style: &Style) -> Result<String, Error> {
    let mut out = String::new();
    write_value(&mut out, value, style, 0)?;
    Ok(out)
}

fn write_value(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_large(format!("JSON nested deeper than {MAX_DEPTH} levels")));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => write_number(out, value),
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default(), style.ensure_ascii),
        ValueKind::Seq | ValueKind::Iterable if value.downcast_object_ref::<Generator>().is_none() => {
            let items = value.try_iter()?;
            write_items(out, style, depth, ('[', ']'), items, |out, item| write_value(out, &item, style, depth + 1))?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort_keys {
                keys.sort();
            }
            write_items(out, style, depth, ('{', '}'), keys.into_iter(), |out, key| {
                write_key(out, &key, style)?;
                out.push_str(&style.key_separator);
                write_value(out, &value.get_item(&key)?, style, depth + 1)
            })?;
        }
        ValueKind::Undefined => return Err(not_json("an undefined value")),
        ValueKind::Iterable => return Err(not_json("a generator (add `| list`)")),
        kind => return Err(not_json(&format!("a value of type {kind}"))),
    }
    if out.len() > style.limit {
        return Err(Error::from(ErrorKind::OutOfFuel));
    }
    Ok(())
}

fn write_items<T>(
    out: &mut String,
    style: &Style,
    depth: usize,
    (open, close): (char, char),
    items: impl Iterator<Item = T>,
    mut each: impl FnMut(&mut String, T) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    out.push(open);
    let mut empty = true;
    for item in items {
        if !empty {
            out.push_str(&style.item_separator);
        }
        empty = false;
        line(out, depth + 1);
        each(out, item)?;
    }
    if !empty {
        line(out, depth);
    }
    out.push(close);
    Ok(())
}

/// Keys are strings; Python turns numbers, booleans and null into them.
fn write_key(out: &mut String, key: &Value, style: &Style) -> Result<(), Error> {
    match key.kind() {
        ValueKind::String => write_string(out, key.as_str().unwrap_or_default(), style.ensure_ascii),
        ValueKind::Bool | ValueKind::None | ValueKind::Number => {
            out.push('"');
            write_value(out, key, style, 0)?;
            out.push('"');
        }
        kind => return Err(not_json(&format!("a key of type {kind}"))),
    }
    Ok(())
}

fn write_number(out: &mut String, value: &Value) {
    match f64::try_from(value.clone()) {
        Ok(x) if !value.is_integer() => out.push_str(&float_repr(x, ["NaN", "Infinity", "-Infinity"])),
        _ => out.push_str(&value.to_string()),
    }
}

/// Python's `repr` of a float: the shortest digits that read back, an exponent below 1e-4 and from 1e16 on.
pub(super) fn float_repr(x: f64, [nan, inf, minus_inf]: [&str; 3]) -> String {
    if x.is_nan() {
        return nan.to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { inf } else { minus_inf }.to_owned();
    }
    let scientific = format!("{x:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        return format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    let mut text = x.to_string();
    if !text.contains('.') {
        text.push_str(".0");
    }
    text
}

fn write_string(out: &mut String, text: &str, ensure_ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ensure_ascii && !(' '..='~').contains(&c)) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn not_json(what: &str) -> Error {
    Error::new(ErrorKind::BadSerialization, format!("{what} is not JSON serializable"))
}

fn too_large(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{what} is not accepted"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn dump(json: &str, style: &Style) -> String {
        dumps(&to_value(&serde_json::from_str(json).unwrap()).unwrap(), style).unwrap()
    }

    #[test]
    fn bytes_of_python() {
        let plain = Style::new(false, None, false, 1 << 20);
        let ascii = Style::new(true, None, false, 1 << 20);
        let input = r#"{"b": [1, 2.50, -0.0, 1e-5, 1e16, 1e15, true, null], "가": "<a> & \"q\"\n\u0001\u007f😀", "e": {}, "f": []}"#;
        assert_eq!(
            dump(input, &plain),
            "{\"b\": [1, 2.5, -0.0, 1e-05, 1e+16, 1000000000000000.0, true, null], \"가\": \"<a> & \\\"q\\\"\\n\\u0001\u{7f}😀\", \"e\": {}, \"f\": []}"
        );
        assert_eq!(dump(r#""가😀\u007f""#, &ascii), "\"\\uac00\\ud83d\\ude00\\u007f\"");
        let indented = Style::new(false, Some("  ".into()), true, 1 << 20);
        assert_eq!(
            dump(r#"{"b": [1, {}], "a": []}"#, &indented),
            "{\n  \"a\": [],\n  \"b\": [\n    1,\n    {}\n  ]\n}"
        );
    }

    #[test]
    fn integers_stay_integers() {
        let plain = Style::new(false, None, false, 1 << 20);
        for text in ["0", "-7", "18446744073709551615", "170141183460469231731687303715884105727"] {
            assert_eq!(dump(text, &plain), text);
        }
        // A number that no float holds is refused here or by the JSON reader, never turned into another one.
        assert!(serde_json::from_str("1e999").map_or(true, |json| to_value(&json).is_err()));
    }

    #[test]
    fn limits_are_errors() {
        let mut nested = serde_json::Value::Null;
        for _ in 0..MAX_DEPTH + 2 {
            nested = serde_json::Value::Array(vec![nested]);
        }
        assert!(to_value(&nested).unwrap_err().contains("nested"));
        let text = Value::from("a".repeat(100));
        assert!(dumps(&text, &Style::new(false, None, false, 50)).is_err());
        assert!(indent_of(&Value::from(1_000_000_000)).is_err());
        assert!(dumps(&Value::UNDEFINED, &Style::new(false, None, false, 50)).is_err());
    }
}
