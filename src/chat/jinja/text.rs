//! What Python's texts can do, on plain Rust texts.

use super::unicode::is_space;
use super::unicode::{fold, is_cased, is_lower, is_title, is_upper};

/// Line ends, as `str.splitlines` knows them.
fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// `str.splitlines`.
pub(super) fn lines(text: &str, keep_ends: bool) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((end, c)) = rest.char_indices().find(|(_, c)| is_line_end(*c)) else {
            return Some(std::mem::take(&mut rest));
        };
        let after = end + if rest[end..].starts_with("\r\n") { 2 } else { c.len_utf8() };
        let line = &rest[..if keep_ends { after } else { end }];
        rest = &rest[after..];
        Some(line)
    })
}

/// `str.split()`: words between white space, at most `most` cuts.
pub(super) fn words(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut rest = text.trim_start_matches(is_space);
    let mut cuts = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if cuts == most {
            return Some(std::mem::take(&mut rest));
        }
        cuts += 1;
        let end = rest.find(is_space).unwrap_or(rest.len());
        let word = &rest[..end];
        rest = rest[end..].trim_start_matches(is_space);
        Some(word)
    })
}

/// `str.rsplit()`: the same from the end, the last word first.
pub(super) fn words_from_end(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut rest = text.trim_end_matches(is_space);
    let mut cuts = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if cuts == most {
            return Some(std::mem::take(&mut rest));
        }
        cuts += 1;
        let start = rest.char_indices().rev().find(|(_, c)| is_space(*c)).map_or(0, |(at, c)| at + c.len_utf8());
        let word = &rest[start..];
        rest = rest[..start].trim_end_matches(is_space);
        Some(word)
    })
}

/// A character at the beginning of a word.
fn push_title(c: char, out: &mut String) {
    match c {
        'Ǆ'..='ǆ' => out.push('ǅ'),
        'Ǉ'..='ǉ' => out.push('ǈ'),
        'Ǌ'..='ǌ' => out.push('ǋ'),
        'Ǳ'..='ǳ' => out.push('ǲ'),
        // Georgian has capitals only for whole words.
        '\u{10d0}'..='\u{10ff}' => out.push(c),
        '\u{1f80}'..='\u{1faf}' => out.extend(char::from_u32(u32::from(c) | 8)),
        'ᾳ' => out.push('ᾼ'),
        'ῃ' => out.push('ῌ'),
        'ῳ' => out.push('ῼ'),
        'ᾼ' | 'ῌ' | 'ῼ' => out.push(c),
        _ => {
            let mut upper = c.to_uppercase();
            let first = upper.next();
            out.extend(first);
            let word = first.is_some_and(is_upper);
            for c in upper {
                if word { out.extend(c.to_lowercase()) } else { out.push(c) }
            }
        }
    }
}

/// A character inside a word in lower case; `before` and `after` are what stands around it.
fn push_lower(c: char, before: &str, after: &str, out: &mut String) {
    // The case of letters decides, past marks that do not count.
    let ignorable =
        |c: &char| matches!(c, '\'' | '.' | ':' | '^' | '`' | '\u{ad}' | '\u{b7}' | '\u{300}'..='\u{36f}' | '’');
    let cased = |c: Option<char>| c.is_some_and(is_cased);
    let ends = c == 'Σ'
        && cased(before.chars().rev().find(|c| !ignorable(c)))
        && !cased(after.chars().find(|c| !ignorable(c)));
    if ends { out.push('ς') } else { out.extend(c.to_lowercase()) }
}

/// `str.title`.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for (at, c) in text.char_indices() {
        if inside {
            push_lower(c, &text[..at], &text[at + c.len_utf8()..], &mut out)
        } else {
            push_title(c, &mut out)
        }
        inside = is_cased(c);
    }
    out
}

/// `str.capitalize`.
pub(super) fn capitalize(text: &str) -> String {
    let Some(first) = text.chars().next() else { return String::new() };
    let mut out = String::with_capacity(text.len());
    push_title(first, &mut out);
    let lower = text.to_lowercase();
    let skip: usize = first.to_lowercase().map(char::len_utf8).sum();
    out.push_str(&lower[skip..]);
    out
}

/// `str.swapcase`.
pub(super) fn swapcase(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if is_upper(c) {
            push_lower(c, &text[..at], &text[at + c.len_utf8()..], &mut out);
        } else if is_lower(c) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

/// `str.casefold`.
pub(super) fn casefold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| fold(c, &mut out));
    out
}

/// `str.islower` and `str.isupper`.
pub(super) fn is_cased_as(text: &str, upper: bool) -> bool {
    let mut some = false;
    for c in text.chars() {
        let (same, other) = if upper { (is_upper(c), is_lower(c)) } else { (is_lower(c), is_upper(c)) };
        if other || is_title(c) {
            return false;
        }
        some |= same;
    }
    some
}

/// `str.istitle`.
pub(super) fn is_titled(text: &str) -> bool {
    let (mut some, mut inside) = (false, false);
    for c in text.chars() {
        if is_upper(c) || is_title(c) {
            if inside {
                return false;
            }
            (some, inside) = (true, true);
        } else if is_lower(c) {
            if !inside {
                return false;
            }
            some = true;
        } else {
            inside = false;
        }
    }
    some
}

/// The title filter: words begin after white space and opening brackets too.
pub(super) fn title_words(text: &str) -> String {
    let separates = |c: char| is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let of_kind = separates(first);
        let end = rest.find(|c| separates(c) != of_kind).unwrap_or(rest.len());
        let head = first.len_utf8();
        out.extend(first.to_uppercase());
        out.push_str(&rest[head..end].to_lowercase());
        rest = &rest[end..];
    }
    out
}
