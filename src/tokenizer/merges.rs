//! The list of merges, read into pairs of numbers.

use super::merge::Merge;
use super::names::text_token;
use super::strings::{Index, Strings};
use super::vocab::{KEY_MERGES, TokenKind, Vocab};
use crate::Result;
use ahash::RandomState;
use std::collections::HashMap;

/// Pairs of ids to what they become, hashed with a random key: merges come from the file.
pub(crate) type PairMap = HashMap<(u32, u32), Merge, RandomState>;

/// Numbers the symbols while the merges are read.
pub(crate) struct Symbols<'a> {
    vocab: &'a Vocab,
    index: &'a Index,
    kinds: &'a [TokenKind],
    first_extra: u32,
    pub(super) extra: Strings,
    extra_index: Index,
}

impl<'a> Symbols<'a> {
    /// No symbols but the tokens.
    pub(crate) fn new(vocab: &'a Vocab, index: &'a Index, kinds: &'a [TokenKind]) -> Self {
        let first_extra = vocab.tokens.len() as u32;
        Self { vocab, index, kinds, first_extra, extra: Strings::default(), extra_index: Index::with_capacity(0) }
    }

    /// The token with this text that merging may produce, else a number past the tokens.
    pub(super) fn number(&mut self, text: &[u8]) -> u32 {
        if let Some(id) = text_token(self.index, &self.vocab.tokens, self.kinds, text) {
            return id;
        }
        if let Some(number) = self.extra_index.get(&self.extra, text) {
            return self.first_extra + number;
        }
        self.extra.push(text);
        // a file holds far fewer than 2^31 merges, each of which adds three strings at most
        let number = self.extra.len() as u32 - 1;
        let _ = self.extra_index.insert(&self.extra, number);
        self.first_extra + number
    }
}

/// Reads the merges; of equal pairs the first counts.
pub(crate) fn read_merges(vocab: &Vocab, symbols: &mut Symbols<'_>) -> Result<PairMap> {
    let mut pairs = PairMap::with_capacity_and_hasher(vocab.merges.len(), RandomState::new());
    let mut joined = Vec::new();
    for (rank, merge) in (0..).zip(vocab.merges.iter()) {
        // a piece may itself be a space, so the separator is looked for after the first byte
        let space = merge.iter().skip(1).position(|&byte| byte == b' ').map(|i| i + 1);
        let halves = space.and_then(|i| Some((merge.get(..i)?, merge.get(i + 1..)?)));
        let Some((left, right)) = halves.filter(|(_, right)| !right.is_empty()) else {
            let found = format!("`{}` at place {rank}", String::from_utf8_lossy(merge));
            return Err(vocab.error(KEY_MERGES, "two tokens with a space between them", found));
        };
        joined.clear();
        joined.extend_from_slice(left);
        joined.extend_from_slice(right);
        let (left, right) = (symbols.number(left), symbols.number(right));
        pairs.entry((left, right)).or_insert_with(|| Merge { rank, id: symbols.number(&joined) });
    }
    Ok(pairs)
}
