//! Values as text: Python's `str`, `repr` and `pprint`.

use super::fault::{Result, limit, runtime};
use super::meter::{Buffer, Meter};
use super::unicode::{is_printable, is_space};
use super::value::{Dict, Global, Value, View};
use num_bigint::BigInt;
use std::fmt::Write;
use std::rc::Rc;

/// Bits of the longest integer that Python prints (4300 digits).
const MAX_PRINTED_BITS: u64 = 14_284;
/// Deepest nesting that is printed. Namespaces can hold themselves.
const MAX_PRINTED_NESTING: usize = 200;

/// Python's `str(value)` as a value: texts stay what they are.
pub(super) fn to_text(value: &Value, meter: &Rc<Meter>) -> Result<Value> {
    if let Value::Str(_) = value {
        return Ok(value.clone());
    }
    let mut out = meter.buffer()?;
    write_str(&mut out, value)?;
    Ok(out.finish())
}

/// Python's `str(value)`.
pub(super) fn write_str(out: &mut Buffer, value: &Value) -> Result<()> {
    match value {
        Value::Undefined(_) => Ok(()),
        Value::Str(text) => out.push(&text.text),
        other => write_repr(out, other, 0),
    }
}

/// Python's `repr(value)`.
pub(super) fn write_repr(out: &mut Buffer, value: &Value, level: usize) -> Result<()> {
    if level > MAX_PRINTED_NESTING {
        return limit(format!("a value nested deeper than {MAX_PRINTED_NESTING} levels is printed"));
    }
    match value {
        Value::Undefined(_) => out.push("Undefined"),
        Value::None => out.push("None"),
        Value::Bool(true) => out.push("True"),
        Value::Bool(false) => out.push("False"),
        Value::Int(n) => out.push(&n.to_string()),
        Value::Big(n) => out.push(&big_text(n)?),
        Value::Float(x) => out.push(&float_repr(*x, ["nan", "inf", "-inf"])),
        Value::Str(text) if text.markup => {
            out.push("Markup(")?;
            write_quoted(out, &text.text)?;
            out.push(")")
        }
        Value::Str(text) => write_quoted(out, &text.text),
        Value::List(items) => write_items(out, "[", &items.items, "]", level),
        Value::Tuple(items) if items.items.len() == 1 => write_items(out, "(", &items.items, ",)", level),
        Value::Tuple(items) => write_items(out, "(", &items.items, ")", level),
        Value::Dict(dict) => write_dict(out, dict, level),
        Value::Range(range) if range.step == 1 => out.push(&format!("range({}, {})", range.start, range.stop)),
        Value::Range(range) => out.push(&format!("range({}, {}, {})", range.start, range.stop, range.step)),
        Value::View(view, dict) => {
            out.push(value.type_name())?;
            out.push("(")?;
            write_view(out, *view, dict, level)?;
            out.push(")")
        }
        Value::Namespace(namespace) => {
            out.push("<Namespace ")?;
            let attrs = Rc::clone(&namespace.attrs.borrow());
            write_dict(out, &attrs, level)?;
            out.push(">")
        }
        Value::Loop(of) => {
            let text = format!("<LoopContext {}/{}>", of.state.borrow().index, of.len()?);
            out.push(&text)
        }
        Value::Macro(of) => match &of.name {
            Some(name) => out.push(&format!("<Macro '{name}'>")),
            None => out.push("<Macro anonymous>"),
        },
        Value::Block(_) => out.push("<BlockReference object>"),
        Value::Blocks => out.push("<TemplateReference None>"),
        Value::Global(Global::Dict) => out.push("<class 'dict'>"),
        Value::Global(Global::Namespace) => out.push("<class 'jinja2.utils.Namespace'>"),
        Value::Global(Global::Cycler) => out.push("<class 'jinja2.utils.Cycler'>"),
        Value::Global(Global::Joiner) => out.push("<class 'jinja2.utils.Joiner'>"),
        Value::Cycler(_) | Value::Joiner(_) | Value::Method(_) | Value::Global(_) | Value::Iter(_) => {
            out.push(&format!("<{} object>", value.type_name()))
        }
    }
}

fn write_items(out: &mut Buffer, open: &str, items: &[Value], close: &str, level: usize) -> Result<()> {
    out.push(open)?;
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(", ")?;
        }
        write_repr(out, item, level + 1)?;
    }
    out.push(close)
}

fn write_dict(out: &mut Buffer, dict: &Dict, level: usize) -> Result<()> {
    out.push("{")?;
    for (i, (key, value)) in dict.iter().enumerate() {
        if i > 0 {
            out.push(", ")?;
        }
        write_repr(out, key, level + 1)?;
        out.push(": ")?;
        write_repr(out, value, level + 1)?;
    }
    out.push("}")
}

fn write_view(out: &mut Buffer, view: View, dict: &Dict, level: usize) -> Result<()> {
    out.push("[")?;
    for (i, (key, value)) in dict.iter().enumerate() {
        if i > 0 {
            out.push(", ")?;
        }
        match view {
            View::Keys => write_repr(out, key, level + 1)?,
            View::Values => write_repr(out, value, level + 1)?,
            View::Items => write_items(out, "(", &[key.clone(), value.clone()], ")", level + 1)?,
        }
    }
    out.push("]")
}

/// A text in quotes with Python's escapes.
fn write_quoted(out: &mut Buffer, text: &str) -> Result<()> {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push_char(quote)?;
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        let escape = match c {
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            c if c == quote => format!("\\{c}"),
            c if is_printable(c) => continue,
            c => match u32::from(c) {
                code @ ..=0xff => format!("\\x{code:02x}"),
                code @ ..=0xffff => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            },
        };
        out.push(&text[plain..at])?;
        out.push(&escape)?;
        plain = at + c.len_utf8();
    }
    out.push(&text[plain..])?;
    out.push_char(quote)
}

/// An integer of any length.
pub(super) fn big_text(n: &BigInt) -> Result<String> {
    if n.bits() > MAX_PRINTED_BITS {
        return runtime("Exceeds the limit (4300 digits) for integer string conversion");
    }
    Ok(n.to_string())
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
        // Writing to a String cannot fail.
        let _ = write!(text, ".0");
    }
    text
}

/// Width of `pprint`.
const WIDTH: usize = 80;

/// Python's `pprint.pformat(value)`.
pub(super) fn pformat(value: &Value, meter: &Rc<Meter>) -> Result<Value> {
    let mut out = meter.buffer()?;
    pretty(&mut out, value, 0, 0, 0)?;
    Ok(out.finish())
}

/// `repr` with the keys of mappings in order.
fn sorted_repr(out: &mut Buffer, value: &Value, level: usize) -> Result<()> {
    if level > MAX_PRINTED_NESTING {
        return limit(format!("a value nested deeper than {MAX_PRINTED_NESTING} levels is printed"));
    }
    let (open, items, close) = match value {
        Value::List(items) => ("[", &items.items, "]"),
        Value::Tuple(items) if !items.group => ("(", &items.items, if items.items.len() == 1 { ",)" } else { ")" }),
        Value::Dict(dict) => {
            out.push("{")?;
            for (i, (key, item)) in super::compare::sorted_pairs(dict, out.meter())?.iter().enumerate() {
                out.push(if i > 0 { ", " } else { "" })?;
                sorted_repr(out, key, level + 1)?;
                out.push(": ")?;
                sorted_repr(out, item, level + 1)?;
            }
            return out.push("}");
        }
        other => return write_repr(out, other, level),
    };
    out.push(open)?;
    for (i, item) in items.iter().enumerate() {
        out.push(if i > 0 { ", " } else { "" })?;
        sorted_repr(out, item, level + 1)?;
    }
    out.push(close)
}

/// One value at column `indent`, with `allowance` characters to follow on its last line.
fn pretty(out: &mut Buffer, value: &Value, indent: usize, allowance: usize, level: usize) -> Result<()> {
    let meter = Rc::clone(out.meter());
    let mut line = meter.buffer()?;
    sorted_repr(&mut line, value, level)?;
    let width = line.as_str().chars().count();
    if width <= WIDTH.saturating_sub(indent + allowance) {
        return out.push(line.as_str());
    }
    match value {
        Value::List(items) if !items.items.is_empty() => {
            out.push("[")?;
            pretty_items(out, &items.items, indent + 1, allowance + 1, level)?;
            out.push("]")
        }
        Value::Tuple(items) if !items.items.is_empty() && !items.group => {
            let close = if items.items.len() == 1 { ",)" } else { ")" };
            out.push("(")?;
            pretty_items(out, &items.items, indent + 1, allowance + close.len(), level)?;
            out.push(close)
        }
        Value::Dict(dict) if dict.len() > 0 => {
            out.push("{")?;
            let pairs = super::compare::sorted_pairs(dict, &meter)?;
            for (i, (key, item)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.push(",\n")?;
                    out.repeat(" ", indent + 1)?;
                }
                let mut name = meter.buffer()?;
                sorted_repr(&mut name, key, level + 1)?;
                out.push(name.as_str())?;
                out.push(": ")?;
                let column = indent + 1 + name.as_str().chars().count() + 2;
                let after = if i + 1 == pairs.len() { allowance + 1 } else { 1 };
                pretty(out, item, column, after, level + 1)?;
            }
            out.push("}")
        }
        Value::Str(text) if !text.markup && !text.text.is_empty() => {
            pretty_text(out, &text.text, indent, allowance, level + 1)
        }
        _ => out.push(line.as_str()),
    }
}

fn pretty_items(out: &mut Buffer, items: &[Value], indent: usize, allowance: usize, level: usize) -> Result<()> {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(",\n")?;
            out.repeat(" ", indent)?;
        }
        pretty(out, item, indent, if i + 1 == items.len() { allowance } else { 1 }, level + 1)?;
    }
    Ok(())
}

/// A long text: one literal for each line, cut between words where a line is too long.
fn pretty_text(out: &mut Buffer, text: &str, mut indent: usize, mut allowance: usize, level: usize) -> Result<()> {
    let meter = Rc::clone(out.meter());
    let quote = |text: &str| -> Result<String> {
        let mut quoted = meter.buffer()?;
        write_quoted(&mut quoted, text)?;
        Ok(quoted.into_string())
    };
    let mut lines = super::text::lines(text, true).peekable();
    if level == 1 {
        indent += 1;
        allowance += 1;
    }
    let mut chunks: Vec<String> = Vec::new();
    let mut held = meter.charge(0)?;
    while let Some(line) = lines.next() {
        let whole = quote(line)?;
        let last = lines.peek().is_none();
        let width = WIDTH.saturating_sub(indent + if last { allowance } else { 0 });
        held.grow(whole.len() + 32)?;
        if whole.chars().count() <= width {
            chunks.push(whole);
            continue;
        }
        // Words with the white space after them.
        let parts = words_with_space(line);
        let mut current = String::new();
        for (j, part) in parts.iter().enumerate() {
            let candidate = format!("{current}{part}");
            meter.look(candidate.len())?;
            let room = WIDTH.saturating_sub(indent + if last && j + 1 == parts.len() { allowance } else { 0 });
            if quote(&candidate)?.chars().count() > room {
                if !current.is_empty() {
                    chunks.push(quote(&current)?);
                }
                current = (*part).to_owned();
            } else {
                current = candidate;
            }
        }
        if !current.is_empty() {
            chunks.push(quote(&current)?);
        }
    }
    if chunks.len() == 1 {
        return out.push(&chunks[0]);
    }
    if level == 1 {
        out.push("(")?;
    }
    for (i, chunk) in chunks.iter().enumerate() {
        if i > 0 {
            out.push("\n")?;
            out.repeat(" ", indent)?;
        }
        out.push(chunk)?;
    }
    if level == 1 { out.push(")") } else { Ok(()) }
}

/// Each run of other characters together with the white space after it.
fn words_with_space(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let word = rest.find(is_space).unwrap_or(rest.len());
        let space = rest[word..].find(|c: char| !is_space(c)).map_or(rest.len(), |at| word + at);
        let (part, after) = rest.split_at(space);
        parts.push(part);
        rest = after;
    }
    parts
}
