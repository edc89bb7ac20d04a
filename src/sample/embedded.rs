//! JSON schemas inside a grammar (`%json {...}` of Lark's notation), which are kept to and bounded as those that stand alone.

use super::schema;
use crate::{Error, Result};
use serde_json::{Deserializer, Value};

/// Word before a schema.
const WORD: &str = "%json";

/// The grammar with its schemas as the compiler needs them. What is no JSON stays, and is the compiler's to name.
///
/// # Errors
/// A schema that cannot be kept to.
pub(super) fn prepared(grammar: &str, check: &dyn Fn(&Value) -> Result<()>) -> Result<String> {
    let (mut out, mut rest) = (String::with_capacity(grammar.len()), grammar);
    while let Some(length) = until_schema(rest) {
        let (before, after) = rest.split_at(length);
        out.push_str(before);
        let mut values = Deserializer::from_str(after).into_iter::<Value>();
        rest = match values.next() {
            Some(Ok(value)) => {
                check(&value)?;
                let schema = schema::prepare(&value, false).map_err(|why| named(&why))?;
                out.push(' ');
                out.push_str(&schema.to_string());
                &after[values.byte_offset()..]
            }
            _ => after,
        };
    }
    out.push_str(rest);
    Ok(out)
}

fn named(why: &Error) -> Error {
    Error::usage(format!("A schema in the grammar: {why}")).of(why.kind())
}

/// Bytes up to the next schema: after its word, where that is neither in a text, nor in a regular expression, nor in a comment.
fn until_schema(grammar: &str) -> Option<usize> {
    let bytes = grammar.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        at = match bytes[at] {
            b'#' => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            quote @ (b'"' | b'/') => closed(bytes, at + 1, quote),
            b'%' if grammar[at..].starts_with(WORD) => return Some(at + WORD.len()),
            _ => at + 1,
        };
    }
    None
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| at + length)
}

/// The place after the next `quote`; of escaped ones none counts, and none after a line end.
fn closed(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote && bytes[at] != b'\n' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn schemas_are_found_where_they_are_schemas() {
        let prepared = |grammar: &str| prepared(grammar, &|_| Ok(()));
        for same in [
            "start: \"%json {}\" /%json {}/ \"\\\"%json {\" // %json {}\n# %json {}\n",
            "start: %json {",
            "start: %json",
            "start: \"",
            "start: /a\\",
        ] {
            assert_eq!(prepared(same).unwrap(), same);
        }
        let both = prepared("start: %json {\"type\": \"null\"} | \"x\" %json{\"const\": \"}\"} /y/\n").unwrap();
        assert_eq!(both.matches("x-guidance").count(), 2, "{both}");
        assert!(both.contains("} | \"x\" %json {") && both.ends_with("} /y/\n"), "{both}");
        assert!(prepared("start: %json {\"uniqueItems\": true}").unwrap_err().to_string().contains("uniqueItems"));
        assert!(prepared("start: %json {\"type\":\"integer\",\"multipleOf\":9999991}").is_err());
    }
}
