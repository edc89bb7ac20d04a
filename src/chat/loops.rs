//! Recognizes a thought that repeats itself.

/// Longest period, in tokens, that is looked for.
const MAX_PERIOD_TOKENS: usize = 2048;
/// A repetition must go on for this many tokens at least: tables, lists, code and counting repeat short things for shorter.
const MIN_REPEATED: usize = 240;
/// Periods from here on are whole sentences: three copies of one are a loop.
const SENTENCE: usize = 64;
/// Copies (beyond the first) of a sentence, and of something shorter, that make a loop.
const COPIES: (usize, usize) = (2, 5);

/// A repetition at the end of a sequence of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loop {
    /// Tokens of what is repeated.
    pub period: usize,
    /// How many times it is there.
    pub copies: usize,
}

/// Looks, token by token, for an end of the sequence that repeats exactly. Costs one comparison per period and token,
/// about a microsecond.
///
/// A period of `p` tokens counts as a loop when `max(240, 2p)` tokens in a row (5p for `p` below 64) equal the token `p`
/// before them: three copies of a sentence or paragraph, six of something shorter. Repetitions with changes in them (a
/// count, another name) are not exact and are not found; a budget ends those.
#[derive(Debug, Clone, Default)]
pub struct LoopDetector {
    /// The last tokens; at least the last [`MAX_PERIOD_TOKENS`] once there are so many.
    tokens: Vec<u32>,
    /// `runs[p - 1]`: how many tokens up to the last equal the one `p` before.
    runs: Vec<u32>,
}

impl LoopDetector {
    /// A detector that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a token; says so when the sequence is in a loop.
    pub fn push(&mut self, token: u32) -> Option<Loop> {
        if self.tokens.len() >= 2 * MAX_PERIOD_TOKENS {
            self.tokens.drain(..self.tokens.len() - MAX_PERIOD_TOKENS);
        }
        if self.runs.len() < self.tokens.len().min(MAX_PERIOD_TOKENS) {
            self.runs.push(0);
        }
        let mut found = None;
        for (i, (run, &earlier)) in self.runs.iter_mut().zip(self.tokens.iter().rev()).enumerate() {
            *run = if earlier == token { *run + 1 } else { 0 };
            if *run as usize >= MIN_REPEATED && found.is_none() {
                let period = i + 1;
                let copies = if period >= SENTENCE { COPIES.0 } else { COPIES.1 };
                if *run as usize >= copies * period {
                    found = Some(Loop { period, copies: *run as usize / period + 1 });
                }
            }
        }
        self.tokens.push(token);
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::Rng;

    /// Words and punctuation as tokens.
    fn tokens(text: &str) -> Vec<u32> {
        let mut ids = std::collections::HashMap::new();
        let mut words = Vec::new();
        let mut word = String::new();
        for c in text.chars() {
            if !c.is_alphanumeric() && !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            word.push(c);
            if !c.is_alphanumeric() && c != ' ' {
                words.push(std::mem::take(&mut word));
            }
        }
        words.push(word);
        words
            .into_iter()
            .map(|w| {
                let next = ids.len() as u32;
                *ids.entry(w).or_insert(next)
            })
            .collect()
    }

    fn first(tokens: impl IntoIterator<Item = u32>) -> Option<(usize, Loop)> {
        let mut detector = LoopDetector::new();
        tokens.into_iter().enumerate().find_map(|(i, token)| detector.push(token).map(|found| (i, found)))
    }

    #[test]
    fn loops_are_found() {
        let mut rng = Rng::new(1);
        let mut noise = |n: usize| (0..n).map(|_| rng.below(50_000) as u32).collect::<Vec<_>>();
        for period in [1, 2, 7, 63, 64, 100, 500, 2048] {
            let before = noise(3000);
            let body = noise(period);
            let sequence = before.iter().copied().chain(body.iter().copied().cycle().take(30_000));
            let (at, found) = first(sequence).unwrap();
            assert_eq!(found.period, period);
            let wanted = 3000 + period + MIN_REPEATED.max(if period >= SENTENCE { 2 * period } else { 5 * period });
            assert_eq!(at + 1, wanted, "period {period}");
        }
        let thought = "Wait, let me check this again. If x is 3 then y must be 7, so the sum is 10. But the problem says that \
                       the sum is 12, so x cannot be 3. Hmm, maybe I should reconsider the equation from the start. ";
        let (at, found) = first(tokens(&thought.repeat(20))).unwrap();
        assert!(found.copies >= 3 && at < tokens(thought).len() * 7, "{at} {found:?}");
        let korean =
            "잠깐, 다시 계산해 보자. 4명이 3조각씩 먹었으니 12조각이다. 그런데 문제에서는 총 몇 조각인지 물었다. ";
        assert!(first(tokens(&korean.repeat(40))).is_some());
    }

    #[test]
    fn lists_code_and_tables_are_not_loops() {
        let list: String = (1..400)
            .map(|i| {
                format!(
                    "{i}. The number {i} is {}, because {i} % 2 == {}.\n",
                    if i % 2 == 0 { "even" } else { "odd" },
                    i % 2
                )
            })
            .collect();
        let table: String = (0..200).map(|i| format!("| {} | {} | {} |\n", i, i * i, i * i * i)).collect();
        let zeros = format!("int table[64] = {{{}}};", "0, ".repeat(64));
        let code: String = (0..60)
            .map(|i| format!("    case {i}:\n        handle_{i}(state, &buffer[{i}]);\n        break;\n"))
            .collect();
        let rule = format!("{}\n", "-".repeat(200));
        let song =
            "We will, we will rock you. ".repeat(6) + &"Row, row, row your boat gently down the stream. ".repeat(4);
        let rhyme: String = (1..30).rev().map(|n| format!("{n} bottles of beer on the wall, {n} bottles of beer. Take one down and pass it around, {} bottles of beer on the wall.\n", n - 1)).collect();
        for (name, text) in [
            ("list", list),
            ("table", table),
            ("zeros", zeros),
            ("code", code),
            ("rule", rule),
            ("song", song),
            ("rhyme", rhyme),
        ] {
            assert_eq!(first(tokens(&text)), None, "{name}");
        }
        let mut rng = Rng::new(2);
        assert_eq!(first((0..20_000).map(|_| rng.below(300) as u32)), None);
    }
}
