//! Methods of texts.

use super::super::args::{Args, Bound, dict_of, str_of};
use super::super::eval::Eval;
use super::super::fault::{Result, runtime};
use super::super::meter::{Buffer, Meter, Text};
use super::super::unicode::is_space;
use super::super::value::Value;
use super::super::value::Walk;
use super::super::{format, markup, text, unicode};
use std::rc::Rc;

/// Calls a method of a text. Text that is safe for HTML stays so.
pub(in crate::chat::jinja) fn call(
    eval: &mut Eval<'_>,
    of: &Rc<Text>,
    name: &'static str,
    args: Args,
) -> Result<Value> {
    let meter = Rc::clone(&eval.meter);
    // Most methods look at every character.
    meter.work(of.text.len() / 8 + 1)?;
    let this = Own { text: &of.text, of, meter: &meter };
    match name {
        "upper" => args.none(name).and_then(|()| this.made(of.text.to_uppercase())),
        "lower" => args.none(name).and_then(|()| this.made(of.text.to_lowercase())),
        "title" => args.none(name).and_then(|()| this.made(text::title(&of.text))),
        "capitalize" => args.none(name).and_then(|()| this.made(text::capitalize(&of.text))),
        "swapcase" => args.none(name).and_then(|()| this.made(text::swapcase(&of.text))),
        "casefold" => args.none(name).and_then(|()| this.made(text::casefold(&of.text))),
        "strip" | "lstrip" | "rstrip" => this.strip(name, args),
        "removeprefix" | "removesuffix" => {
            let bound = args.bind_unnamed::<1>(name, 1)?;
            let part = bound.str(0)?.unwrap_or_default();
            let rest = if name == "removeprefix" { of.text.strip_prefix(part) } else { of.text.strip_suffix(part) };
            this.part(rest.unwrap_or(&of.text))
        }
        "split" | "rsplit" => this.split(name, args),
        "splitlines" => {
            let keep = args.bind(name, ["keepends"], 0)?.truth(0);
            this.list(text::lines(&of.text, keep))
        }
        "partition" | "rpartition" => this.partition(name, args),
        "find" | "rfind" | "index" | "rindex" | "count" => this.search(name, args),
        "startswith" | "endswith" => this.at_end(name, args),
        "replace" => {
            let bound = args.bind_unnamed::<3>(name, 2)?;
            let most = usize::try_from(bound.int(2, -1)?).unwrap_or(usize::MAX);
            let new = bound.or(1, Value::None);
            str_of(&new)?;
            let new = if of.markup { markup::escape(&new, &meter)? } else { new };
            let mut out = meter.buffer()?;
            replace(&mut out, &of.text, bound.str(0)?.unwrap_or_default(), str_of(&new)?, most)?;
            Ok(out.finish_as(of.markup))
        }
        "join" => this.join(args),
        "center" | "ljust" | "rjust" => this.pad(name, args),
        "zfill" => this.zfill(args),
        "expandtabs" => this.expand_tabs(args),
        "format" => format::format(eval, of, &args.pos, &args.kw),
        "format_map" => {
            let mapping = mapping(&args.bind_unnamed::<1>(name, 1)?.or(0, Value::None))?;
            format::format(eval, of, &[], &mapping)
        }
        "striptags" => args.none(name).and_then(|()| markup::strip_tags(&of.text, &meter)),
        "isascii" | "isspace" | "isalpha" | "isalnum" | "isdigit" | "isdecimal" | "isnumeric" | "islower"
        | "isupper" | "istitle" | "isidentifier" | "isprintable" => {
            args.none(name).map(|()| Value::Bool(is(name, &of.text)))
        }
        _ => runtime(format!("the method '{name}' of texts is not supported")),
    }
}

fn is(name: &str, of: &str) -> bool {
    let all = |f: &dyn Fn(char) -> bool| !of.is_empty() && of.chars().all(f);
    match name {
        "isascii" => of.is_ascii(),
        "isspace" => all(&is_space),
        "isalpha" => all(&unicode::is_letter),
        "isalnum" => all(&|c| unicode::is_letter(c) || unicode::is_numeric(c)),
        "isdigit" => all(&unicode::is_digit),
        "isdecimal" => all(&unicode::is_decimal),
        "isnumeric" => all(&unicode::is_numeric),
        "islower" => text::is_cased_as(of, false),
        "isupper" => text::is_cased_as(of, true),
        "istitle" => text::is_titled(of),
        "isidentifier" => {
            let mut chars = of.chars();
            chars.next().is_some_and(unicode::starts_identifier) && chars.all(unicode::continues_identifier)
        }
        _ => of.chars().all(unicode::is_printable),
    }
}

/// `str.replace`.
pub(in crate::chat::jinja) fn replace(out: &mut Buffer, text: &str, old: &str, new: &str, most: usize) -> Result<()> {
    let mut end = 0;
    for (at, found) in text.match_indices(old).take(most) {
        out.push(&text[end..at])?;
        out.push(new)?;
        end = at + found.len();
    }
    out.push(&text[end..])
}

/// The text whose method is called.
struct Own<'a> {
    text: &'a str,
    of: &'a Rc<Text>,
    meter: &'a Rc<Meter>,
}

impl Own<'_> {
    fn made(&self, text: String) -> Result<Value> {
        self.part(&text)
    }

    fn part(&self, text: &str) -> Result<Value> {
        let mut out = self.meter.buffer()?;
        out.push(text)?;
        Ok(out.finish_as(self.of.markup))
    }

    fn list<'p>(&self, parts: impl Iterator<Item = &'p str>) -> Result<Value> {
        Value::list(self.meter, parts.map(|part| self.part(part)).collect::<Result<_>>()?)
    }

    fn strip(&self, name: &str, args: Args) -> Result<Value> {
        let bound = args.bind_unnamed::<1>(name, 0)?;
        let stripped = match bound.some(0).map(str_of).transpose()? {
            None => trimmed(self.text, name, &is_space),
            Some(set) => {
                self.meter.work(set.len() * self.text.len().min(64) / 16 + 1)?;
                let set: std::collections::HashSet<char> = set.chars().collect();
                trimmed(self.text, name, &|c| set.contains(&c))
            }
        };
        self.part(stripped)
    }

    fn split(&self, name: &str, args: Args) -> Result<Value> {
        let bound = args.bind(name, ["sep", "maxsplit"], 0)?;
        let most = usize::try_from(bound.int(1, -1)?).unwrap_or(usize::MAX);
        let from_end = name == "rsplit";
        let mut parts = match bound.some(0).map(str_of).transpose()? {
            Some("") => return runtime("empty separator"),
            Some(separator) => {
                let pieces = most.saturating_add(1);
                if from_end {
                    self.text.rsplitn(pieces, separator).map(|part| self.part(part)).collect::<Result<Vec<_>>>()?
                } else {
                    return self.list(self.text.splitn(pieces, separator));
                }
            }
            None if from_end => {
                text::words_from_end(self.text, most).map(|part| self.part(part)).collect::<Result<Vec<_>>>()?
            }
            None => return self.list(text::words(self.text, most)),
        };
        parts.reverse();
        Value::list(self.meter, parts)
    }

    fn partition(&self, name: &str, args: Args) -> Result<Value> {
        let bound = args.bind_unnamed::<1>(name, 1)?;
        let separator = bound.str(0)?.unwrap_or_default();
        if separator.is_empty() {
            return runtime("empty separator");
        }
        let last = name == "rpartition";
        let found = if last { self.text.rsplit_once(separator) } else { self.text.split_once(separator) };
        let parts = match found {
            Some((before, after)) => [before, separator, after],
            None if last => ["", "", self.text],
            None => [self.text, "", ""],
        };
        Value::tuple(self.meter, parts.into_iter().map(|part| self.part(part)).collect::<Result<_>>()?)
    }

    /// The part of the text between two arguments, and the number of its first character; nothing when that lies
    /// past the end.
    fn window<const N: usize>(&self, bound: &Bound<N>) -> Result<Option<(usize, &str)>> {
        let len = self.of.chars;
        let clamp =
            |n: i64| if n < 0 { usize::try_from(n.saturating_add(len as i64)).unwrap_or(0) } else { n as usize };
        let optional = |at: usize, default: i64| match bound.some(at) {
            None => Ok(default),
            Some(_) => bound.int(at, default),
        };
        let (start, end) = (clamp(optional(1, 0)?), clamp(optional(2, i64::MAX)?).min(len));
        if start > end {
            return Ok(None);
        }
        Ok(Some((start, &self.text[self.of.byte(start)..self.of.byte(end)])))
    }

    fn search(&self, name: &str, args: Args) -> Result<Value> {
        let bound = args.bind_unnamed::<3>(name, 1)?;
        let what = bound.str(0)?.unwrap_or_default();
        let window = self.window(&bound)?;
        if name == "count" {
            return Ok(Value::int(match window {
                None => 0,
                Some((_, text)) if what.is_empty() => text.chars().count() + 1,
                Some((_, text)) => text.matches(what).count(),
            }));
        }
        let found = window.and_then(|(start, text)| {
            let at = if name.starts_with('r') { text.rfind(what) } else { text.find(what) }?;
            Some(start + text[..at].chars().count())
        });
        match found {
            Some(at) => Ok(Value::int(at)),
            None if name.ends_with("find") => Ok(Value::Int(-1)),
            None => runtime("substring not found"),
        }
    }

    fn at_end(&self, name: &str, args: Args) -> Result<Value> {
        let bound = args.bind_unnamed::<3>(name, 1)?;
        let window = self.window(&bound)?;
        let holds = |part: &Value| -> Result<bool> {
            let part = str_of(part)?;
            self.meter.look(part.len())?;
            Ok(window.is_some_and(
                |(_, text)| {
                    if name == "startswith" { text.starts_with(part) } else { text.ends_with(part) }
                },
            ))
        };
        match bound.or(0, Value::None) {
            Value::Tuple(parts) => {
                for part in &parts.items {
                    if holds(part)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            part => holds(&part).map(Value::Bool),
        }
    }

    fn join(&self, args: Args) -> Result<Value> {
        let items = args.bind_unnamed::<1>("join", 1)?.or(0, Value::None);
        let mut walk = Walk::new(&items)?;
        let mut out = self.meter.buffer()?;
        let mut first = true;
        let mut at = 0;
        while let Some(item) = walk.next(self.meter)? {
            if !first {
                out.push(self.text)?;
            }
            first = false;
            let item = if self.of.markup { markup::escape(&item, self.meter)? } else { item };
            match item.as_str() {
                Some(text) => out.push(text)?,
                None => {
                    return runtime(format!("sequence item {at}: expected str instance, {} found", item.type_name()));
                }
            }
            at += 1;
        }
        Ok(out.finish_as(self.of.markup))
    }

    fn pad(&self, name: &str, args: Args) -> Result<Value> {
        let bound = args.bind_unnamed::<2>(name, 1)?;
        let width = usize::try_from(bound.int(0, 0)?).unwrap_or(0);
        let fill = bound.str(1)?.unwrap_or(" ");
        if fill.chars().count() != 1 {
            return runtime("The fill character must be exactly one character long");
        }
        let room = width.saturating_sub(self.of.chars);
        let left = match name {
            "ljust" => 0,
            "rjust" => room,
            _ => room / 2 + (room & width & 1),
        };
        let mut out = self.meter.buffer()?;
        out.repeat(fill, left)?;
        out.push(self.text)?;
        out.repeat(fill, room - left)?;
        Ok(out.finish_as(self.of.markup))
    }

    fn zfill(&self, args: Args) -> Result<Value> {
        let width = usize::try_from(args.bind_unnamed::<1>("zfill", 1)?.int(0, 0)?).unwrap_or(0);
        let sign = usize::from(self.text.starts_with(['+', '-']));
        let mut out = self.meter.buffer()?;
        out.push(&self.text[..sign])?;
        out.repeat("0", width.saturating_sub(self.of.chars))?;
        out.push(&self.text[sign..])?;
        Ok(out.finish_as(self.of.markup))
    }

    fn expand_tabs(&self, args: Args) -> Result<Value> {
        let size = usize::try_from(args.bind("expandtabs", ["tabsize"], 0)?.int(0, 8)?).unwrap_or(0);
        let mut out = self.meter.buffer()?;
        let mut column = 0;
        for c in self.text.chars() {
            match c {
                '\t' if size > 0 => {
                    let spaces = size - column % size;
                    out.repeat(" ", spaces)?;
                    column += spaces;
                }
                '\t' => {}
                _ => {
                    out.push_char(c)?;
                    column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
                }
            }
        }
        Ok(out.finish_as(self.of.markup))
    }
}

fn trimmed<'t>(text: &'t str, name: &str, strips: &dyn Fn(char) -> bool) -> &'t str {
    match name {
        "lstrip" => text.trim_start_matches(strips),
        "rstrip" => text.trim_end_matches(strips),
        _ => text.trim_matches(strips),
    }
}

/// `str.format_map`'s mapping.
fn mapping(value: &Value) -> Result<Vec<(String, Value)>> {
    Ok(dict_of(value)?.iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.clone()))).collect())
}
