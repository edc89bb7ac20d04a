//! How a formatted value is laid out: fill, alignment, sign, width, grouping, precision.

use super::fault::{Result, limit, runtime};
use super::meter::Buffer;
use super::print::float_repr;
use num_bigint::{BigInt, Sign};

/// Most digits after the point.
const MAX_PRECISION: usize = 2000;

/// A parsed format specifier.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) fill: Option<char>,
    pub(super) align: Option<char>,
    pub(super) sign: char,
    pub(super) alternate: bool,
    pub(super) zero: bool,
    pub(super) width: usize,
    pub(super) group: Option<char>,
    pub(super) precision: Option<usize>,
    pub(super) kind: Option<char>,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            fill: None,
            align: None,
            sign: '-',
            alternate: false,
            zero: false,
            width: 0,
            group: None,
            precision: None,
            kind: None,
        }
    }
}

impl Layout {
    /// Parses `[[fill]align][sign][#][0][width][grouping][.precision][type]`.
    pub(super) fn parse(spec: &str) -> Result<Self> {
        let mut layout = Self::default();
        let is_align = |c: char| matches!(c, '<' | '>' | '=' | '^');
        let mut chars = spec.chars();
        let (first, second) = (chars.next(), chars.next());
        let mut rest = spec;
        if let (Some(fill), Some(align)) = (first, second.filter(|c| is_align(*c))) {
            (layout.fill, layout.align) = (Some(fill), Some(align));
            rest = &rest[fill.len_utf8() + 1..];
        } else if let Some(align) = first.filter(|c| is_align(*c)) {
            layout.align = Some(align);
            rest = &rest[1..];
        }
        if let Some(sign) = rest.chars().next().filter(|c| matches!(c, '+' | '-' | ' ')) {
            layout.sign = sign;
            rest = &rest[1..];
        }
        let flag = |rest: &mut &str, c: char| {
            let there = rest.starts_with(c);
            *rest = &rest[usize::from(there)..];
            there
        };
        layout.alternate = flag(&mut rest, '#');
        layout.zero = flag(&mut rest, '0');
        layout.width = digits(&mut rest)?.unwrap_or(0);
        if let Some(group) = rest.chars().next().filter(|c| matches!(c, ',' | '_')) {
            layout.group = Some(group);
            rest = &rest[1..];
        }
        if flag(&mut rest, '.') {
            layout.precision = digits(&mut rest)?;
            if layout.precision.is_none() {
                return runtime("Format specifier missing precision");
            }
        }
        layout.kind = rest.chars().next();
        if rest.chars().count() > 1 {
            return runtime("Invalid format specifier");
        }
        Ok(layout)
    }

    /// A text: precision cuts it, and it stands at the left.
    pub(super) fn text(&self, out: &mut Buffer, text: &str) -> Result<()> {
        let text = match self.precision {
            Some(most) => text.char_indices().nth(most).map_or(text, |(at, _)| &text[..at]),
            None => text,
        };
        let room = self.width.saturating_sub(text.chars().count());
        self.padded(out, "", text, room, self.align.unwrap_or('<'), self.fill.unwrap_or(' '))
    }

    /// A number: it stands at the right, and zeros go after the sign.
    pub(super) fn number(&self, out: &mut Buffer, sign: &str, digits: &str, zero_groups: bool) -> Result<()> {
        let room = self.width.saturating_sub(sign.chars().count() + digits.chars().count());
        if !self.zero || (self.align.is_some() && zero_groups) || self.align == Some('<') {
            return self.padded(out, sign, digits, room, self.align.unwrap_or('>'), self.fill.unwrap_or(' '));
        }
        if let Some(group) = self.group.filter(|_| zero_groups) {
            return self.grouped_zeros(out, sign, digits, group);
        }
        self.padded(out, sign, digits, room, '=', '0')
    }

    /// Zeros that are grouped like the digits after them.
    fn grouped_zeros(&self, out: &mut Buffer, sign: &str, digits: &str, group: char) -> Result<()> {
        let each = if matches!(self.kind, Some('b' | 'o' | 'x' | 'X')) { 4 } else { 3 };
        let whole = digits.find(['.', 'e', '%']).filter(|_| each == 3).unwrap_or(digits.len());
        let mut count = digits[..whole].chars().filter(|c| *c != group).count();
        let others = sign.len() + digits.len() - whole;
        let wide = |count: usize| count + (count - 1) / each + others;
        let before = count;
        if self.width > 1 << 16 {
            return limit("a format that is too wide");
        }
        while wide(count) < self.width {
            count += 1;
        }
        let plain: String = digits[..whole].chars().filter(|c| *c != group).collect();
        let padded = format!("{}{plain}", "0".repeat(count - before));
        out.push(sign)?;
        out.push(&grouped(&padded, Some(group), each))?;
        out.push(&digits[whole..])
    }

    fn padded(&self, out: &mut Buffer, sign: &str, body: &str, room: usize, align: char, fill: char) -> Result<()> {
        let mut space = [0; 4];
        let fill = &*fill.encode_utf8(&mut space);
        let (left, inside, right) = match align {
            '<' => (0, 0, room),
            '^' => (room / 2, 0, room - room / 2),
            '=' => (0, room, 0),
            _ => (room, 0, 0),
        };
        out.repeat(fill, left)?;
        out.push(sign)?;
        out.repeat(fill, inside)?;
        out.push(body)?;
        out.repeat(fill, right)
    }

    fn sign_of(&self, negative: bool) -> String {
        match self.sign {
            _ if negative => "-".to_owned(),
            '-' => String::new(),
            other => other.to_string(),
        }
    }
}

fn digits(rest: &mut &str) -> Result<Option<usize>> {
    let count = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (text, after) = rest.split_at(count);
    *rest = after;
    match text.parse() {
        _ if text.is_empty() => Ok(None),
        Ok(n) => Ok(Some(n)),
        Err(_) => runtime("Too many decimal digits in format string"),
    }
}

/// Digits in groups, before the point.
pub(super) fn grouped(digits: &str, group: Option<char>, each: usize) -> String {
    let Some(group) = group else { return digits.to_owned() };
    // Hexadecimal digits come in fours, and have no point and no exponent.
    let whole = digits.find(['.', 'e', '%', 'n', 'i']).filter(|_| each == 3).unwrap_or(digits.len());
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, c) in digits[..whole].chars().enumerate() {
        if at > 0 && (whole - at).is_multiple_of(each) {
            out.push(group);
        }
        out.push(c);
    }
    out + &digits[whole..]
}

/// Sign (with prefix) and digits of an integer.
pub(super) fn integer_text(n: &BigInt, kind: char, layout: &Layout) -> Result<(String, String)> {
    let size = n.magnitude();
    let (radix, prefix) = match kind {
        'b' => (2, "0b"),
        'o' => (8, "0o"),
        'x' => (16, "0x"),
        'X' => (16, "0X"),
        _ => (10, ""),
    };
    let mut digits = if radix == 10 { super::print::big_text(&size.clone().into())? } else { size.to_str_radix(radix) };
    if kind == 'X' {
        digits.make_ascii_uppercase();
    }
    let sign = layout.sign_of(n.sign() == Sign::Minus);
    Ok((if layout.alternate { sign + prefix } else { sign }, digits))
}

/// Sign and digits of a float.
pub(super) fn float_text(x: f64, kind: Option<char>, layout: &Layout) -> Result<(String, String)> {
    let sign = layout.sign_of(x.is_sign_negative() && !x.is_nan());
    let size = x.abs();
    if layout.precision.is_some_and(|precision| precision > MAX_PRECISION) {
        return limit(format!("more than {MAX_PRECISION} digits after the point"));
    }
    let precision = layout.precision.unwrap_or(6);
    let upper = matches!(kind, Some('E' | 'F' | 'G'));
    let mut text = if x.is_nan() {
        "nan".to_owned()
    } else if x.is_infinite() {
        "inf".to_owned()
    } else {
        match kind {
            Some('f' | 'F') => pointed(format!("{size:.precision$}"), layout.alternate),
            Some('e' | 'E') => scientific(size, precision, layout.alternate),
            Some('g' | 'G') => general(size, precision, layout.alternate, precision.max(1)),
            Some('%') => format!("{:.precision$}", size * 100.0),
            _ => match layout.precision {
                None => float_repr(size, ["nan", "inf", "-inf"]),
                Some(precision) => {
                    // One digit follows the point, and counts.
                    let text = general(size, precision, false, precision.max(1) - 1);
                    if text.contains(['.', 'e']) { text } else { text + ".0" }
                }
            },
        }
    };
    if kind == Some('%') {
        text.push('%');
    }
    Ok((sign, if upper { text.to_ascii_uppercase() } else { text }))
}

fn pointed(mut text: String, alternate: bool) -> String {
    if alternate && !text.contains('.') {
        text.push('.');
    }
    text
}

fn scientific(x: f64, precision: usize, alternate: bool) -> String {
    let text = format!("{x:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{}e{sign}{exponent:0>2}", pointed(mantissa.to_owned(), alternate))
}

/// So many significant digits, in the shorter of the two notations: without an exponent where it is below `digits`.
fn general(x: f64, precision: usize, alternate: bool, digits: usize) -> String {
    let precision = precision.max(1);
    let text = format!("{x:.*e}", precision - 1);
    let exponent: i64 = text.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let bare = |text: &str| {
        if alternate || !text.contains('.') {
            return text.to_owned();
        }
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if exponent < -4 || exponent >= digits as i64 {
        let text = scientific(x, precision - 1, alternate);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
        return format!("{}e{exponent}", bare(mantissa));
    }
    let decimals = usize::try_from(precision as i64 - 1 - exponent).unwrap_or(0);
    bare(&pointed(format!("{x:.decimals$}"), alternate))
}
