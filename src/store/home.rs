//! The directory of models, and what lies in it.

use super::manifest::Manifest;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A directory of models.
#[derive(Debug, Clone)]
pub struct Store {
    home: PathBuf,
}

/// What `models` holds under one name.
#[derive(Debug)]
pub struct StoredModel {
    /// The directory's name.
    pub name: String,
    /// The directory.
    pub dir: PathBuf,
    /// Its record, or why it cannot be used.
    pub manifest: Result<Manifest>,
}

impl Store {
    /// The store under `home`; nothing is created before it is needed.
    pub fn at(home: impl Into<PathBuf>) -> Self {
        Self { home: home.into() }
    }

    /// The directory that holds everything.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where complete models lie.
    pub fn models_dir(&self) -> PathBuf {
        self.home.join("models")
    }

    /// Where unfinished downloads lie.
    pub fn partial_dir(&self) -> PathBuf {
        self.home.join("partial")
    }
}

/// That a folder is no model, with the models in it.
pub(super) fn folder_as_model(path: &Path) -> Error {
    let inside = std::fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut models: Vec<PathBuf> = inside.filter(|file| file.extension().is_some_and(|end| end == "gguf")).collect();
    models.sort();
    let said = match models.as_slice() {
        [] => "no GGUF file is in it".to_owned(),
        [one] => format!("give the file in it: {}", one.display()),
        [first, rest @ ..] => format!("give one of the {} models in it, such as {}", rest.len() + 1, first.display()),
    };
    Error::usage(format!("{} is a folder: {said}.", path.display()))
}
