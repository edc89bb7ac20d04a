//! THE FILTERS: what may follow a bar.

mod lists;
mod numbers;
mod text;
mod wrap;

use super::args::{Args, soft, str_of};
use super::attrs;
use super::eval::Eval;
use super::fault::{Fault, FaultKind, Result, runtime};
use super::meter::Meter;
use super::value::{Iter, Value};
use super::{format, json, ops, print};
use std::rc::Rc;

pub(super) use text::strip_tags;

/// A filter of a value.
pub(super) type Filter = fn(&mut Eval<'_>, Value, Args) -> Result<Value>;

/// The filter of this name.
pub(super) fn find(name: &str) -> Option<Filter> {
    FILTERS.iter().find(|(known, _)| *known == name).map(|(_, filter)| *filter)
}

static FILTERS: &[(&str, Filter)] = &[
    ("abs", numbers::abs),
    ("attr", |eval, v, a| {
        let bound = a.bind("attr", ["name"], 1)?;
        let name = bound.str(0)?.unwrap_or_default();
        match &v {
            // An attribute only, never an item.
            Value::Dict(dict)
                if dict.get_str(name).is_some() && !matches!(attrs::attr(eval, &v, name)?, Value::Method(_)) =>
            {
                Ok(v.missing_in(name))
            }
            _ => attrs::attr(eval, &v, name),
        }
    }),
    ("batch", lists::batch),
    ("capitalize", |eval, v, a| text_method(eval, &v, "capitalize", a)),
    ("center", |eval, v, a| {
        let width = a.bind("center", ["width"], 0)?.or(0, Value::Int(80));
        text_method(eval, &v, "center", Args::pos(vec![width]))
    }),
    ("count", lists::length),
    ("d", default),
    ("default", default),
    ("dictsort", lists::dictsort),
    ("e", |eval, v, a| a.none("escape").and_then(|()| ops::escape(&v, &eval.meter))),
    ("escape", |eval, v, a| a.none("escape").and_then(|()| ops::escape(&v, &eval.meter))),
    ("filesizeformat", numbers::filesizeformat),
    ("first", lists::first),
    ("float", numbers::float),
    ("forceescape", |eval, v, a| {
        a.none("forceescape")?;
        let plain = plain(&print::to_text(&v, &eval.meter)?, &eval.meter)?;
        ops::escape(&plain, &eval.meter)
    }),
    ("format", |eval, v, a| {
        let text = soft(&v, &eval.meter)?;
        if !a.pos.is_empty() && !a.kw.is_empty() {
            return runtime("can't handle positional and keyword arguments at the same time");
        }
        let args = if a.kw.is_empty() {
            Value::tuple(&eval.meter, a.pos)?
        } else {
            let mut dict = super::value::Dict::new(&eval.meter)?;
            for (name, value) in a.kw {
                dict.set(eval.meter.text(&name)?, value, &eval.meter)?;
            }
            Value::Dict(Rc::new(dict))
        };
        format::percent(&text, &args, &eval.meter)
    }),
    ("groupby", lists::groupby),
    ("indent", text::indent),
    ("int", numbers::int),
    ("items", lists::items),
    ("join", lists::join),
    ("last", lists::last),
    ("length", lists::length),
    ("list", |eval, v, a| {
        a.none("list")?;
        let items = v.items(&eval.meter)?;
        Value::list(&eval.meter, items)
    }),
    ("lower", |eval, v, a| text_method(eval, &v, "lower", a)),
    ("map", lists::map),
    ("max", |eval, v, a| lists::extreme(eval, &v, a, std::cmp::Ordering::Greater)),
    ("min", |eval, v, a| lists::extreme(eval, &v, a, std::cmp::Ordering::Less)),
    ("pprint", |eval, v, a| a.none("pprint").and_then(|()| print::pformat(&v, &eval.meter))),
    ("random", |_, _, _| runtime("random gives another item every time, which no prompt can want")),
    ("reject", |eval, v, a| lists::choose(eval, v, a, false, false)),
    ("rejectattr", |eval, v, a| lists::choose(eval, v, a, true, false)),
    ("replace", text::replace),
    ("reverse", lists::reverse),
    ("round", numbers::round),
    ("safe", |eval, v, a| {
        a.none("safe")?;
        let text = print::to_text(&v, &eval.meter)?;
        attrs::as_markup(&text, &eval.meter)
    }),
    ("select", |eval, v, a| lists::choose(eval, v, a, false, true)),
    ("selectattr", |eval, v, a| lists::choose(eval, v, a, true, true)),
    ("slice", lists::slice),
    ("sort", lists::sort),
    ("string", |eval, v, a| a.none("string").and_then(|()| soft(&v, &eval.meter))),
    ("striptags", |eval, v, a| {
        a.none("striptags")?;
        let text = print::to_text(&v, &eval.meter)?;
        strip_tags(str_of(&text)?, &eval.meter)
    }),
    ("sum", lists::sum),
    ("title", text::title),
    ("tojson", |eval, v, a| json::tojson(&v, a, &eval.meter)),
    ("trim", |eval, v, a| {
        let chars = a.bind("trim", ["chars"], 0)?.or(0, Value::None);
        text_method(eval, &v, "strip", Args::pos(vec![chars]))
    }),
    ("truncate", text::truncate),
    ("unique", lists::unique),
    ("upper", |eval, v, a| text_method(eval, &v, "upper", a)),
    ("urlencode", text::urlencode),
    ("urlize", |_, _, _| runtime("urlize makes links for web pages, which no prompt can want")),
    ("wordcount", text::wordcount),
    ("wordwrap", wrap::wordwrap),
    ("xmlattr", text::xmlattr),
];

/// A method of the value's text.
fn text_method(eval: &mut Eval<'_>, value: &Value, name: &'static str, args: Args) -> Result<Value> {
    match soft(value, &eval.meter)? {
        Value::Str(text) => super::methods::call_text(eval, &text, name, args),
        _ => runtime("no text"),
    }
}

/// A text without the mark that it is safe for HTML.
fn plain(text: &Value, meter: &Rc<Meter>) -> Result<Value> {
    if text.is_markup() { meter.text(text.as_str().unwrap_or_default()) } else { Ok(text.clone()) }
}

fn default(_: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("default", ["default_value", "boolean"], 0)?;
    if value.is_undefined() || (bound.truth(1) && !value.truth()) {
        return match bound.get(0) {
            Some(default) => Ok(default.clone()),
            None => Meter::new(u64::MAX).text(""),
        };
    }
    Ok(value)
}

/// How a filter finds what it looks at in each item: `a.b.0`.
struct Path {
    parts: Vec<Value>,
    default: Option<Value>,
    /// Texts are compared without their case.
    fold: bool,
}

impl Path {
    fn new(attribute: Option<&Value>, default: Option<Value>, fold: bool, meter: &Rc<Meter>) -> Result<Self> {
        let parts = match attribute {
            None | Some(Value::None) => Vec::new(),
            Some(Value::Str(text)) => text.text.split('.').map(|part| part_of(part, meter)).collect::<Result<_>>()?,
            Some(other) => vec![other.clone()],
        };
        Ok(Self { parts, default: default.filter(|value| !matches!(value, Value::None)), fold })
    }

    fn get(&self, eval: &Eval<'_>, item: &Value) -> Result<Value> {
        let mut item = item.clone();
        for part in &self.parts {
            eval.meter.work(1)?;
            item = attrs::item(eval, &item, part)?;
            if item.is_undefined()
                && let Some(default) = &self.default
            {
                item = default.clone();
            }
        }
        match &item {
            Value::Str(text) if self.fold => {
                eval.meter.work(text.text.len() / 8)?;
                eval.meter.text(&text.text.to_lowercase())
            }
            _ => Ok(item),
        }
    }
}

fn part_of(part: &str, meter: &Rc<Meter>) -> Result<Value> {
    let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match part.parse() {
        Ok(n) if digits => Ok(Value::Int(n)),
        _ => meter.text(part),
    }
}

/// Makes a generator of what `each` gives for the items of `value`. A fault of the template's comes up when the generator
/// is walked, as in Python.
fn generator(
    eval: &mut Eval<'_>,
    value: &Value,
    name: &'static str,
    mut each: impl FnMut(&mut Eval<'_>, Value) -> Result<Option<Value>>,
) -> Result<Value> {
    let meter = Rc::clone(&eval.meter);
    let mut made = Vec::new();
    let mut run = || -> Result<()> {
        let mut walk = super::walk::Walk::new(value)?;
        let mut room = meter.charge(0)?;
        while let Some(item) = walk.next(&meter)? {
            if let Some(item) = each(eval, item)? {
                room.grow(size_of::<Value>())?;
                made.push(item);
            }
        }
        Ok(())
    };
    let fault: Option<Box<Fault>> = match run() {
        Ok(()) => None,
        Err(fault) if fault.kind == FaultKind::Runtime => Some(fault),
        Err(fault) => return Err(fault),
    };
    Iter::value(&meter, made, fault, name)
}
