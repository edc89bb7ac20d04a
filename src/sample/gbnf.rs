//! Grammars in llama.cpp's notation (GBNF), made into Lark's, which the grammar engine reads.
//!
//! `root ::= "yes" | [a-z]{2,5}` becomes `start: "yes" | /[a-z]/{2,5}`: names are lowered and cleaned, the first rule is
//! `root`, comments begin with `#`, classes and `.` are regular expressions.

use std::collections::HashSet;

/// Whether a grammar is in this notation.
pub(super) fn is_gbnf(text: &str) -> bool {
    text.contains("::=")
}

/// The grammar in Lark's notation.
///
/// # Errors
/// What cannot be read, in words with its line.
pub(super) fn to_lark(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let chars: Vec<char> = text.chars().collect();
    let line_of = |at: usize| 1 + chars[..at].iter().filter(|&&c| c == '\n').count();
    let (mut at, mut depth) = (0, 0_usize);
    let (mut rules, mut used) = (HashSet::new(), Vec::new());
    while at < chars.len() {
        match chars[at] {
            '#' => at = until(&chars, at, '\n'),
            '"' => {
                at =
                    copy_text(&chars, at, &mut out).ok_or_else(|| format!("line {}: a text has no end", line_of(at)))?
            }
            '[' => {
                at = copy_class(&chars, at, &mut out)
                    .ok_or_else(|| format!("line {}: a class has no end", line_of(at)))?;
            }
            '.' => {
                out.push_str("/(.|\\n)/");
                at += 1;
            }
            '{' => {
                let end = until(&chars, at, '}');
                out.extend(&chars[at..(end + 1).min(chars.len())]);
                at = end + 1;
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = (at..chars.len()).find(|&i| !(chars[i].is_alphanumeric() || "-_".contains(chars[i])));
                let end = end.unwrap_or(chars.len());
                let name: String = chars[at..end].iter().collect();
                let after = (end..chars.len()).find(|&i| !chars[i].is_whitespace()).unwrap_or(chars.len());
                if chars[after..].starts_with(&[':', ':', '=']) {
                    out.push_str(&format!("\n{}: ", rule(&name)));
                    rules.insert(name);
                    at = after + 3;
                    // The rule may begin on the next line.
                    while at < chars.len() && chars[at].is_whitespace() {
                        at += 1;
                    }
                } else {
                    out.push_str(&rule(&name));
                    used.push((name, at));
                    at = end;
                }
            }
            '\n' | '\r' => {
                // Inside parentheses and after `|` a rule goes on.
                out.push(' ');
                at += 1;
            }
            c => {
                match c {
                    '(' => depth += 1,
                    ')' => depth = depth.checked_sub(1).ok_or_else(|| format!("line {}: ) without (", line_of(at)))?,
                    '|' | '*' | '+' | '?' | ' ' | '\t' => {}
                    _ => return Err(format!("line {}: '{}' is not known", line_of(at), c.escape_default())),
                }
                out.push(c);
                at += 1;
            }
        }
    }
    if !out.contains("\nstart:") {
        return Err("there is no rule 'root'".to_owned());
    }
    if let Some((name, at)) = used.iter().find(|(name, _)| !rules.contains(name)) {
        return Err(format!("line {}: there is no rule '{name}'", line_of(*at)));
    }
    Ok(out)
}

fn rule(name: &str) -> String {
    if name == "root" {
        return "start".to_owned();
    }
    // Upper and lower case differ there, and mean different kinds of rules here.
    let mut out = String::from("r_");
    for c in name.chars() {
        match c {
            '-' => out.push_str("__"),
            c if c.is_uppercase() => {
                out.push_str("u_");
                out.extend(c.to_lowercase());
            }
            c => out.push(c),
        }
    }
    out
}

/// Where `end` is, or the end of the text.
fn until(chars: &[char], from: usize, end: char) -> usize {
    (from..chars.len()).find(|&i| chars[i] == end).unwrap_or(chars.len())
}

/// Copies a text in quotes; returns where it ends.
fn copy_text(chars: &[char], from: usize, out: &mut String) -> Option<usize> {
    let mut at = from + 1;
    out.push('"');
    loop {
        match *chars.get(at)? {
            '\\' => {
                at = escape(chars, at, out)?;
                continue;
            }
            '"' => {
                out.push('"');
                return Some(at + 1);
            }
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
        at += 1;
    }
}

/// Copies a class of characters as a regular expression.
fn copy_class(chars: &[char], from: usize, out: &mut String) -> Option<usize> {
    let mut at = from + 1;
    out.push_str("/[");
    loop {
        match *chars.get(at)? {
            '\\' => {
                at = escape(chars, at, out)?;
                continue;
            }
            ']' => {
                out.push_str("]/");
                return Some(at + 1);
            }
            '/' => out.push_str("\\/"),
            '[' => out.push_str("\\["),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
        at += 1;
    }
}

/// An escape: `\xNN`, `\uNNNN` and `\UNNNNNNNN` become the character, others stay.
fn escape(chars: &[char], at: usize, out: &mut String) -> Option<usize> {
    let digits = match chars.get(at + 1)? {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        c => {
            out.push('\\');
            out.push(*c);
            return Some(at + 2);
        }
    };
    let hex: String = chars.get(at + 2..at + 2 + digits)?.iter().collect();
    let c = char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?;
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '"' | '\\' | ']' | '[' | '/' | '-' | '^' => out.extend(['\\', c]),
        c => out.push(c),
    }
    Some(at + 2 + digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lark(text: &str) -> String {
        to_lark(text).unwrap_or_else(|why| why).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rules_texts_classes_and_repetitions() {
        assert_eq!(lark("root ::= \"a\"{5,5}"), "start: \"a\"{5,5}");
        assert_eq!(
            lark("root ::= (\"yes\" | \"no\") # one\nws ::= [ \\t\\n]*"),
            "start: (\"yes\" | \"no\") r_ws: /[ \\t\\n]/*"
        );
        assert_eq!(
            lark("root ::= item-List\nitem-List ::=\n  [^\"/]+ .?"),
            "start: r_item__u_list r_item__u_list: /[^\"\\/]/+ /(.|\\n)/?"
        );
        assert_eq!(lark("root ::= \"\\x41\\u00e9\""), "start: \"Aé\"");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for bad in ["a ::= \"x\"", "root ::= \"x", "root ::= [a", "root ::= )", "root ::= %", "root ::= \"\\x4\""] {
            assert!(to_lark(bad).is_err(), "{bad}");
        }
    }
}
