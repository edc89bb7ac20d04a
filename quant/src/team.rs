//! Where threads meet: one leader runs straight-line code and opens *phases*; members help with a phase's chunks.
//!
//! This crate spawns no thread: the caller brings them (one broadcast per forward pass). It's here, and not with the
//! pool, because lending a borrowed closure to other threads needs `unsafe`.
//!
//! A phase's chunks are dealt out in contiguous shares, so that a thread goes through memory in one direction, and what it
//! fetches ahead at the end of a chunk is the start of its next. Who is done with its own share helps with another's: a
//! slow core delays one chunk only.
//!
//! Whatever safe callers do, each chunk of a phase that returns has run once: a second leader, a phase inside a phase, and
//! a member's number that is taken or out of range are refused with a panic.
//!
//! A phase costs about a microsecond. Members spin briefly for the next one, then sleep, so an idle or oversubscribed
//! machine is not heated. A member that's late (descheduled, asleep) delays nothing: the leader works too, and waits
//! only for members that have joined.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use sync::{AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, UnsafeCell, one_order, spin};

/// What threads share, as the standard library has it.
#[cfg(not(loom))]
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
    use std::time::{Duration, Instant};

    /// How long a thread spins before it sleeps: longer than the serial steps between two phases, far shorter than what
    /// anyone notices as heat.
    const SPIN: Duration = Duration::from_micros(100);

    /// Spins for a while; true as soon as `ready`.
    pub(super) fn spin(ready: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        loop {
            for _ in 0..32 {
                if ready() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() > SPIN {
                return false;
            }
        }
    }

    /// Nothing: sequentially consistent accesses are in one order as they are.
    pub(super) fn one_order() {}

    /// A cell, used as `loom` has it.
    pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(super) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        pub(super) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        pub(super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

/// The same in a model that `loom` goes through in every order (`tests/loom_team.rs`).
#[cfg(loom)]
mod sync {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};

    /// `loom` takes sequentially consistent accesses for acquire and release; only fences make them one order.
    pub(super) fn one_order() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Time does not pass in a model: a thread that is not ready sleeps.
    pub(super) fn spin(ready: impl Fn() -> bool) -> bool {
        ready()
    }
}

/// Most threads of a team: members inside are counted below the bit [`OPEN`].
const MAX_THREADS: usize = (1 << 15) - 1;

/// Most chunks of a phase: counters of a phase that has ended stand far above, and never overflow.
const MAX_CHUNKS: usize = usize::MAX / 4;

/// Where the counters of a phase that has ended stand.
const ENDED: usize = usize::MAX / 2;

/// Bits of [`Team::state`]: phase number, one bit "open", number of members inside.
const OPEN: u64 = 1 << 15;
const ACTIVE: u64 = OPEN - 1;
const PHASE: u32 = 16;

/// Work of a phase: called with (worker, chunk).
type Work<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// A phase as members see it: the closure with its lifetime erased, and the number of chunks.
struct Job {
    work: *const Work<'static>,
    chunks: usize,
}

/// A counter on a cache line of its own.
#[repr(align(64))]
struct Counter(AtomicUsize);

/// The meeting point of one leader and its members, for the length of one forward pass.
pub struct Team {
    threads: usize,
    state: AtomicU64,
    /// For each worker the next chunk of its share.
    next: Box<[Counter]>,
    job: UnsafeCell<Option<Job>>,
    /// Which workers' numbers are taken: number 0 is the leader's.
    seats: Box<[AtomicBool]>,
    /// A phase is under way.
    busy: AtomicBool,
    done: AtomicBool,
    failed: AtomicBool,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("threads", &self.threads).finish_non_exhaustive()
    }
}

// SAFETY: `job` is written only by who holds `busy`, while the phase is closed and no member is inside, and read by members
// only between joining an open phase and leaving it; `state` orders the two.
unsafe impl Sync for Team {}
// SAFETY: the raw pointer in `job` is only set during `Lead::phase`, which borrows the team.
unsafe impl Send for Team {}

/// A worker's number, taken until this is dropped.
struct Seat<'a>(&'a AtomicBool);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Team {
    /// A team of `threads >= 1`, the leader among them.
    ///
    /// # Panics
    /// When there are more than 32767.
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        assert!(threads <= MAX_THREADS, "a team of {threads} threads: {MAX_THREADS} at most");
        Self {
            threads,
            state: AtomicU64::new(0),
            next: (0..threads).map(|_| Counter(AtomicUsize::new(0))).collect(),
            job: UnsafeCell::new(None),
            seats: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            busy: AtomicBool::new(false),
            done: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    /// Takes a worker's number.
    fn sit(&self, worker: usize) -> Seat<'_> {
        let seat = &self.seats[worker];
        let taken = seat.swap(true, Ordering::AcqRel);
        assert!(!taken, "worker {worker} of this team is another thread already (0 is the leader)");
        Seat(seat)
    }

    /// Runs `f` as the leader; members are released when it returns or panics.
    ///
    /// # Panics
    /// When the team has a leader already.
    pub fn lead<R>(&self, f: impl FnOnce(&Lead<'_>) -> R) -> R {
        struct Release<'a>(&'a Team);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.done.store(true, Ordering::SeqCst);
                self.0.wake_all();
            }
        }
        let _seat = self.sit(0);
        let release = Release(self);
        f(&Lead { team: release.0 })
    }

    /// A member's loop: helps with every phase until the leader is done. `worker` is in `1..threads`.
    ///
    /// # Panics
    /// When it is not, or another thread serves under this number.
    pub fn serve(&self, worker: usize) {
        assert!((1..self.threads).contains(&worker), "worker {worker} of a team of {} threads", self.threads);
        let _seat = self.sit(worker);
        let mut last = 0;
        loop {
            self.wait(|| self.done.load(Ordering::SeqCst) || self.joinable(last).is_some());
            if self.done.load(Ordering::SeqCst) {
                return;
            }
            let Some(state) = self.joinable(last) else { continue };
            if self.state.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            last = state >> PHASE;
            self.job.with(|job| {
                // SAFETY: this member joined while the phase was open, so the leader waits for it before the job ends.
                if let Some(job) = unsafe { &*job } {
                    // SAFETY: as above: the closure behind the pointer outlives the phase.
                    let work = unsafe { &*job.work };
                    if catch_unwind(AssertUnwindSafe(|| self.claim(worker, job.chunks, work))).is_err() {
                        self.failed.store(true, Ordering::Relaxed);
                    }
                }
            });
            let before = self.state.fetch_sub(1, Ordering::SeqCst);
            if before & (OPEN | ACTIVE) == 1 {
                self.wake_all();
            }
        }
    }

    /// The state, if it shows an open phase other than `last`.
    fn joinable(&self, last: u64) -> Option<u64> {
        let state = self.state.load(Ordering::SeqCst);
        (state & OPEN != 0 && state >> PHASE != last).then_some(state)
    }

    /// The chunks of a worker's share.
    fn share(&self, worker: usize, chunks: usize) -> Range<usize> {
        let (each, over) = (chunks / self.threads, chunks % self.threads);
        let start = |worker: usize| each * worker + over.min(worker);
        start(worker)..start(worker + 1)
    }

    /// Works on the own share, then on what is left of the others'.
    fn claim(&self, worker: usize, chunks: usize, work: &Work<'_>) {
        for owner in (worker..self.threads).chain(0..worker) {
            let (next, end) = (&self.next[owner].0, self.share(owner, chunks).end);
            while next.load(Ordering::Relaxed) < end {
                let chunk = next.fetch_add(1, Ordering::Relaxed);
                if chunk >= end {
                    break;
                }
                work(worker, chunk);
            }
        }
    }

    /// Spins, then sleeps, until `ready`. Every change that can make it so is followed by [`Team::wake_all`].
    fn wait(&self, ready: impl Fn() -> bool) {
        if spin(&ready) {
            return;
        }
        let mut guard = self.lock();
        // Counted before `ready` is asked again: a waker either sees the sleeper, or its change is seen here.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        one_order();
        while !ready() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake_all(&self) {
        one_order();
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock());
            self.wake.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.sleep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The leader's handle.
#[derive(Debug)]
pub struct Lead<'a> {
    team: &'a Team,
}

impl Lead<'_> {
    /// Number of threads, the leader among them.
    pub fn threads(&self) -> usize {
        self.team.threads
    }

    /// Calls `work(worker, chunk)` once for each chunk in `0..chunks`, on whichever thread is free, and returns when
    /// all are done. Each thread has a contiguous share of the chunks and goes through it in rising order.
    ///
    /// # Panics
    /// When `work` panicked on any thread, when it opens a phase itself, or when there are more chunks than can be counted.
    pub fn phase(&self, chunks: usize, work: &Work<'_>) {
        let team = self.team;
        if team.threads == 1 || chunks <= 1 {
            (0..chunks).for_each(|chunk| work(0, chunk));
            return;
        }
        assert!(chunks <= MAX_CHUNKS, "{chunks} chunks in one phase: {MAX_CHUNKS} at most");
        assert!(!team.busy.swap(true, Ordering::AcqRel), "a phase inside a phase, or two at once");
        let busy = Seat(&team.busy);
        // SAFETY: only the lifetime is erased; `Close` below ends the phase, and waits for all who joined, before this
        // function returns or unwinds, so `work` is not called after its borrow ends.
        let erased: *const Work<'static> =
            unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) };
        // SAFETY: `busy` is ours, the last phase is closed and no member is inside (`Close` waited), so no other thread reads or
        // writes the job now.
        team.job.with_mut(|job| unsafe { *job = Some(Job { work: erased, chunks }) });
        for (worker, next) in team.next.iter().enumerate() {
            next.0.store(team.share(worker, chunks).start, Ordering::Relaxed);
        }
        let phase = (team.state.load(Ordering::Relaxed) >> PHASE) + 1;
        team.state.store(phase << PHASE | OPEN, Ordering::SeqCst);
        team.wake_all();
        let close = Close(team);
        team.claim(0, chunks, work);
        // In this order on a panic, too: what is declared last is dropped first.
        drop(close);
        drop(busy);
        assert!(!team.failed.load(Ordering::Relaxed), "a worker thread panicked");
    }
}

/// Ends a phase: no one joins any more, and all who did have left.
struct Close<'a>(&'a Team);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.next.iter().for_each(|next| next.0.store(ENDED, Ordering::Relaxed));
        self.0.state.fetch_and(!OPEN, Ordering::SeqCst);
        self.0.wait(|| self.0.state.load(Ordering::SeqCst) & ACTIVE == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Chunks;
    use std::time::Duration;

    fn with_team<R: Send>(threads: usize, f: impl FnOnce(&Lead<'_>) -> R + Send) -> R {
        let team = Team::new(threads);
        std::thread::scope(|scope| {
            for worker in 1..threads {
                let team = &team;
                scope.spawn(move || team.serve(worker));
            }
            team.lead(f)
        })
    }

    #[test]
    fn every_chunk_runs_once_in_every_phase() {
        for threads in 1..5 {
            let mut hits = vec![0u32; 1000];
            with_team(threads, |lead| {
                for round in 1..200 {
                    let chunks = Chunks::new(&mut hits, 7);
                    lead.phase(chunks.count(), &|_, c| chunks.take(c).iter_mut().for_each(|h| *h += 1));
                    assert!(hits.iter().all(|&h| h == round));
                }
            });
        }
    }

    #[test]
    fn phases_see_what_earlier_phases_wrote_also_after_a_sleep() {
        let mut data = vec![1u64; 64];
        with_team(3, |lead| {
            for round in 0..20 {
                let sum: u64 = data.iter().sum();
                let chunks = Chunks::new(&mut data, 1);
                lead.phase(64, &|_, c| chunks.take(c)[0] = sum / 64 + 1);
                if round % 5 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        assert!(data.iter().all(|&v| v == 21));
    }

    #[test]
    fn a_panic_in_a_chunk_reaches_the_leader_and_frees_the_members() {
        for bad in [0, 40] {
            let result = catch_unwind(|| {
                with_team(3, |lead| lead.phase(64, &|_, c| assert!(c != bad, "chunk {bad}")));
            });
            assert!(result.is_err());
        }
    }
}
