//! The byte alphabet of byte-level BPE: vocabularies write every byte as one printable character.
//!
//! `!`..`~`, U+00A1..U+00AC and U+00AE..U+00FF stand for themselves; the other 68 bytes are U+0100, U+0101, ... in
//! order. So a space is `Ġ` (U+0120) and the three bytes of `가` are `ê°Ģ`.

/// Whether `byte` stands for itself.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The character of every byte.
const CHARS: [char; 256] = {
    let mut chars = ['\0'; 256];
    let mut byte = 0;
    let mut moved: u8 = 0;
    while byte < 256 {
        if is_plain(byte as u8) {
            chars[byte] = byte as u8 as char;
        } else {
            // U+0100 + moved; moved stays below 68
            let Some(c) = char::from_u32(0x100 + moved as u32) else { panic!() };
            chars[byte] = c;
            moved += 1;
        }
        byte += 1;
    }
    chars
};

/// The byte of every character below U+0144; the entries that stand for none are never read.
const BYTES: [u8; 0x144] = {
    let mut bytes = [0; 0x144];
    let mut byte = 0;
    while byte < 256 {
        bytes[CHARS[byte] as usize] = byte as u8;
        byte += 1;
    }
    bytes
};

/// The character that stands for `byte`.
pub(crate) fn char_of(byte: u8) -> char {
    CHARS[usize::from(byte)]
}

/// The byte that `c` stands for.
pub(crate) fn byte_of(c: char) -> Option<u8> {
    let byte = *BYTES.get(c as usize)?;
    (char_of(byte) == c).then_some(byte)
}

/// Appends the bytes that a vocabulary entry stands for. Characters outside the alphabet (a file's mistake) stand for
/// themselves, and so do bytes that are not UTF-8.
pub(crate) fn unmap_into(text: &[u8], out: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(text) else {
        out.extend_from_slice(text);
        return;
    };
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Appends the vocabulary's spelling of `bytes`.
pub(crate) fn map_into(bytes: &[u8], out: &mut String) {
    out.extend(bytes.iter().map(|&byte| char_of(byte)));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn is_a_bijection_with_the_known_corners() {
        let seen: std::collections::HashSet<char> = (0..=255).map(char_of).collect();
        assert_eq!(seen.len(), 256);
        for byte in 0..=255 {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!((char_of(b' '), char_of(b'\n'), char_of(0xAD)), ('Ġ', 'Ċ', '\u{143}'));
        assert_eq!([byte_of(' '), byte_of('\u{AD}'), byte_of('\u{144}'), byte_of('한')], [None; 4]);
    }

    #[test]
    fn unmapping_keeps_foreign_characters() {
        let mut out = Vec::new();
        unmap_into("Ġa한".as_bytes(), &mut out);
        assert_eq!(out, " a한".as_bytes());
        let mut spelled = String::new();
        map_into("가".as_bytes(), &mut spelled);
        assert_eq!(spelled, "ê°Ģ");
    }
}
