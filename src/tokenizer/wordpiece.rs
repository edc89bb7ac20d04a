//! WordPiece (`bert`): words are cleaned and cut at blanks and punctuation, then taken apart from the left, longest known piece
//! first. The first piece of a word is stored with U+2581 before it, the others as they are.

use super::classes::{Classes, PUNCTUATION};
use super::names::Names;
use super::spm::SPACE;
use super::vocab::Vocab;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::{NormalizedString, Normalizer};

/// How words are cleaned and cut.
pub(crate) struct WordPiece {
    cleaner: BertNormalizer,
    unknown: Option<u32>,
    /// Bytes of the longest token.
    longest: usize,
}

impl WordPiece {
    pub(crate) fn new(vocab: &Vocab, unknown: Option<u32>) -> Self {
        let lowercase = vocab.lowercase.unwrap_or(true);
        let longest = vocab.tokens.iter().map(<[u8]>::len).max().unwrap_or(0);
        // Characters that print nothing vanish, and Han characters stand alone.
        Self { cleaner: BertNormalizer::new(true, true, vocab.strip_accents, lowercase), unknown, longest }
    }

    /// Appends the ids of `text`.
    pub(crate) fn encode(&self, names: &Names<'_>, text: &str, out: &mut Vec<u32>) {
        let classes = Classes::get();
        let mut cleaned = NormalizedString::from(text);
        // The cleaner has no error of its own: text that it gave up on would be read as it is.
        let _ = self.cleaner.normalize(&mut cleaned);
        let mut word = String::new();
        for c in cleaned.get().chars() {
            let apart = classes.of(c) & PUNCTUATION != 0 || c.is_ascii_punctuation();
            if !apart && !c.is_whitespace() {
                word.push(c);
                continue;
            }
            self.encode_word(names, &word, out);
            word.clear();
            if apart {
                self.encode_word(names, c.encode_utf8(&mut [0; 4]), out);
            }
        }
        self.encode_word(names, &word, out);
    }

    /// One word; a word that the vocabulary cannot spell, or one that is too long for BERT's own tokenizer, is unknown as a
    /// whole.
    fn encode_word(&self, names: &Names<'_>, word: &str, out: &mut Vec<u32>) {
        const MAX_LETTERS: usize = 100;
        if word.is_empty() {
            return;
        }
        if word.chars().count() > MAX_LETTERS {
            out.extend(self.unknown);
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
