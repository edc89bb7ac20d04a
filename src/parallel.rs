//! The thread pool: rayon's threads, entered once per forward pass.

pub use tokki_quant::isa::Isa;

use crate::machine::Machine;
use crate::platform::process;
use crate::{Error, Result};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokki_quant::team::{Lead, Team};

/// The longest that a pool rests at a time: nothing else waits for more.
const MAX_REST: Duration = Duration::from_secs(1);

/// Threads that compute, and the instruction set that they use.
pub struct Pool {
    /// The threads of most work.
    all: Threads,
    /// Those of passes of few tokens, where they are fewer.
    few: Option<Threads>,
    isa: Isa,
    /// After each run it waits for as long as the run took.
    rests: bool,
    /// Its threads stay on a core each.
    kept: bool,
    /// Who computes: two teams on the same threads would wait for each other for ever.
    turns: Turns,
}

/// Callers that take turns, in the order in which they came: one that gives way and comes again stands behind the others.
#[derive(Default)]
pub(crate) struct Turns {
    numbers: Mutex<Numbers>,
    ended: Condvar,
}

#[derive(Default)]
struct Numbers {
    /// Of the next caller.
    next: u64,
    /// Of the one whose turn it is.
    now: u64,
}

/// One caller's turn, until it is dropped.
pub(crate) struct PoolTurn<'a>(&'a Turns);

impl Turns {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    pub(crate) fn take(&self) -> PoolTurn<'_> {
        let mut numbers = self.numbers();
        let own = numbers.next;
        numbers.next += 1;
        drop(self.ended.wait_while(numbers, |numbers| numbers.now != own).unwrap_or_else(PoisonError::into_inner));
        PoolTurn(self)
    }

    /// Whether others wait for the end of the turn that runs.
    fn wanted(&self) -> bool {
        let numbers = self.numbers();
        numbers.next > numbers.now + 1
    }
}

impl Drop for PoolTurn<'_> {
    fn drop(&mut self) {
        self.0.numbers().now += 1;
        self.0.ended.notify_all();
    }
}

/// Some threads.
struct Threads {
    /// `None` for one thread: everything then runs on the caller's own.
    rayon: Option<rayon::ThreadPool>,
    count: usize,
}

impl Threads {
    fn start(count: usize) -> Result<Self> {
        let count = count.max(1);
        let rayon = (count > 1)
            .then(|| rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(|i| format!("tokki-{i}")).build())
            .transpose()
            .map_err(|why| Error::failed("threads", format!("cannot start {count}: {why}")))?;
        Ok(Self { rayon, count })
    }

    /// Keeps each thread on its CPUs of `places`; whether the system lets them all.
    fn keep(&self, places: &[Vec<usize>]) -> bool {
        let own = |index: usize| places.get(index).is_some_and(|cpus| process::keep_on(cpus));
        let Some(rayon) = &self.rayon else { return false };
        rayon.broadcast(|thread| own(thread.index())).into_iter().all(|kept| kept)
    }
}

/// The instruction set that `TOKKI_ISA` names, else the best of this CPU.
///
/// # Errors
/// When it names none that this CPU has.
pub fn chosen_isa() -> Result<Isa> {
    std::env::var_os("TOKKI_ISA").map_or(Ok(Isa::best()), |name| named_isa(&name.to_string_lossy()))
}

/// The instruction set of that name.
fn named_isa(name: &str) -> Result<Isa> {
    Isa::by_name(name).ok_or_else(|| {
        let names: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
        let why = match Isa::why_off(name) {
            Some(why) => format!("cannot be used: {why}"),
            None => "is no instruction set of this CPU".to_owned(),
        };
        Error::usage(format!("TOKKI_ISA={name} {why}. It has: {}.", names.join(", ")))
    })
}

impl Pool {
    /// A pool of `threads >= 1` threads.
    ///
    /// # Errors
    /// When `TOKKI_ISA` names no instruction set of this CPU, or threads cannot be started.
    pub fn new(threads: usize) -> Result<Self> {
        Self::with_isa(threads, chosen_isa()?)
    }

    /// A pool that uses this instruction set.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn with_isa(threads: usize, isa: Isa) -> Result<Self> {
        Ok(Self { all: Threads::start(threads)?, few: None, isa, rests: false, kept: false, turns: Turns::default() })
    }

    /// This pool, with `threads` of their own for passes of few tokens ([`Pool::run_few`]), where that's another number: on a
    /// machine of mixed cores the small ones may help with prompts and hold up answers, or the other way round.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn with_few(self, threads: usize) -> Result<Self> {
        let few = (threads != self.all.count).then(|| Threads::start(threads)).transpose()?;
        Ok(Self { few, ..self })
    }

    /// This pool, computing half of the time at most: after each run it rests for as long as the run took, for a second at
    /// most. A machine without a strong fan stays cool that way, and a battery lasts.
    #[must_use]
    pub fn resting(self) -> Self {
        Self { rests: true, ..self }
    }

    /// This pool, its threads kept on a core each where that is better than to leave it to the system: where two of them could
    /// meet on one core, or on a core that is to be left out. For numbers of threads that nobody asked for.
    #[must_use]
    pub(crate) fn on_cores(self, machine: &Machine) -> Self {
        let keep = |threads: &Threads| machine.places(threads.count).is_some_and(|places| threads.keep(&places));
        let kept =
            [Some(&self.all), self.few.as_ref()].into_iter().flatten().map(keep).fold(false, |any, kept| any | kept);
        Self { kept, ..self }
    }

    /// Whether its threads are kept on a core each.
    pub fn is_on_cores(&self) -> bool {
        self.kept
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.all.count
    }

    /// Number of threads that make passes of few tokens.
    pub fn few_threads(&self) -> usize {
        self.few.as_ref().map_or(self.all.count, |few| few.count)
    }

    /// Number of threads that make any pass, at most.
    pub fn most_threads(&self) -> usize {
        self.threads().max(self.few_threads())
    }

    /// Whether it rests after each run.
    pub fn rests(&self) -> bool {
        self.rests
    }

    /// Whether other callers of [`Pool::run`] wait for the end of the one that runs: who has much to do can give way.
    pub fn is_wanted(&self) -> bool {
        self.turns.wanted()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Runs `f` as the leader of all threads; they help in the phases that it opens. Callers take turns, first come, first
    /// served. (`f` must not call it for the same pool.)
    pub fn run<R: Send>(&self, f: impl FnOnce(&Lead<'_>) -> R + Send) -> R {
        self.run_on(&self.all, f)
    }

    /// As [`Pool::run`] for a pass of few tokens, one for each of some conversations: memory binds it.
    pub fn run_few<R: Send>(&self, f: impl FnOnce(&Lead<'_>) -> R + Send) -> R {
        self.run_on(self.few.as_ref().unwrap_or(&self.all), f)
    }

    fn run_on<R: Send>(&self, threads: &Threads, f: impl FnOnce(&Lead<'_>) -> R + Send) -> R {
        let begin = Instant::now();
        let result = self.work(threads, f);
        if self.rests {
            std::thread::sleep(begin.elapsed().min(MAX_REST));
        }
        result
    }

    fn work<R: Send>(&self, threads: &Threads, f: impl FnOnce(&Lead<'_>) -> R + Send) -> R {
        let team = Team::new(threads.count);
        let Some(rayon) = &threads.rayon else { return team.lead(f) };
        let _turn = self.turns.take();
        let lead = Mutex::new(Some(f));
        let results = rayon.broadcast(|thread| {
            if thread.index() > 0 {
                team.serve(thread.index());
                return None;
            }
            let f = lead.lock().unwrap_or_else(PoisonError::into_inner).take();
            f.map(|f| team.lead(f))
        });
        match results.into_iter().flatten().next() {
            Some(result) => result,
            None => unreachable!("thread 0 of a broadcast leads exactly once"),
        }
    }
}

crate::text::opaque!(Pool);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use tokki_quant::share::Chunks;

    #[test]
    fn an_instruction_set_that_is_not_there_is_named_with_the_reason() {
        let told = |name| named_isa(name).map_or_else(|why| why.to_string(), |isa| isa.name().to_owned());
        assert_eq!(told("scalar"), "scalar");
        assert!(told("abacus").contains("is no instruction set of this CPU. It has: scalar"));
        match (Isa::by_name("amx"), Isa::why_off("amx")) {
            (None, Some(why)) => assert!(told("amx").contains(&format!("TOKKI_ISA=amx cannot be used: {why}. It has"))),
            (None, None) => assert!(told("amx").contains("is no instruction set")),
            (Some(_), _) => assert_eq!(told("amx"), "amx"),
        }
    }

    #[test]
    fn several_callers_take_turns() {
        let pool = Pool::new(3).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let mut data = vec![0usize; 30];
                        pool.run(|lead| {
                            let chunks = Chunks::new(&mut data, 3);
                            lead.phase(chunks.count(), &|_, c| chunks.take(c).fill(1));
                        });
                        assert_eq!(data, [1; 30]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_resting_pool_computes_half_of_the_time_at_most() {
        let pool = Pool::new(1).unwrap().resting();
        let work = Duration::from_millis(20);
        let begin = Instant::now();
        (0..3).for_each(|_| pool.run(|_| std::thread::sleep(work)));
        assert!(begin.elapsed() >= 6 * work);
    }

    #[test]
    fn passes_of_few_tokens_may_have_another_number_of_threads() {
        for (all, few, wanted) in [(4, 2, 2), (4, 1, 1), (3, 3, 3), (1, 3, 3)] {
            let pool = Pool::new(all).unwrap().with_few(few).unwrap();
            assert_eq!((pool.threads(), pool.few_threads()), (all, wanted));
            assert_eq!((pool.run(|lead| lead.threads()), pool.run_few(|lead| lead.threads())), (all, wanted));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn threads_stay_where_they_are_kept() {
        use rustix::thread::sched_getaffinity;
        let may = |set: rustix::thread::CpuSet| {
            (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect::<Vec<_>>()
        };
        let own = may(sched_getaffinity(None).unwrap());
        let places: Vec<Vec<usize>> = (0..3).map(|i| vec![own[i % own.len()]]).collect();
        let threads = Threads::start(3).unwrap();
        assert!(threads.keep(&places));
        let found = threads.rayon.as_ref().unwrap().broadcast(|_| may(sched_getaffinity(None).unwrap()));
        assert_eq!(found, places);
        // Who started them is where it was, and a CPU that is not there is refused.
        assert_eq!(may(sched_getaffinity(None).unwrap()), own);
        assert!(!threads.keep(&[vec![], vec![], vec![]]) && !threads.keep(&places[..1]));
        let pool = Pool::new(2).unwrap().on_cores(&Machine::default());
        assert!(!pool.is_on_cores());
    }

    #[test]
    fn all_threads_help_and_results_come_back() {
        for threads in 1..4 {
            let pool = Pool::new(threads).unwrap();
            for _ in 0..20 {
                let mut data = vec![0usize; 100];
                let sum: usize = pool.run(|lead| {
                    let chunks = Chunks::new(&mut data, 3);
                    lead.phase(chunks.count(), &|_, c| chunks.take(c).fill(c));
                    data.iter().sum()
                });
                assert_eq!(sum, (0..100).map(|i| i / 3).sum::<usize>());
            }
        }
    }
}
