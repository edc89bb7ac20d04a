//! THE FILTERS: what may follow a bar.

mod lists;
mod numbers;
mod path;
mod text;
mod wrap;

use super::args::{Args, soft, str_of};
use super::eval::Eval;
use super::fault::{Result, runtime};
use super::meter::Meter;
use super::value::{Iter, Value};
use super::{attrs, json, markup, percent, predicates, print};
use path::{Path, generator};
use std::rc::Rc;

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
    ("e", |eval, v, a| a.none("escape").and_then(|()| markup::escape(&v, &eval.meter))),
    ("escape", |eval, v, a| a.none("escape").and_then(|()| markup::escape(&v, &eval.meter))),
    ("filesizeformat", numbers::filesizeformat),
    ("first", lists::first),
    ("float", numbers::float),
    ("forceescape", |eval, v, a| {
        a.none("forceescape")?;
        let plain = plain(&print::to_text(&v, &eval.meter)?, &eval.meter)?;
        markup::escape(&plain, &eval.meter)
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
        percent::percent(&text, &args, &eval.meter)
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
    ("map", map),
    ("max", |eval, v, a| lists::extreme(eval, &v, a, std::cmp::Ordering::Greater)),
    ("min", |eval, v, a| lists::extreme(eval, &v, a, std::cmp::Ordering::Less)),
    ("pprint", |eval, v, a| a.none("pprint").and_then(|()| print::pformat(&v, &eval.meter))),
    ("random", |_, _, _| runtime("random gives another item every time, which no prompt can want")),
    ("reject", |eval, v, a| choose(eval, v, a, false, false)),
    ("rejectattr", |eval, v, a| choose(eval, v, a, true, false)),
    ("replace", text::replace),
    ("reverse", lists::reverse),
    ("round", numbers::round),
    ("safe", |eval, v, a| {
        a.none("safe")?;
        let text = print::to_text(&v, &eval.meter)?;
        markup::as_markup(&text, &eval.meter)
    }),
    ("select", |eval, v, a| choose(eval, v, a, false, true)),
    ("selectattr", |eval, v, a| choose(eval, v, a, true, true)),
    ("slice", lists::slice),
    ("sort", lists::sort),
    ("string", |eval, v, a| a.none("string").and_then(|()| soft(&v, &eval.meter))),
    ("striptags", |eval, v, a| {
        a.none("striptags")?;
        let text = print::to_text(&v, &eval.meter)?;
        markup::strip_tags(str_of(&text)?, &eval.meter)
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

/// `map`: of an attribute, or by the filter of a name.
fn map(eval: &mut Eval<'_>, value: Value, mut args: Args) -> Result<Value> {
    if !value.truth() {
        return Iter::value(&eval.meter, Vec::new(), None, "generator");
    }
    if args.pos.is_empty()
        && let Some(attribute) = args.take("attribute")
    {
        let default = args.take("default");
        let path = Path::new(Some(&attribute), default, false, &eval.meter)?;
        let extra = args.kw.first().map(|(name, _)| format!("Unexpected keyword argument '{name}'"));
        return generator(eval, &value, "generator", |eval, item| match &extra {
            Some(message) => runtime(message),
            None => path.get(eval, &item).map(Some),
        });
    }
    let name = (!args.pos.is_empty()).then(|| args.pos.remove(0));
    generator(eval, &value, "generator", |eval, item| {
        let Some(name) = &name else { return runtime("map requires a filter argument") };
        let name = str_of(name)?;
        let Some(filter) = find(name) else { return runtime(format!("No filter named '{name}'.")) };
        eval.deeper(|eval| filter(eval, item, args.clone())).map(Some)
    })
}

/// `select`, `reject` and, with attributes, `selectattr`, `rejectattr`.
fn choose(eval: &mut Eval<'_>, value: Value, mut args: Args, attribute: bool, wanted: bool) -> Result<Value> {
    if !value.truth() {
        return Iter::value(&eval.meter, Vec::new(), None, "generator");
    }
    let attr = (attribute && !args.pos.is_empty()).then(|| args.pos.remove(0));
    let path = Path::new(attr.as_ref(), None, false, &eval.meter)?;
    let name = (!args.pos.is_empty()).then(|| args.pos.remove(0));
    generator(eval, &value, "generator", |eval, item| {
        if attribute && attr.is_none() {
            return runtime("Missing parameter for attribute name");
        }
        let looked_at = path.get(eval, &item)?;
        let holds = match &name {
            None => looked_at.truth(),
            Some(name) => {
                let name = str_of(name)?;
                let Some(test) = predicates::find(name) else { return runtime(format!("No test named '{name}'.")) };
                test(eval, &looked_at, args.clone())?
            }
        };
        Ok((holds == wanted).then_some(item))
    })
}
