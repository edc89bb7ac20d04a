//! The thread team in every order that its memory accesses can take, as `loom` goes through them:
//! `RUSTFLAGS="--cfg loom" cargo test -p tokki-quant --release --test loom_team`.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "tests")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use tokki_quant::team::Team;

/// Every order with so many preemptions: more than two hardly ever find more, and take hours.
fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

#[test]
fn a_member_and_a_leader_run_every_chunk_once() {
    model(|| {
        let team = Arc::new(Team::new(2));
        let member = {
            let team = Arc::clone(&team);
            thread::spawn(move || team.serve(1))
        };
        team.lead(|lead| {
            for _ in 0..2 {
                // What the closure borrows ends with the phase; a call after it is what loom would see as a leak.
                let hits: Vec<_> = (0..2).map(|_| AtomicUsize::new(0)).collect();
                lead.phase(2, &|_, chunk| {
                    hits[chunk].fetch_add(1, Ordering::Relaxed);
                });
                assert!(hits.iter().all(|hit| hit.load(Ordering::Relaxed) == 1));
            }
        });
        member.join().unwrap();
    });
}

#[test]
fn what_a_phase_wrote_is_seen_after_it() {
    model(|| {
        let team = Arc::new(Team::new(2));
        let member = {
            let team = Arc::clone(&team);
            thread::spawn(move || team.serve(1))
        };
        let cells: Vec<_> = (0..2).map(|_| loom::cell::UnsafeCell::new(0)).collect();
        struct Shared<'a>(&'a [loom::cell::UnsafeCell<u32>]);
        // SAFETY: each chunk writes its own cell; loom would report two accesses at once.
        unsafe impl Sync for Shared<'_> {}
        impl Shared<'_> {
            fn count(&self, chunk: usize) {
                // SAFETY: as above.
                self.0[chunk].with_mut(|cell| unsafe { *cell += 1 });
            }
        }
        let shared = Shared(&cells);
        team.lead(|lead| lead.phase(2, &|_, chunk| shared.count(chunk)));
        for cell in &cells {
            // SAFETY: the phase is over.
            assert_eq!(cell.with(|cell| unsafe { *cell }), 1);
        }
        member.join().unwrap();
    });
}

#[test]
fn a_member_that_comes_late_or_never_delays_nothing() {
    model(|| {
        let team = Arc::new(Team::new(3));
        let member = {
            let team = Arc::clone(&team);
            thread::spawn(move || team.serve(2))
        };
        let hits = AtomicUsize::new(0);
        team.lead(|lead| {
            lead.phase(2, &|_, _| {
                hits.fetch_add(1, Ordering::Relaxed);
            })
        });
        assert_eq!(hits.load(Ordering::Relaxed), 2);
        member.join().unwrap();
    });
}
