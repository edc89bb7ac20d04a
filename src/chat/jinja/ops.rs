//! Python's arithmetic on values, and text that is safe for HTML.

use super::ast::Operator;
use super::fault::{Result, limit, runtime};
use super::markup::escape_into;
use super::meter::Meter;
use super::number::{Number, to_float};
use super::value::{Items, Value};
use num_bigint::BigInt;
use num_traits::{ToPrimitive, Zero};
use std::rc::Rc;

/// Bits of the longest integer that is computed with.
const MAX_INTEGER_BITS: u64 = 1 << 16;

/// The result of an operator.
pub(super) fn binary(op: Operator, a: &Value, b: &Value, meter: &Rc<Meter>) -> Result<Value> {
    if let (Value::Int(x), Value::Int(y)) = (a, b) {
        let quick = match op {
            Operator::Add => x.checked_add(*y),
            Operator::Sub => x.checked_sub(*y),
            Operator::Mul => x.checked_mul(*y),
            _ => None,
        };
        if let Some(n) = quick {
            return Ok(Value::Int(n));
        }
    }
    match (op, a, b) {
        (_, Value::Undefined(_), _) => a.undefined_fault(),
        // A text takes everything.
        (Operator::Mod, Value::Str(_), _) => super::percent::percent(a, b, meter),
        (_, _, Value::Undefined(_)) => b.undefined_fault(),
        (Operator::Add, Value::Str(x), Value::Str(y)) => {
            let markup = x.markup || y.markup;
            let mut out = meter.buffer()?;
            for text in [x, y] {
                if markup && !text.markup { escape_into(&mut out, &text.text)? } else { out.push(&text.text)? }
            }
            Ok(out.finish_as(markup))
        }
        (Operator::Add, Value::List(x), Value::List(y)) => Value::list(meter, joined(x, y, meter)?),
        (Operator::Add, Value::Tuple(x), Value::Tuple(y)) => Value::tuple(meter, joined(x, y, meter)?),
        (Operator::Mul, Value::Str(_) | Value::List(_) | Value::Tuple(_), _) if b.integer().is_some() => {
            repeated(a, b.index().unwrap_or(0), meter)
        }
        (Operator::Mul, _, Value::Str(_) | Value::List(_) | Value::Tuple(_)) if a.integer().is_some() => {
            repeated(b, a.index().unwrap_or(0), meter)
        }
        _ => match (a.number(), b.number()) {
            (Some(x), Some(y)) => arithmetic(op, x, y, meter),
            _ => {
                runtime(format!("unsupported operand type(s) for {op:?}: '{}' and '{}'", a.type_name(), b.type_name()))
            }
        },
    }
}

fn joined(x: &Items, y: &Items, meter: &Rc<Meter>) -> Result<Vec<Value>> {
    let len = x.items.len() + y.items.len();
    meter.work(len)?;
    let _room = meter.charge(len * size_of::<Value>())?;
    Ok(x.items.iter().chain(&y.items).cloned().collect())
}

fn repeated(value: &Value, times: i64, meter: &Rc<Meter>) -> Result<Value> {
    let times = usize::try_from(times).unwrap_or(0);
    match value {
        Value::Str(text) => {
            let mut out = meter.buffer()?;
            out.repeat(&text.text, times)?;
            Ok(out.finish_as(text.markup))
        }
        Value::List(items) | Value::Tuple(items) => {
            let len = items.items.len().saturating_mul(times);
            meter.work(len)?;
            let _room = meter.charge(len.saturating_mul(size_of::<Value>()))?;
            let all = (0..if items.items.is_empty() { 0 } else { times }).flat_map(|_| items.items.iter().cloned());
            let all = all.collect();
            if matches!(value, Value::List(_)) { Value::list(meter, all) } else { Value::tuple(meter, all) }
        }
        _ => runtime("can't multiply this value"),
    }
}

fn arithmetic(op: Operator, a: Number, b: Number, meter: &Meter) -> Result<Value> {
    let (x, y) = match (a, b) {
        (Number::Int(x), Number::Int(y)) => return integers(op, &x, &y, meter),
        (Number::Int(x), Number::Float(y)) => (to_float(&x)?, y),
        (Number::Float(x), Number::Int(y)) => (x, to_float(&y)?),
        (Number::Float(x), Number::Float(y)) => (x, y),
    };
    if y == 0.0 && matches!(op, Operator::Div | Operator::FloorDiv | Operator::Mod) {
        return runtime("float division by zero");
    }
    Ok(Value::Float(match op {
        Operator::Add => x + y,
        Operator::Sub => x - y,
        Operator::Mul => x * y,
        Operator::Div => x / y,
        Operator::FloorDiv => floor_division(x, y).0,
        Operator::Mod => floor_division(x, y).1,
        Operator::Pow => return float_power(x, y),
    }))
}

/// Python's `divmod` of floats.
fn floor_division(x: f64, y: f64) -> (f64, f64) {
    let mut rest = x % y;
    let mut quotient = (x - rest) / y;
    if rest == 0.0 {
        rest = 0.0_f64.copysign(y);
    } else if (y < 0.0) != (rest < 0.0) {
        rest += y;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0.0_f64.copysign(x / y), rest);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rest)
}

fn float_power(x: f64, y: f64) -> Result<Value> {
    if x == 0.0 && y < 0.0 {
        return runtime("0.0 cannot be raised to a negative power");
    }
    if x < 0.0 && x.is_finite() && y.is_finite() && y.fract() != 0.0 {
        return runtime("a power that is a complex number");
    }
    let power = x.powf(y);
    if power.is_infinite() && x.is_finite() && y.is_finite() {
        return runtime("(34, 'Numerical result out of range')");
    }
    Ok(Value::Float(power))
}

fn integers(op: Operator, x: &BigInt, y: &BigInt, meter: &Meter) -> Result<Value> {
    let words = ((x.bits() + y.bits()) / 64 + 1) as usize;
    meter.work(words * words / 64 + 1)?;
    if y.is_zero() && matches!(op, Operator::Div | Operator::FloorDiv | Operator::Mod) {
        return runtime("division by zero");
    }
    let n = match op {
        Operator::Add => x + y,
        Operator::Sub => x - y,
        Operator::Mul => x * y,
        Operator::Div => return quotient(x, y),
        Operator::FloorDiv => num_integer::Integer::div_floor(x, y),
        Operator::Mod => num_integer::Integer::mod_floor(x, y),
        Operator::Pow => return power(x, y, meter),
    };
    if n.bits() > MAX_INTEGER_BITS {
        return limit("an integer is too long");
    }
    Ok(Value::big(n))
}

/// The float nearest to the quotient of two integers.
fn quotient(x: &BigInt, y: &BigInt) -> Result<Value> {
    const EXACT: u64 = 53;
    if x.bits() <= EXACT && y.bits() <= EXACT {
        return Ok(Value::Float(to_float(x)? / to_float(y)?));
    }
    // 66 bits of the quotient with a sticky last one round as the whole would.
    let shift = 66 + y.bits() as i64 - x.bits() as i64;
    let (mut up, mut down) = (x.clone(), y.clone());
    if shift > 0 {
        up <<= shift
    } else {
        down <<= -shift
    }
    let (mut q, r) = num_integer::Integer::div_rem(&up, &down);
    if !r.is_zero() {
        q = (q << 1) + if x.sign() == y.sign() { 1 } else { -1 };
    } else {
        q <<= 1;
    }
    let value = q.to_f64().unwrap_or(f64::INFINITY);
    let scaled = scale(value, -(shift + 1));
    if scaled.is_finite() { Ok(Value::Float(scaled)) } else { runtime("integer division result too large for a float") }
}

/// `x * 2^exponent` without overflow on the way.
fn scale(mut x: f64, mut exponent: i64) -> f64 {
    while exponent < -1000 {
        x *= 2.0_f64.powi(-1000);
        exponent += 1000;
    }
    while exponent > 1000 {
        x *= 2.0_f64.powi(1000);
        exponent -= 1000;
    }
    x * 2.0_f64.powi(exponent as i32)
}

fn power(x: &BigInt, y: &BigInt, meter: &Meter) -> Result<Value> {
    if y.sign() == num_bigint::Sign::Minus {
        if x.is_zero() {
            return runtime("0.0 cannot be raised to a negative power");
        }
        return float_power(to_float(x)?, to_float(y)?);
    }
    let trivial = x.bits() <= 1;
    let exponent = match y.to_u64() {
        _ if trivial => {
            if y.is_zero() {
                0
            } else {
                2 - u32::from(y.bit(0))
            }
        }
        Some(n) if n.saturating_mul(x.bits()) <= MAX_INTEGER_BITS => n as u32,
        _ => return limit("an integer is too long"),
    };
    meter.work((x.bits() as usize * exponent as usize / 64).pow(2) / 64 + 1)?;
    Ok(Value::big(x.pow(exponent)))
}
