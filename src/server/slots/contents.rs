//! What the slots of a model hold: the tokens of conversations, by number.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What the slots of one model hold: those of each key by themselves.
pub(in super::super) struct Slots {
    count: usize,
    of: Mutex<HashMap<u64, Vec<Slot>>>,
}

#[derive(Clone, Default)]
pub(in super::super) struct Slot {
    pub(in super::super) tokens: Vec<u32>,
    used: Option<Instant>,
}

impl Slots {
    /// `count` empty slots for each key.
    pub(in super::super) fn new(count: usize) -> Self {
        Self { count: count.max(1), of: Mutex::default() }
    }

    /// Looks at or changes the slots of `owner`.
    pub(in super::super) fn with<T>(&self, owner: u64, act: impl FnOnce(&mut [Slot]) -> T) -> T {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        act(of.entry(owner).or_insert_with(|| vec![Slot::default(); self.count]))
    }

    /// The slot for a request: the one that it names, else the one with the most in common with its prompt, else the one
    /// unused for the longest time.
    pub(in super::super) fn choose(&self, owner: u64, named: Option<usize>, prompt: &[u32]) -> usize {
        let common = |slot: &Slot| slot.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        self.with(owner, |slots| {
            let close = (0..slots.len()).max_by_key(|&i| (common(&slots[i]), std::cmp::Reverse(i)));
            let close = close.filter(|&i| 2 * common(&slots[i]) > slots[i].tokens.len());
            let oldest = (0..slots.len()).min_by_key(|&i| slots[i].used);
            named.filter(|&slot| slot < slots.len()).or(close).or(oldest).unwrap_or(0)
        })
    }

    /// A request of this slot has ended with these tokens.
    pub(in super::super) fn keep(&self, owner: u64, slot: usize, tokens: Vec<u32>) {
        self.with(owner, |slots| {
            if let Some(slot) = slots.get_mut(slot) {
                *slot = Slot { tokens, used: Some(Instant::now()) };
            }
        });
    }

    /// The tokens of a slot.
    pub(in super::super) fn tokens(&self, owner: u64, slot: usize) -> Option<Vec<u32>> {
        self.with(owner, |slots| slots.get(slot).map(|slot| slot.tokens.clone()))
    }
}
