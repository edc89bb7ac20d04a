//! Byte-level BPE with stretches of DNA between (`hybriddna`): what stands between `<dna>` and `</dna>` is taken six bases at a
//! time, everything else is text.
//!
//! Six bases may be spelled like a token of text. Files tell them apart by a character of the private use area at the end,
//! which is not printed.

use super::bpe::{Bpe, BpeScratch};
use super::names::Names;
use super::strings::Strings;
use super::vocab::Vocab;

/// Bases of a token.
const BASES: usize = 6;

/// What marks six bases in the file's vocabulary.
const SIX_BASES: char = '\u{e000}';

/// Marks and fallback of the vocabulary.
pub(crate) struct Dna {
    pub(crate) text: Bpe,
    ids: Option<Ids>,
}

/// Tokens that stretches of DNA need.
#[derive(Clone, Copy)]
struct Ids {
    begin: u32,
    end: u32,
    /// For six characters that are not all bases.
    other: u32,
}

impl Dna {
    /// `find` gives the token of a text. A vocabulary without the marks has text only.
    pub(crate) fn new(text: Bpe, find: impl Fn(&[u8]) -> Option<u32>) -> Self {
        let ids = || Some(Ids { begin: find(b"<dna>")?, end: find(b"</dna>")?, other: find(b"<oov>")? });
        Self { text, ids: ids() }
    }

    /// The vocabulary's tokens as they are printed: without the mark of six bases.
    pub(crate) fn printed(vocab: &Vocab) -> Strings {
        let mut mark = [0; 4];
        let mark = SIX_BASES.encode_utf8(&mut mark).as_bytes();
        vocab.tokens.iter().map(|token| token.strip_suffix(mark).unwrap_or(token)).collect()
    }

    /// Appends the ids of `text`, which holds no special tokens.
    pub(crate) fn encode<'t>(
        &self,
        names: &Names<'_>,
        text: &'t str,
        scratch: &mut BpeScratch<'t>,
        out: &mut Vec<u32>,
    ) {
        let Some(ids) = self.ids else { return self.text.encode(names, text, scratch, out) };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("<dna>") {
            self.text.encode(names, before, scratch, out);
            out.push(ids.begin);
            let (bases, after) = after.split_once("</dna>").map_or((after, None), |(b, after)| (b, Some(after)));
            sixes(bases, |six| out.push(names.index.get(names.tokens, six.as_bytes()).unwrap_or(ids.other)));
            let Some(after) = after else { return };
            out.push(ids.end);
            rest = after;
        }
        self.text.encode(names, rest, scratch, out);
    }
}

/// Calls `each` with the token of every six bytes, in capitals; the last ones are filled up with `A`.
fn sixes(bases: &str, mut each: impl FnMut(&str)) {
    for six in bases.as_bytes().chunks(BASES) {
        let mut token = String::from_utf8_lossy(six).to_ascii_uppercase();
        token.extend(std::iter::repeat_n('A', BASES - six.len()));
        token.push(SIX_BASES);
        each(&token);
    }
}
