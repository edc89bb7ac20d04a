//! What a token must be for the answer to keep a given form.

use crate::Result;

/// A set of tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u32>,
}

impl Mask {
    /// The set of the bits that are set: token `t` is bit `t % 32` of word `t / 32`.
    pub fn from_words(words: Vec<u32>) -> Self {
        Self { words }
    }

    /// Whether `token` is in the set.
    pub fn contains(&self, token: u32) -> bool {
        self.words.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// Adds a token.
    pub fn insert(&mut self, token: u32) {
        let word = token as usize / 32;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (token % 32);
    }

    /// Takes out the tokens for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        for (index, word) in self.words.iter_mut().enumerate() {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                if !keep(index as u32 * 32 + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    /// Number of tokens in the set.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no token is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Makes the logits of all other tokens minus infinity.
    pub fn apply(&self, logits: &mut [f32]) {
        let words = self.words.iter().copied().chain(std::iter::repeat(0));
        for (logits, word) in logits.chunks_mut(32).zip(words) {
            match word {
                u32::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                _ => {
                    for (bit, logit) in logits.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
    }
}

/// Keeps an answer in a form, token by token.
pub trait Constraint: Send {
    /// Whether any token may come next: the form does not bind this place of the answer.
    fn is_free(&self) -> bool {
        false
    }

    /// Whether it is about calls, too, which some models write outside of their answer; a form is about the answer alone.
    fn is_of_calls(&self) -> bool {
        false
    }

    /// The tokens that may come next, where that is not free. Never empty: when the form is complete, the end-of-generation tokens are allowed.
    ///
    /// # Errors
    /// A limit of work that the form passes at this place.
    fn allowed(&mut self) -> Result<&Mask>;

    /// The token that was chosen.
    ///
    /// # Errors
    /// A token that was not allowed.
    fn accept(&mut self, token: u32) -> Result<()>;

    /// Whether the form is complete and nothing may follow.
    fn is_finished(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        let mask = Mask::from_words(vec![u32::MAX, 0, 0b101]);
        assert_eq!((mask.len(), mask.is_empty()), (34, false));
        let mut logits = vec![1.0; 100];
        mask.apply(&mut logits);
        for (token, &logit) in logits.iter().enumerate() {
            assert_eq!(logit == 1.0, mask.contains(token as u32), "{token}");
            assert_eq!(logit == 1.0, token < 32 || token == 64 || token == 66, "{token}");
        }
        assert!(Mask::default().is_empty() && !Mask::default().contains(0));
    }
}
