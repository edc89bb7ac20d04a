//! BPE over characters (`gemma4`, and `gpt2` under some pre-tokenizers): blanks become U+2581, lines are cut from each other,
//! characters merge by rank, and what the vocabulary lacks is spelled in bytes. In `whitespace` vocabularies the characters are
//! those of words, and blanks are nothing.

use super::merge::{Merge, Merger, Pairs, Symbol};
use super::merges::{PairMap, Symbols, read_merges};
use super::names::{Names, text_token};
use super::spm::SPACE;
use super::strings::{Index, Strings};
use super::vocab::{TokenKind, Vocab};
use crate::Result;

/// The symbol of a character that is no token.
const NO_TOKEN: u32 = u32::MAX;

/// What merges never cross.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pieces {
    /// Lines, and runs of newlines; `whole` ones that are tokens are those tokens.
    Lines { whole: bool },
    /// Words, and the blanks between them.
    Words,
}

/// Pre-tokenizers of `gpt2` vocabularies that are of this kind.
const PRE: [(&str, Pieces); 4] = [
    ("gemma4", Pieces::Lines { whole: true }),
    ("granite-embed-multi-311m", Pieces::Lines { whole: true }),
    ("sarvam-moe", Pieces::Lines { whole: false }),
    ("whitespace", Pieces::Words),
];

/// Whether a vocabulary of this model and pre-tokenizer is of this kind.
pub(crate) fn merges_characters(vocab: &Vocab) -> bool {
    matches!(vocab.model.as_str(), "gemma4" | "whitespace")
        || PRE.iter().any(|(pre, _)| vocab.pre.as_deref() == Some(pre))
}

/// The names of such pre-tokenizers.
pub(crate) fn pre_tokenizers() -> impl Iterator<Item = &'static str> {
    PRE.iter().map(|&(pre, _)| pre)
}

/// Merges and byte tokens of a vocabulary.
pub(crate) struct Characters {
    pairs: PairMap,
    first_extra: u32,
    bytes: Vec<Option<u32>>,
    unknown: Option<u32>,
    pieces: Pieces,
    /// Blanks are nothing.
    drops_blanks: bool,
    lowercase: bool,
}

impl Characters {
    pub(crate) fn new(vocab: &Vocab, index: &Index, kinds: &[TokenKind], unknown: Option<u32>) -> Result<Self> {
        let first_extra = vocab.tokens.len() as u32;
        let mut symbols = Symbols::new(vocab, index, kinds);
        let pairs = read_merges(vocab, &mut symbols)?;
        let bytes = (0..=u8::MAX).map(|byte| index.get(&vocab.tokens, format!("<0x{byte:02X}>").as_bytes()));
        let drops_blanks = vocab.model == "whitespace";
        let named = PRE.iter().find(|(pre, _)| vocab.pre.as_deref() == Some(pre)).map(|&(_, pieces)| pieces);
        let usual = if drops_blanks { Pieces::Words } else { Pieces::Lines { whole: true } };
        let lowercase = drops_blanks && vocab.lowercase.unwrap_or(false);
        let (bytes, pieces) = (bytes.collect(), named.unwrap_or(usual));
        // Of words, what has no token is nothing.
        let unknown = unknown.filter(|_| !drops_blanks);
        Ok(Self { pairs, first_extra, bytes, unknown, pieces, drops_blanks, lowercase })
    }

    /// Whether the model starts with BOS when the file does not say.
    pub(crate) fn add_bos(&self) -> bool {
        self.pieces != Pieces::Words
    }

    /// Appends the ids of `text`, which holds no special tokens.
    pub(crate) fn encode(&self, names: &Names<'_>, text: &str, merger: &mut Merger, out: &mut Vec<u32>) {
        match self.pieces {
            Pieces::Lines { whole } => self.encode_lines(names, text, whole, merger, out),
            Pieces::Words if self.lowercase => self.encode_words(names, &text.to_lowercase(), merger, out),
            Pieces::Words => self.encode_words(names, text, merger, out),
        }
    }

    fn encode_words(&self, names: &Names<'_>, text: &str, merger: &mut Merger, out: &mut Vec<u32>) {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let blank = first.is_whitespace();
            let end = rest.find(|c: char| c.is_whitespace() != blank).unwrap_or(rest.len());
            let (piece, after) = rest.split_at(end);
            rest = after;
            if !(blank && self.drops_blanks) {
                self.encode_piece(names, piece, merger, out);
            }
        }
    }

    fn encode_lines(&self, names: &Names<'_>, text: &str, whole: bool, merger: &mut Merger, out: &mut Vec<u32>) {
        let spelled: String = text.chars().map(|c| if c == ' ' { SPACE } else { c }).collect();
        let mut rest = spelled.as_str();
        while !rest.is_empty() {
            let lines = rest.len() - rest.trim_start_matches('\n').len();
            let end = if lines > 0 { lines } else { rest.find('\n').unwrap_or(rest.len()) };
            let (piece, after) = rest.split_at(end);
            rest = after;
            match names.index.get(names.tokens, piece.as_bytes()).filter(|_| whole && lines > 0) {
                Some(id) => out.push(id),
                None => self.encode_piece(names, piece, merger, out),
            }
        }
    }

    fn encode_piece(&self, names: &Names<'_>, piece: &str, merger: &mut Merger, out: &mut Vec<u32>) {
        merger.symbols.clear();
        merger.symbols.extend(piece.char_indices().map(|(at, c)| {
            let id = names.index.get(names.tokens, c.encode_utf8(&mut [0; 4]).as_bytes()).unwrap_or(NO_TOKEN);
            Symbol { id, end: (at + c.len_utf8()) as u32 }
        }));
        merger.run(piece.as_bytes(), self);
        let mut start = 0;
        for symbol in &merger.symbols {
            let text = piece.get(start as usize..symbol.end as usize).unwrap_or_default();
            start = symbol.end;
            if symbol.id < self.first_extra {
                out.push(symbol.id);
            } else {
                self.spell(names, text, out);
            }
        }
    }

    /// What merged to no token that text may become, such as the name of a control token: in bytes, else in characters.
    fn spell(&self, names: &Names<'_>, text: &str, out: &mut Vec<u32>) {
        let byte = |&byte: &u8| self.bytes[usize::from(byte)];
        let token = |c: &str| text_token(names.index, names.tokens, names.kinds, c.as_bytes());
        for c in text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]) {
            match token(c).filter(|_| !c.as_bytes().iter().all(|b| byte(b).is_some())) {
                Some(id) => out.push(id),
                None => out.extend(c.as_bytes().iter().filter_map(|b| byte(b).or(self.unknown))),
            }
        }
    }
}

impl Pairs for Characters {
    fn pair(&self, left: u32, right: u32, _bytes: &[u8]) -> Option<Merge> {
        self.pairs.get(&(left, right)).copied()
    }
}

/// Longest known beginning first (`rwkv`), over the bytes that tokens stand for.
pub(crate) struct Greedy {
    /// What each token stands for.
    texts: Strings,
    index: Index,
    longest: usize,
    unknown: Option<u32>,
}

impl Greedy {
    pub(crate) fn new(texts: Strings, unknown: Option<u32>) -> Self {
        let mut index = Index::with_capacity(texts.len());
        for (id, text) in (0..).zip(texts.iter()) {
            if !text.is_empty() {
                let _ = index.insert(&texts, id);
            }
        }
        let longest = texts.iter().map(<[u8]>::len).max().unwrap_or(0);
        Self { texts, index, longest, unknown }
    }

    /// What each token stands for.
    pub(crate) fn texts(&self) -> &Strings {
        &self.texts
    }

    /// Appends the ids of `text`.
    pub(crate) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let most = self.longest.min(rest.len());
            let found = (1..=most).rev().find_map(|n| Some((n, self.index.get(&self.texts, rest.get(..n)?)?)));
            match found {
                Some((n, id)) => {
                    out.push(id);
                    rest = &rest[n..];
                }
                None => {
                    out.extend(self.unknown);
                    rest = &rest[1..];
                }
            }
        }
    }
}

/// The bytes that an escaped token stands for: `\n`, `\t`, `\r`, `\xE2`, and any other character after a backslash itself.
pub(crate) fn unescaped(token: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(token.len()), token);
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let Some((&escape, after)) = rest.split_first().filter(|_| first == b'\\') else {
            out.push(first);
            continue;
        };
        rest = after;
        let hex = rest.get(..2).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (escape, hex) {
            (b'n', _) => out.push(b'\n'),
            (b't', _) => out.push(b'\t'),
            (b'r', _) => out.push(b'\r'),
            (b'x', Some(byte)) => {
                out.push(byte);
                rest = rest.get(2..).unwrap_or_default();
            }
            (other, _) => out.push(other),
        }
    }
    out
}
