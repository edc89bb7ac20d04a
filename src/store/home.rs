//! The directory of models, and what lies in it.

use super::disk;
use super::manifest::Manifest;
use crate::error::FileAction;
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

    /// The same, made where it is missing.
    ///
    /// # Errors
    /// A link in its place: what it leads to is not the store's to clear away.
    pub(super) fn own_partial_dir(&self) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.home).map_err(|e| Error::io(&self.home, FileAction::Create, e))?;
        let dir = self.partial_dir();
        disk::own_folder(&dir)?;
        Ok(dir)
    }

    /// What lies there; nothing where it is no folder of the store's own.
    pub(super) fn in_partial_dir(&self) -> impl Iterator<Item = std::fs::DirEntry> {
        let dir = self.partial_dir();
        let own = std::fs::symlink_metadata(&dir).is_ok_and(|meta| meta.is_dir());
        own.then(|| std::fs::read_dir(dir).ok()).flatten().into_iter().flatten().flatten()
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
