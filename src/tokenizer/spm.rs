//! SentencePiece BPE (`llama`): spaces become U+2581, characters merge by score, what is left over is spelled in bytes.

use super::merge::{Merge, Merger, Pairs, Symbol};
use super::names::Names;
use super::strings::{Index, Strings};
use super::vocab::{KEY_SCORES, TokenKind, Vocab};
use crate::Result;
use ahash::RandomState;
use std::collections::HashMap;

/// The space of SentencePiece.
pub(crate) const SPACE: char = '\u{2581}';

/// The symbol of a character that is no token.
const NO_TOKEN: u32 = u32::MAX;

/// The rank of a token that merging never yields.
const NO_MERGE: u32 = u32::MAX;

/// Scores and byte tokens of a vocabulary.
pub(crate) struct Spm {
    /// By token: how late it is merged. Tokens of higher score have lower ranks.
    ranks: Vec<u32>,
    /// The token of every byte.
    bytes: Vec<Option<u32>>,
    unknown: Option<u32>,
    /// No token goes on with a space after something else, so that words can be merged one by one.
    words: bool,
}

impl Spm {
    pub(crate) fn new(vocab: &Vocab, index: &Index, kinds: &[TokenKind], unknown: Option<u32>) -> Result<Self> {
        let n = vocab.tokens.len();
        if !vocab.scores.is_empty() && vocab.scores.len() < n {
            let wanted = format!("{n} numbers, one for each token");
            return Err(vocab.error(KEY_SCORES, wanted, vocab.scores.len().to_string()));
        }
        let merged = |kind| !matches!(kind, TokenKind::Control | TokenKind::Unknown | TokenKind::Byte);
        let score = |id: usize| vocab.scores.get(id).copied().unwrap_or(0.0);
        let rank = |(id, &kind): (usize, &TokenKind)| if merged(kind) { rank(score(id)) } else { NO_MERGE };
        let bytes = (0..=u8::MAX).map(|byte| index.get(&vocab.tokens, format!("<0x{byte:02X}>").as_bytes()));
        let words = vocab.tokens.iter().zip(kinds).all(|(text, &kind)| !merged(kind) || !has_inner_space(text));
        Ok(Self { ranks: kinds.iter().enumerate().map(rank).collect(), bytes: bytes.collect(), unknown, words })
    }

    /// Appends the ids of `text`, which holds no special tokens. `prefix` puts a space before it.
    pub(crate) fn encode(&self, names: &Names<'_>, text: &str, prefix: bool, merger: &mut Merger, out: &mut Vec<u32>) {
        let mut spelled = String::with_capacity(text.len() + text.len() / 4 + 4);
        spelled
            .extend(prefix.then_some(SPACE).into_iter().chain(text.chars().map(|c| if c == ' ' { SPACE } else { c })));
        let mut known = HashMap::<&str, (usize, usize), RandomState>::default();
        let mut rest = spelled.as_str();
        while !rest.is_empty() {
            let (word, after) = rest.split_at(if self.words { word_end(rest) } else { rest.len() });
            rest = after;
            if let Some((start, end)) = known.get(word) {
                out.extend_from_within(*start..*end);
                continue;
            }
            let start = out.len();
            self.encode_word(names, word, merger, out);
            if word.len() <= 64 && known.len() < 1 << 16 {
                known.insert(word, (start, out.len()));
            }
        }
    }

    fn encode_word(&self, names: &Names<'_>, word: &str, merger: &mut Merger, out: &mut Vec<u32>) {
        let by_score = ByScore { ranks: &self.ranks, index: names.index, tokens: names.tokens };
        merger.symbols.clear();
        merger.symbols.extend(word.char_indices().map(|(start, c)| {
            let end = start + c.len_utf8();
            let merge = by_score.pair(NO_TOKEN, NO_TOKEN, word.get(start..end).unwrap_or_default().as_bytes());
            Symbol { id: merge.map_or(NO_TOKEN, |merge| merge.id), end: end as u32 }
        }));
        merger.run(word.as_bytes(), &by_score);
        let mut start = 0;
        for symbol in &merger.symbols {
            let bytes = word.as_bytes().get(start as usize..symbol.end as usize).unwrap_or_default();
            start = symbol.end;
            if symbol.id == NO_TOKEN {
                out.extend(bytes.iter().filter_map(|&byte| self.bytes[usize::from(byte)].or(self.unknown)));
            } else {
                out.push(symbol.id);
            }
        }
    }
}

/// Neighbours merge when both together are a token.
struct ByScore<'a> {
    ranks: &'a [u32],
    index: &'a Index,
    tokens: &'a Strings,
}

impl Pairs for ByScore<'_> {
    fn pair(&self, _left: u32, _right: u32, bytes: &[u8]) -> Option<Merge> {
        let id = self.index.get(self.tokens, bytes)?;
        let &rank = self.ranks.get(id as usize)?;
        (rank != NO_MERGE).then_some(Merge { rank, id })
    }
}

/// The order of scores, the highest first, as a number below [`NO_MERGE`]; not-a-number comes last.
fn rank(score: f32) -> u32 {
    if score.is_nan() {
        return NO_MERGE - 1;
    }
    // adding zero makes -0 and 0 equal; flipping the bits of a float like this sorts it as an integer
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    (!ascending).min(NO_MERGE - 1)
}

/// Whether a space follows something that is no space.
fn has_inner_space(token: &[u8]) -> bool {
    let Ok(token) = std::str::from_utf8(token) else { return true };
    token.trim_start_matches(SPACE).contains(SPACE)
}

/// Where the word at the start of `text` ends: before the next space that follows something else.
fn word_end(text: &str) -> usize {
    let spaces = text.len() - text.trim_start_matches(SPACE).len();
    text.get(spaces..).and_then(|rest| rest.find(SPACE)).map_or(text.len(), |i| spaces + i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_order_scores_from_high_to_low() {
        let scores = [f32::INFINITY, 3.5, 0.0, -1.0, -2.0, f32::NEG_INFINITY, f32::NAN];
        assert!(scores.map(rank).is_sorted_by(|a, b| a < b));
        assert_eq!(rank(0.0), rank(-0.0));
    }

    #[test]
    fn words_end_before_a_space() {
        assert_eq!(word_end("▁▁ab▁c"), "▁▁ab".len());
        assert_eq!(word_end("ab"), 2);
        assert_eq!(word_end("▁▁"), 6);
        assert!(has_inner_space("a▁".as_bytes()) && !has_inner_space("▁▁a".as_bytes()));
    }
}
