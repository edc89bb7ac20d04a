//! Against repetitions ("don't repeat yourself", DRY): a token that would go on with a sequence that was written before is
//! weakened, the more the longer the sequence (p-e-w, text-generation-webui, pull request 5677).
//!
//! For each token `x` that follows an earlier occurrence of the text's end, let L be the number of tokens that the longest
//! such occurrence shares with the end. When L reaches the allowed length, `multiplier * base ^ (L - allowed)` is taken off
//! the logit of `x`. An occurrence does not reach across a breaker, and breakers themselves are not weakened.

use super::table::Params;
use std::collections::HashSet;

/// No penalty is larger: what it is taken off stays a number.
const MAX_PENALTY: f64 = 1e30;

/// What repetitions do not reach across.
#[derive(Debug, Default)]
pub struct Breakers {
    /// Tokens whose text has a breaker in it.
    tokens: HashSet<u32>,
    /// Breakers of several tokens.
    sequences: Vec<Vec<u32>>,
}

impl Breakers {
    /// Breakers of a vocabulary: `words` are the bytes of its tokens by id, `encode` splits a text into tokens.
    pub fn new<'w>(words: impl Iterator<Item = &'w [u8]>, texts: &[String], encode: impl Fn(&str) -> Vec<u32>) -> Self {
        let within = |word: &[u8], text: &[u8]| word.windows(text.len().max(1)).any(|part| part == text);
        let breaks = |word: &[u8]| texts.iter().any(|text| within(word, text.as_bytes()));
        let tokens = words.enumerate().filter(|(_, word)| breaks(word)).map(|(id, _)| id as u32).collect();
        let sequences = texts.iter().map(|text| encode(text)).filter(|sequence| sequence.len() > 1).collect();
        Self { tokens, sequences }
    }

    /// Whether a breaker ends with the last of these tokens.
    fn end(&self, history: &[u32]) -> bool {
        history.last().is_some_and(|last| self.tokens.contains(last))
            || self.sequences.iter().any(|sequence| history.ends_with(sequence))
    }

    fn has(&self, token: u32) -> bool {
        self.tokens.contains(&token)
    }
}

/// Room that is reused between tokens.
#[derive(Debug, Default)]
pub(super) struct Repetitions {
    /// The window, last token first.
    back: Vec<u32>,
    /// How many tokens from each place of `back` on are those from its begin on.
    shared: Vec<usize>,
    /// Tokens and the longest repetition that each goes on with.
    found: Vec<(u32, usize)>,
}

impl Repetitions {
    /// Weakens what would go on with a repetition. `spared` tokens break sequences, too.
    pub(super) fn weaken(
        &mut self,
        logits: &mut [f32],
        history: &[u32],
        params: &Params,
        breakers: &Breakers,
        spared: &[u32],
    ) {
        let history = &history[history.len().saturating_sub(params.dry_penalty_last_n)..];
        let spare = |token: u32| spared.binary_search(&token).is_ok();
        let breaks = |end: usize| breakers.end(&history[..end]) || spare(history[end - 1]);
        // Tokens since the last breaker: no repetition is longer.
        let most = history.len() - (1..=history.len()).rev().find(|&end| breaks(end)).unwrap_or(0);
        if most == 0 || most < params.dry_allowed_length {
            return;
        }
        self.back.clear();
        self.back.extend(history.iter().rev());
        shared_prefixes(&self.back, &mut self.shared);
        self.found.clear();
        for at in 1..self.back.len() {
            let (length, next) = (self.shared[at].min(most), self.back[at - 1]);
            if length > 0 && length >= params.dry_allowed_length && !breakers.has(next) && !spare(next) {
                self.found.push((next, length));
            }
        }
        self.found.sort_unstable();
        for same in self.found.chunk_by(|a, b| a.0 == b.0) {
            let (token, length) = same[same.len() - 1];
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit -= penalty(params, length - params.dry_allowed_length) as f32;
            }
        }
    }
}

/// `multiplier * base ^ more`, by multiplications in order: the same bits everywhere.
fn penalty(params: &Params, more: usize) -> f64 {
    let mut penalty = f64::from(params.dry_multiplier);
    if params.dry_base > 1.0 {
        for _ in 0..more {
            penalty *= f64::from(params.dry_base);
            if penalty >= MAX_PENALTY {
                return MAX_PENALTY;
            }
        }
    }
    penalty
}

/// For each place, how many items from there on equal those from the begin on, in time linear in the length (Gusfield,
/// "Algorithms on Strings, Trees and Sequences", 1997: the Z values).
fn shared_prefixes(items: &[u32], shared: &mut Vec<usize>) {
    shared.clear();
    shared.resize(items.len(), 0);
    // The stretch that was found to equal the begin and reaches the furthest.
    let (mut from, mut to) = (0, 0);
    for at in 1..items.len() {
        let mut length = if at < to { shared[at - from].min(to - at) } else { 0 };
        while at + length < items.len() && items[length] == items[at + length] {
            length += 1;
        }
        shared[at] = length;
        if at + length > to {
            (from, to) = (at, at + length);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::Rng;

    /// The definition, word by word: every earlier place, walked back token by token.
    fn naive(logits: &mut [f32], history: &[u32], params: &Params, breaks: &dyn Fn(u32) -> bool) {
        let history = &history[history.len().saturating_sub(params.dry_penalty_last_n)..];
        let mut longest = std::collections::BTreeMap::<u32, usize>::new();
        for at in 0..history.len().saturating_sub(1) {
            let (next, mut length) = (history[at + 1], 0);
            while length <= at && !breaks(history[at - length]) {
                if history[at - length] != history[history.len() - 1 - length] {
                    break;
                }
                length += 1;
            }
            if length > 0 && length >= params.dry_allowed_length && !breaks(next) {
                let most = longest.entry(next).or_default();
                *most = length.max(*most);
            }
        }
        for (token, length) in longest {
            let power = (0..length - params.dry_allowed_length)
                .fold(f64::from(params.dry_multiplier), |p, _| p * f64::from(params.dry_base));
            logits[token as usize] -= power.min(MAX_PENALTY) as f32;
        }
    }

    #[test]
    fn equals_the_definition() {
        let mut rng = Rng::new(11);
        let mut weakened = 0;
        for round in 0..2000 {
            let vocab = 2 + rng.below(6);
            let history: Vec<u32> = (0..rng.below(60)).map(|_| rng.below(vocab) as u32).collect();
            let params = Params {
                dry_multiplier: 0.8,
                dry_base: if round % 5 == 0 { 100.0 } else { 1.75 },
                dry_allowed_length: rng.below(5),
                dry_penalty_last_n: if round % 3 == 0 { rng.below(30) } else { usize::MAX },
                ..Params::default()
            };
            let broken = rng.below(2 * vocab) as u32;
            let breakers = Breakers { tokens: HashSet::from([broken]), sequences: Vec::new() };
            let spared = [rng.below(2 * vocab) as u32];
            let (mut got, mut wanted) = (vec![1.0_f32; vocab], vec![1.0_f32; vocab]);
            Repetitions::default().weaken(&mut got, &history, &params, &breakers, &spared);
            naive(&mut wanted, &history, &params, &|token| token == broken || token == spared[0]);
            assert_eq!(got, wanted, "{history:?} {params:?}");
            weakened += usize::from(got.iter().any(|x| *x != 1.0));
        }
        assert!(weakened > 500, "{weakened}");
    }

    #[test]
    fn breakers_are_texts() {
        let words: [&[u8]; 5] = [b"a", b"b\n", b"US", b"ER:", b"c"];
        let texts = ["\n".to_owned(), "USER:".to_owned()];
        let encode = |text: &str| if text == "USER:" { vec![2, 3] } else { vec![1] };
        let breakers = Breakers::new(words.into_iter(), &texts, encode);
        let end = |history: &[u32]| breakers.end(history);
        assert!(end(&[0, 1]) && end(&[0, 2, 3]) && !end(&[3]) && !end(&[2]) && !end(&[]));
        let params = Params { dry_multiplier: 1.0, dry_base: 2.0, ..Params::default() };
        let weaken = |history: &[u32]| {
            let mut logits = [0.0_f32; 5];
            Repetitions::default().weaken(&mut logits, history, &params, &breakers, &[]);
            logits
        };
        // "a c a c" goes on with "a": three tokens repeat.
        assert_eq!(weaken(&[0, 4, 0, 4, 0, 4])[0], -4.0);
        // The repetition begins anew after a breaker, also one of two tokens.
        assert_eq!(weaken(&[0, 4, 0, 1, 0, 4])[0], -1.0);
        assert_eq!(weaken(&[0, 4, 0, 2, 3, 4]), [0.0; 5]);
        // Without end: it stays a number.
        let mut logits = [0.0_f32; 1];
        let params = Params { dry_multiplier: 100.0, dry_base: 100.0, ..Params::default() };
        Repetitions::default().weaken(&mut logits, &[0; 5000], &params, &Breakers::default(), &[]);
        assert_eq!(logits[0], -1e30);
    }
}
