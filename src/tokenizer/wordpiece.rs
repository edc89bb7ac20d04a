//! WordPiece (`bert`): words are cleaned and cut at blanks and punctuation, then taken apart from the left, longest known piece
//! first. The first piece of a word is stored with U+2581 before it, the others as they are.

use super::bpe::Names;
use super::classes::{Classes, MARK, PUNCTUATION};
use super::spm::SPACE;
use super::vocab::Vocab;

/// How words are cleaned.
pub(crate) struct WordPiece {
    lowercase: bool,
    strip_accents: bool,
    unknown: Option<u32>,
    /// Bytes of the longest token.
    longest: usize,
}

impl WordPiece {
    pub(crate) fn new(vocab: &Vocab, unknown: Option<u32>) -> Self {
        let lowercase = vocab.lowercase.unwrap_or(true);
        let strip_accents = vocab.strip_accents.unwrap_or(lowercase);
        let longest = vocab.tokens.iter().map(<[u8]>::len).max().unwrap_or(0);
        Self { lowercase, strip_accents, unknown, longest }
    }

    /// Appends the ids of `text`.
    pub(crate) fn encode(&self, names: &Names<'_>, text: &str, out: &mut Vec<u32>) {
        let classes = Classes::get();
        let mut word = String::new();
        for c in self.cleaned(text).chars() {
            if matches!(c, '\0' | '\u{fffd}') || (is_control(c) && !c.is_whitespace()) {
                continue;
            }
            let apart =
                classes.of(c) & PUNCTUATION != 0 || (c.is_ascii() && c.is_ascii_punctuation()) || is_ideograph(c);
            if c.is_whitespace() || apart {
                self.encode_word(names, &word, out);
                word.clear();
            }
            if apart {
                self.encode_word(names, c.encode_utf8(&mut [0; 4]), out);
            } else if !c.is_whitespace() {
                word.push(c);
            }
        }
        self.encode_word(names, &word, out);
    }

    fn cleaned(&self, text: &str) -> String {
        let mut text = if self.lowercase { text.to_lowercase() } else { text.to_owned() };
        if self.strip_accents && !text.is_ascii() {
            let mut decomposed = tokenizers::NormalizedString::from(text.as_str());
            decomposed.nfd();
            let classes = Classes::get();
            text = decomposed.get().chars().filter(|&c| classes.of(c) & MARK == 0).collect();
        }
        text
    }

    /// One word; a word that the vocabulary cannot spell is unknown as a whole.
    fn encode_word(&self, names: &Names<'_>, word: &str, out: &mut Vec<u32>) {
        if word.is_empty() {
            return;
        }
        let spelled = format!("{SPACE}{word}");
        let (mut rest, start) = (spelled.as_str(), out.len());
        while !rest.is_empty() {
            let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end <= self.longest);
            let ends: Vec<usize> = ends.collect();
            let found = ends
                .into_iter()
                .rev()
                .find_map(|end| Some((end, names.index.get(names.tokens, rest.get(..end)?.as_bytes())?)));
            let Some((end, id)) = found else {
                out.truncate(start);
                out.extend(self.unknown);
                return;
            };
            out.push(id);
            rest = rest.get(end..).unwrap_or_default();
        }
    }
}

/// Characters that print nothing.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Han characters, each of which is a word.
fn is_ideograph(c: char) -> bool {
    matches!(c,
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2a6df}'
        | '\u{2a700}'..='\u{2b73f}' | '\u{2b740}'..='\u{2b81f}' | '\u{2b920}'..='\u{2ceaf}' | '\u{2f800}'..='\u{2fa1f}')
}
