//! Python's `format % args`.

use super::args::{float_of, int_of};
use super::fault::{Result, runtime};
use super::layout::{Layout, float_text, integer_text};
use super::markup;
use super::meter::{Buffer, Meter};
use super::print::{to_text, write_repr};
use super::value::Value;
use num_bigint::BigInt;
use num_traits::FromPrimitive;
use std::rc::Rc;

/// `format % args`.
pub(super) fn percent(format: &Value, args: &Value, meter: &Rc<Meter>) -> Result<Value> {
    let Value::Str(text) = format else { return runtime("no text to format") };
    let mut out = meter.buffer()?;
    let mut source = Source { args, next: 0, markup: text.markup, meter };
    let mut rest = &*text.text;
    while let Some(at) = rest.find('%') {
        out.push(&rest[..at])?;
        rest = conversion(&mut out, &rest[at + 1..], &mut source)?;
    }
    out.push(rest)?;
    let left_over = match args {
        Value::Tuple(items) => source.next < items.items.len(),
        Value::Dict(_) | Value::List(_) | Value::Range(_) | Value::Undefined(_) => false,
        _ => source.next == 0,
    };
    if left_over {
        return runtime("not all arguments converted during string formatting");
    }
    Ok(out.finish_as(text.markup))
}

/// Where a format takes its values from.
struct Source<'a> {
    args: &'a Value,
    next: usize,
    markup: bool,
    meter: &'a Rc<Meter>,
}

impl Source<'_> {
    fn take(&mut self) -> Result<Value> {
        let at = self.next;
        self.next += 1;
        let value = match self.args {
            Value::Tuple(items) => items.items.get(at).cloned(),
            other => (at == 0).then(|| other.clone()),
        };
        value.map_or_else(|| runtime("not enough arguments for format string"), Ok)
    }

    fn named(&self, name: &str) -> Result<Value> {
        match self.args {
            Value::Dict(dict) => match dict.get_str(name) {
                Some(value) => Ok(value.clone()),
                None => runtime(format!("KeyError: '{name}'")),
            },
            _ => runtime("format requires a mapping"),
        }
    }
}

/// One conversion, after its `%`; what follows it.
fn conversion<'t>(out: &mut Buffer, spec: &'t str, source: &mut Source<'_>) -> Result<&'t str> {
    let mut rest = spec;
    let mut named = None;
    if let Some(inner) = rest.strip_prefix('(') {
        let mut level = 1_usize;
        let end = inner.char_indices().find(|(_, c)| {
            level = level + usize::from(*c == '(') - usize::from(*c == ')');
            level == 0
        });
        let Some((end, _)) = end else { return runtime("incomplete format key") };
        named = Some(source.named(&inner[..end])?);
        rest = &inner[end + 1..];
    }
    let mut layout = Layout { align: Some('>'), ..Layout::default() };
    loop {
        match rest.chars().next() {
            Some('-') => layout.align = Some('<'),
            Some('+') => layout.sign = '+',
            Some(' ') if layout.sign != '+' => layout.sign = ' ',
            Some(' ') => {}
            Some('0') => layout.zero = true,
            Some('#') => layout.alternate = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    let number = |rest: &mut &str, source: &mut Source<'_>| -> Result<i64> {
        if let Some(after) = rest.strip_prefix('*') {
            *rest = after;
            return int_of(&source.take()?);
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (text, after) = rest.split_at(digits);
        *rest = after;
        if text.is_empty() { Ok(0) } else { text.parse().or_else(|_| runtime("width too big")) }
    };
    let width = number(&mut rest, source)?;
    if width < 0 {
        layout.align = Some('<');
    }
    layout.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
    if let Some(after) = rest.strip_prefix('.') {
        rest = after;
        layout.precision = Some(usize::try_from(number(&mut rest, source)?).unwrap_or(0));
    }
    rest = rest.strip_prefix(['h', 'l', 'L']).unwrap_or(rest);
    let Some(kind) = rest.chars().next() else { return runtime("incomplete format") };
    let after = &rest[kind.len_utf8()..];
    if kind == '%' {
        out.push("%")?;
        return Ok(after);
    }
    let value = match named {
        Some(value) => value,
        None => source.take()?,
    };
    converted(out, kind, &value, &mut layout, source)?;
    Ok(after)
}

fn converted(out: &mut Buffer, kind: char, value: &Value, layout: &mut Layout, source: &Source<'_>) -> Result<()> {
    let meter = source.meter;
    match kind {
        's' | 'r' | 'a' => {
            let text = if kind == 's' { to_text(value, meter)? } else { repr(value, kind == 'a', meter)? };
            let text = if source.markup { markup::escape(&text, meter)? } else { text };
            layout.zero = false;
            layout.text(out, text.as_str().unwrap_or_default())
        }
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            let n = match value {
                Value::Float(x) if matches!(kind, 'd' | 'i' | 'u') => match BigInt::from_f64(x.trunc()) {
                    Some(n) => n,
                    None => return runtime("cannot convert float NaN or infinity to integer"),
                },
                other => match other.integer() {
                    Some(n) => n,
                    None if value.is_undefined() => return value.undefined_fault(),
                    None => return runtime(format!("%{kind} format: a number is required, not {}", value.type_name())),
                },
            };
            let kind = if matches!(kind, 'i' | 'u') { 'd' } else { kind };
            let (sign, mut digits) = integer_text(&n, kind, layout)?;
            if let Some(precision) = layout.precision {
                let missing = precision.saturating_sub(digits.len());
                meter.look(missing)?;
                let _room = meter.charge(missing)?;
                digits.insert_str(0, &"0".repeat(missing));
            }
            layout.number(out, &sign, &digits, false)
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let (sign, digits) = float_text(float_of(value)?, Some(kind), layout)?;
            layout.number(out, &sign, &digits, false)
        }
        'c' => {
            let c = match value {
                Value::Str(text) if text.chars == 1 => text.text.chars().next(),
                other => u32::try_from(int_of(other)?).ok().and_then(char::from_u32),
            };
            let Some(c) = c else { return runtime("%c requires int or char") };
            layout.zero = false;
            layout.text(out, c.encode_utf8(&mut [0; 4]))
        }
        _ => runtime(format!("unsupported format character '{kind}'")),
    }
}

pub(super) fn repr(value: &Value, ascii: bool, meter: &Rc<Meter>) -> Result<Value> {
    let mut out = meter.buffer()?;
    write_repr(&mut out, value, 0)?;
    if !ascii {
        return Ok(out.finish());
    }
    let mut plain = meter.buffer()?;
    for c in out.as_str().chars() {
        match u32::from(c) {
            ..=0x7f => plain.push_char(c)?,
            code @ ..=0xff => plain.push(&format!("\\x{code:02x}"))?,
            code @ ..=0xffff => plain.push(&format!("\\u{code:04x}"))?,
            code => plain.push(&format!("\\U{code:08x}"))?,
        }
    }
    Ok(plain.finish())
}
