//! Text that others wrote, made fit to be shown: a terminal must not obey it, and a message must not drown in it.

use std::borrow::Cow;

/// The most bytes of one foreign text in a message.
pub const BRIEF: usize = 800;

/// `text` without control characters (a terminal would obey them): each becomes a visible sign of it. Line ends and tabs
/// stay.
pub fn clean(text: &str) -> Cow<'_, str> {
    replace(text, |c| c.is_control() && c != '\n' && c != '\t')
}

/// `text` on one line, as part of a table or a sentence: neither control characters nor line ends, nor the marks that turn
/// the direction of what follows.
pub fn line(text: &str) -> Cow<'_, str> {
    replace(text, |c| c.is_control() || c == '\u{2028}' || turns(c))
}

/// Marks that turn the direction of what follows.
fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// As [`clean`], and without marks that turn the direction of what follows, but for the colours that we set ourselves
/// (`ESC [ number m`).
pub fn painted(text: &str) -> Cow<'_, str> {
    let odd = |c: char| c.is_control() && c != '\n' && c != '\t' || turns(c);
    if !text.contains(odd) {
        return text.into();
    }
    let mut pieces = text.split('\x1b');
    let mut out = replace(pieces.next().unwrap_or_default(), odd).into_owned();
    for piece in pieces {
        let code = piece.strip_prefix('[').and_then(|piece| piece.split_once('m')).map(|(number, _)| number);
        let colour = code.is_some_and(|number| {
            number.len() <= 8 && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b';')
        });
        out.push(if colour { '\x1b' } else { '\u{241b}' });
        out.push_str(&replace(piece, odd));
    }
    out.into()
}

/// A path in JSON, where it has to be text: what is not UTF-8 in it becomes U+FFFD.
///
/// # Errors
/// Those of the serializer.
pub fn path<S: serde::Serializer>(path: &std::path::Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// `text` as the beginning of a sentence: with a capital letter.
pub fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn replace(text: &str, obeyed: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&obeyed) {
        return text.into();
    }
    let sign = |c: char| match c as u32 {
        code @ 0..0x20 => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '\u{2421}',
        _ => '\u{fffd}',
    };
    text.chars().map(|c| if obeyed(c) { sign(c) } else { c }).collect::<String>().into()
}

/// `text` as one word of a command to type, in quotes where a shell would read it otherwise.
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,@+%~".contains(c);
    match text {
        "" => "''".into(),
        _ if text.chars().all(plain) => text.into(),
        _ if text.contains(['$', '`', '"', '\\', '!']) => format!("'{}'", text.replace('\'', r"'\''")).into(),
        _ => format!("\"{text}\"").into(),
    }
}

/// At most about `most` bytes of `text`: its beginning and its end, and between them how many bytes are left out.
pub fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text.into();
    }
    let head = floor(text, most / 3 * 2);
    let tail = ceil(text, text.len() - most / 6);
    let left_out = tail.saturating_sub(head);
    format!("{} [... {left_out} bytes ...] {}", &text[..head], &text[tail..]).into()
}

/// Foreign text for a message: cleaned and shortened.
pub fn brief(text: &str) -> Cow<'_, str> {
    match clean(&shorten(text, BRIEF)) {
        Cow::Borrowed(same) if same.len() == text.len() => text.into(),
        // A sign is longer than what it stands for.
        cleaned => shorten(&cleaned, BRIEF).into_owned().into(),
    }
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

fn ceil(text: &str, at: usize) -> usize {
    (at..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

/// `Debug` of types whose contents (weights, caches, buffers, threads) would be no reading: their name alone.
macro_rules! opaque {
    ($($name:ident $(<$lifetime:lifetime>)?),+ $(,)?) => {$(
        impl std::fmt::Debug for $name$(<$lifetime>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}
pub(crate) use opaque;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell_are_quoted_where_it_would_read_them_otherwise() {
        for (text, word) in [
            ("hf:a/b:Q4_K_M", "hf:a/b:Q4_K_M"),
            ("http://x/a.gguf?download=true", "\"http://x/a.gguf?download=true\""),
            ("two words", "\"two words\""),
            ("it's", "\"it's\""),
            ("$HOME's", r"'$HOME'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }

    #[test]
    fn models_cannot_speak_to_the_terminal() {
        assert_eq!(clean("하나\n\tzwei"), "하나\n\tzwei");
        assert_eq!(clean("a\x1b[2Jb\r\u{9b}c\x7f"), "a\u{241b}[2Jb\u{240d}\u{fffd}c\u{2421}");
        assert_eq!(
            painted("\x1b[1mx\x1b[0m\n\x1b[2J\x1b]0;\x07\u{9b}"),
            "\x1b[1mx\x1b[0m\n\u{241b}[2J\u{241b}]0;\u{2407}\u{fffd}"
        );
        assert_eq!(painted("d\u{202e}abc\u{2066}\u{5d0}"), "d\u{fffd}abc\u{fffd}\u{5d0}");
        assert_eq!(line("a\nb\u{202e}c"), "a\u{240a}b\u{fffd}c");
    }

    #[test]
    fn long_texts_keep_both_ends() {
        let long = format!("begin{}end", "가".repeat(10_000));
        let short = shorten(&long, 300);
        assert!(short.starts_with("begin") && short.ends_with("end") && short.len() < 300, "{short}");
        assert!(brief(&"\x1b".repeat(1 << 20)).len() <= BRIEF);
        assert_eq!(brief("as it is"), "as it is");
    }

    proptest::proptest! {
        #[test]
        fn any_text(text in ".{0,80}", most in 0usize..40) {
            assert!(shorten(&text, most).len() <= text.len().max(most + 40));
        }
    }
}
