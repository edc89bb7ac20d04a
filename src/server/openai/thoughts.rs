//! Thoughts that may be ended from outside.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Thoughts of chat answers that may be ended from outside, by who asked for them and the answers' ids.
#[derive(Default)]
pub(in super::super) struct Thoughts(Mutex<HashMap<(u64, String), Flags>>);

/// What ends the thoughts of an answer's choices, while they are under way.
type Flags = Vec<Weak<AtomicBool>>;

impl Thoughts {
    pub(super) fn note(&self, owner: u64, id: &str, end_thought: &[Arc<AtomicBool>]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Answers that have ended are forgotten.
        all.retain(|_, flags| flags.iter().any(|flag| flag.strong_count() > 0));
        all.insert((owner, id.to_owned()), end_thought.iter().map(Arc::downgrade).collect());
    }

    /// Ends the thoughts of an answer; false when no such answer of this owner is under way.
    pub(super) fn end(&self, owner: u64, id: String) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let flags: Vec<_> = all.get(&(owner, id)).into_iter().flatten().filter_map(Weak::upgrade).collect();
        flags.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
        !flags.is_empty()
    }
}
