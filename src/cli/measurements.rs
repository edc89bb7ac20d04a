//! What was measured on this machine, kept in the store by what it holds for.

use crate::platform::{input, output};
use crate::store::Store;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::PathBuf;

/// The most entries of a file; one more begins it anew.
const MAX_ENTRIES: usize = 500;

/// A file of measurements. Whatever is wrong with it costs a measurement and nothing else.
pub(super) struct Kept<T> {
    /// `None` where there is no store.
    path: Option<PathBuf>,
    most_bytes: u64,
    kind: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Kept<T> {
    /// The file of this name, of which at most so many bytes are read.
    pub(super) fn in_store(store: Option<&Store>, file: &str, most_bytes: u64) -> Self {
        Self { path: store.map(|store| store.home().join(file)), most_bytes, kind: PhantomData }
    }

    fn all(&self) -> BTreeMap<String, T> {
        let bytes = self.path.as_ref().and_then(|path| input::read_regular(path, self.most_bytes).ok());
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// What was measured for this key.
    pub(super) fn find(&self, key: &str) -> Option<T> {
        self.all().remove(key)
    }

    /// Keeps what was measured.
    pub(super) fn keep(&self, key: String, value: T) {
        let Some(path) = &self.path else { return };
        let mut all = self.all();
        if all.len() >= MAX_ENTRIES {
            all.clear();
        }
        all.insert(key, value);
        let folder = path.parent().is_some_and(|folder| std::fs::create_dir_all(folder).is_ok());
        if let Some(text) = serde_json::to_vec(&all).ok().filter(|_| folder) {
            drop(output::write(path, &text));
        }
    }
}
