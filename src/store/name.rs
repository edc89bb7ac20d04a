//! Names: of models in the store, and of files that a server or an archive proposes. Both become parts of paths, so
//! both are checked here and nowhere else.

use crate::gguf::EXTENSION;
pub use crate::gguf::ShardName;
use crate::{Error, Result, text};

const MAX_MODEL_NAME_BYTES: usize = 180;

/// Names that mean devices on one system or another.
const RESERVED: &[&str] = &["con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "lpt1", "lpt2", "lpt3"];

/// Checks the name of a model: letters, digits, `.`, `_`, `-` and `+`, not starting with `.` or `-`.
pub fn check(name: &str) -> Result<()> {
    let good = |c: char| c.is_alphanumeric() || "._-+".contains(c);
    let stem = name.split('.').next().unwrap_or_default().to_lowercase();
    let why = if name.len() > MAX_MODEL_NAME_BYTES {
        format!(": it takes {} bytes, and {MAX_MODEL_NAME_BYTES} is the most", name.len())
    } else if RESERVED.contains(&stem.as_str()) {
        ": it is a device's on some systems".to_owned()
    } else if name.ends_with('.') && name.len() > 1 {
        ": it ends with a dot".to_owned()
    } else if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(good) {
        ", which has letters, digits and . _ - + and begins with none of . and -".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::usage(format!("{:?} cannot be a model's name{why}.", text::shorten(name, 60))))
}

/// The file name at the end of a path that a server, an archive or a URL proposes: never a way out of a directory.
pub fn file_name(path: &str) -> Result<String> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let bad = |c: char| c.is_control() || r#"\/:*?"<>|"#.contains(c);
    let ok = name.len() <= MAX_MODEL_NAME_BYTES
        && name.len() > ".gguf".len()
        && name.to_lowercase().ends_with(".gguf")
        && !name.starts_with('.')
        && !name.chars().any(bad);
    let climbs = path.split(['/', '\\']).any(|part| part == "..");
    if ok && !climbs { Ok(name.to_owned()) } else { Err(Error::input("file name", "NAME.gguf", format!("{path:?}"))) }
}

/// Whether `file` may be a file of a stored model: a GGUF file, or one that was made of it.
pub fn is_stored(file: &str) -> bool {
    let original = file.strip_suffix(EXTENSION).and_then(|stem| stem.strip_suffix('.'));
    let original = original.map_or_else(|| file.to_owned(), |stem| format!("{stem}.gguf"));
    file_name(&original).is_ok_and(|name| name == original)
}

/// The name of the file with interleaved rows that is made of a GGUF file.
pub fn interleaved(file: &str) -> String {
    let stem = if file.to_lowercase().ends_with(".gguf") { &file[..file.len() - ".gguf".len()] } else { file };
    format!("{stem}.{EXTENSION}")
}

/// A store name made of a file name: without `.gguf` and the number of a shard.
pub fn from_file(file: &str) -> Result<String> {
    let stem = if file.to_lowercase().ends_with(".gguf") { &file[..file.len() - ".gguf".len()] } else { file };
    let stem = ShardName::parse(file).map_or(stem, |shard| shard.stem);
    let name: String = stem.chars().map(|c| if c.is_alphanumeric() || "._-+".contains(c) { c } else { '-' }).collect();
    let name = name.trim_matches(['.', '-']).to_owned();
    check(&name)?;
    Ok(name)
}

/// The names of all shards of the model that `file` belongs to: itself alone if it is not split.
pub fn shards(file: &str) -> Vec<String> {
    match ShardName::parse(file) {
        None => vec![file.to_owned()],
        Some(shard) => (1..=shard.count).map(|number| shard.with_number(number)).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn names_that_could_leave_the_store_are_refused() {
        for bad in ["", "..", ".", "../x", "a/b", "a\\b", "-rf", ".hidden", "nul", "CON.txt", "a\0b", "a b", "x."] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&"x".repeat(500)).is_err());
        for good in ["smollm2-135m", "EXAONE-Deep-32B_Q4.K+M", "모델-7b"] {
            assert!(check(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn file_names_are_the_last_part_only() {
        assert_eq!(file_name("a/b/model.gguf").unwrap(), "model.gguf");
        for bad in
            ["..", "a/..", "../m.gguf", "a/../m.gguf", "..\\m.gguf", "m.bin", ".gguf", "a\nb.gguf", "c:m.gguf", "", "/"]
        {
            assert!(file_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn shards_are_counted_and_named() {
        let name = "m-00002-of-00003.gguf";
        assert_eq!(shards(name), ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]);
        assert_eq!(shards("m.gguf"), ["m.gguf"]);
        for bad in
            ["m-00004-of-00003.gguf", "m-00000-of-00003.gguf", "m-1-of-3.gguf", "m-00001-of-99999.gguf", "가.gguf"]
        {
            assert_eq!(shards(bad), [bad]);
        }
        assert_eq!(from_file(name).unwrap(), "m");
        assert_eq!(from_file("My Model (1).GGUF").unwrap(), "My-Model--1");
        assert!(from_file("..gguf").is_err());
    }

    proptest::proptest! {
        /// Whatever name a server gives: what is accepted stays in its directory.
        #[test]
        fn any_name(path in "[a-z./\\\\:\u{0}~ -]{0,12}(\\.gguf)?") {
            if let Ok(name) = file_name(&path) {
                assert!(std::path::Path::new(&name).components().count() == 1 && !name.contains(['/', '\\', '\0']));
                assert!(from_file(&name).is_err() || check(&from_file(&name).unwrap()).is_ok());
            }
        }
    }
}
