//! Tokens by their texts.

use super::strings::{Index, Strings};
use super::vocab::TokenKind;

/// The texts, kinds and index of all tokens.
pub(crate) struct Names<'a> {
    pub(crate) tokens: &'a Strings,
    pub(crate) kinds: &'a [TokenKind],
    pub(crate) index: &'a Index,
}

/// The token with this text, if text may become it: control tokens are never the result of merging.
pub(super) fn text_token(index: &Index, tokens: &Strings, kinds: &[TokenKind], text: &[u8]) -> Option<u32> {
    let id = index.get(tokens, text)?;
    let kind = kinds.get(id as usize)?;
    (!matches!(kind, TokenKind::Control | TokenKind::Unknown)).then_some(id)
}
