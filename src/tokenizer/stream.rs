//! From tokens to text as they come, in whole characters only.
//!
//! A Korean syllable is three bytes and often two or three tokens; an emoji is four. What has arrived of a character
//! waits, never more than three bytes; bytes that cannot become a character any more are U+FFFD at once. So the parts
//! together are always the text that decoding all the bytes at once gives.

use super::pieces::Pieces;
use std::sync::Arc;

/// Turns bytes into text, whole characters at a time.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    /// The start of a character: at most three bytes between calls.
    held: Vec<u8>,
}

impl Utf8Stream {
    /// Adds bytes, and appends to `out` the characters that are complete.
    pub fn push(&mut self, bytes: &[u8], out: &mut String) {
        if self.held.is_empty() {
            let done = complete(bytes, out);
            self.held.extend_from_slice(bytes.get(done..).unwrap_or_default());
        } else {
            self.held.extend_from_slice(bytes);
            let done = complete(&self.held, out);
            self.held.drain(..done);
        }
    }

    /// The end of the text: what is held will not become a character any more.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&String::from_utf8_lossy(&self.held));
        self.held.clear();
    }

    /// How many bytes wait for the rest of their character (0 to 3).
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

/// Appends the characters of `bytes`, with U+FFFD for what is none, up to the start of one at the very end; says how many
/// bytes that were.
fn complete(bytes: &[u8], out: &mut String) -> usize {
    let mut done = 0;
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        done += chunk.valid().len();
        let invalid = chunk.invalid();
        // a chunk ends with invalid bytes, or with the start of a character at the very end
        if invalid.is_empty() || done + invalid.len() == bytes.len() && may_go_on(invalid) {
            break;
        }
        out.push(char::REPLACEMENT_CHARACTER);
        done += invalid.len();
    }
    done
}

/// Whether `bytes`, which are no character, are the start of one.
fn may_go_on(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// The text of one sequence of tokens as they come. Independent of the tokenizer's lifetime.
#[derive(Clone)]
pub struct StreamDecoder {
    pieces: Arc<Pieces>,
    utf8: Utf8Stream,
    show_special: bool,
    /// One leading space is still to be dropped.
    drop_space: bool,
}

impl std::fmt::Debug for StreamDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamDecoder").field("utf8", &self.utf8).finish_non_exhaustive()
    }
}

impl StreamDecoder {
    pub(crate) fn new(pieces: Arc<Pieces>, show_special: bool, drop_space: bool) -> Self {
        Self { pieces, utf8: Utf8Stream::default(), show_special, drop_space }
    }

    /// Adds a token; the text that is complete now, if any.
    pub fn push(&mut self, id: u32) -> Option<String> {
        let mut out = String::new();
        self.push_into(id, &mut out);
        (!out.is_empty()).then_some(out)
    }

    /// Like [`StreamDecoder::push`], appending to `out`.
    pub fn push_into(&mut self, id: u32, out: &mut String) {
        let mut bytes = self.pieces.piece(id, self.show_special);
        if self.drop_space && !bytes.is_empty() {
            self.drop_space = false;
            if !self.pieces.is_special(id) {
                bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            }
        }
        self.utf8.push(bytes, out);
    }

    /// The end of the sequence: U+FFFD for a character that never became whole, else nothing.
    #[must_use]
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        self.utf8.finish(&mut out);
        out
    }

    /// How many bytes wait for the rest of their character (0 to 3).
    pub fn held(&self) -> usize {
        self.utf8.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn streamed(parts: &[&[u8]]) -> (String, usize) {
        let (mut stream, mut out, mut most_held) = (Utf8Stream::default(), String::new(), 0);
        for part in parts {
            stream.push(part, &mut out);
            most_held = most_held.max(stream.held());
        }
        stream.finish(&mut out);
        assert_eq!(stream.held(), 0);
        (out, most_held)
    }

    #[test]
    fn a_syllable_in_three_tokens() {
        let mut stream = Utf8Stream::default();
        let mut out = String::new();
        stream.push(&[0xEA], &mut out);
        stream.push(&[0xB0], &mut out);
        assert_eq!((out.as_str(), stream.held()), ("", 2));
        stream.push(&[0x80], &mut out);
        assert_eq!((out.as_str(), stream.held()), ("가", 0));
    }

    #[test]
    fn invalid_bytes_show_as_soon_as_they_are_proven_invalid() {
        let mut stream = Utf8Stream::default();
        let mut out = String::new();
        stream.push(&[0xFF], &mut out);
        assert_eq!(out, "\u{FFFD}");
        stream.push(&[0xEA], &mut out);
        assert_eq!(out, "\u{FFFD}");
        stream.push(b"a", &mut out);
        assert_eq!(out, "\u{FFFD}\u{FFFD}a");
        // an overlong start is invalid at its second byte
        stream.push(&[0xE0, 0x80], &mut out);
        assert_eq!(out, "\u{FFFD}\u{FFFD}a\u{FFFD}\u{FFFD}");
    }

    proptest! {
        #[test]
        fn parts_together_are_the_whole(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(0xEA), Just(0xB0), Just(0x80), Just(0xF0), Just(0x9F), Just(b'a')], 0..24),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
            at.sort_unstable();
            let parts: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let (text, most_held) = streamed(&parts);
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
            prop_assert!(most_held <= 3);
        }

        #[test]
        fn every_split_of_a_text_alike(text in "[가-힣a-z👍é ]{0,8}") {
            for at in 0..=text.len() {
                let (left, right) = text.as_bytes().split_at(at);
                prop_assert_eq!(&streamed(&[left, right]).0, &text);
            }
        }
    }
}
