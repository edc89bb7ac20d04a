//! What chat templates expect beyond Jinja itself: Python's methods, generators, JSON and dates, and the functions that
//! the reference implementation adds.

use super::json;
use chrono::NaiveDateTime;
use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, Value, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, Output, State, filters};
use minijinja_contrib::pycompat::unknown_method_callback;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::vec;

/// What `raise_exception` puts before the template's words, so that its errors can be told from others.
pub(super) const RAISED: &str = "raise_exception: ";
/// Fuel that one byte of JSON costs is `1 / JSON_BYTES_PER_FUEL`, as for the engine's own serializer.
const JSON_BYTES_PER_FUEL: u64 = 4;
/// Bytes of text that one fuel pays for, as everywhere in the engine.
const BYTES_PER_FUEL: u64 = 64;

/// Adds the dialect to `env`.
pub(super) fn install(env: &mut Environment<'_>) {
    env.set_formatter(format);
    env.set_unknown_method_callback(method);
    env.add_filter("tojson", tojson);
    let lazy = [
        ("map", Value::from_function(filters::map)),
        ("select", Value::from_function(filters::select)),
        ("reject", Value::from_function(filters::reject)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
    ];
    for (name, eager) in lazy {
        env.add_filter(name, move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
            let args: Vec<Value> = args.0.into_iter().map(Value::from).collect();
            let items: Vec<Value> = eager.call(state, &args)?.try_iter()?.collect();
            Ok::<_, Error>(Value::from_object(Generator(Mutex::new(items.into_iter()))))
        });
    }
    env.add_function("raise_exception", |message: Value| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
    });
}

/// Writes a value where `{{ .. }}` stands, as Python's `str` would.
fn format(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.kind() == ValueKind::Number
        && !value.is_integer()
        && let Ok(x) = f64::try_from(value.clone())
    {
        return out.write_str(&json::float_repr(x, ["nan", "inf", "-inf"])).map_err(Error::from);
    }
    minijinja::escape_formatter(out, state, value)
}

/// What `map`, `select`, `reject` and their kin return: as in Jinja2 it can be walked once, is always true, and is no
/// JSON.
#[derive(Debug)]
pub(super) struct Generator(Mutex<vec::IntoIter<Value>>);

impl Generator {
    fn with<R>(&self, f: impl FnOnce(&mut vec::IntoIter<Value>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One walk over what is left of a generator.
struct Walk(Arc<Generator>);

impl Iterator for Walk {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.0.with(Iterator::next)
    }

    /// Exact: `loop.last` and `loop.length` come from here.
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.with(|items| items.size_hint())
    }
}

impl Object for Generator {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Iter(Box::new(Walk(self.clone())))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.with(|items| items.len()))
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}

/// `tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`: the text of `json.dumps`, without the
/// HTML escapes of Jinja's own filter.
fn tojson(state: &State<'_, '_>, value: &Value, args: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let mut positional = args.0.into_iter();
    let mut argument = |name: &'static str| -> Result<Value, Error> {
        match positional.next() {
            Some(value) => Ok(value),
            None => Ok(kwargs.get::<Option<Value>>(name)?.unwrap_or(Value::from(()))),
        }
    };
    let ensure_ascii = argument("ensure_ascii")?.is_true();
    let indent = json::indent_of(&argument("indent")?)?;
    let separators = argument("separators")?;
    let sort_keys = argument("sort_keys")?.is_true();
    kwargs.assert_all_used()?;
    let fuel = state.fuel_levels().map_or(u64::MAX, |(_, remaining)| remaining);
    let limit = usize::try_from(fuel.saturating_mul(JSON_BYTES_PER_FUEL)).unwrap_or(usize::MAX);
    let mut style = json::Style::new(ensure_ascii, indent, sort_keys, limit);
    if !separators.is_none() {
        let pair: Vec<Value> = separators.try_iter()?.take(3).collect();
        match pair.as_slice() {
            [item, key] => (style.item_separator, style.key_separator) = (item.to_string(), key.to_string()),
            _ => return Err(Error::new(ErrorKind::InvalidOperation, "separators are a pair (item, key)")),
        }
    }
    let text = json::dumps(value, &style)?;
    state.consume_fuel(text.len() as u64 / JSON_BYTES_PER_FUEL)?;
    Ok(Value::from(text))
}

/// Python's methods of strings, lists and mappings.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        if name == "format" {
            pay_for_widths(state, text)?;
        }
        if let Some(result) = string_method(text, name, args)? {
            return Ok(result);
        }
    }
    unknown_method_callback(state, value, name, args)
}

/// Widths and precisions in a format string ask for that many characters; they are paid for before they are made.
fn pay_for_widths(state: &State<'_, '_>, format: &str) -> Result<(), Error> {
    let numbers = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let total = numbers.fold(0_u64, |sum, digits| sum.saturating_add(digits.parse().unwrap_or(u64::MAX)));
    if total < BYTES_PER_FUEL { Ok(()) } else { state.consume_fuel(total / BYTES_PER_FUEL) }
}

/// The methods of strings that `pycompat` lacks or has with fewer parameters.
fn string_method(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let value = match name {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            partition(text, separator, name == "rpartition")?
        }
        "rsplit" => {
            let (separator, count): (Option<&str>, Option<i64>) = from_args(args)?;
            rsplit(text, separator, count)
        }
        "index" | "rindex" => {
            let (what,): (&str,) = from_args(args)?;
            let found = if name == "index" { text.find(what) } else { text.rfind(what) };
            let at = found.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "substring not found"))?;
            Value::from(text[..at].chars().count())
        }
        "casefold" => {
            let () = from_args(args)?;
            Value::from(text.to_lowercase())
        }
        "isspace" => {
            let () = from_args(args)?;
            Value::from(!text.is_empty() && text.chars().all(char::is_whitespace))
        }
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn partition(text: &str, separator: &str, last: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let parts = match if last { text.rsplit_once(separator) } else { text.split_once(separator) } {
        Some((before, after)) => [before, separator, after],
        None if last => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(parts.map(Value::from).to_vec()))
}

fn rsplit(text: &str, separator: Option<&str>, count: Option<i64>) -> Value {
    let limit = count.and_then(|n| usize::try_from(n).ok()).map_or(usize::MAX, |n| n.saturating_add(1));
    let mut parts: Vec<&str> = match separator {
        Some(separator) => text.rsplitn(limit, separator).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim_end();
            while parts.len() + 1 < limit {
                match rest.rsplit_once(char::is_whitespace) {
                    Some((before, word)) => {
                        parts.push(word);
                        rest = before.trim_end();
                    }
                    None => break,
                }
            }
            let rest = rest.trim_start();
            if !rest.is_empty() {
                parts.push(rest);
            }
            parts
        }
    };
    parts.reverse();
    parts.into_iter().map(Value::from).collect()
}

/// Python's `strftime` of a time without a zone, in the C locale.
///
/// # Errors
/// A format that asks for something that such a time has not.
pub(super) fn strftime(now: NaiveDateTime, format: &str) -> Result<String, Error> {
    // Python: no zone prints as nothing, `%f` has six digits.
    let mut adapted = String::with_capacity(format.len());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '%' { chars.next() } else { None }) {
            ('%', Some('z' | 'Z')) => {}
            ('%', Some('f')) => adapted.push_str("%6f"),
            ('%', Some(spec)) => adapted.extend(['%', spec]),
            ('%', None) => adapted.push_str("%%"),
            _ => adapted.push(c),
        }
    }
    let mut out = String::new();
    match write!(out, "{}", now.format(&adapted)) {
        Ok(()) => Ok(out),
        Err(_) => {
            Err(Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know the format {format:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn render(source: &str) -> String {
        let mut env = Environment::new();
        install(&mut env);
        env.render_str(source, minijinja::context!(s => "a-b-c", w => " one  two three "))
            .unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn python_methods() {
        assert_eq!(render("{{ s.rsplit('-', 1) | join('|') }}"), "a-b|c");
        assert_eq!(render("{{ s.rsplit('-') | join('|') }}"), "a|b|c");
        assert_eq!(
            render("{{ w.rsplit() | join('|') }} {{ w.rsplit(none, 1) | join('|') }}"),
            "one|two|three  one  two|three".replace("  one  two", " one  two")
        );
        assert_eq!(render("{{ s.partition('-') | join('|') }} {{ s.rpartition('-') | join('|') }}"), "a|-|b-c a-b|-|c");
        assert_eq!(render("{{ s.partition('x') | join('|') }} {{ s.rpartition('x') | join('|') }}"), "a-b-c|| ||a-b-c");
        assert_eq!(
            render("{{ s.removeprefix('a-') }} {{ s.removesuffix('-c') }} {{ s.removesuffix('x') }}"),
            "b-c a-b a-b-c"
        );
        assert_eq!(render("{{ s.index('b') }} {{ s.rindex('-') }}"), "2 3");
        assert!(render("{{ s.index('x') }}").contains("substring not found"));
        assert!(render("{{ s.nonsense() }}").contains("unknown method"));
    }

    #[test]
    fn python_text_of_values() {
        assert_eq!(
            render("{{ true }} {{ none }} {{ 1e20 }} {{ 0.5 }} {{ 3.0 }} {{ [true, 'x', none] }}"),
            "True None 1e+20 0.5 3.0 [True, 'x', None]"
        );
    }

    #[test]
    fn generators_are_walked_once() {
        assert_eq!(render("{% set g = [1, 2] | map('string') %}{{ g | join(',') }}/{{ g | join(',') }}"), "1,2/");
        assert_eq!(render("{% if [] | select('odd') %}true{% endif %}"), "true");
        assert_eq!(render("{{ [1, 2, 3] | select('odd') | list | tojson }}"), "[1, 3]");
        assert!(render("{{ [1] | map('string') | tojson }}").contains("generator"));
        assert_eq!(
            render("{% for x in [3, 4] | reject('odd') %}{{ x }}{{ loop.length }}{{ loop.last }}{% endfor %}"),
            "41True"
        );
    }

    #[test]
    fn dates() {
        let now = chrono::NaiveDate::from_ymd_opt(2026, 11, 3).unwrap().and_hms_micro_opt(9, 5, 7, 42).unwrap();
        assert_eq!(
            strftime(now, "%d %B %Y %-d %H:%M:%S.%f|%Z%z|%j 100%%").unwrap(),
            "03 November 2026 3 09:05:07.000042|| 307 100%".replace("|| ", "||")
        );
        assert!(strftime(now, "%Q").is_err());
    }
}
