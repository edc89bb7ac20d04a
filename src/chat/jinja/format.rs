//! Python's two ways to format: `'%s' % value` and `'{}'.format(value)`.

use super::eval::Eval;
use super::fault::{Result, runtime};
use super::layout::{Layout, float_text, grouped, integer_text};
use super::meter::{Buffer, Text};
use super::percent::repr;
use super::print::to_text;
use super::value::Value;
use super::{attrs, markup, number};

/// Deepest nesting of fields in the layouts of fields.
const MAX_LAYOUT_NESTING: usize = 2;

/// `format.format(*pos, **kw)`.
pub(super) fn format(eval: &Eval<'_>, format: &Text, pos: &[Value], kw: &[(String, Value)]) -> Result<Value> {
    let mut out = eval.meter.buffer()?;
    let mut fields = Fields { eval, pos, kw, auto: Some(0), markup: format.markup };
    fields.write(&mut out, &format.text, 0)?;
    Ok(out.finish_as(format.markup))
}

struct Fields<'a, 't> {
    eval: &'a Eval<'t>,
    pos: &'a [Value],
    kw: &'a [(String, Value)],
    /// The number of the next field without a name; none once fields have numbers of their own.
    auto: Option<usize>,
    markup: bool,
}

impl Fields<'_, '_> {
    fn write(&mut self, out: &mut Buffer, text: &str, level: usize) -> Result<()> {
        if level > MAX_LAYOUT_NESTING {
            return runtime("Max string recursion exceeded");
        }
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            out.push(&rest[..at])?;
            let (brace, after) = rest[at..].split_at(1);
            if after.starts_with(brace) {
                out.push(brace)?;
                rest = &after[1..];
                continue;
            }
            if brace == "}" {
                return runtime("Single '}' encountered in format string");
            }
            let Some(end) = field_end(after) else { return runtime("expected '}' before end of string") };
            self.field(out, &after[..end], level)?;
            rest = &after[end + 1..];
        }
        out.push(rest)
    }

    fn field(&mut self, out: &mut Buffer, field: &str, level: usize) -> Result<()> {
        let meter = &self.eval.meter;
        // A colon or exclamation mark inside of brackets belongs to an index.
        let mut bracket = false;
        let cut = field.char_indices().find(|(_, c)| {
            bracket = *c == '[' || bracket && *c != ']';
            !bracket && matches!(c, '!' | ':')
        });
        let (name, rest) = cut.map_or((field, ""), |(at, _)| field.split_at(at));
        let (convert, spec) = match rest.strip_prefix('!') {
            Some(rest) => {
                let Some(kind) = rest.chars().next() else {
                    return runtime("end of string while looking for conversion specifier");
                };
                let after = &rest[kind.len_utf8()..];
                if !after.is_empty() && !after.starts_with(':') {
                    return runtime("expected ':' after conversion specifier");
                }
                (Some(kind), after.strip_prefix(':').unwrap_or(""))
            }
            None => (None, rest.strip_prefix(':').unwrap_or("")),
        };
        let mut value = self.lookup(name)?;
        value = match convert {
            None => value,
            Some('s') => to_text(&value, meter)?,
            Some('r') => repr(&value, false, meter)?,
            Some('a') => repr(&value, true, meter)?,
            Some(other) => return runtime(format!("Unknown conversion specifier {other}")),
        };
        let mut layout = meter.buffer()?;
        self.write(&mut layout, spec, level + 1)?;
        let mut shown = meter.buffer()?;
        formatted(&mut shown, &value, layout.as_str())?;
        if self.markup && !value.is_markup() {
            return markup::escape_into(out, shown.as_str());
        }
        out.push(shown.as_str())
    }

    fn lookup(&mut self, name: &str) -> Result<Value> {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(end);
        let number = if first.is_empty() {
            let Some(next) = self.auto else {
                return runtime("cannot switch from manual field specification to automatic field numbering");
            };
            self.auto = Some(next + 1);
            Some(next)
        } else if first.bytes().all(|b| b.is_ascii_digit()) {
            if self.auto.is_some_and(|next| next > 0) {
                return runtime("cannot switch from automatic field numbering to manual field specification");
            }
            self.auto = None;
            first.parse().ok()
        } else {
            None
        };
        let found = match number {
            Some(at) => self.pos.get(at),
            None => self.kw.iter().find(|(known, _)| known == first).map(|(_, value)| value),
        };
        let Some(mut value) = found.cloned() else {
            return runtime(format!("no argument for the field '{first}' of the format"));
        };
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                value = attrs::attr(self.eval, &value, &after[..end])?;
                rest = &after[end..];
            } else {
                let inner = rest.strip_prefix('[').and_then(|inner| inner.split_once(']'));
                let Some((index, after)) = inner else { return runtime("Missing ']' in format string") };
                let index = match index.parse() {
                    Ok(n) if index.bytes().all(|b| b.is_ascii_digit()) => Value::Int(n),
                    _ => self.eval.meter.text(index)?,
                };
                value = attrs::item(self.eval, &value, &index)?;
                rest = after;
            }
        }
        Ok(value)
    }
}

/// Where the field that begins here ends.
fn field_end(text: &str) -> Option<usize> {
    let mut level = 1_usize;
    let mut bracket = false;
    for (at, c) in text.char_indices() {
        match c {
            '[' => bracket = true,
            ']' => bracket = false,
            '{' if !bracket => level += 1,
            '}' if !bracket => {
                level -= 1;
                if level == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Python's `format(value, spec)`.
fn formatted(out: &mut Buffer, value: &Value, spec: &str) -> Result<()> {
    if spec.is_empty() {
        return super::print::write_str(out, value);
    }
    let mut layout = Layout::parse(spec)?;
    match value {
        Value::Str(text) => {
            let numeric = layout.sign != '-' || layout.align == Some('=') || layout.alternate || layout.group.is_some();
            if numeric || !matches!(layout.kind, None | Some('s')) {
                return runtime("Invalid format specifier for a text");
            }
            if layout.zero {
                layout.fill.get_or_insert('0');
                layout.zero = false;
            }
            layout.text(out, &text.text)
        }
        _ => match value.number() {
            None => runtime(format!("unsupported format string passed to {}.__format__", value.type_name())),
            Some(number::Number::Int(n)) => match layout.kind {
                None | Some('d' | 'b' | 'o' | 'x' | 'X' | 'n') => {
                    if layout.precision.is_some() {
                        return runtime("Precision not allowed in integer format specifier");
                    }
                    let kind = layout.kind.filter(|kind| *kind != 'n').unwrap_or('d');
                    let (sign, digits) = integer_text(&n, kind, &layout)?;
                    let digits = grouped(&digits, layout.group, if kind == 'd' { 3 } else { 4 });
                    layout.number(out, &sign, &digits, true)
                }
                Some('c') => {
                    let c = u32::try_from(&n).ok().and_then(char::from_u32);
                    let Some(c) = c else { return runtime("%c arg not in range(0x110000)") };
                    layout.align = layout.align.or(Some('<'));
                    layout.text(out, c.encode_utf8(&mut [0; 4]))
                }
                Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => float(out, number::to_float(&n)?, &layout),
                Some(other) => runtime(format!("Unknown format code '{other}' for object of type 'int'")),
            },
            Some(number::Number::Float(x)) => match layout.kind {
                None | Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%' | 'n') => float(out, x, &layout),
                Some(other) => runtime(format!("Unknown format code '{other}' for object of type 'float'")),
            },
        },
    }
}

fn float(out: &mut Buffer, x: f64, layout: &Layout) -> Result<()> {
    let kind = layout.kind.map(|kind| if kind == 'n' { 'g' } else { kind });
    let (sign, digits) = float_text(x, kind, layout)?;
    layout.number(out, &sign, &grouped(&digits, layout.group, 3), true)
}
