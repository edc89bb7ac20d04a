//! Attributes, items and slices, by the rules of Jinja's sandbox for values that cannot be changed.

use super::eval::Eval;
use super::fault::{Result, runtime};
use super::meter::Meter;
use super::value::{Items, LoopValue, Value, View};
use super::{compare, markup};
use std::rc::Rc;

/// Methods of texts.
const TEXT: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];
const MARKUP: &[&str] = &["unescape", "striptags"];
const LIST: &[&str] = &["index", "count", "copy"];
const TUPLE: &[&str] = &["index", "count"];
const DICT: &[&str] = &["get", "items", "keys", "values", "copy"];
const INT: &[&str] = &["bit_length", "bit_count", "conjugate", "as_integer_ratio"];
const FLOAT: &[&str] = &["is_integer", "conjugate", "hex", "as_integer_ratio"];
/// Methods that change a list or mapping: the sandbox has none of them.
const CHANGING: &[&str] =
    &["append", "clear", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault", "sort", "update"];

/// `of.name`: an attribute, else an item.
pub(super) fn attr(eval: &Eval<'_>, of: &Value, name: &str) -> Result<Value> {
    if of.is_undefined() {
        return of.undefined_fault();
    }
    if let Some(value) = own(eval, of, name)? {
        return Ok(value);
    }
    if let Value::Dict(dict) = of
        && let Some(value) = dict.get_str(name)
    {
        return Ok(value.clone());
    }
    Ok(of.missing_in(name))
}

/// `of[index]`: an item, else an attribute.
pub(super) fn item(eval: &Eval<'_>, of: &Value, index: &Value) -> Result<Value> {
    let found = match of {
        Value::Undefined(_) => return of.undefined_fault(),
        Value::Dict(_) if index.key(&eval.meter).is_err() => None,
        Value::Dict(dict) => dict.get(index, &eval.meter)?.cloned(),
        Value::List(items) | Value::Tuple(items) => {
            index.index().and_then(|at| place(at, items.items.len())).map(|at| items.items[at].clone())
        }
        Value::Range(range) => index.index().and_then(|at| place(at, range.len)).map(|at| range.at(at)),
        Value::Str(text) => match index.index().and_then(|at| place(at, text.chars)) {
            Some(at) => {
                if text.chars != text.text.len() {
                    eval.meter.look(text.text.len())?;
                }
                let c = text.text[text.byte(at)..].chars().next().unwrap_or_default();
                let one = eval.meter.text(c.encode_utf8(&mut [0; 4]))?;
                Some(if text.markup { markup::as_markup(&one, &eval.meter)? } else { one })
            }
            None => None,
        },
        _ => None,
    };
    if let Some(value) = found {
        return Ok(value);
    }
    let Some(name) = index.as_str() else {
        let mut shown = eval.meter.buffer()?;
        super::print::write_repr(&mut shown, index, 0)?;
        return Ok(of.missing_in(shown.as_str()));
    };
    Ok(own(eval, of, name)?.unwrap_or_else(|| of.missing_in(name)))
}

/// Where an index, maybe from the end, points in so many items.
pub(super) fn place(at: i64, len: usize) -> Option<usize> {
    let at = if at < 0 { i64::try_from(len).ok()?.checked_add(at)? } else { at };
    usize::try_from(at).ok().filter(|&at| at < len)
}

/// An attribute that the object itself has. What the sandbox forbids is there, but undefined.
fn own(eval: &Eval<'_>, of: &Value, name: &str) -> Result<Option<Value>> {
    if name.starts_with("__") && name.ends_with("__") && name.len() > 4 {
        return Ok(Some(of.missing_in(name)));
    }
    let method = |names: &[&'static str]| {
        let name = names.iter().find(|known| **known == name)?;
        Some(Value::Method(Rc::new((of.clone(), *name))))
    };
    let changing = || CHANGING.contains(&name).then(|| of.missing_in(name));
    Ok(match of {
        Value::Str(text) => method(TEXT).or_else(|| if text.markup { method(MARKUP) } else { None }),
        Value::List(_) => method(LIST).or_else(changing),
        Value::Tuple(items) => match name {
            "grouper" if items.group => items.items.first().cloned(),
            "list" if items.group => items.items.get(1).cloned(),
            _ => method(TUPLE),
        },
        Value::Dict(_) => method(DICT).or_else(|| {
            changing().filter(|_| !matches!(name, "append" | "extend" | "insert" | "remove" | "reverse" | "sort"))
        }),
        Value::Namespace(namespace) => namespace.attrs.borrow().get_str(name).cloned(),
        Value::Bool(_) | Value::Int(_) | Value::Big(_) => match name {
            "real" | "numerator" => of.integer().map(Value::big),
            "imag" => Some(Value::Int(0)),
            "denominator" => Some(Value::Int(1)),
            _ => method(INT),
        },
        Value::Float(x) => match name {
            "real" => Some(Value::Float(*x)),
            "imag" => Some(Value::Float(0.0)),
            _ => method(FLOAT),
        },
        Value::Range(range) => match name {
            "start" => Some(Value::Int(range.start)),
            "stop" => Some(Value::Int(range.stop)),
            "step" => Some(Value::Int(range.step)),
            _ => method(TUPLE),
        },
        Value::Cycler(cycler) => match name {
            "current" => cycler.items.items.get(cycler.at.get()).cloned(),
            "items" => Some(Value::Tuple(Rc::clone(&cycler.items))),
            "pos" => Some(Value::int(cycler.at.get())),
            _ => method(&["next", "reset"]),
        },
        Value::Joiner(joiner) => match name {
            "sep" => Some(joiner.separator.clone()),
            "used" => Some(Value::Bool(joiner.used.get())),
            _ => None,
        },
        Value::Loop(of_loop) => match loop_attr(eval, of_loop, name)? {
            Some(value) => Some(value),
            None => method(&["cycle", "changed"]),
        },
        Value::Macro(of) => match name {
            "name" => of.name.as_ref().map_or(Some(Value::None), |name| eval.meter.text(name).ok()),
            "arguments" => {
                let params = &eval.tree.macros[of.id].params;
                let params = params.iter().map(|param| eval.meter.text(param)).collect::<Result<_>>()?;
                Some(Value::tuple(&eval.meter, params)?)
            }
            "catch_kwargs" => Some(Value::Bool(eval.tree.macros[of.id].uses.kwargs)),
            "catch_varargs" => Some(Value::Bool(eval.tree.macros[of.id].uses.varargs)),
            "caller" => Some(Value::Bool(eval.tree.macros[of.id].uses.caller)),
            _ => None,
        },
        Value::Blocks => eval.tree.blocks.iter().position(|block| block.name == name).map(Value::Block),
        Value::View(View::Keys | View::Items, _) => method(&["isdisjoint"]),
        _ => None,
    })
}

fn loop_attr(eval: &Eval<'_>, of: &LoopValue, name: &str) -> Result<Option<Value>> {
    let index = of.state.borrow().index;
    Ok(Some(match name {
        "index" => Value::int(index),
        "index0" => Value::int(index.saturating_sub(1)),
        "first" => Value::Bool(index == 1),
        "last" => Value::Bool(of.peek(&eval.meter)?.is_none()),
        "length" => Value::int(of.len()?),
        "revindex" => Value::int((of.len()? + 1).saturating_sub(index)),
        "revindex0" => Value::int(of.len()?.saturating_sub(index)),
        "depth" => Value::int(of.depth0 + 1),
        "depth0" => Value::int(of.depth0),
        "previtem" => match of.state.borrow().before.clone() {
            Some(item) if index > 1 => item,
            _ => Value::missing("there is no previous item"),
        },
        "nextitem" => of.peek(&eval.meter)?.unwrap_or_else(|| Value::missing("there is no next item")),
        _ => return Ok(None),
    }))
}

/// `of[start:stop:step]`.
pub(super) fn slice(of: &Value, bounds: &[Value; 3], meter: &Rc<Meter>) -> Result<Value> {
    let len = match of {
        Value::Str(text) => text.chars,
        Value::List(items) | Value::Tuple(items) => items.items.len(),
        Value::Range(range) => range.len,
        Value::Undefined(_) => return of.undefined_fault(),
        Value::Dict(_) => return runtime("unhashable type: 'slice'"),
        other => return runtime(format!("'{}' object is not subscriptable", other.type_name())),
    };
    let (start, stop, count, step) = chosen(bounds, len)?;
    meter.work(count)?;
    let place = |i: usize| (i128::from(start) + i as i128 * i128::from(step)) as usize;
    match of {
        Value::Str(text) => {
            meter.look(text.text.len())?;
            let mut out = meter.buffer()?;
            if step == 1 {
                out.push(&text.text[text.byte(place(0))..text.byte(place(count))])?;
            } else {
                let _room = meter.charge(text.chars * size_of::<char>())?;
                let chars: Vec<char> = text.text.chars().collect();
                for i in 0..count {
                    out.push_char(chars[place(i)])?;
                }
            }
            Ok(out.finish_as(text.markup))
        }
        Value::List(items) => Value::list(meter, picked(items, count, place, meter)?),
        Value::Tuple(items) => Value::tuple(meter, picked(items, count, place, meter)?),
        Value::Range(range) => {
            let at = |place: i64| range.start.saturating_add(place.saturating_mul(range.step));
            let stride = range.step.saturating_mul(step);
            Ok(Value::Range(Rc::new(super::value::Range::new(at(start), at(stop), stride)?)))
        }
        _ => runtime("this value has no slices"),
    }
}

fn picked(items: &Items, count: usize, place: impl Fn(usize) -> usize, meter: &Rc<Meter>) -> Result<Vec<Value>> {
    let _room = meter.charge(count * size_of::<Value>())?;
    Ok((0..count).map(|i| items.items[place(i)].clone()).collect())
}

/// First place, end, number of places and step of a slice of so many items.
fn chosen(bounds: &[Value; 3], len: usize) -> Result<(i64, i64, usize, i64)> {
    let index = |value: &Value| match value {
        Value::None => Ok(None),
        value => match value.index() {
            Some(n) => Ok(Some(n)),
            None if value.is_undefined() => value.undefined_fault(),
            None => runtime("slice indices must be integers or None or have an __index__ method"),
        },
    };
    let step = index(&bounds[2])?.unwrap_or(1);
    if step == 0 {
        return runtime("slice step cannot be zero");
    }
    let len = len as i64;
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |n: i64| if n < 0 { n.saturating_add(len).max(low) } else { n.min(high) };
    let start = index(&bounds[0])?.map_or(if step > 0 { low } else { high }, clamp);
    let stop = index(&bounds[1])?.map_or(if step > 0 { high } else { low }, clamp);
    let (span, stride) = if step > 0 { (stop - start, step) } else { (start - stop, step.saturating_neg()) };
    let count = if span <= 0 { 0 } else { (span - 1) / stride + 1 };
    Ok((start, stop, count as usize, step))
}

/// Whether two texts or lists are equal under `==`, for methods that search.
pub(super) fn position(items: &[Value], wanted: &Value, meter: &Meter) -> Result<Option<usize>> {
    for (at, item) in items.iter().enumerate() {
        if compare::equal(item, wanted, meter)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}
