//! What every token prints.

use super::byte_map;
use super::spm;
use super::strings::Strings;
use super::vocab::TokenKind;

/// The printed bytes of every token, worked out once.
pub(crate) struct Pieces {
    /// What the token prints as text; empty for tokens that print nothing.
    printed: Strings,
    /// How the file spells the token.
    names: Strings,
    kinds: Vec<TokenKind>,
}

impl Pieces {
    /// Of tokens that files spell like `names`, and that are printed like that, or like `spelled`, in the vocabulary's alphabet:
    /// byte-level BPE if `bytes`, or else SentencePiece.
    pub(crate) fn new(names: Strings, spelled: Option<&Strings>, kinds: Vec<TokenKind>, bytes: bool) -> Self {
        let mut printed = Strings::default();
        for (name, &kind) in spelled.unwrap_or(&names).iter().zip(&kinds) {
            printed.push_with(|out| match kind {
                TokenKind::Control | TokenKind::Unknown | TokenKind::Unused => {}
                TokenKind::UserDefined if bytes => out.extend_from_slice(name),
                TokenKind::Byte => match byte_name(name) {
                    Some(byte) => out.push(byte),
                    None => out.extend_from_slice(name),
                },
                _ if bytes => byte_map::unmap_into(name, out),
                _ => unspace_into(name, out),
            });
        }
        Self { printed, names, kinds }
    }

    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
    }

    pub(crate) fn names(&self) -> &Strings {
        &self.names
    }

    pub(crate) fn kinds(&self) -> &[TokenKind] {
        &self.kinds
    }

    pub(crate) fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    /// Whether the token prints nothing unless asked.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        matches!(self.kind(id), Some(TokenKind::Control | TokenKind::Unknown | TokenKind::Unused))
    }

    /// The bytes of a token; special tokens print their name when `show_special`, else nothing; so do ids that are none.
    pub(crate) fn piece(&self, id: u32, show_special: bool) -> &[u8] {
        let texts = if show_special && self.is_special(id) { &self.names } else { &self.printed };
        texts.get(id as usize).unwrap_or_default()
    }
}

/// The byte of a token that is written `<0xE2>`.
fn byte_name(name: &[u8]) -> Option<u8> {
    let digits = name.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|d| d.len() == 2 && d.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

/// Appends `name` with the spaces of SentencePiece as spaces.
fn unspace_into(mut name: &[u8], out: &mut Vec<u8>) {
    let mut encoded = [0; 3];
    let space = spm::SPACE.encode_utf8(&mut encoded).as_bytes();
    while let Some((&first, rest)) = name.split_first() {
        match name.strip_prefix(space) {
            Some(rest) => {
                out.push(b' ');
                name = rest;
            }
            None => {
                out.push(first);
                name = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_names_are_strict() {
        assert_eq!(byte_name(b"<0xE2>"), Some(0xE2));
        for bad in ["<0x-1>", "<0x1>", "<0x123>", "<0x+1>", "<0xGG>", "0xE2", "<0xE2"] {
            assert_eq!(byte_name(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn sentencepiece_spaces_print_as_spaces() {
        let mut out = Vec::new();
        unspace_into("▁▁a▁가".as_bytes(), &mut out);
        assert_eq!(out, "  a 가".as_bytes());
    }
}
