//! Unigram (`t5`, arXiv 1804.10959): the cut of a text into tokens whose scores add up to the most.

use super::names::Names;
use super::spm::SPACE;
use super::vocab::{KEY_SCORES, TokenKind, Vocab};
use crate::Result;

/// What an unknown character costs, below the lowest score.
const UNKNOWN_COST: f64 = 10.0;

/// Scores of a vocabulary.
pub(crate) struct Unigram {
    scores: Vec<f64>,
    unknown: Option<u32>,
    unknown_score: f64,
    longest: usize,
    charsmap: Option<CharsMap>,
    /// Runs of blanks become one, those at the ends none.
    squeeze: bool,
    prefix: bool,
}

impl Unigram {
    pub(crate) fn new(vocab: &Vocab, kinds: &[TokenKind], unknown: Option<u32>) -> Result<Self> {
        let n = vocab.tokens.len();
        if vocab.scores.len() < n {
            let wanted = format!("{n} numbers, one for each token");
            return Err(vocab.error(KEY_SCORES, wanted, vocab.scores.len().to_string()));
        }
        // One that is no number would make all sums none, and of every text one unknown token.
        let odd = |(_, (score, kind)): &(usize, (&f32, &TokenKind))| **kind == TokenKind::Normal && !score.is_finite();
        if let Some((id, (score, _))) = vocab.scores.iter().zip(kinds).enumerate().find(odd) {
            return Err(vocab.error(KEY_SCORES, "numbers", format!("{score} for token {id}")));
        }
        let score = |(&score, kind): (&f32, &TokenKind)| match kind {
            TokenKind::Normal | TokenKind::Unused => f64::from(score),
            TokenKind::UserDefined => 0.0,
            TokenKind::Control | TokenKind::Unknown | TokenKind::Byte => f64::NEG_INFINITY,
        };
        let normal = vocab.scores.iter().zip(kinds).filter(|(_, kind)| **kind == TokenKind::Normal);
        let lowest = normal.map(|(&score, _)| f64::from(score)).fold(0.0, f64::min);
        Ok(Self {
            scores: vocab.scores.iter().zip(kinds).map(score).collect(),
            unknown,
            unknown_score: lowest - UNKNOWN_COST,
            longest: vocab.tokens.iter().map(<[u8]>::len).max().unwrap_or(0),
            charsmap: vocab.charsmap.as_deref().and_then(CharsMap::new),
            squeeze: vocab.squeeze_blanks.unwrap_or(false),
            prefix: vocab.add_space_prefix.unwrap_or(true),
        })
    }

    /// Appends the ids of `text`.
    pub(crate) fn encode(&self, names: &Names<'_>, text: &str, out: &mut Vec<u32>) {
        let text = self.normalized(text);
        // For every end of a character: the best sum up to it, the token that ends there, and where that began.
        let mut best = vec![(f64::NEG_INFINITY, None, 0); text.len() + 1];
        best[0].0 = 0.0;
        for (at, c) in text.char_indices() {
            let sum = best[at].0;
            let mut single = false;
            let most = (at + self.longest).min(text.len());
            for end in (at + 1..=most).filter(|&end| text.is_char_boundary(end)) {
                let Some(id) = names.index.get(names.tokens, &text.as_bytes()[at..end]) else { continue };
                let score = self.scores.get(id as usize).copied().unwrap_or(f64::NEG_INFINITY);
                if score == f64::NEG_INFINITY {
                    continue;
                }
                single |= end == at + c.len_utf8();
                if sum + score > best[end].0 {
                    best[end] = (sum + score, Some(id), at);
                }
            }
            let end = at + c.len_utf8();
            if !single && sum + self.unknown_score > best[end].0 {
                best[end] = (sum + self.unknown_score, None, at);
            }
        }
        let (mut ids, mut at) = (Vec::new(), text.len());
        while at > 0 {
            let (_, id, from) = best[at];
            // A run of unknown characters is one.
            match id {
                Some(id) => ids.push(id),
                None if ids.last().copied() != self.unknown => ids.extend(self.unknown),
                None => {}
            }
            at = from;
        }
        out.extend(ids.into_iter().rev());
    }

    /// The text as the vocabulary spells it.
    fn normalized(&self, text: &str) -> String {
        let mapped = self.charsmap.as_ref().map_or_else(|| text.to_owned(), |map| map.map(text));
        let mut out = String::with_capacity(mapped.len() + 8);
        if self.squeeze {
            for word in mapped.split(' ').filter(|word| !word.is_empty()) {
                if !out.is_empty() || self.prefix {
                    out.push(SPACE);
                }
                out.push_str(word);
            }
            return out;
        }
        out.extend(self.prefix.then_some(SPACE));
        out.extend(mapped.chars().map(|c| if c == ' ' { SPACE } else { c }));
        out
    }
}

/// Replacements of texts, as a double array (arXiv 1808.06226): the longest text that has one is replaced.
struct CharsMap {
    nodes: Vec<u32>,
    texts: Vec<u8>,
}

impl CharsMap {
    fn new(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk()?;
        let size = u32::from_le_bytes(*size) as usize;
        let nodes = rest.get(..size)?.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        Some(Self { nodes, texts: rest.get(size..)?.to_vec() })
    }

    fn map(&self, text: &str) -> String {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(c) = rest.chars().next() {
            let length = match self.longest(rest.as_bytes()).filter(|(length, _)| rest.is_char_boundary(*length)) {
                Some((length, replacement)) => {
                    out.push_str(replacement);
                    length
                }
                None => {
                    out.push(c);
                    c.len_utf8()
                }
            };
            rest = rest.get(length..).unwrap_or_default();
        }
        out
    }

    /// The longest beginning that has a replacement: its length, and that.
    fn longest(&self, text: &[u8]) -> Option<(usize, &str)> {
        let node = |at: u32| self.nodes.get(at as usize).copied();
        let base = |node: u32| (node >> 10) << ((node & (1 << 9)) >> 6);
        let mut at = base(node(0)?);
        let mut found = None;
        for (length, &byte) in (1..).zip(text) {
            at ^= u32::from(byte);
            let Some(here) = node(at).filter(|node| byte != 0 && node & 0x8000_00ff == u32::from(byte)) else { break };
            at ^= base(here);
            if here >> 8 & 1 == 1 {
                found = node(at).map(|leaf| (length, (leaf & 0x7fff_ffff) as usize));
            }
        }
        let (length, from) = found?;
        let text = self.texts.get(from..)?;
        let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
        Some((length, std::str::from_utf8(text.get(..end)?).ok()?))
    }
}
