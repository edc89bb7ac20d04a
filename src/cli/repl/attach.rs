//! Files in a message: `@path` in the text, or `/file path` before it.

use super::output;
use crate::platform::input;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// More than any context holds.
const MAX_ATTACHED: u64 = 16 << 20;

/// A file that goes with a message.
pub(super) struct Attachment {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Reads a text file.
///
/// # Errors
/// A file that cannot be read, is too long, or is not text in UTF-8.
pub(super) fn read(path: &Path) -> Result<Attachment> {
    if crate::gguf::is_gguf(path) {
        let path = path.display();
        return Err(Error::usage(format!("{path} is a model, not a text. /model {path} goes on with it.")));
    }
    // A FIFO or a device might keep the chat waiting for ever.
    let text = input::read_regular_text(path, MAX_ATTACHED)?;
    Ok(Attachment { path: path.to_path_buf(), text })
}

/// Reads the files that `line` names with an `@`: `@path`, `@"a path"`, `@a\\ path`, `@~/path`, with or without punctuation or a
/// particle after it. What names no file stays what it is (an address, a name); `tell` hears of what looks like one.
///
/// # Errors
/// A file that is there and cannot be used.
pub(super) fn expand(line: &str, tell: &mut dyn FnMut(&str)) -> Result<Vec<Attachment>> {
    let mut files = Vec::new();
    for (at, _) in line.match_indices('@') {
        // `me@home` is an address, and `\@` a part of a name.
        if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '\\') {
            continue;
        }
        let (name, plain) = (named(&line[at + 1..]), line[at + 1..].split_whitespace().next().unwrap_or_default());
        let quoted = plain.starts_with(['"', '\'']);
        let file = |name: &str, may_end: &dyn Fn(&str, &str) -> bool| {
            let ends = (0..=name.len()).rev().filter(|&end| name.is_char_boundary(end));
            let mut parts = ends.map(|end| name.split_at(end)).filter(|(head, tail)| may_end(head, tail));
            parts.find_map(|(head, _)| Some(output::home_path(head)).filter(|path| path.is_file()))
        };
        let whole = |head: &str, tail: &str| tail.is_empty() || (!quoted && ends_a_name(head, tail));
        match file(&name, &whole).or_else(|| file(plain, &whole)) {
            Some(path) => files.push(read(&path)?),
            None if is_closed(&name) => tell(&format!("@{name} may not be read by this user: it is sent as it is")),
            // A word that begins as a file is called may have been meant as one.
            None if name.contains(['/', '.'])
                || (!name.is_empty() && output::home_path(&name).is_dir())
                || file(&name, &|head, _| !head.is_empty()).is_some() =>
            {
                tell(&format!("@{name} is no file here: it is sent as it is"));
            }
            None => {}
        }
    }
    Ok(files)
}

/// Whether a folder on the way keeps this user out, so that it is unknown what is there.
fn is_closed(name: &str) -> bool {
    let meta = std::fs::metadata(output::home_path(name));
    !name.is_empty() && meta.is_err_and(|why| why.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Whether a file's name may end before `tail`: punctuation and particles can follow it, and what goes on with a word is
/// another name, whose beginning another user's file may be.
fn ends_a_name(head: &str, tail: &str) -> bool {
    let is_hangul = |c: char| ('가'..='힣').contains(&c);
    let Some(next) = tail.chars().next() else { return true };
    match next {
        // The end of a sentence.
        '.' | '-' => tail.chars().all(|c| !c.is_alphanumeric()),
        '_' | '/' | '\\' | '~' | '@' | '+' | '#' => false,
        c if c.is_ascii() => !c.is_alphanumeric(),
        c if !c.is_alphanumeric() || !head.ends_with(char::is_alphabetic) => true,
        c if is_hangul(c) => {
            let word = tail.split(|c| !is_hangul(c)).next().unwrap_or_default();
            head.ends_with(|c: char| c.is_ascii()) || is_particles(word)
        }
        _ => head.ends_with(|c: char| c.is_ascii()),
    }
}

/// Whether a word is nothing but Korean particles.
fn is_particles(word: &str) -> bool {
    const PARTICLES: &[&str] = &[
        "은",
        "는",
        "이",
        "가",
        "을",
        "를",
        "의",
        "에",
        "에서",
        "에게",
        "에는",
        "로",
        "으로",
        "와",
        "과",
        "도",
        "만",
        "부터",
        "까지",
        "처럼",
        "보다",
        "라고",
        "이라고",
        "이나",
        "나",
        "랑",
        "이랑",
        "하고",
        "한테",
        "께",
        "란",
        "이란",
        "라는",
        "이라는",
    ];
    word.is_empty() || PARTICLES.iter().any(|one| word.strip_prefix(one).is_some_and(is_particles))
}

/// The name at the start of `text`: between quotes, or up to a blank that no backslash keeps.
fn named(text: &str) -> String {
    match text.chars().next() {
        Some('\'') => text[1..].split('\'').next().unwrap_or_default().to_owned(),
        Some('"') => unescaped(&text[1..], |c| "\"\\$`".contains(c), |c| c == '"'),
        _ => unescaped(text, is_kept, char::is_whitespace),
    }
}

/// A path as it is typed after a command: in quotes, as completion writes it, or as it is.
pub(super) fn typed_path(text: &str) -> PathBuf {
    let text = text.trim();
    let plain = output::home_path(text);
    if plain.exists() {
        return plain;
    }
    let quoted =
        ['"', '\''].into_iter().any(|quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote));
    output::home_path(&if quoted { named(text) } else { unescaped(text, is_kept, |_| false) })
}

/// What completion writes a backslash before. Where that parts folders, it does so before blanks alone.
fn is_kept(c: char) -> bool {
    c.is_whitespace() || (std::path::MAIN_SEPARATOR == '/' && "\\\"'`@$><=;|&{(".contains(c))
}

/// `text` up to what `ends` it, without the backslashes before characters that they keep.
fn unescaped(text: &str, kept: impl Fn(char) -> bool, ends: impl Fn(char) -> bool) -> String {
    let mut name = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek().is_some_and(|&c| kept(c)) => name.extend(chars.next()),
            c if ends(c) => break,
            c => name.push(c),
        }
    }
    name
}

/// The message with the files' texts before it, each under its name.
pub(super) fn with_files(message: &str, files: &[&Attachment]) -> String {
    let mut text = String::new();
    for file in files {
        let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        text.push_str(&format!("{name}:\n```\n{}\n```\n\n", file.text.trim_end()));
    }
    text + message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn at_words_are_files_where_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note.txt");
        std::fs::write(&path, "여보세요\n").unwrap();
        let line = format!("mail me@home about @{} and @nothing", path.display());
        let files = expand(&line, &mut |_| panic!("nothing to tell")).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(with_files("?", &files.iter().collect::<Vec<_>>()), "note.txt:\n```\n여보세요\n```\n\n?");
        let spaced = dir.path().join("my note.txt");
        std::fs::write(&spaced, "x").unwrap();
        let (path, spaced) = (path.display(), spaced.display().to_string());
        let escaped = spaced.replace(' ', "\\ ");
        for line in [
            format!("@{path}?"),
            format!("(@{path}), please"),
            format!("@{path}를 읽어"),
            format!("@\"{spaced}\""),
            format!("look: @'{spaced}'."),
            format!("@{escaped}!"),
        ] {
            assert_eq!(expand(&line, &mut |told| panic!("{line}: {told}")).unwrap().len(), 1, "{line}");
        }
        // As completion writes them.
        for name in ["p(1).txt", "it's.txt", "q\"x.txt", "d$v&;.txt", "at@x.txt", "a b.txt", "b\\s.txt"] {
            let path = dir.path().join(name);
            std::fs::write(&path, "x").unwrap();
            let mut written = String::new();
            for c in path.display().to_string().chars() {
                written.extend(is_kept(c).then_some('\\'));
                written.push(c);
            }
            let line = format!("what is in @{written} ?");
            let files = expand(&line, &mut |told| panic!("{line}: {told}")).unwrap();
            assert!(files.len() == 1 && files[0].path == path, "{line}");
            assert_eq!((typed_path(&written), typed_path(&path.display().to_string())), (path.clone(), path));
        }
        // What only begins like a file is another name.
        let base = dir.path().join("note");
        for name in ["note", "노트"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        for tail in ["worthy", "s", "/x", ".text", "-list", "_2", "~"] {
            let mut told = Vec::new();
            let files =
                expand(&format!("@{}{tail} hi", base.display()), &mut |text| told.push(text.to_owned())).unwrap();
            assert!(files.is_empty() && told.len() == 1, "{tail}: {told:?}");
        }
        for tail in [".bak", "2", "x"] {
            assert!(expand(&format!("@{path}{tail}"), &mut |_| ()).unwrap().is_empty(), "{tail}");
        }
        let korean = dir.path().join("노트");
        for (tail, count) in [("를", 1), ("에서는?", 1), ("북", 0), ("만으로,", 1), (".", 1), ("...", 1), ("'s", 1)]
        {
            assert_eq!(expand(&format!("@{}{tail}", korean.display()), &mut |_| ()).unwrap().len(), count, "{tail}");
        }
        assert!(expand(&format!("@\"{path}.bak\""), &mut |_| ()).unwrap().is_empty());
        let mut told = Vec::new();
        assert!(expand("@no/such.txt and me@x.y", &mut |text| told.push(text.to_owned())).unwrap().is_empty());
        assert!(told.len() == 1 && told[0].contains("no/such.txt"), "{told:?}");
    }

    #[test]
    fn files_that_are_no_text_are_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (bytes, why) in [(&b"ab\xff"[..], "byte 2"), (b"PK\x03\x04\0\0", "zero at byte 4")] {
            std::fs::write(file.path(), bytes).unwrap();
            let error = read(file.path()).err().unwrap().to_string();
            let name = file.path().display();
            assert!(error.starts_with(&format!("{name} is not ")) && error.contains(why), "{error}");
        }
    }
}
