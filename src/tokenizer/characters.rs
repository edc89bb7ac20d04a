//! BPE over characters (`gemma4`, and `gpt2` under some pre-tokenizers): blanks become U+2581, lines are cut from each other,
//! characters merge by rank, and what the vocabulary lacks is spelled in bytes.

use super::bpe::{Names, PairMap, Symbols, read_merges};
use super::merge::{Merge, Merger, Pairs, Symbol};
use super::spm::SPACE;
use super::strings::{Index, Strings};
use super::vocab::{TokenKind, Vocab};
use crate::Result;

/// The symbol of a character that is no token.
const NO_TOKEN: u32 = u32::MAX;

/// Pre-tokenizers of `gpt2` vocabularies that are of this kind, and whether a run of newlines that is a token is that token.
const PRE: [(&str, bool); 3] = [("gemma4", true), ("granite-embed-multi-311m", true), ("sarvam-moe", false)];

/// Whether a vocabulary of this model and pre-tokenizer is of this kind.
pub(crate) fn merges_characters(vocab: &Vocab) -> bool {
    vocab.model == "gemma4" || PRE.iter().any(|(pre, _)| vocab.pre.as_deref() == Some(pre))
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
    /// Whether a run of newlines that is a token is that token.
    whole_lines: bool,
}

impl Characters {
    pub(crate) fn new(vocab: &Vocab, index: &Index, kinds: &[TokenKind], unknown: Option<u32>) -> Result<Self> {
        let first_extra = vocab.tokens.len() as u32;
        let mut symbols = Symbols::new(vocab, index, kinds);
        let pairs = read_merges(vocab, &mut symbols)?;
        let bytes = (0..=u8::MAX).map(|byte| index.get(&vocab.tokens, format!("<0x{byte:02X}>").as_bytes()));
        let whole_lines = PRE.iter().find(|(pre, _)| vocab.pre.as_deref() == Some(pre)).is_none_or(|&(_, whole)| whole);
        Ok(Self { pairs, first_extra, bytes: bytes.collect(), unknown, whole_lines })
    }

    /// Appends the ids of `text`, which holds no special tokens.
    pub(crate) fn encode(&self, names: &Names<'_>, text: &str, merger: &mut Merger, out: &mut Vec<u32>) {
        let spelled: String = text.chars().map(|c| if c == ' ' { SPACE } else { c }).collect();
        let mut rest = spelled.as_str();
        while !rest.is_empty() {
            let lines = rest.len() - rest.trim_start_matches('\n').len();
            let end = if lines > 0 { lines } else { rest.find('\n').unwrap_or(rest.len()) };
            let (piece, after) = rest.split_at(end);
            rest = after;
            match names.index.get(names.tokens, piece.as_bytes()).filter(|_| self.whole_lines && lines > 0) {
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
            let bytes = piece.as_bytes().get(start as usize..symbol.end as usize).unwrap_or_default();
            start = symbol.end;
            if symbol.id < self.first_extra {
                out.push(symbol.id);
            } else {
                out.extend(bytes.iter().filter_map(|&byte| self.bytes[usize::from(byte)].or(self.unknown)));
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
