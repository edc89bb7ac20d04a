//! Answers that can be gone on from.

use super::super::error::ApiError;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

type Result<T> = std::result::Result<T, ApiError>;

/// Answers that can be gone on from, in memory: the oldest go first.
#[derive(Default)]
pub(in super::super) struct Stored {
    kept: Mutex<VecDeque<StoredAnswer>>,
}

pub(super) struct StoredAnswer {
    /// Whose it is.
    owner: u64,
    id: String,
    /// The whole conversation, the answer included.
    pub(super) turns: Vec<Value>,
    /// The same before the answer, as items.
    pub(super) items: Vec<Value>,
    pub(super) object: Value,
    bytes: usize,
}

impl Stored {
    /// Bytes of text that are kept at most.
    const MAX_BYTES: usize = 64 << 20;

    pub(super) fn keep(&self, owner: u64, id: &str, turns: Vec<Value>, items: Vec<Value>, object: Value) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let all = turns.iter().chain(&items).chain([&object]);
        let bytes = all.map(|value| value.to_string().len()).sum();
        kept.retain(|kept| kept.id != id);
        kept.push_back(StoredAnswer { owner, id: id.to_owned(), turns, items, object, bytes });
        while kept.iter().map(|kept| kept.bytes).sum::<usize>() > Self::MAX_BYTES {
            kept.pop_front();
        }
    }

    /// What `read` finds in an answer; those of others are as if they were not there.
    pub(super) fn find<R>(&self, owner: u64, id: &str, read: impl Fn(&StoredAnswer) -> R) -> Result<R> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|kept| kept.owner == owner && kept.id == id).map(read);
        found.ok_or_else(|| ApiError::not_found(format!("response '{id}' not found (only the latest are kept)")))
    }

    /// An item of an answer that is kept, or of what it answers.
    fn item(&self, owner: u64, id: &str) -> Option<Value> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |kept: &StoredAnswer| of_kept(&kept.items, &kept.object).into_iter().find(|item| item["id"] == id);
        kept.iter().rev().filter(|kept| kept.owner == owner).find_map(of)
    }

    /// An input with the items that it names by their ids.
    ///
    /// # Errors
    /// 404 for one that is not kept.
    pub(super) fn resolved(&self, owner: u64, mut input: Value) -> Result<Value> {
        for (index, item) in input.as_array_mut().into_iter().flatten().enumerate() {
            if item["type"] != "item_reference" {
                continue;
            }
            let place = format!("input[{index}].id");
            let id = item["id"].as_str().ok_or_else(|| ApiError::field(&place, "the id of an item is wanted"))?;
            let missing = || ApiError::not_found(format!("{place}: item '{id}' not found (only the latest are kept)"));
            *item = self.item(owner, id).ok_or_else(missing)?;
        }
        Ok(input)
    }

    pub(super) fn remove(&self, owner: u64, id: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| kept.owner != owner || kept.id != id);
    }
}

/// A whole conversation that was kept, as items.
pub(super) fn of_kept(items: &[Value], object: &Value) -> Vec<Value> {
    items.iter().chain(object["output"].as_array().into_iter().flatten()).cloned().collect()
}
