//! Filters of numbers.

use super::super::args::{Args, float_of};
use super::super::eval::Eval;
use super::super::fault::{Result, runtime};
use super::super::number::{Number, to_float};
use super::super::unicode::is_space;
use super::super::value::Value;
use num_bigint::BigInt;
use num_traits::FromPrimitive;

/// Most digits that Python reads as an integer.
const MAX_DIGITS: usize = 4300;

pub(super) fn abs(_: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    args.none("abs")?;
    match value.number() {
        Some(Number::Int(n)) => Ok(Value::big(n.magnitude().clone().into())),
        Some(Number::Float(x)) => Ok(Value::Float(x.abs())),
        None if value.is_undefined() => value.undefined_fault(),
        None => runtime(format!("bad operand type for abs(): '{}'", value.type_name())),
    }
}

pub(super) fn int(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("int", ["default", "base"], 0)?;
    let default = bound.or(0, Value::Int(0));
    match &value {
        Value::Undefined(_) => value.undefined_fault(),
        Value::Str(text) => {
            eval.meter.work(text.text.len() / 8 + 1)?;
            if let Some(n) = read_int(&text.text, bound.int(1, 10)?) {
                return Ok(Value::big(n));
            }
            Ok(read_float(&text.text).and_then(|x| BigInt::from_f64(x.trunc())).map_or(default, Value::big))
        }
        Value::Float(x) if x.is_infinite() => runtime("cannot convert float infinity to integer"),
        Value::Float(x) => Ok(BigInt::from_f64(x.trunc()).map_or(default, Value::big)),
        other => Ok(other.integer().map_or(default, Value::big)),
    }
}

pub(super) fn float(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let default = args.bind("float", ["default"], 0)?.or(0, Value::Float(0.0));
    match &value {
        Value::Undefined(_) => value.undefined_fault(),
        Value::Str(text) => {
            eval.meter.work(text.text.len() / 8 + 1)?;
            Ok(read_float(&text.text).map_or(default, Value::Float))
        }
        other => match other.number() {
            Some(Number::Float(x)) => Ok(Value::Float(x)),
            Some(Number::Int(n)) => to_float(&n).map(Value::Float),
            None => Ok(default),
        },
    }
}

/// Python's `int(text, base)`.
fn read_int(text: &str, base: i64) -> Option<BigInt> {
    let text = text.trim_matches(is_space);
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = |p: &str| text.get(..2).filter(|start| start.eq_ignore_ascii_case(p)).map(|_| &text[2..]);
    let (radix, digits) = match base {
        2 => (2, prefix("0b").unwrap_or(text)),
        8 => (8, prefix("0o").unwrap_or(text)),
        16 => (16, prefix("0x").unwrap_or(text)),
        0 => match (prefix("0b"), prefix("0o"), prefix("0x")) {
            (Some(rest), ..) => (2, rest),
            (_, Some(rest), _) => (8, rest),
            (.., Some(rest)) => (16, rest),
            _ if text.len() > 1 && text.starts_with('0') && text.contains(|c| c != '0' && c != '_') => return None,
            _ => (10, text),
        },
        3..=36 => (u32::try_from(base).ok()?, text),
        _ => return None,
    };
    // One `_` may follow a prefix, and between digits.
    let digits = if digits.len() < text.len() { digits.strip_prefix('_').unwrap_or(digits) } else { digits };
    if digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") || digits.len() > MAX_DIGITS {
        return None;
    }
    let plain: String = digits.chars().filter(|c| *c != '_').map(|c| ascii_digit(c).unwrap_or(c)).collect();
    if plain.is_empty() || !plain.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let n = BigInt::parse_bytes(plain.as_bytes(), radix)?;
    Some(if negative { -n } else { n })
}

/// The ASCII digit of a decimal digit of another script. Scripts have their ten digits in a row.
fn ascii_digit(c: char) -> Option<char> {
    if c.is_ascii() || !super::super::unicode::is_decimal(c) {
        return None;
    }
    // The row begins where there is no digit before, counted in tens from there.
    let mut start = u32::from(c);
    while char::from_u32(start - 1).is_some_and(super::super::unicode::is_decimal) {
        start -= 1;
    }
    char::from_digit((u32::from(c) - start) % 10, 10)
}

/// Python's `float(text)`.
fn read_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space);
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let mut plain = String::with_capacity(text.len());
    let mut before = None;
    let mut chars = text.chars().map(|c| ascii_digit(c).unwrap_or(c)).peekable();
    while let Some(c) = chars.next() {
        if c == '_' {
            if !digit(before) || !digit(chars.peek().copied()) {
                return None;
            }
        } else {
            plain.push(c);
        }
        before = Some(c);
    }
    plain.parse().ok()
}

pub(super) fn round(_: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("round", ["precision", "method"], 0)?;
    let precision = bound.int(0, 0)?.clamp(-400, 400);
    let method = bound.str(1)?.unwrap_or("common");
    if !matches!(method, "common" | "ceil" | "floor") {
        return runtime("method must be common, ceil or floor");
    }
    let Some(number) = value.number() else {
        return if value.is_undefined() {
            value.undefined_fault()
        } else {
            runtime(format!("type {} doesn't define __round__ method", value.type_name()))
        };
    };
    if method == "common" {
        return match number {
            Number::Int(n) if precision >= 0 => Ok(Value::big(n)),
            Number::Int(n) => Ok(Value::big(round_integer(&n, -precision as u32))),
            Number::Float(x) => rounded(x, precision).map(Value::Float),
        };
    }
    let x = float_of(&value)?;
    let power = 10_f64.powi(precision as i32);
    let scaled = x * power;
    if !scaled.is_finite() {
        return runtime("cannot convert float infinity or NaN to integer");
    }
    // An integer in Python: there is no negative zero.
    Ok(Value::Float((if method == "ceil" { scaled.ceil() } else { scaled.floor() } + 0.0) / power))
}

/// Half to even, at a power of ten.
fn round_integer(n: &BigInt, digits: u32) -> BigInt {
    let unit = BigInt::from(10).pow(digits);
    let (quotient, rest) = num_integer::Integer::div_mod_floor(n, &unit);
    let twice: BigInt = rest * 2;
    let up = twice > unit || twice == unit && num_integer::Integer::is_odd(&quotient);
    (quotient + u8::from(up)) * unit
}

fn rounded(x: f64, precision: i64) -> Result<f64> {
    if !x.is_finite() {
        return Ok(x);
    }
    if precision >= 0 {
        // Formatting rounds the exact value, half to even, as Python does.
        return Ok(format!("{x:.*}", precision as usize).parse().unwrap_or(x));
    }
    let whole = BigInt::from_f64(x.trunc()).unwrap_or_default();
    let exact = x.fract() == 0.0;
    // A fraction only matters where it breaks a tie.
    let nudged = if exact { whole * 2 } else { whole * 2 + if x > 0.0 { 1 } else { -1 } };
    let unit = BigInt::from(10).pow(-precision as u32);
    let (quotient, rest) = num_integer::Integer::div_mod_floor(&nudged, &(&unit * 2));
    let up = rest > unit || rest == unit && num_integer::Integer::is_odd(&quotient);
    to_float(&((quotient + u8::from(up)) * unit)).map(|y| y.copysign(x))
}

pub(super) fn filesizeformat(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    const DECIMAL: [&str; 8] = ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    const BINARY: [&str; 8] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];
    let binary = args.bind("filesizeformat", ["binary"], 0)?.truth(0);
    let bytes = match &value {
        Value::Str(text) => match read_float(&text.text) {
            Some(x) => x,
            None => return runtime("could not convert string to float"),
        },
        other => float_of(other)?,
    };
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return eval.meter.text("1 Byte");
    }
    if bytes < base {
        let Some(whole) = BigInt::from_f64(bytes.trunc()) else { return runtime("cannot convert float to integer") };
        return eval.meter.text(&format!("{whole} Bytes"));
    }
    let mut unit = base * base;
    let names = if binary { BINARY } else { DECIMAL };
    for name in &names[..7] {
        if bytes < unit {
            return eval.meter.text(&format!("{:.1} {name}", base * bytes / unit));
        }
        unit *= base;
    }
    eval.meter.text(&format!("{:.1} {}", base * bytes / unit, names[7]))
}
