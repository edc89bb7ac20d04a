//! THE TESTS: what may follow `is`.

use super::args::Args;
use super::ast::Operator;
use super::eval::Eval;
use super::fault::Result;
use super::methods::is_cased_as;
use super::value::Value;
use super::{compare, filters, ops, print};
use std::cmp::Ordering;

/// A test of a value.
pub(super) type Test = fn(&mut Eval<'_>, &Value, Args) -> Result<bool>;

/// The test of this name.
pub(super) fn find(name: &str) -> Option<Test> {
    TESTS.iter().find(|(known, _)| *known == name).map(|(_, test)| *test)
}

static TESTS: &[(&str, Test)] = &[
    ("defined", |_, v, a| none(a, !v.is_undefined())),
    ("undefined", |_, v, a| none(a, v.is_undefined())),
    ("none", |_, v, a| none(a, matches!(v, Value::None))),
    ("boolean", |_, v, a| none(a, matches!(v, Value::Bool(_)))),
    ("true", |_, v, a| none(a, matches!(v, Value::Bool(true)))),
    ("false", |_, v, a| none(a, matches!(v, Value::Bool(false)))),
    ("integer", |_, v, a| none(a, matches!(v, Value::Int(_) | Value::Big(_)))),
    ("float", |_, v, a| none(a, matches!(v, Value::Float(_)))),
    ("number", |_, v, a| none(a, v.number().is_some())),
    ("string", |_, v, a| none(a, matches!(v, Value::Str(_)))),
    ("mapping", |_, v, a| none(a, matches!(v, Value::Dict(_)))),
    ("sequence", |_, v, a| {
        none(
            a,
            matches!(
                v,
                Value::Str(_)
                    | Value::List(_)
                    | Value::Tuple(_)
                    | Value::Dict(_)
                    | Value::Range(_)
                    | Value::Undefined(_)
            ),
        )
    }),
    ("iterable", |_, v, a| {
        let known = matches!(
            v,
            Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Range(_) | Value::View(..)
        );
        none(a, known || matches!(v, Value::Iter(_) | Value::Loop(_) | Value::Undefined(_)))
    }),
    ("callable", |_, v, a| {
        let known =
            matches!(v, Value::Macro(_) | Value::Method(_) | Value::Global(_) | Value::Joiner(_) | Value::Block(_));
        none(a, known || matches!(v, Value::Loop(_) | Value::Undefined(_)))
    }),
    ("odd", |eval, v, a| none(a, ()).and_then(|()| remainder(eval, v, &Value::Int(2), 1))),
    ("even", |eval, v, a| none(a, ()).and_then(|()| remainder(eval, v, &Value::Int(2), 0))),
    ("divisibleby", |eval, v, a| {
        let by = a.bind("divisibleby", ["num"], 1)?.or(0, Value::None);
        remainder(eval, v, &by, 0)
    }),
    ("lower", |eval, v, a| none(a, ()).and_then(|()| cased(eval, v, false))),
    ("upper", |eval, v, a| none(a, ()).and_then(|()| cased(eval, v, true))),
    ("escaped", |_, v, a| none(a, v.is_markup())),
    ("filter", |_, v, a| none(a, v.as_str().is_some_and(|name| filters::find(name).is_some()))),
    ("test", |_, v, a| none(a, v.as_str().is_some_and(|name| find(name).is_some()))),
    ("in", |eval, v, a| {
        let hay = a.bind("in", ["seq"], 1)?.or(0, Value::None);
        compare::contains(&hay, v, &eval.meter)
    }),
    ("sameas", |eval, v, a| same(eval, v, a)),
    ("eq", |e, v, a| equal(e, v, a)),
    ("equalto", |e, v, a| equal(e, v, a)),
    ("==", |e, v, a| equal(e, v, a)),
    ("ne", |e, v, a| equal(e, v, a).map(|equal| !equal)),
    ("!=", |e, v, a| equal(e, v, a).map(|equal| !equal)),
    ("gt", |e, v, a| ordered(e, v, a, &[Ordering::Greater])),
    ("greaterthan", |e, v, a| ordered(e, v, a, &[Ordering::Greater])),
    (">", |e, v, a| ordered(e, v, a, &[Ordering::Greater])),
    ("ge", |e, v, a| ordered(e, v, a, &[Ordering::Greater, Ordering::Equal])),
    (">=", |e, v, a| ordered(e, v, a, &[Ordering::Greater, Ordering::Equal])),
    ("lt", |e, v, a| ordered(e, v, a, &[Ordering::Less])),
    ("lessthan", |e, v, a| ordered(e, v, a, &[Ordering::Less])),
    ("<", |e, v, a| ordered(e, v, a, &[Ordering::Less])),
    ("le", |e, v, a| ordered(e, v, a, &[Ordering::Less, Ordering::Equal])),
    ("<=", |e, v, a| ordered(e, v, a, &[Ordering::Less, Ordering::Equal])),
];

fn none<T>(args: Args, answer: T) -> Result<T> {
    args.none("the test").map(|()| answer)
}

fn remainder(eval: &Eval<'_>, value: &Value, by: &Value, wanted: i64) -> Result<bool> {
    if value.is_undefined() {
        return value.undefined_fault();
    }
    let rest = ops::binary(Operator::Mod, value, by, &eval.meter)?;
    compare::equal(&rest, &Value::Int(wanted), &eval.meter)
}

fn cased(eval: &Eval<'_>, value: &Value, upper: bool) -> Result<bool> {
    let text = print::to_text(value, &eval.meter)?;
    let text = text.as_str().unwrap_or_default();
    eval.meter.work(text.len() / 4 + 1)?;
    Ok(is_cased_as(text, upper))
}

fn same(eval: &Eval<'_>, value: &Value, args: Args) -> Result<bool> {
    let other = args.bind("sameas", ["other"], 1)?.or(0, Value::None);
    Ok(match (value, &other) {
        (Value::None, Value::None) => true,
        (Value::Bool(x), Value::Bool(y)) => x == y,
        // Small integers are one object in Python.
        (Value::Int(x), Value::Int(y)) => x == y && (-5..=256).contains(x),
        (Value::Str(x), Value::Str(y)) => std::rc::Rc::ptr_eq(x, y) || x.text == y.text && x.chars <= 1,
        (Value::List(x), Value::List(y)) | (Value::Tuple(x), Value::Tuple(y)) => std::rc::Rc::ptr_eq(x, y),
        (Value::Dict(x), Value::Dict(y)) => std::rc::Rc::ptr_eq(x, y),
        (Value::Int(_) | Value::Float(_) | Value::Big(_) | Value::Bool(_) | Value::Undefined(_), _) => false,
        _ => value.type_name() == other.type_name() && value.key(&eval.meter)? == other.key(&eval.meter)?,
    })
}

fn equal(eval: &Eval<'_>, value: &Value, args: Args) -> Result<bool> {
    let other = args.bind_unnamed::<1>("eq", 1)?.or(0, Value::None);
    compare::equal(value, &other, &eval.meter)
}

fn ordered(eval: &Eval<'_>, value: &Value, args: Args, wanted: &[Ordering]) -> Result<bool> {
    let other = args.bind_unnamed::<1>("lt", 1)?.or(0, Value::None);
    Ok(compare::order(value, &other, &eval.meter)?.is_some_and(|order| wanted.contains(&order)))
}
