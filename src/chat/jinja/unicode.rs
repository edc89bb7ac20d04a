//! Classes of characters, as Python's texts ask for them.

use regex_syntax::hir::{Class, HirKind};
use std::sync::OnceLock;

/// Ranges of characters, in order.
type Ranges = Vec<(char, char)>;

fn ranges(pattern: &str) -> Ranges {
    let hir = regex_syntax::parse(pattern).ok();
    match hir.as_ref().map(regex_syntax::hir::Hir::kind) {
        Some(HirKind::Class(Class::Unicode(class))) => class.iter().map(|range| (range.start(), range.end())).collect(),
        _ => Vec::new(),
    }
}

fn contains(ranges: &Ranges, c: char) -> bool {
    let after = ranges.partition_point(|(start, _)| *start <= c);
    after > 0 && c <= ranges[after - 1].1
}

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident $pattern:literal)*) => {$(
        $(#[$doc])*
        pub(super) fn $name(c: char) -> bool {
            static RANGES: OnceLock<Ranges> = OnceLock::new();
            contains(RANGES.get_or_init(|| ranges($pattern)), c)
        }
    )*};
}

classes! {
    /// Letters.
    is_letter r"\p{L}"
    /// Decimal digits of every script.
    is_decimal r"\p{Nd}"
    /// Digits, also superscripts and circled ones.
    is_digit r"[\p{Nd}\x{B2}\x{B3}\x{B9}\x{1369}-\x{1371}\x{19DA}\x{2070}\x{2074}-\x{2079}\x{2080}-\x{2089}\x{2460}-\x{2468}\x{2474}-\x{247C}\x{2488}-\x{2490}\x{24EA}\x{24F5}-\x{24FD}\x{24FF}\x{2776}-\x{277E}\x{2780}-\x{2788}\x{278A}-\x{2792}\x{10A40}-\x{10A43}\x{10E60}-\x{10E68}\x{11052}-\x{1105A}\x{1F100}-\x{1F10A}]"
    /// Everything that stands for a number.
    is_numeric r"[\p{N}\x{3405}\x{3483}\x{382A}\x{3B4D}\x{4E00}\x{4E03}\x{4E07}\x{4E09}\x{4E5D}\x{4E8C}\x{4E94}\x{4E96}\x{4EBF}-\x{4EC0}\x{4EDF}\x{4EE8}\x{4F0D}\x{4F70}\x{5104}\x{5146}\x{5169}\x{516B}\x{516D}\x{5341}\x{5343}-\x{5345}\x{534C}\x{53C1}-\x{53C4}\x{56DB}\x{58F1}\x{58F9}\x{5E7A}\x{5EFE}-\x{5EFF}\x{5F0C}-\x{5F0E}\x{5F10}\x{62FE}\x{634C}\x{67D2}\x{6F06}\x{7396}\x{767E}\x{8086}\x{842C}\x{8CAE}\x{8CB3}\x{8D30}\x{9621}\x{9646}\x{964C}\x{9678}\x{96F6}]"
    is_upper r"\p{Uppercase}"
    is_lower r"\p{Lowercase}"
    is_title r"\p{Lt}"
    /// Letters with a case, and what counts as one.
    is_cased r"[\p{Uppercase}\p{Lowercase}\p{Lt}]"
    starts_identifier r"[_\p{XIDS}]"
    continues_identifier r"\p{XIDC}"
    is_control_or_space r"[\p{C}\p{Z}]"
}

/// Characters that `repr` shows as they are.
pub(super) fn is_printable(c: char) -> bool {
    if c.is_ascii() { (' '..='~').contains(&c) } else { !is_control_or_space(c) }
}

/// `str.casefold` of one character.
pub(super) fn fold(c: char, out: &mut String) {
    match c {
        // Lowercase without a dot stays; Cherokee folds to its older capitals.
        'ı' | '\u{13a0}'..='\u{13f5}' => out.push(c),
        '\u{13f8}'..='\u{13fd}' | '\u{ab70}'..='\u{abbf}' => out.extend(c.to_uppercase()),
        _ => out.extend(c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)),
    }
}

/// White space, as Python's `str` has it.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}
