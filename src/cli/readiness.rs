//! How it stands with the models of the store: all there, and able to be run.

use super::measurements::Kept;
use super::output::say;
use crate::describe::Description;
use crate::gguf::{Gguf, RowLayout};
use crate::store::{Store, StoredModel, is_damage, trouble};
use crate::text::shorten;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Longest reason, in bytes.
const MAX_WHY: usize = 2000;

/// What can be said of a model before it is run.
pub(super) struct Standing {
    /// The file to open, if all of it is there.
    pub(super) path: Option<PathBuf>,
    /// In a word or two, for a table.
    pub(super) state: &'static str,
    /// What stands in the way of running it.
    pub(super) problem: Option<String>,
}

impl Standing {
    /// Whether it can be run.
    pub(super) fn is_ready(&self) -> bool {
        self.problem.is_none()
    }
}

/// Finds out how models stand. What takes a look into the file is kept for as long as that stays as it is.
pub(super) struct Standings {
    kept: Kept<Option<String>>,
}

impl Standings {
    /// Of the models of this store, and of files beside it; without one nothing is kept.
    pub(super) fn of(store: Option<&Store>) -> Self {
        Self { kept: Kept::in_store(store, "standings.json", 1 << 20) }
    }

    /// How this one stands.
    pub(super) fn look(&self, entry: &StoredModel) -> Standing {
        let path = match entry.path() {
            Ok(path) => path,
            Err(why) => return Standing { path: None, state: trouble(&why), problem: Some(why.to_string()) },
        };
        let interleaved = entry.manifest.as_ref().is_ok_and(|manifest| manifest.layout() == RowLayout::Interleaved);
        match self.problem_of(&path) {
            Some(why) => {
                let problem = Some(format!("{} cannot be run: {why}", entry.name));
                Standing { path: Some(path), state: "cannot be run", problem }
            }
            None => {
                let state = if interleaved { "ready, interleaved" } else { "ready" };
                Standing { path: Some(path), state, problem: None }
            }
        }
    }

    /// Why the model in a file cannot be run, if it cannot.
    pub(super) fn problem_of(&self, path: &Path) -> Option<String> {
        let key = identity(path);
        if let Some(known) = key.as_deref().and_then(|key| self.kept.find(key)) {
            // What a file says is shown as any text of others.
            return known.map(|why| shorten(&why, MAX_WHY).into_owned());
        }
        let found = match Gguf::open(path).and_then(|gguf| Description::of(&gguf)) {
            Ok(model) => problem(&model),
            // What passes is no property of the file.
            Err(why) if !is_damage(&why) => return Some(why.to_string()),
            Err(why) => Some(why.to_string()),
        };
        if let Some(key) = key {
            self.kept.keep(key, found.clone());
        }
        found
    }
}

/// What a file is the same by, to the same version of this program.
fn identity(path: &Path) -> Option<String> {
    let meta = std::fs::metadata(path).ok()?;
    let changed = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    Some(format!("{} {} {changed} {}", path.display(), meta.len(), env!("CARGO_PKG_VERSION")))
}

/// Why a model cannot be run, the first reason of all.
pub(super) fn problem(model: &Description) -> Option<String> {
    let unread = || (!model.reads_text).then(|| "its text cannot be tokenized (tokki show says why)".to_owned());
    model.problems.first().cloned().or_else(unread)
}

/// Says of a model that has just come what would be said when it is run.
pub(super) fn remark(name: &str, path: &Path) {
    let Ok(model) = Gguf::open(path).and_then(|gguf| Description::of(&gguf)) else { return };
    if let Some(problem) = problem(&model) {
        say(&format!("{name} cannot be run: {problem}"));
    } else if model.chat_template.is_none() {
        say(&format!("{name} can be run with --raw; it cannot chat: it has no chat template that works"));
    }
}
