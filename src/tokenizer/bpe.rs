//! Byte-level BPE (`gpt2`): text -> pieces (pre-tokenizer) -> bytes -> merges by rank -> ids.

use super::byte_map;
use super::merge::{Merge, Merger, Pairs, Symbol};
use super::merges::{PairMap, Symbols, read_merges};
use super::names::{Names, text_token};
use super::pre::{self, Cutter};
use super::strings::{Index, Strings};
use super::vocab::{KEY_MERGES, TokenKind, Vocab};
use crate::Result;
use ahash::RandomState;
use std::collections::HashMap;

/// The merges of a vocabulary.
///
/// Symbols are token ids. A merge may speak of strings that are no tokens; they get ids past the last token, and what
/// is left of them after merging is written byte by byte.
pub(crate) struct Bpe {
    cutter: Cutter,
    /// The symbol of every byte.
    bytes: Vec<u32>,
    pairs: PairMap,
    /// Texts of the symbols that are no tokens.
    extra: Strings,
    /// The id of the first of them: the number of tokens.
    first_extra: u32,
    /// What stands for a byte that has no token, if anything.
    unknown: Option<u32>,
    /// A piece that is a token as a whole is that token.
    ignore_merges: bool,
    /// Whether the model starts with BOS when the file does not say.
    pub(crate) add_bos: bool,
}

/// Pieces of this many bytes are remembered within one text.
const REMEMBERED: std::ops::RangeInclusive<usize> = 2..=64;

/// Pieces that are remembered at most.
const MAX_REMEMBERED: usize = 1 << 16;

impl Bpe {
    pub(crate) fn new(vocab: &Vocab, index: &Index, kinds: &[TokenKind], unknown: Option<u32>) -> Result<Self> {
        let row = pre::row_of(vocab)?;
        needs_merges(vocab, kinds)?;
        let first_extra = vocab.tokens.len() as u32;
        let mut symbols = Symbols::new(vocab, index, kinds);
        let bytes = (0..=u8::MAX)
            .map(|byte| symbols.number(byte_map::char_of(byte).encode_utf8(&mut [0; 4]).as_bytes()))
            .collect();
        let pairs = read_merges(vocab, &mut symbols)?;
        Ok(Self {
            cutter: Cutter::new(row)?,
            bytes,
            pairs,
            extra: symbols.extra,
            first_extra,
            unknown,
            ignore_merges: row.ignore_merges,
            add_bos: row.add_bos,
        })
    }

    /// Whether there are letters of ASCII that no token spells and no unknown token stands for: texts lose them.
    pub(crate) fn loses_letters(&self) -> bool {
        self.unknown.is_none() && (b' '..=b'~').any(|byte| self.bytes[usize::from(byte)] >= self.first_extra)
    }

    /// Appends the ids of `text`, which holds no special tokens.
    pub(crate) fn encode<'t>(
        &self,
        names: &Names<'_>,
        text: &'t str,
        scratch: &mut BpeScratch<'t>,
        out: &mut Vec<u32>,
    ) {
        self.cutter.cut(text, &mut |piece| {
            let bytes = piece.as_bytes();
            if let &[byte] = bytes {
                return self.emit(self.bytes[usize::from(byte)], out);
            }
            let memorable = REMEMBERED.contains(&bytes.len());
            if memorable && let Some((start, end)) = scratch.known.get(bytes) {
                return out.extend_from_within(*start..*end);
            }
            let start = out.len();
            self.encode_piece(names, bytes, scratch, out);
            if memorable && scratch.known.len() < MAX_REMEMBERED {
                scratch.known.insert(bytes, (start, out.len()));
            }
        });
    }

    fn encode_piece(&self, names: &Names<'_>, piece: &[u8], scratch: &mut BpeScratch<'_>, out: &mut Vec<u32>) {
        if self.ignore_merges {
            scratch.spelled.clear();
            byte_map::map_into(piece, &mut scratch.spelled);
            if let Some(id) = text_token(names.index, names.tokens, names.kinds, scratch.spelled.as_bytes()) {
                return out.push(id);
            }
        }
        let merger = &mut scratch.merger;
        merger.symbols.clear();
        let symbol = |(end, &byte): (u32, &u8)| Symbol { id: self.bytes[usize::from(byte)], end };
        merger.symbols.extend((1..).zip(piece).map(symbol));
        merger.run(piece, self);
        for symbol in &merger.symbols {
            self.emit(symbol.id, out);
        }
    }

    /// Appends a symbol, byte by byte when it is no token.
    fn emit(&self, symbol: u32, out: &mut Vec<u32>) {
        let Some(extra) = symbol.checked_sub(self.first_extra) else { return out.push(symbol) };
        let mut bytes = Vec::new();
        byte_map::unmap_into(self.extra.get(extra as usize).unwrap_or_default(), &mut bytes);
        for byte in bytes {
            let symbol = self.bytes[usize::from(byte)];
            if symbol < self.first_extra {
                out.push(symbol);
            } else {
                out.extend(self.unknown);
            }
        }
    }
}

impl Pairs for Bpe {
    fn pair(&self, left: u32, right: u32, _bytes: &[u8]) -> Option<Merge> {
        self.pairs.get(&(left, right)).copied()
    }
}

/// Tokens of several characters are made by merging: without merges every byte would become a token of its own, and the
/// model would see text as it never did.
fn needs_merges(vocab: &Vocab, kinds: &[TokenKind]) -> Result<()> {
    let long = |text: &[u8]| std::str::from_utf8(text).is_ok_and(|text| text.chars().count() > 1);
    let mut tokens = vocab.tokens.iter().zip(kinds);
    match tokens.find(|(text, kind)| **kind == TokenKind::Normal && long(text)) {
        Some((text, _)) if vocab.merges.is_empty() && !vocab.kinds.is_empty() => {
            let text: String = String::from_utf8_lossy(text).chars().take(40).collect();
            let found = format!("none, and the token {text:?}");
            Err(vocab.error(KEY_MERGES, "the merges that make tokens of bytes", found))
        }
        _ => Ok(()),
    }
}

/// Buffers for one text, and where in the output the pieces stand that were seen before.
#[derive(Default)]
pub(crate) struct BpeScratch<'t> {
    pub(crate) merger: Merger,
    pub(crate) known: HashMap<&'t [u8], (usize, usize), RandomState>,
    spelled: String,
}
