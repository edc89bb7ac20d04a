//! The character classes that pre-tokenizers speak of, one byte of flags per code point.
//!
//! The table is filled from the tables of `regex-syntax`, the same that the `tokenizers` crate's regexes compile to, so
//! that the hand-written scanners and the regexes they stand for always agree on what a letter is.

use std::sync::OnceLock;

/// Letter (`\p{L}`).
pub(crate) const LETTER: u8 = 1;
/// Number (`\p{N}`).
pub(crate) const NUMBER: u8 = 2;
/// White space (`\s`).
pub(crate) const BLANKS: u8 = 4;
/// Punctuation (`\p{P}`).
pub(crate) const PUNCTUATION: u8 = 8;
/// Symbol (`\p{S}`).
pub(crate) const SYMBOL: u8 = 16;
/// Combining mark (`\p{M}`).
pub(crate) const MARK: u8 = 32;
/// Letter in upper or title case (`[\p{Lu}\p{Lt}]`).
pub(crate) const UPPER: u8 = 64;
/// Letter in lower case (`\p{Ll}`).
pub(crate) const LOWER: u8 = 128;

/// One more than the last code point.
const CODE_POINTS: usize = 0x11_0000;

/// Flags by code point. Most pages stay untouched zeros: about 300 KB are resident.
pub(crate) struct Classes(Box<[u8]>);

impl Classes {
    /// The table, built at the first use (under 2 ms).
    pub(crate) fn get() -> &'static Self {
        static TABLE: OnceLock<Classes> = OnceLock::new();
        TABLE.get_or_init(Self::build)
    }

    fn build() -> Self {
        let mut flags = vec![0; CODE_POINTS].into_boxed_slice();
        for (regex, flag) in [
            (r"\p{L}", LETTER),
            (r"\p{N}", NUMBER),
            (r"\s", BLANKS),
            (r"\p{P}", PUNCTUATION),
            (r"\p{S}", SYMBOL),
            (r"\p{M}", MARK),
            (r"[\p{Lu}\p{Lt}]", UPPER),
            (r"\p{Ll}", LOWER),
        ] {
            let hir = regex_syntax::parse(regex).expect("a class of the Unicode standard parses");
            let regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(class)) = hir.kind() else {
                unreachable!("{regex} is a Unicode class");
            };
            for range in class.ranges() {
                for flags in &mut flags[range.start() as usize..=range.end() as usize] {
                    *flags |= flag;
                }
            }
        }
        Self(flags)
    }

    /// The flags of `c`.
    pub(crate) fn of(&self, c: char) -> u8 {
        self.0[c as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_known_characters() {
        let classes = Classes::get();
        for (c, flags) in [
            ('a', LETTER | LOWER),
            ('Z', LETTER | UPPER),
            ('ǅ', LETTER | UPPER),
            ('가', LETTER),
            ('ª', LETTER),
            ('7', NUMBER),
            ('½', NUMBER),
            ('\u{a0}', BLANKS),
            ('\u{85}', BLANKS),
            ('_', PUNCTUATION),
            ('+', SYMBOL),
            ('\u{301}', MARK),
            ('\u{200d}', 0),
            ('\u{10ffff}', 0),
        ] {
            assert_eq!(classes.of(c), flags, "{c:?}");
        }
    }
}
