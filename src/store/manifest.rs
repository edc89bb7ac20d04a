//! The record that lies beside a model's files: where it came from, how long the files are and what they hash to.

use super::name;
use crate::gguf::RowLayout;
use crate::platform::{input, output};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The name of the record in a model's directory.
pub const MANIFEST_FILE: &str = "manifest.json";
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// What the store knows of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this record: 1.
    pub version: u32,
    /// The model's name in the store, the same as its directory's.
    pub name: String,
    /// What was asked for: `hf:org/repo:Q4_K_M`, a URL, a catalogue name, or the path of an imported file.
    pub source: String,
    /// The files; the first is the one to open.
    pub files: Vec<StoredFile>,
    /// What a check found to be wrong with them, until they are repaired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredFile {
    /// Its name in the model's directory.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 in lower-case hex, or that of the file that it was made of; `None` for an imported file that was never
    /// hashed.
    pub sha256: Option<String>,
    /// The name of the file that it was made of by interleaving the rows, and from which that file can be had again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
    /// Where an imported file lies; the model's directory holds a link to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<PathBuf>,
}

impl Manifest {
    /// Reads the record in `dir` and checks it: names that stay inside, at least one file.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(MANIFEST_FILE);
        let text = input::read_regular_text(&path, MAX_MANIFEST_BYTES)?;
        let place = || path.display().to_string();
        let manifest: Self = serde_json::from_str(&text)
            .map_err(|e| Error::input(place(), "a model's record", e.to_string()).hint("pull or import it again"))?;
        if manifest.version != 1 {
            return Err(Error::input(place(), "version 1", manifest.version.to_string()));
        }
        name::check(&manifest.name)?;
        if manifest.files.is_empty() {
            return Err(Error::input(place(), "at least one file", "none"));
        }
        for file in &manifest.files {
            let original = file.original.as_ref().unwrap_or(&file.name);
            if !name::is_stored(&file.name) || name::file_name(original).ok().as_ref() != Some(original) {
                return Err(Error::input(place(), "plain file names", format!("{:?}", file.name)));
            }
        }
        Ok(manifest)
    }

    /// Whether there is a record in `dir`, whatever it says.
    pub(super) fn is_in(dir: &Path) -> bool {
        std::fs::symlink_metadata(dir.join(MANIFEST_FILE)).is_ok()
    }

    /// Writes the record into `dir`: complete or not at all.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(MANIFEST_FILE);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::failed(MANIFEST_FILE, e.to_string()))?;
        output::write(&path, text.as_bytes())
    }

    /// True for a model whose files lie elsewhere: it was imported, not fetched.
    pub fn is_link(&self) -> bool {
        self.files.iter().any(|file| file.link.is_some())
    }

    /// How the rows of its weights lie.
    pub fn layout(&self) -> RowLayout {
        let interleaved = self.files.iter().any(|file| file.original.is_some());
        if interleaved { RowLayout::Interleaved } else { RowLayout::Plain }
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn sample() -> Manifest {
        let file =
            StoredFile { name: "m.gguf".into(), size: 3, sha256: None, original: None, link: Some("/x/m.gguf".into()) };
        Manifest { version: 1, name: "m".into(), source: "/x/m.gguf".into(), files: vec![file], damaged: None }
    }

    #[test]
    fn records_survive_a_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        sample().write(dir.path()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), sample());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let plain = dir.path().join("plain");
            std::fs::write(&plain, "").unwrap();
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode(&dir.path().join(MANIFEST_FILE)), mode(&plain), "as readable as any other file");
        }
    }

    #[test]
    fn records_that_point_elsewhere_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let good = serde_json::to_string(&sample()).unwrap();
        for (from, to) in [
            ("\"m.gguf\"", "\"../m.gguf\""),
            ("\"m.gguf\"", "\"sub/m.gguf\""),
            ("\"name\":\"m\"", "\"name\":\"..\""),
            ("\"version\":1", "\"version\":9"),
            ("\"version\"", "\"other\""),
        ] {
            assert!(good.contains(from));
            std::fs::write(dir.path().join(MANIFEST_FILE), good.replacen(from, to, 1)).unwrap();
            assert!(Manifest::read(dir.path()).is_err(), "{from} -> {to}");
        }
        std::fs::write(dir.path().join(MANIFEST_FILE), "{").unwrap();
        assert!(Manifest::read(dir.path()).is_err());
    }
}
