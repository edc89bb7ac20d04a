//! Text that is safe for HTML, and text that was.

use super::fault::Result;
use super::meter::{Buffer, Meter};
use super::print::to_text;
use super::value::Value;
use std::rc::Rc;

/// The same text, safe for HTML.
pub(super) fn as_markup(text: &Value, meter: &Rc<Meter>) -> Result<Value> {
    let mut out = meter.buffer()?;
    out.push(text.as_str().unwrap_or_default())?;
    Ok(out.finish_as(true))
}

/// Writes a text safe for HTML.
pub(super) fn escape_into(out: &mut Buffer, text: &str) -> Result<()> {
    let mut plain = 0;
    for (at, b) in text.bytes().enumerate() {
        let entity = match b {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&#34;",
            b'\'' => "&#39;",
            _ => continue,
        };
        out.push(&text[plain..at])?;
        out.push(entity)?;
        plain = at + 1;
    }
    out.push(&text[plain..])
}

/// A value as text that is safe for HTML.
pub(super) fn escape(value: &Value, meter: &Rc<Meter>) -> Result<Value> {
    let text = to_text(value, meter)?;
    if text.is_markup() {
        return Ok(text);
    }
    let mut out = meter.buffer()?;
    escape_into(&mut out, text.as_str().unwrap_or_default())?;
    Ok(out.finish_as(true))
}

/// A text without its tags and comments, white space as single blanks, entities as characters.
pub(super) fn strip_tags(text: &str, meter: &Rc<Meter>) -> Result<Value> {
    meter.work(text.len() / 8 + 1)?;
    let mut bare = meter.buffer()?;
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let tag = &rest[start..];
        let end = match tag.strip_prefix("<!--") {
            Some(comment) => comment.find("-->").map(|at| at + 7),
            None => tag.find('>').map(|at| at + 1),
        };
        let Some(end) = end else { break };
        bare.push(&rest[..start])?;
        rest = &tag[end..];
    }
    bare.push(rest)?;
    let mut out = meter.buffer()?;
    for (i, word) in super::text::words(bare.as_str(), usize::MAX).enumerate() {
        if i > 0 {
            out.push(" ")?;
        }
        unescape(&mut out, word)?;
    }
    Ok(out.finish())
}

/// Entities that texts are likely to hold.
const ENTITIES: &[(&str, char)] = &[
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", '\u{a0}'),
    ("copy", '©'),
    ("reg", '®'),
    ("laquo", '«'),
    ("raquo", '»'),
    ("hellip", '…'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bull", '•'),
    ("middot", '·'),
    ("deg", '°'),
    ("euro", '€'),
    ("times", '×'),
];

fn unescape(out: &mut Buffer, mut text: &str) -> Result<()> {
    while let Some(at) = text.find('&') {
        out.push(&text[..at])?;
        let rest = &text[at + 1..];
        let decoded = rest.find(';').filter(|end| *end <= 10).and_then(|end| {
            let name = &rest[..end];
            let number = name.strip_prefix('#').and_then(|n| match n.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok(),
                None => n.parse().ok(),
            });
            let named = ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, c)| *c);
            Some((number.and_then(char::from_u32).or(named)?, end + 1))
        });
        match decoded {
            Some((c, length)) => {
                out.push_char(c)?;
                text = &rest[length..];
            }
            None => {
                out.push("&")?;
                text = rest;
            }
        }
    }
    out.push(text)
}
