//! The cut of a text that costs least (`plamo2`): a token costs its score, negated, in ten-thousandths; a character that no
//! token covers costs much, and is spelled in bytes. Where two cuts cost the same, the first token is the longer one.

use super::names::Names;
use super::vocab::{KEY_SCORES, TokenKind, Vocab};
use crate::Result;

/// Scores are rounded to parts of this.
const PARTS_OF_ONE: f64 = 1e4;
/// What a character that no token covers costs.
const UNKNOWN: i64 = 10_000_000;
/// From here on a token is none.
const MAX_COST: i64 = 20_000_000;

/// Costs and byte tokens of a vocabulary.
pub(crate) struct Cheapest {
    /// By token; `None` for what is not text.
    costs: Vec<Option<i64>>,
    bytes: Vec<Option<u32>>,
    /// Bytes of the longest token.
    longest: usize,
}

impl Cheapest {
    pub(crate) fn new(vocab: &Vocab, names: &Names<'_>) -> Result<Self> {
        let n = vocab.tokens.len();
        if vocab.scores.len() < n {
            let wanted = format!("{n} numbers, one for each token");
            return Err(vocab.error(KEY_SCORES, wanted, vocab.scores.len().to_string()));
        }
        let cost = |(&score, &kind): (&f32, &TokenKind)| {
            let cost = (-f64::from(score) * PARTS_OF_ONE).round();
            (kind != TokenKind::Byte && cost.abs() < MAX_COST as f64).then_some(cost as i64)
        };
        let bytes = (0..=u8::MAX).map(|byte| names.index.get(names.tokens, format!("<0x{byte:02X}>").as_bytes()));
        Ok(Self {
            costs: vocab.scores.iter().zip(names.kinds).map(cost).collect(),
            bytes: bytes.collect(),
            longest: vocab.tokens.iter().map(<[u8]>::len).max().unwrap_or(0),
        })
    }

    /// Appends the ids of `text`; a byte order mark at its start is none of it.
    pub(crate) fn encode(&self, names: &Names<'_>, text: &str, out: &mut Vec<u32>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // For the start of every character: the least cost of the rest, the first token of that cut, and where it ends.
        let mut best = vec![(0, None, text.len()); text.len() + 1];
        for (at, c) in text.char_indices().rev() {
            let next = at + c.len_utf8();
            let mut least = (best[next].0 + UNKNOWN, None, next);
            let most = (at + self.longest).min(text.len());
            for end in (next..=most).filter(|&end| text.is_char_boundary(end)) {
                let Some(id) = names.index.get(names.tokens, &text.as_bytes()[at..end]) else { continue };
                let Some(cost) = self.costs.get(id as usize).copied().flatten() else { continue };
                if best[end].0 + cost <= least.0 {
                    least = (best[end].0 + cost, Some(id), end);
                }
            }
            best[at] = least;
        }
        let mut at = 0;
        while at < text.len() {
            let (_, id, end) = best[at];
            match id {
                Some(id) => out.push(id),
                None => out.extend(text.as_bytes()[at..end].iter().filter_map(|&byte| self.bytes[usize::from(byte)])),
            }
            at = end;
        }
    }
}
