//! Filters of texts.

use super::super::args::{Args, dict_of, soft, str_of};
use super::super::eval::Eval;
use super::super::fault::{Result, runtime};
use super::super::meter::Buffer;
use super::super::print::to_text;
use super::super::value::Walk;
use super::super::value::{Value, View};
use super::super::{markup, methods, text, unicode};
use std::rc::Rc;

pub(super) fn title(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    args.none("title")?;
    let text = soft(&value, &eval.meter)?;
    eval.meter.work(str_of(&text)?.len() / 8)?;
    eval.meter.text(&text::title_words(str_of(&text)?))
}

pub(super) fn replace(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("replace", ["old", "new", "count"], 2)?;
    let meter = Rc::clone(&eval.meter);
    let most =
        if bound.some(2).is_some() { usize::try_from(bound.int(2, -1)?).unwrap_or(usize::MAX) } else { usize::MAX };
    let (old, new) = (bound.or(0, Value::None), bound.or(1, Value::None));
    let (mut text, mut new) = (to_text(&value, &meter)?, to_text(&new, &meter)?);
    if eval.autoescape {
        if old.is_markup() || new.is_markup() && !text.is_markup() {
            text = markup::escape(&text, &meter)?;
        }
        if text.is_markup() {
            new = markup::escape(&new, &meter)?;
        }
    }
    let old = to_text(&old, &meter)?;
    let mut out = meter.buffer()?;
    meter.work(str_of(&text)?.len() / 8)?;
    methods::replace(&mut out, str_of(&text)?, str_of(&old)?, str_of(&new)?, most)?;
    Ok(out.finish_as(eval.autoescape && text.is_markup()))
}

pub(super) fn indent(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("indent", ["width", "first", "blank"], 0)?;
    let meter = Rc::clone(&eval.meter);
    let text = str_of(&value)?;
    let mut by = meter.buffer()?;
    match bound.get(0) {
        Some(Value::Str(width)) => by.push(&width.text)?,
        _ => by.repeat(" ", usize::try_from(bound.int(0, 4)?).unwrap_or(0))?,
    }
    let (first, blank) = (bound.truth(1), bound.truth(2));
    let mut whole = meter.buffer()?;
    whole.push(text)?;
    whole.push("\n")?;
    let mut out = meter.buffer()?;
    for (i, line) in text::lines(whole.as_str(), false).enumerate() {
        if i > 0 {
            out.push("\n")?;
        }
        let indented = if i == 0 { first } else { blank || !line.is_empty() };
        if indented {
            out.push(by.as_str())?;
        }
        out.push(line)?;
    }
    Ok(out.finish_as(value.is_markup()))
}

pub(super) fn truncate(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("truncate", ["length", "killwords", "end", "leeway"], 0)?;
    let end = bound.str(2)?.unwrap_or("...");
    let length = usize::try_from(bound.int(0, 255)?).unwrap_or(0);
    let leeway = if bound.some(3).is_some() { bound.int(3, 5)? } else { 5 };
    let end_chars = end.chars().count();
    let Ok(leeway) = usize::try_from(leeway) else { return runtime("expected leeway >= 0") };
    if length < end_chars {
        return runtime(format!("expected length >= {end_chars}, got {length}"));
    }
    if value.len()?.is_some_and(|len| len <= length.saturating_add(leeway)) {
        return Ok(value);
    }
    let Value::Str(text) = &value else {
        return runtime(format!("a text is wanted here, not '{}'", value.type_name()));
    };
    eval.meter.look(text.text.len())?;
    let cut = &text.text[..text.byte(length - end_chars)];
    let cut = if bound.truth(1) { cut } else { cut.rsplit_once(' ').map_or(cut, |(before, _)| before) };
    let mut out = eval.meter.buffer()?;
    out.push(cut)?;
    out.push(end)?;
    Ok(out.finish_as(text.markup))
}

pub(super) fn wordcount(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    args.none("wordcount")?;
    let text = soft(&value, &eval.meter)?;
    let text = str_of(&text)?;
    eval.meter.work(text.len() / 4)?;
    let mut inside = false;
    let mut count = 0;
    for c in text.chars() {
        let word = c == '_' || unicode::is_letter(c) || unicode::is_numeric(c);
        count += usize::from(word && !inside);
        inside = word;
    }
    Ok(Value::int(count))
}

pub(super) fn urlencode(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    args.none("urlencode")?;
    let meter = Rc::clone(&eval.meter);
    let mut out = meter.buffer()?;
    let pairs = match &value {
        Value::Dict(dict) => Value::View(View::Items, Rc::clone(dict)),
        Value::List(_) | Value::Tuple(_) | Value::Iter(_) | Value::View(..) | Value::Range(_) => value.clone(),
        other => {
            quote(&mut out, str_of(&to_text(other, &meter)?)?, false)?;
            return Ok(out.finish());
        }
    };
    let mut walk = Walk::new(&pairs)?;
    let mut first = true;
    while let Some(pair) = walk.next(&meter)? {
        let pair = pair.items(&meter)?;
        let [key, value] = pair.as_slice() else { return runtime("not enough values to unpack (expected 2)") };
        if !std::mem::take(&mut first) {
            out.push("&")?;
        }
        quote(&mut out, str_of(&to_text(key, &meter)?)?, true)?;
        out.push("=")?;
        quote(&mut out, str_of(&to_text(value, &meter)?)?, true)?;
    }
    Ok(out.finish())
}

/// Percent escapes; in queries a blank becomes `+` and slashes are escaped.
fn quote(out: &mut Buffer, text: &str, query: bool) -> Result<()> {
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push_char(char::from(b))?,
            b'/' if !query => out.push("/")?,
            b' ' if query => out.push("+")?,
            _ => out.push(&format!("%{b:02X}"))?,
        }
    }
    Ok(())
}

pub(super) fn xmlattr(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let bound = args.bind("xmlattr", ["autospace"], 0)?;
    let space = bound.get(0).is_none_or(Value::truth);
    let meter = Rc::clone(&eval.meter);
    let mut out = meter.buffer()?;
    for (key, value) in dict_of(&value)?.iter() {
        if matches!(value, Value::None | Value::Undefined(_)) {
            continue;
        }
        let name = str_of(key)?;
        if name.contains([' ', '\t', '\n', '\r', '\x0b', '\x0c', '/', '>', '=']) {
            return runtime("Invalid character in attribute name");
        }
        if space || !out.as_str().is_empty() {
            out.push(" ")?;
        }
        out.push(str_of(&markup::escape(key, &meter)?)?)?;
        out.push("=\"")?;
        out.push(str_of(&markup::escape(value, &meter)?)?)?;
        out.push("\"")?;
    }
    Ok(out.finish_as(eval.autoescape))
}
