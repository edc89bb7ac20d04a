//! How many bytes of pages there may be, counted before they are allocated.
//!
//! Models that are served together share one [`SharedBudget`]. Each is sure of the bytes that one conversation needs, so that
//! it never waits for another to end; the rest belongs to the first that needs it, and one that is idle gives it back when asked.

use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};
use sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, rest};

/// What threads share, as the standard library has it.
#[cfg(not(loom))]
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    pub(super) use std::sync::{Mutex, MutexGuard};
    pub(super) use std::thread::sleep as rest;
}

/// The same in a model that `loom` goes through in every order (`tests/loom/engine.rs`): others run instead of time.
#[cfg(loom)]
mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    pub(super) use loom::sync::{Mutex, MutexGuard};

    pub(super) fn rest(_: std::time::Duration) {
        loom::thread::yield_now();
    }
}

/// How often a model that is being opened looks for room.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Bytes that the budgets of several models divide among themselves.
#[derive(Debug)]
pub struct SharedBudget {
    limit: usize,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    /// Bytes that exist or that a member is sure of.
    claimed: usize,
    /// Those that members are sure of.
    sure: usize,
    /// Those that members to come wait for.
    promised: usize,
    all: Vec<Weak<Budget>>,
}

impl SharedBudget {
    /// A budget of `limit` bytes in all.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, members: Mutex::default() })
    }

    /// The limit in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes of pages that exist, of all models.
    pub fn used(&self) -> usize {
        self.open().iter().map(|member| member.used()).sum()
    }

    /// The parts that exist. They are let go of without the lock, which the last holder of one takes.
    fn open(&self) -> Vec<Arc<Budget>> {
        self.members().all.iter().filter_map(Weak::upgrade).collect()
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part for a model that is sure of `least` bytes and has at most `most`, which others give back if they have to; `None`
    /// where they are sure of too much, or do not give it back within `time`.
    pub(crate) fn part(self: &Arc<Self>, least: usize, most: usize, time: Duration) -> Option<Arc<Budget>> {
        {
            let mut members = self.members();
            let sure = members.sure.checked_add(members.promised)?.checked_add(least);
            sure.filter(|&sure| sure <= self.limit)?;
            members.promised += least;
        }
        let start = Instant::now();
        loop {
            let mut members = self.members();
            let missing = (members.claimed + least).saturating_sub(self.limit);
            if missing == 0 {
                members.promised -= least;
                members.claimed += least;
                members.sure += least;
                return Some(self.member(&mut members, least, most));
            }
            if start.elapsed() > time {
                members.promised -= least;
                return None;
            }
            drop(members);
            for member in self.open().iter().filter(|member| member.used() > member.least) {
                member.urgent.store(true, Ordering::Relaxed);
                member.want(missing);
            }
            rest(LOOK_AGAIN);
        }
    }

    fn member(self: &Arc<Self>, members: &mut Members, least: usize, most: usize) -> Arc<Budget> {
        let part = Arc::new(Budget::of(Arc::clone(self), least, most));
        members.all.retain(|member| member.strong_count() > 0);
        members.all.push(Arc::downgrade(&part));
        part
    }
}

/// What tells a model's thread that another one needs room.
type Ask = Box<dyn Fn() + Send + Sync>;

/// The bytes of one model. Sequences that share pages share a budget.
pub struct Budget {
    whole: Arc<SharedBudget>,
    least: usize,
    most: usize,
    used: AtomicUsize,
    /// Bytes that others have asked for.
    wanted: AtomicUsize,
    /// They are for a model that is being opened: what is under way gives way, too.
    urgent: AtomicBool,
    /// Nothing is computed: what is kept is of past conversations.
    idle: AtomicBool,
    ask: Mutex<Option<Ask>>,
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("used", &self.used).field("least", &self.least).finish_non_exhaustive()
    }
}

impl Budget {
    /// A budget of `limit` bytes that is not shared.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self::of(SharedBudget::new(limit), 0, limit))
    }

    fn of(whole: Arc<SharedBudget>, least: usize, most: usize) -> Self {
        Self {
            whole,
            least,
            most,
            used: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
            urgent: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            ask: Mutex::default(),
        }
    }

    /// Bytes that it may have at most: what others are sure of is not among them.
    pub fn limit(&self) -> usize {
        let others = self.whole.members().sure - self.least;
        self.most.min(self.whole.limit - others)
    }

    /// Bytes of pages that exist.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that are left now.
    pub fn free(&self) -> usize {
        let members = self.whole.members();
        let used = self.used();
        let shared = self.whole.limit.saturating_sub(members.claimed.saturating_add(members.promised));
        self.most.saturating_sub(used).min(shared.saturating_add(self.least.saturating_sub(used)))
    }

    pub(super) fn take(&self, bytes: usize) -> bool {
        let mut members = self.whole.members();
        let used = self.used();
        let Some(sum) = used.checked_add(bytes).filter(|&sum| sum <= self.most) else { return false };
        let more = sum.max(self.least) - used.max(self.least);
        let claimed = members.claimed.saturating_add(more);
        // What it is sure of, it gets; the rest not before those who have been promised something.
        if more > 0 && claimed.saturating_add(members.promised) > self.whole.limit {
            return false;
        }
        members.claimed = claimed;
        self.used.store(sum, Ordering::Relaxed);
        true
    }

    /// Counts bytes that are there already, whether or not there is room for them.
    pub(super) fn count(&self, bytes: usize) {
        let mut members = self.whole.members();
        let used = self.used();
        let sum = used.saturating_add(bytes);
        members.claimed = members.claimed.saturating_add(sum.max(self.least) - used.max(self.least));
        self.used.store(sum, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        let mut members = self.whole.members();
        let used = self.used();
        let rest = used.saturating_sub(bytes);
        members.claimed = members.claimed.saturating_sub(used.max(self.least) - rest.max(self.least));
        self.used.store(rest, Ordering::Relaxed);
    }

    /// `ask` is called, on the thread of another model, when that one needs room and this one has more than it is sure of;
    /// [`Budget::asked`] then tells how much.
    pub fn when_asked(&self, ask: impl Fn() + Send + Sync + 'static) {
        *self.ask.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(ask));
    }

    /// Says whether what is kept here is of past conversations only.
    pub fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Relaxed);
    }

    /// Bytes that others have asked for, as far as there is more here than it is sure of.
    pub fn asked(&self) -> usize {
        self.wanted.load(Ordering::Relaxed).min(self.used().saturating_sub(self.least))
    }

    /// Whether what is under way gives way, too.
    pub fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::Relaxed)
    }

    /// What can be given back has been.
    pub fn answered(&self) {
        self.urgent.store(false, Ordering::Relaxed);
        self.wanted.store(0, Ordering::Relaxed);
    }

    /// Tells its thread that so many bytes are wanted: once, until it has answered.
    fn want(&self, bytes: usize) {
        if self.wanted.fetch_max(bytes, Ordering::Relaxed) == 0
            && let Some(ask) = &*self.ask.lock().unwrap_or_else(PoisonError::into_inner)
        {
            ask();
        }
    }

    /// Asks other models that keep more than they are sure of for room, those that are idle or all; false when there are
    /// none, or when this one may not have more anyway.
    pub fn ask_others(&self, bytes: usize, all: bool) -> bool {
        if self.used().saturating_add(bytes) > self.most {
            return false;
        }
        let others = self.whole.open();
        let can = |other: &&Arc<Self>| {
            let own = std::ptr::eq(Arc::as_ptr(other), self);
            !own && (all || other.idle.load(Ordering::Relaxed)) && other.used() > other.least
        };
        let mut some = false;
        for other in others.iter().filter(can) {
            some = true;
            other.want(bytes);
        }
        some
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let used = self.used();
        let mut members = self.whole.members();
        members.claimed = members.claimed.saturating_sub(used.max(self.least));
        members.sure = members.sure.saturating_sub(self.least);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn two_never_have_more_than_there_is_and_each_what_it_is_sure_of() {
        let whole = SharedBudget::new(100);
        let one = whole.part(30, usize::MAX, NOW).unwrap();
        let two = whole.part(30, 50, NOW).unwrap();
        assert!(whole.part(41, usize::MAX, NOW).is_none());
        assert_eq!((one.limit(), two.limit(), one.free(), two.free()), (70, 50, 70, 50));
        assert!(one.take(70) && !one.take(1));
        assert_eq!((one.free(), two.free()), (0, 30));
        assert!(two.take(30) && !two.take(1));
        assert_eq!(whole.used(), 100);
        one.give_back(10);
        assert!(two.take(10) && !two.take(1) && !one.take(1));
        two.give_back(40);
        drop(two);
        assert_eq!((one.free(), whole.used()), (40, 60));
        one.count(50);
        assert_eq!((one.used(), one.free()), (110, 0));
        one.give_back(110);
        assert_eq!(one.free(), 100);
    }

    #[test]
    fn who_is_idle_and_has_more_than_it_is_sure_of_is_asked_once() {
        let whole = SharedBudget::new(100);
        let (idle, busy) = (whole.part(10, usize::MAX, NOW).unwrap(), whole.part(10, usize::MAX, NOW).unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        idle.when_asked(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert!(idle.take(50));
        assert!(!busy.ask_others(20, false), "it works");
        idle.set_idle(true);
        assert!(busy.ask_others(20, false) && busy.ask_others(15, false));
        assert_eq!((asked.load(Ordering::Relaxed), idle.asked()), (1, 20));
        idle.answered();
        assert_eq!(idle.asked(), 0);
        idle.give_back(40);
        assert!(!busy.ask_others(20, true), "it has what it is sure of");
    }

    #[test]
    fn a_newcomer_gets_what_it_has_to_have() {
        let whole = SharedBudget::new(100);
        let first = whole.part(10, usize::MAX, NOW).unwrap();
        assert!(first.take(100));
        let (own, asked) = (Arc::downgrade(&first), Arc::new(AtomicUsize::new(0)));
        let bytes = Arc::clone(&asked);
        first.when_asked(move || {
            let own = own.upgrade().unwrap();
            assert!(own.is_urgent());
            bytes.store(own.asked(), Ordering::Relaxed);
            // No other sequence takes what is given back for the newcomer.
            own.give_back(own.asked());
            assert!(!own.take(1));
            own.answered();
        });
        let second = whole.part(30, usize::MAX, Duration::from_secs(5)).unwrap();
        assert_eq!((asked.load(Ordering::Relaxed), first.free(), second.free()), (30, 0, 30));
        first.when_asked(|| {});
        assert!(whole.part(30, usize::MAX, NOW).is_none());
        assert!(first.take(0) && second.take(30), "the promise is taken back");
    }
}
