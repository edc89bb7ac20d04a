//! JSON between the outside and templates: values in, and `tojson` out with the bytes of Python's `json.dumps`.

use super::args::{Args, int_of, str_of};
use super::compare;
use super::fault::{Result, limit, runtime};
use super::meter::{Buffer, Meter};
use super::print::{big_text, float_repr};
use super::value::{Dict, Value};
use num_bigint::BigInt;
use std::rc::Rc;

/// Deepest nesting of variables.
const MAX_JSON_DEPTH: usize = 128;

/// Converts JSON to a template's value. Key order is kept; integers stay integers of any length.
///
/// (Going through `serde` would not do: with `serde_json/arbitrary_precision`, which some other crate of the tree
/// may turn on, numbers serialize as maps.)
pub(super) fn to_value(json: &serde_json::Value, meter: &Rc<Meter>, depth: usize) -> Result<Value> {
    if depth > MAX_JSON_DEPTH {
        return limit(format!("a variable nested deeper than {MAX_JSON_DEPTH} levels"));
    }
    Ok(match json {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => number(n)?,
        serde_json::Value::String(s) => meter.text(s)?,
        serde_json::Value::Array(items) => {
            let items = items.iter().map(|item| to_value(item, meter, depth + 1)).collect::<Result<_>>()?;
            Value::list(meter, items)?
        }
        serde_json::Value::Object(map) => {
            let mut dict = Dict::new(meter)?;
            for (key, item) in map {
                dict.set(meter.text(key)?, to_value(item, meter, depth + 1)?, meter)?;
            }
            Value::Dict(Rc::new(dict))
        }
    })
}

fn number(n: &serde_json::Number) -> Result<Value> {
    if let Some(n) = n.as_i64() {
        return Ok(Value::Int(n));
    }
    let text = n.to_string();
    if !text.contains(['.', 'e', 'E']) {
        return match BigInt::parse_bytes(text.as_bytes(), 10) {
            Some(n) if text.len() <= 4300 => Ok(Value::big(n)),
            _ => runtime("an integer that is too long"),
        };
    }
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(Value::Float(x)),
        _ => runtime(format!("the number {text} is out of range")),
    }
}

/// How `tojson` lays its text out: the parameters of Python's `json.dumps`.
struct Style {
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// `tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`: the text of `json.dumps`, without the
/// HTML escapes of Jinja's own filter.
pub(super) fn tojson(value: &Value, args: Args, meter: &Rc<Meter>) -> Result<Value> {
    let bound = args.bind("tojson", ["ensure_ascii", "indent", "separators", "sort_keys"], 0)?;
    let indent = match bound.some(1) {
        None => None,
        Some(Value::Str(text)) => Some(text.text.to_string()),
        Some(width) => {
            let mut blanks = meter.buffer()?;
            blanks.repeat(" ", usize::try_from(int_of(width)?).unwrap_or(0))?;
            Some(blanks.into_string())
        }
    };
    let mut style = Style {
        ensure_ascii: bound.truth(0),
        item_separator: if indent.is_some() { "," } else { ", " }.to_owned(),
        indent,
        key_separator: ": ".to_owned(),
        sort_keys: bound.truth(3),
    };
    if let Some(separators) = bound.some(2) {
        let pair = separators.items(meter)?;
        let [item, key] = pair.as_slice() else { return runtime("separators are a pair (item, key)") };
        (style.item_separator, style.key_separator) = (str_of(item)?.to_owned(), str_of(key)?.to_owned());
    }
    let mut out = meter.buffer()?;
    write(&mut out, value, &style, 0)?;
    Ok(out.finish())
}

fn write(out: &mut Buffer, value: &Value, style: &Style, depth: usize) -> Result<()> {
    match value {
        Value::None => out.push("null"),
        Value::Bool(b) => out.push(if *b { "true" } else { "false" }),
        Value::Int(n) => out.push(&n.to_string()),
        Value::Big(n) => out.push(&big_text(n)?),
        Value::Float(x) => out.push(&float_repr(*x, ["NaN", "Infinity", "-Infinity"])),
        Value::Str(text) => write_string(out, &text.text, style.ensure_ascii),
        Value::List(items) | Value::Tuple(items) => {
            write_items(out, style, depth, ["[", "]"], items.items.iter(), |out, item| {
                write(out, item, style, depth + 1)
            })
        }
        Value::Dict(dict) => {
            let pairs = if style.sort_keys { sorted(dict, out.meter())? } else { copied(dict) };
            write_items(out, style, depth, ["{", "}"], pairs.iter(), |out, (key, item)| {
                write_key(out, key, style)?;
                out.push(&style.key_separator)?;
                write(out, item, style, depth + 1)
            })
        }
        other => runtime(format!("Object of type {} is not JSON serializable", other.type_name())),
    }
}

fn copied(dict: &Dict) -> Vec<(Value, Value)> {
    dict.iter().map(|(key, item)| (key.clone(), item.clone())).collect()
}

fn sorted(dict: &Dict, meter: &Rc<Meter>) -> Result<Vec<(Value, Value)>> {
    compare::sort_by_keys(copied(dict), false, meter)
}

fn write_items<T>(
    out: &mut Buffer,
    style: &Style,
    depth: usize,
    [open, close]: [&str; 2],
    items: impl Iterator<Item = T>,
    mut each: impl FnMut(&mut Buffer, T) -> Result<()>,
) -> Result<()> {
    let line = |out: &mut Buffer, depth: usize| match &style.indent {
        Some(indent) => out.push("\n").and_then(|()| out.repeat(indent, depth)),
        None => Ok(()),
    };
    out.push(open)?;
    let mut empty = true;
    for item in items {
        if !empty {
            out.push(&style.item_separator)?;
        }
        empty = false;
        line(out, depth + 1)?;
        each(out, item)?;
    }
    if !empty {
        line(out, depth)?;
    }
    out.push(close)
}

/// Keys are strings; Python turns numbers, booleans and null into them.
fn write_key(out: &mut Buffer, key: &Value, style: &Style) -> Result<()> {
    match key {
        Value::Str(text) => write_string(out, &text.text, style.ensure_ascii),
        Value::Bool(_) | Value::None | Value::Int(_) | Value::Big(_) | Value::Float(_) => {
            out.push("\"")?;
            write(out, key, style, 0)?;
            out.push("\"")
        }
        other => runtime(format!("keys must be str, int, float, bool or None, not {}", other.type_name())),
    }
}

fn write_string(out: &mut Buffer, text: &str, ensure_ascii: bool) -> Result<()> {
    out.push("\"")?;
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        let escape = match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            '\u{8}' => "\\b".to_owned(),
            '\u{c}' => "\\f".to_owned(),
            c if c < ' ' || (ensure_ascii && c > '\u{7e}') => {
                // Python leaves the delete character as it is.
                if c == '\u{7f}' {
                    continue;
                }
                c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
            }
            _ => continue,
        };
        out.push(&text[plain..at])?;
        out.push(&escape)?;
        plain = at + c.len_utf8();
    }
    out.push(&text[plain..])?;
    out.push("\"")
}
