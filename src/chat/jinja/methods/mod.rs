//! Methods of values.

mod text;

use super::args::Args;
use super::attrs::{place, position};
use super::compare;
use super::eval::Eval;
use super::fault::{Result, runtime};
use super::value::{LoopValue, Value, View};
use std::rc::Rc;

pub(super) use super::text::is_cased_as;
pub(super) use text::{call as call_text, replace};

/// Calls a method.
pub(super) fn call(eval: &mut Eval<'_>, of: &Value, name: &'static str, args: Args) -> Result<Value> {
    match of {
        Value::Str(text) => call_text(eval, text, name, args),
        Value::List(items) | Value::Tuple(items) => match name {
            "copy" => args.none(name).map(|()| of.clone()),
            "count" => {
                let wanted = args.bind_unnamed::<1>(name, 1)?.or(0, Value::None);
                let mut count = 0;
                for item in &items.items {
                    count += i64::from(compare::equal(item, &wanted, &eval.meter)?);
                }
                Ok(Value::Int(count))
            }
            _ => {
                let bound = args.bind_unnamed::<3>(name, 1)?;
                let len = items.items.len();
                let clamp = |n: i64| if n < 0 { place(n, len).unwrap_or(0) } else { (n as usize).min(len) };
                let (from, to) = (clamp(bound.int(1, 0)?), clamp(bound.int(2, i64::MAX)?));
                let within = items.items.get(from..to).unwrap_or_default();
                match position(within, &bound.or(0, Value::None), &eval.meter)? {
                    Some(at) => Ok(Value::int(from + at)),
                    None => runtime("the value is not in the list"),
                }
            }
        },
        Value::Dict(dict) => match name {
            "get" => {
                let bound = args.bind_unnamed::<2>(name, 1)?;
                let found = dict.get(&bound.or(0, Value::None), &eval.meter)?.cloned();
                Ok(found.unwrap_or_else(|| bound.or(1, Value::None)))
            }
            "copy" => args.none(name).map(|()| of.clone()),
            _ => {
                args.none(name)?;
                let view = match name {
                    "keys" => View::Keys,
                    "values" => View::Values,
                    _ => View::Items,
                };
                Ok(Value::View(view, Rc::clone(dict)))
            }
        },
        Value::Range(range) => {
            let wanted = args.bind_unnamed::<1>(name, 1)?.or(0, Value::None);
            let at = wanted.index().and_then(|n| compare::range_index(range, n));
            match at {
                _ if name == "count" => Ok(Value::Int(i64::from(at.is_some()))),
                Some(at) => Ok(Value::int(at)),
                None => runtime("the number is not in range"),
            }
        }
        Value::Cycler(cycler) => {
            args.none(name)?;
            let at = cycler.at.get();
            if name == "reset" {
                cycler.at.set(0);
                return Ok(Value::None);
            }
            cycler.at.set((at + 1) % cycler.items.items.len().max(1));
            Ok(cycler.items.items.get(at).cloned().unwrap_or(Value::None))
        }
        Value::Loop(state) if name == "changed" => changed(eval, state, args),
        Value::Loop(state) => {
            if args.pos.is_empty() {
                return runtime("no items for cycling given");
            }
            let index = state.state.borrow().index.saturating_sub(1);
            Ok(args.pos[index % args.pos.len()].clone())
        }
        Value::View(view, _) => {
            let other = args.bind_unnamed::<1>(name, 1)?.or(0, Value::None);
            let _ = view;
            for item in other.items(&eval.meter)? {
                if compare::contains(of, &item, &eval.meter)? {
                    return Ok(Value::Bool(false));
                }
            }
            Ok(Value::Bool(true))
        }
        _ => number(eval, of, name, args),
    }
}

fn number(eval: &Eval<'_>, of: &Value, name: &str, args: Args) -> Result<Value> {
    args.none(name)?;
    match (of, name) {
        (_, "conjugate") => Ok(of.integer().map_or_else(|| of.clone(), Value::big)),
        (Value::Float(x), "is_integer") => Ok(Value::Bool(x.is_finite() && x.fract() == 0.0)),
        (_, "bit_length") => Ok(Value::int(of.integer().unwrap_or_default().bits() as usize)),
        (_, "bit_count") => Ok(Value::int(of.integer().unwrap_or_default().magnitude().count_ones() as usize)),
        (_, "as_integer_ratio") if of.integer().is_some() => {
            let n = of.integer().map_or(Value::None, Value::big);
            Value::tuple(&eval.meter, vec![n, Value::Int(1)])
        }
        _ => runtime(format!("the method '{name}' of '{}' is not supported", of.type_name())),
    }
}

/// `loop.changed(..)`.
fn changed(eval: &Eval<'_>, of: &LoopValue, args: Args) -> Result<Value> {
    let now = Value::tuple(&eval.meter, args.pos)?;
    let before = of.state.borrow().changed.clone();
    let same = match &before {
        Some(before) => compare::equal(before, &now, &eval.meter)?,
        None => false,
    };
    if !same {
        of.state.borrow_mut().changed = Some(now);
    }
    Ok(Value::Bool(!same))
}
