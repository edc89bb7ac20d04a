//! Names of the files of a split model: `NAME-00001-of-00003.gguf`.

use super::rows::EXTENSION;

/// Most files of one model: what five digits could say is never used.
pub const MAX_SHARDS: usize = 1024;

/// What stands between the name and the extension.
const TAIL: &str = "-00001-of-00003";

/// Where a file stands among the files of a split model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardName<'a> {
    /// The name before `-00001-of-00003.gguf`.
    pub stem: &'a str,
    /// Its number, from 1.
    pub number: usize,
    /// How many there are.
    pub count: usize,
    /// The extension, as it is written.
    extension: &'a str,
}

impl<'a> ShardName<'a> {
    /// Reads the name of a file; `None` for other names.
    pub fn parse(file: &'a str) -> Option<Self> {
        let (name, extension) = file.rsplit_once('.')?;
        let known = ["gguf", EXTENSION].iter().any(|known| extension.eq_ignore_ascii_case(known));
        let (stem, tail) = name.split_at_checked(name.len().checked_sub(TAIL.len())?).filter(|_| known)?;
        let digits = |at: usize| tail.get(at..at + 5).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let (number, count) = (digits(1)?.parse().ok()?, digits(10)?.parse().ok()?);
        let between = tail.starts_with('-') && tail.get(6..10).is_some_and(|text| text.eq_ignore_ascii_case("-of-"));
        (between && (1..=count).contains(&number) && count <= MAX_SHARDS).then_some(Self {
            stem,
            number,
            count,
            extension,
        })
    }

    /// The name of another file of the model.
    pub fn with_number(&self, number: usize) -> String {
        format!("{}-{number:05}-of-{:05}.{}", self.stem, self.count, self.extension)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn names_are_read_and_made() {
        let shard = ShardName::parse("a-b-00002-of-00003.gguf").unwrap();
        assert_eq!((shard.stem, shard.number, shard.count), ("a-b", 2, 3));
        assert_eq!(shard.with_number(3), "a-b-00003-of-00003.gguf");
        let loud = ShardName::parse("A-00001-OF-00001.GGUF").unwrap();
        assert_eq!((loud.stem, loud.with_number(1).as_str()), ("A", "A-00001-of-00001.GGUF"));
        assert!(ShardName::parse(&format!("a-00001-of-00002.{EXTENSION}")).is_some());
        for other in [
            "a.gguf",
            "a-00000-of-00002.gguf",
            "a-00003-of-00002.gguf",
            "a-+0001-of-00002.gguf",
            "a-00001-of-01025.gguf",
            "a-00001-of-00002.bin",
            "a-0001-of-00002.gguf",
            "한-00001-of-0002.gguf",
            "가나다라마.gguf",
        ] {
            assert_eq!(ShardName::parse(other), None, "{other}");
        }
    }
}
