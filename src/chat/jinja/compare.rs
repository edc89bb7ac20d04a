//! Equality, order and membership of values, and sorting by them.

use super::fault::{Result, runtime};
use super::meter::Meter;
use super::number::Number;
use super::value::Walk;
use super::value::{Dict, Value, View};
use num_bigint::BigInt;
use num_traits::{FromPrimitive, ToPrimitive};
use std::cmp::Ordering;
use std::rc::Rc;

/// Python's `a == b`.
pub(super) fn equal(a: &Value, b: &Value, meter: &Meter) -> Result<bool> {
    meter.work(1)?;
    Ok(match (a, b) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Int(x), Value::Int(y)) => x == y,
        (Value::Str(x), Value::Str(y)) => {
            Rc::ptr_eq(x, y)
                || x.text.len() == y.text.len() && {
                    meter.look(x.text.len())?;
                    x.text == y.text
                }
        }
        (Value::List(x), Value::List(y)) | (Value::Tuple(x), Value::Tuple(y)) => {
            Rc::ptr_eq(x, y)
                || x.items.len() == y.items.len() && {
                    for (x, y) in x.items.iter().zip(&y.items) {
                        if !identical(x, y) && !equal(x, y, meter)? {
                            return Ok(false);
                        }
                    }
                    true
                }
        }
        (Value::Dict(x), Value::Dict(y)) => Rc::ptr_eq(x, y) || dicts_equal(x, y, meter)?,
        (Value::Range(x), Value::Range(y)) => {
            x.len == y.len && (x.len == 0 || x.start == y.start && (x.len == 1 || x.step == y.step))
        }
        (Value::View(v, x), Value::View(w, y)) if *v != View::Values && *w != View::Values => {
            x.len() == y.len() && {
                let wanted = Walk::Dict(*w, Rc::clone(y), 0);
                all_in(wanted, a, meter)?
            }
        }
        (Value::View(View::Values, x), Value::View(View::Values, y)) => Rc::ptr_eq(x, y) && identical(a, b),
        _ => match (a.number(), b.number()) {
            (Some(x), Some(y)) => compare_numbers(&x, &y) == Some(Ordering::Equal),
            (None, None) => identical(a, b),
            _ => false,
        },
    })
}

fn all_in(mut items: Walk, hay: &Value, meter: &Meter) -> Result<bool> {
    // The pairs that a walk makes live for a moment only.
    let scratch = Meter::new(u64::MAX);
    while let Some(item) = items.next(&scratch)? {
        if !contains(hay, &item, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn dicts_equal(x: &Dict, y: &Dict, meter: &Meter) -> Result<bool> {
    if x.len() != y.len() {
        return Ok(false);
    }
    for (key, value) in x.iter() {
        match y.get(key, meter)? {
            Some(other) if identical(value, other) || equal(value, other, meter)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Python's `a is b`, where that can be told.
fn identical(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(x), Value::List(y)) | (Value::Tuple(x), Value::Tuple(y)) => Rc::ptr_eq(x, y),
        (Value::Str(x), Value::Str(y)) => Rc::ptr_eq(x, y),
        (Value::Dict(x), Value::Dict(y)) => Rc::ptr_eq(x, y),
        (Value::Iter(x), Value::Iter(y)) => Rc::ptr_eq(x, y),
        (Value::Namespace(x), Value::Namespace(y)) => Rc::ptr_eq(x, y),
        (Value::Cycler(x), Value::Cycler(y)) => Rc::ptr_eq(x, y),
        (Value::Joiner(x), Value::Joiner(y)) => Rc::ptr_eq(x, y),
        (Value::Loop(x), Value::Loop(y)) => Rc::ptr_eq(x, y),
        (Value::Macro(x), Value::Macro(y)) => Rc::ptr_eq(x, y),
        (Value::Method(x), Value::Method(y)) => Rc::ptr_eq(x, y),
        (Value::Global(x), Value::Global(y)) => x == y,
        (Value::Block(x), Value::Block(y)) => x == y,
        (Value::Blocks, Value::Blocks) => true,
        _ => false,
    }
}

fn compare_numbers(x: &Number, y: &Number) -> Option<Ordering> {
    match (x, y) {
        (Number::Int(x), Number::Int(y)) => Some(x.cmp(y)),
        (Number::Float(x), Number::Float(y)) => x.partial_cmp(y),
        (Number::Int(x), Number::Float(y)) => compare_mixed(x, *y),
        (Number::Float(x), Number::Int(y)) => compare_mixed(y, *x).map(Ordering::reverse),
    }
}

fn compare_mixed(x: &BigInt, y: f64) -> Option<Ordering> {
    match BigInt::from_f64(y.trunc()) {
        Some(whole) => Some(x.cmp(&whole).then(0.0_f64.partial_cmp(&y.fract())?)),
        None if y.is_nan() => None,
        None => Some(if y > 0.0 { Ordering::Less } else { Ordering::Greater }),
    }
}

/// The order of two values; `None` where neither is less and they are not equal.
///
/// # Errors
/// Values between which Python knows no order.
pub(super) fn order(a: &Value, b: &Value, meter: &Meter) -> Result<Option<Ordering>> {
    meter.work(1)?;
    match (a, b) {
        (Value::Undefined(_), _) => a.undefined_fault(),
        (_, Value::Undefined(_)) => b.undefined_fault(),
        (Value::Int(x), Value::Int(y)) => Ok(Some(x.cmp(y))),
        (Value::Str(x), Value::Str(y)) => {
            meter.look(x.text.len().min(y.text.len()))?;
            Ok(Some(x.text.cmp(&y.text)))
        }
        (Value::List(x), Value::List(y)) | (Value::Tuple(x), Value::Tuple(y)) => {
            for (x, y) in x.items.iter().zip(&y.items) {
                if !identical(x, y) && !equal(x, y, meter)? {
                    return order(x, y, meter);
                }
            }
            Ok(Some(x.items.len().cmp(&y.items.len())))
        }
        _ => match (a.number(), b.number()) {
            (Some(x), Some(y)) => Ok(compare_numbers(&x, &y)),
            _ => runtime(format!("'<' not supported between instances of '{}' and '{}'", a.type_name(), b.type_name())),
        },
    }
}

/// Python's `needle in hay`.
pub(super) fn contains(hay: &Value, needle: &Value, meter: &Meter) -> Result<bool> {
    let any = |items: &mut dyn Iterator<Item = &Value>| -> Result<bool> {
        for item in items {
            if identical(item, needle) || equal(item, needle, meter)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    match hay {
        Value::Undefined(_) => Ok(false),
        Value::Str(text) => match needle {
            Value::Str(part) => {
                meter.look(text.text.len())?;
                Ok(text.text.contains(&*part.text))
            }
            _ => runtime(format!("'in <string>' requires string as left operand, not {}", needle.type_name())),
        },
        Value::List(items) | Value::Tuple(items) => any(&mut items.items.iter()),
        Value::Dict(dict) | Value::View(View::Keys, dict) => Ok(dict.get(needle, meter)?.is_some()),
        Value::View(View::Values, dict) => any(&mut dict.iter().map(|(_, value)| value)),
        Value::View(View::Items, dict) => match needle {
            Value::Tuple(pair) if pair.items.len() == 2 => match dict.get(&pair.items[0], meter)? {
                Some(value) => Ok(identical(value, &pair.items[1]) || equal(value, &pair.items[1], meter)?),
                None => Ok(false),
            },
            _ => Ok(false),
        },
        Value::Range(range) => match needle.number() {
            Some(Number::Int(n)) => Ok(n.to_i64().is_some_and(|n| range_index(range, n).is_some())),
            Some(Number::Float(x)) if x.fract() == 0.0 => Ok(x.abs() < 9e18 && range_index(range, x as i64).is_some()),
            _ => Ok(false),
        },
        Value::Iter(iter) => {
            // As Python does, this takes items up to the one that is found.
            loop {
                let next = iter.rest.borrow_mut().pop_front();
                match next {
                    Some(item) if identical(&item, needle) || equal(&item, needle, meter)? => return Ok(true),
                    Some(_) => {}
                    None => return iter.fault.borrow_mut().take().map_or(Ok(false), Err),
                }
            }
        }
        other => runtime(format!("argument of type '{}' is not iterable", other.type_name())),
    }
}

/// Where in a range a number stands.
pub(super) fn range_index(range: &super::value::Range, n: i64) -> Option<usize> {
    let distance = i128::from(n) - i128::from(range.start);
    let step = i128::from(range.step);
    let index = usize::try_from(distance / step).ok()?;
    (distance % step == 0 && index < range.len).then_some(index)
}

/// A stable sort with an order that can fail.
pub(super) fn sort<T>(items: Vec<T>, less: &mut dyn FnMut(&T, &T) -> Result<bool>) -> Result<Vec<T>> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    let mut merged = order.clone();
    let mut width = 1;
    while width < items.len() {
        for start in (0..items.len()).step_by(2 * width) {
            let middle = (start + width).min(items.len());
            let end = (start + 2 * width).min(items.len());
            let (mut left, mut right) = (start, middle);
            for slot in &mut merged[start..end] {
                let from_right = left >= middle || right < end && less(&items[order[right]], &items[order[left]])?;
                let side = if from_right { &mut right } else { &mut left };
                *slot = order[*side];
                *side += 1;
            }
        }
        std::mem::swap(&mut order, &mut merged);
        width *= 2;
    }
    let mut slots: Vec<Option<T>> = items.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|at| slots[at].take()).collect())
}

/// Sorts values by their keys.
pub(super) fn sort_by_keys(pairs: Vec<(Value, Value)>, reverse: bool, meter: &Meter) -> Result<Vec<(Value, Value)>> {
    let less = |a: &Value, b: &Value| Ok(order(a, b, meter)? == Some(Ordering::Less));
    if reverse {
        return sort(pairs, &mut |a, b| less(&b.0, &a.0));
    }
    sort(pairs, &mut |a, b| less(&a.0, &b.0))
}

/// A mapping's pairs in the order of their keys; keys without an order stand by their type.
pub(super) fn sorted_pairs(dict: &Dict, meter: &Meter) -> Result<Vec<(Value, Value)>> {
    let pairs: Vec<_> = dict.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    sort(pairs, &mut |a, b| match order(&a.0, &b.0, meter) {
        Ok(order) => Ok(order == Some(Ordering::Less)),
        Err(fault) if fault.kind == super::fault::FaultKind::Runtime => Ok(a.0.type_name() < b.0.type_name()),
        Err(fault) => Err(fault),
    })
}
