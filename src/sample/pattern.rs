//! Regular expressions of schemas: what they mean, and what they ask for.
//!
//! JSON schema reads them as ECMA-262 does, the compiler of grammars as the package regex does: `\d` is an ASCII digit
//! there, a letter `[` within a class is itself, `.` leaves out every kind of line end.

use regex_syntax::hir::{Class, Hir, HirKind};

/// A pattern of ECMA-262 as the compiler reads it. What ECMA-262 does not know, such as `(?i)`, stays as it is.
pub(super) fn translated(pattern: &str) -> String {
    let translated = jsonschema_regex::is_valid_ecma_regex(pattern).then(|| jsonschema_regex::to_rust_regex(pattern));
    translated.and_then(Result::ok).map_or_else(|| pattern.to_owned(), std::borrow::Cow::into_owned)
}

/// Whether a pattern looks ahead, behind or at what it has already matched.
pub(super) fn looks_around(pattern: &str) -> bool {
    use regex_syntax::ast::ErrorKind::{UnsupportedBackreference, UnsupportedLookAround};
    let Err(regex_syntax::Error::Parse(why)) = regex_syntax::parse(pattern) else { return false };
    matches!(why.kind(), UnsupportedBackreference | UnsupportedLookAround)
}

/// Whether a pattern asks for such a character by itself, or as one of some that are all like it.
pub(super) fn asks_for(pattern: &str, odd: &dyn Fn(char) -> bool) -> bool {
    fn in_hir(hir: &Hir, odd: &dyn Fn(char) -> bool) -> bool {
        match hir.kind() {
            HirKind::Literal(literal) => std::str::from_utf8(&literal.0).is_ok_and(|text| text.contains(odd)),
            HirKind::Class(Class::Unicode(class)) => {
                class.iter().flat_map(|range| range.start()..=range.end()).take(64).all(odd)
            }
            HirKind::Repetition(repetition) => in_hir(&repetition.sub, odd),
            HirKind::Capture(capture) => in_hir(&capture.sub, odd),
            HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(|part| in_hir(part, odd)),
            _ => false,
        }
    }
    regex_syntax::parse(pattern).is_ok_and(|hir| in_hir(&hir, odd))
}

/// Whether a class of a pattern holds all but a few characters, and this one is among the few; or all control characters, which the
/// compiler takes for the same.
pub(super) fn forbids(pattern: &str, c: char) -> bool {
    fn in_hir(hir: &Hir, c: char) -> bool {
        match hir.kind() {
            HirKind::Class(Class::Unicode(class)) => {
                let size: u32 = class.iter().map(|range| range.len() as u32).sum();
                let has = |c: u8| class.iter().any(|range| (range.start()..=range.end()).contains(&char::from(c)));
                let many = size > 1 << 16 || (0..b' ').filter(|&c| c != b'\n').all(has);
                many && !class.iter().any(|range| (range.start()..=range.end()).contains(&c))
            }
            HirKind::Repetition(repetition) => in_hir(&repetition.sub, c),
            HirKind::Capture(capture) => in_hir(&capture.sub, c),
            HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(|part| in_hir(part, c)),
            _ => false,
        }
    }
    // What does not parse here is judged by its text.
    regex_syntax::parse(pattern).map_or_else(|_| pattern.contains("[^"), |hir| in_hir(&hir, c))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn patterns_mean_what_json_schema_says() {
        let class = |pattern: &str| {
            let hir = regex_syntax::parse(&translated(pattern)).unwrap();
            let HirKind::Class(Class::Unicode(class)) = hir.kind().clone() else { panic!("{pattern}: {hir:?}") };
            move |c: char| class.iter().any(|range| (range.start()..=range.end()).contains(&c))
        };
        assert!(class(r"\d")('7') && !class(r"\d")('\u{663}'));
        assert!(class(r"\w")('_') && !class(r"\w")('é'));
        assert!(class(r"\s")('\u{feff}') && !class(r"\s")('\u{85}'));
        assert!(class(".")('\u{85}') && !class(".")('\r') && !class(".")('\u{2028}'));
        assert!(class("[a-z&&b]")('&') && class("[a-z&&b]")('z'));
        assert!(class("[[x]")('['));
        for kept in ["(?i)a", r"\Aab\z", "a++", "("] {
            assert_eq!(translated(kept), kept);
        }
    }
}
