//! Filters of lists and mappings.

use super::super::args::{Args, int_of, str_of};
use super::super::ast::Operator;
use super::super::eval::Eval;
use super::super::fault::{Result, runtime};
use super::super::key::MapKey;
use super::super::value::Walk;
use super::super::value::{Items, Iter, Value, View};
use super::super::{compare, markup, ops, print};
use super::path::{Path, generator};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::rc::Rc;

pub(super) fn length(_: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    args.none("length")?;
    match value.len()? {
        Some(len) => Ok(Value::int(len)),
        None => runtime(format!("object of type '{}' has no len()", value.type_name())),
    }
}

pub(super) fn first(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    args.none("first")?;
    let first = Walk::new(&value)?.next(&eval.meter)?;
    Ok(first.unwrap_or_else(|| Value::missing("No first item, sequence was empty.")))
}

pub(super) fn last(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    args.none("last")?;
    let last = match &value {
        Value::List(items) | Value::Tuple(items) => items.items.last().cloned(),
        Value::Undefined(_) => None,
        Value::Str(text) => {
            text.text.chars().next_back().map(|c| eval.meter.text(c.encode_utf8(&mut [0; 4]))).transpose()?
        }
        Value::Range(range) => range.len.checked_sub(1).map(|at| range.at(at)),
        Value::Dict(_) | Value::View(..) => value.items(&eval.meter)?.pop(),
        other => return runtime(format!("'{}' object is not reversible", other.type_name())),
    };
    Ok(last.unwrap_or_else(|| Value::missing("No last item, sequence was empty.")))
}

pub(super) fn reverse(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    args.none("reverse")?;
    let meter = Rc::clone(&eval.meter);
    if let Value::Str(text) = &value {
        let mut out = meter.buffer()?;
        meter.work(text.text.len() / 8)?;
        out.push(&text.text.chars().rev().collect::<String>())?;
        return Ok(out.finish_as(text.markup));
    }
    let mut items = value.items(&meter)?;
    items.reverse();
    match value {
        Value::Iter(_) => Value::list(&meter, items),
        Value::Tuple(_) => Iter::value(&meter, items, None, "reversed"),
        Value::Dict(_) | Value::View(..) => Iter::value(&meter, items, None, "dict_reversekeyiterator"),
        Value::Range(_) => Iter::value(&meter, items, None, "range_iterator"),
        _ => Iter::value(&meter, items, None, "list_reverseiterator"),
    }
}

pub(super) fn items(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    args.none("items")?;
    match &value {
        Value::Undefined(_) => Iter::value(&eval.meter, Vec::new(), None, "generator"),
        Value::Dict(dict) => {
            generator(eval, &Value::View(View::Items, Rc::clone(dict)), "generator", |_, pair| Ok(Some(pair)))
        }
        // Said when the generator is walked.
        other => {
            let fault = runtime::<()>("Can only get item pairs from a mapping.").err();
            let _ = other;
            Iter::value(&eval.meter, Vec::new(), fault, "generator")
        }
    }
}

pub(super) fn join(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("join", ["d", "attribute"], 0)?;
    let meter = Rc::clone(&eval.meter);
    let separator = print::to_text(&bound.or(0, meter.text("")?), &meter)?;
    let path = Path::new(bound.get(1), None, false, &meter)?;
    let mut parts = Vec::new();
    let mut walk = Walk::new(&value)?;
    let mut out = meter.buffer()?;
    // With escaping, one safe part makes the whole safe.
    let mut markup = eval.autoescape && separator.is_markup();
    while let Some(item) = walk.next(&meter)? {
        let item = path.get(eval, &item)?;
        if eval.autoescape {
            markup |= item.is_markup();
            parts.push(item);
            continue;
        }
        if !parts.is_empty() {
            out.push(str_of(&separator)?)?;
        }
        print::write_str(&mut out, &item)?;
        if parts.is_empty() {
            parts.push(Value::None);
        }
    }
    if !eval.autoescape {
        return Ok(out.finish());
    }
    let as_text = |value: &Value| if markup { markup::escape(value, &meter) } else { print::to_text(value, &meter) };
    let separator = as_text(&separator)?;
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            out.push(str_of(&separator)?)?;
        }
        out.push(str_of(&as_text(part)?)?)?;
    }
    Ok(out.finish_as(markup))
}

pub(super) fn sort(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("sort", ["reverse", "case_sensitive", "attribute"], 0)?;
    let meter = Rc::clone(&eval.meter);
    let fold = !bound.truth(1);
    let paths = match bound.get(2) {
        Some(Value::Str(text)) if text.text.contains(',') => {
            let parts = text.text.split(',').map(|part| Path::new(Some(&meter.text(part)?), None, fold, &meter));
            parts.collect::<Result<Vec<_>>>()?
        }
        attribute => vec![Path::new(attribute, None, fold, &meter)?],
    };
    let mut pairs = Vec::new();
    for item in value.items(&meter)? {
        let keys = paths.iter().map(|path| path.get(eval, &item)).collect::<Result<Vec<_>>>()?;
        pairs.push((Value::list(&meter, keys)?, item));
    }
    let sorted = compare::sort_by_keys(pairs, bound.truth(0), &meter)?;
    Value::list(&meter, sorted.into_iter().map(|(_, item)| item).collect())
}

pub(super) fn dictsort(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("dictsort", ["case_sensitive", "by", "reverse"], 0)?;
    let meter = Rc::clone(&eval.meter);
    let by_value = match bound.str(1)?.unwrap_or("key") {
        "key" => false,
        "value" => true,
        _ => return runtime("You can only sort by either \"key\" or \"value\""),
    };
    let Value::Dict(dict) = &value else {
        return if value.is_undefined() {
            value.undefined_fault()
        } else {
            runtime(format!("'{}' object has no attribute 'items'", value.type_name()))
        };
    };
    let path = Path::new(None, None, !bound.truth(0), &meter)?;
    let mut pairs = Vec::new();
    for (key, item) in dict.iter() {
        let pair = Value::tuple(&meter, vec![key.clone(), item.clone()])?;
        pairs.push((path.get(eval, if by_value { item } else { key })?, pair));
    }
    let sorted = compare::sort_by_keys(pairs, bound.truth(2), &meter)?;
    Value::list(&meter, sorted.into_iter().map(|(_, pair)| pair).collect())
}

pub(super) fn unique(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("unique", ["case_sensitive", "attribute"], 0)?;
    let path = Path::new(bound.get(1), None, !bound.truth(0), &eval.meter)?;
    #[allow(clippy::mutable_key_type, reason = "the account of memory that a key's text holds is no part of the key")]
    let mut seen: HashSet<MapKey> = HashSet::new();
    let mut room = eval.meter.charge(0)?;
    generator(eval, &value, "generator", |eval, item| {
        let key = path.get(eval, &item)?.key(&eval.meter)?;
        room.grow(2 * size_of::<MapKey>())?;
        Ok(seen.insert(key).then_some(item))
    })
}

/// `min` and `max`.
pub(super) fn extreme(eval: &mut Eval<'_>, value: &Value, args: Args, wanted: Ordering) -> Result<Value> {
    let bound = args.bind("min", ["case_sensitive", "attribute"], 0)?;
    let meter = Rc::clone(&eval.meter);
    let path = Path::new(bound.get(1), None, !bound.truth(0), &meter)?;
    let mut walk = Walk::new(value)?;
    let mut best: Option<(Value, Value)> = None;
    while let Some(item) = walk.next(&meter)? {
        let key = path.get(eval, &item)?;
        let better = match &best {
            None => true,
            Some((known, _)) => compare::order(&key, known, &meter)? == Some(wanted),
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| Value::missing("No aggregated item, sequence was empty."), |(_, item)| item))
}

pub(super) fn groupby(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("groupby", ["attribute", "default", "case_sensitive"], 1)?;
    let meter = Rc::clone(&eval.meter);
    let sensitive = bound.truth(2);
    let path = Path::new(bound.get(0), bound.get(1).cloned(), !sensitive, &meter)?;
    let shown = Path::new(bound.get(0), bound.get(1).cloned(), false, &meter)?;
    let mut pairs = Vec::new();
    for item in value.items(&meter)? {
        pairs.push((path.get(eval, &item)?, item));
    }
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in compare::sort_by_keys(pairs, false, &meter)? {
        match groups.last_mut() {
            Some((known, items)) if compare::equal(known, &key, &meter)? => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let mut made = Vec::new();
    for (key, items) in groups {
        let name = match items.first() {
            Some(first) if !sensitive => shown.get(eval, first)?,
            _ => key,
        };
        let items = Value::list(&meter, items)?;
        made.push(Value::Tuple(Rc::new(Items::new(&meter, vec![name, items], true)?)));
    }
    Value::list(&meter, made)
}

pub(super) fn sum(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("sum", ["attribute", "start"], 0)?;
    let meter = Rc::clone(&eval.meter);
    let path = Path::new(bound.get(0), None, false, &meter)?;
    let mut sum = bound.or(1, Value::Int(0));
    if sum.as_str().is_some() {
        return runtime("sum() can't sum strings [use ''.join(seq) instead]");
    }
    let mut walk = Walk::new(&value)?;
    while let Some(item) = walk.next(&meter)? {
        let item = path.get(eval, &item)?;
        sum = ops::binary(Operator::Add, &sum, &item, &meter)?;
    }
    Ok(sum)
}

pub(super) fn batch(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("batch", ["linecount", "fill_with"], 1)?;
    let meter = Rc::clone(&eval.meter);
    let size = match bound.get(0) {
        Some(Value::Float(x)) if x.fract() == 0.0 && x.abs() < 1e15 => *x as i64,
        Some(value) => int_of(value)?,
        None => 0,
    };
    let mut batches = Vec::new();
    let mut batch: Vec<Value> = Vec::new();
    for item in value.items(&meter)? {
        if batch.len() as i64 == size {
            batches.push(Value::list(&meter, std::mem::take(&mut batch))?);
        }
        batch.push(item);
    }
    if !batch.is_empty() {
        if let Some(fill) = bound.some(1) {
            let missing = usize::try_from(size).unwrap_or(0).saturating_sub(batch.len());
            let _room = meter.charge(missing.saturating_mul(size_of::<Value>()))?;
            meter.work(missing)?;
            batch.extend(std::iter::repeat_n(fill.clone(), missing));
        }
        batches.push(Value::list(&meter, batch)?);
    }
    Iter::value(&meter, batches, None, "generator")
}

pub(super) fn slice(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("slice", ["slices", "fill_with"], 1)?;
    let meter = Rc::clone(&eval.meter);
    let items = value.items(&meter)?;
    let count = match bound.int(0, 0)? {
        0 => {
            let fault = runtime::<()>("integer division or modulo by zero").err();
            return Iter::value(&meter, Vec::new(), fault, "generator");
        }
        n => usize::try_from(n).unwrap_or(0),
    };
    let (each, extra) = (items.len() / count.max(1), items.len() % count.max(1));
    let mut slices = Vec::new();
    let mut start = 0;
    for number in 0..count {
        let end = start + each + usize::from(number < extra);
        let mut part = items[start..end].to_vec();
        if let Some(fill) = bound.some(1).filter(|_| number >= extra) {
            part.push(fill.clone());
        }
        slices.push(Value::list(&meter, part)?);
        start = end;
    }
    Iter::value(&meter, slices, None, "generator")
}
