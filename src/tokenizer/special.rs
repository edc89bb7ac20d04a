//! Finding the tokens that are matched as text before anything else: user-defined ones always, control tokens only in
//! text that may steer the model (a rendered template, never what a user wrote).
//!
//! At each place the longest token wins, and a token is never found inside a longer one. One Aho-Corasick automaton for
//! each of the two cases does it in one pass; the `tokenizers` crate's `AddedVocabulary` holds the same automaton, but
//! copies the text with 16 bytes of alignment per byte and took 160 times as long on plain text.

use super::strings::Strings;
use super::vocab::{KEY_TOKENS, TokenKind, Vocab};
use crate::Result;
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// Whether control tokens in a text are control tokens or just text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Special {
    /// `<|im_end|>` in the text is the control token: for rendered templates.
    Parse,
    /// `<|im_end|>` in the text is ten characters: for what users write.
    Plain,
}

/// A part of a text.
pub(crate) enum TextPart<'t> {
    Text(&'t str),
    Token(u32),
}

/// The automata.
pub(crate) struct Specials {
    /// User-defined tokens.
    always: Matcher,
    /// And control and unknown tokens too.
    all: Matcher,
}

/// An automaton and the id of each of its patterns.
struct Matcher {
    automaton: Option<AhoCorasick>,
    ids: Vec<u32>,
    /// Whether the white space after a token belongs to it.
    swallows: Vec<bool>,
}

/// Whether the white space after a control token belongs to it: so it is in the family of Phi-3, which only the name
/// of the model tells, but for the tokens that begin or pad a text.
fn swallows(vocab: &Vocab, text: &[u8], kind: TokenKind) -> bool {
    let name = vocab.name.as_deref().unwrap_or_default().to_lowercase();
    let family = vocab.model == "llama" && (name.contains("phi-3") || name.contains("phi3"));
    family && kind == TokenKind::Control && !matches!(text, b"<s>" | b"<unk>" | b"<|endoftext|>")
}

/// Special tokens are short names. More bytes in all than this would let a small file build a large automaton.
const MAX_SPECIAL_BYTES: usize = 4 << 20;

impl Specials {
    pub(crate) fn new(vocab: &Vocab, kinds: &[TokenKind]) -> Result<Self> {
        let always = |kind| kind == TokenKind::UserDefined;
        let all = |kind| matches!(kind, TokenKind::UserDefined | TokenKind::Control | TokenKind::Unknown);
        Ok(Self { always: Matcher::new(vocab, kinds, always)?, all: Matcher::new(vocab, kinds, all)? })
    }

    /// Cuts `text` at its special tokens; parts come in order, none of them empty.
    pub(crate) fn cut<'t>(&self, text: &'t str, special: Special, mut sink: impl FnMut(TextPart<'t>)) {
        let matcher = match special {
            Special::Parse => &self.all,
            Special::Plain => &self.always,
        };
        let mut start = 0;
        let text_until = |start: usize, end: usize, sink: &mut dyn FnMut(TextPart<'t>)| {
            if let Some(part) = text.get(start..end).filter(|part| !part.is_empty()) {
                sink(TextPart::Text(part));
            }
        };
        for found in matcher.automaton.iter().flat_map(|automaton| automaton.find_iter(text)) {
            // a token that is not valid UTF-8 could match inside a character
            let on_characters = text.is_char_boundary(found.start()) && text.is_char_boundary(found.end());
            if let Some(&id) = matcher.ids.get(found.pattern().as_usize()).filter(|_| on_characters) {
                text_until(start, found.start(), &mut sink);
                sink(TextPart::Token(id));
                start = found.end();
                if matcher.swallows.get(found.pattern().as_usize()) == Some(&true) {
                    start = text.len() - text[start..].trim_start().len();
                }
            }
        }
        text_until(start, text.len(), &mut sink);
    }
}

impl Matcher {
    fn new(vocab: &Vocab, kinds: &[TokenKind], accept: impl Fn(TokenKind) -> bool) -> Result<Self> {
        let (ids, texts) = chosen(&vocab.tokens, kinds, accept);
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        if bytes > MAX_SPECIAL_BYTES {
            return Err(vocab.error(
                KEY_TOKENS,
                format!("at most {MAX_SPECIAL_BYTES} bytes of control and user-defined tokens"),
                format!("{bytes} bytes"),
            ));
        }
        let kind = |id: &u32| kinds.get(*id as usize).copied().unwrap_or(TokenKind::Normal);
        let swallows = ids.iter().zip(&texts).map(|(id, text)| swallows(vocab, text, kind(id))).collect();
        if ids.is_empty() {
            return Ok(Self { automaton: None, ids, swallows });
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // the full automaton would take a kilobyte per byte of the tokens
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&texts)
            .map_err(|error| vocab.error(KEY_TOKENS, "special tokens that can be searched", error.to_string()))?;
        Ok(Self { automaton: Some(automaton), ids, swallows })
    }
}

fn chosen<'v>(
    tokens: &'v Strings,
    kinds: &[TokenKind],
    accept: impl Fn(TokenKind) -> bool,
) -> (Vec<u32>, Vec<&'v [u8]>) {
    let ids = 0..;
    let tokens = ids.zip(tokens.iter().zip(kinds));
    tokens.filter(|(_, (text, kind))| accept(**kind) && !text.is_empty()).map(|(id, (text, _))| (id, text)).unzip()
}
