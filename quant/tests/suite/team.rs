//! Safe callers cannot break a team: whatever they do, no chunk of a phase that returns is lost or run twice.
#![cfg(not(loom))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::time::Duration;
use tokki_quant::team::Team;

/// Runs `case` under a watchdog: a hang is a failure, too.
fn within_time(case: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        case();
        drop(done);
    });
    let outcome = wait.recv_timeout(Duration::from_secs(20));
    assert!(outcome != Err(mpsc::RecvTimeoutError::Timeout), "it hangs");
    assert!(thread.join().is_ok(), "the thread panicked");
}

fn counters(n: usize) -> Vec<AtomicU32> {
    (0..n).map(|_| AtomicU32::new(0)).collect()
}

/// A team with all its members; whether `leader` was refused (by a panic).
fn refused(threads: usize, leader: impl FnOnce(&Team)) -> bool {
    let team = Team::new(threads);
    std::thread::scope(|scope| {
        for worker in 1..threads {
            let team = &team;
            scope.spawn(move || team.serve(worker));
        }
        catch_unwind(AssertUnwindSafe(|| leader(&team))).is_err()
    })
}

#[test]
fn a_second_leader_is_refused() {
    within_time(|| {
        for _ in 0..50 {
            let team = Team::new(3);
            let start = Barrier::new(2);
            let hits = [counters(64), counters(96)];
            std::thread::scope(|scope| {
                for worker in 1..3 {
                    let team = &team;
                    scope.spawn(move || team.serve(worker));
                }
                for hits in &hits {
                    let (team, start) = (&team, &start);
                    scope.spawn(move || {
                        start.wait();
                        let led = catch_unwind(AssertUnwindSafe(|| {
                            team.lead(|lead| {
                                lead.phase(hits.len(), &|_, chunk| {
                                    hits[chunk].fetch_add(1, Ordering::SeqCst);
                                });
                            });
                        }));
                        let wanted = u32::from(led.is_ok());
                        assert!(hits.iter().all(|hit| hit.load(Ordering::SeqCst) == wanted));
                    });
                }
            });
        }
    });
}

#[test]
fn a_phase_inside_a_phase_is_refused() {
    within_time(|| {
        assert!(refused(3, |team| {
            team.lead(|lead| lead.phase(16, &|_, _| lead.phase(16, &|_, _| {})));
        }));
        assert!(refused(3, |team| {
            team.lead(|lead| lead.phase(64, &|_, _| team.lead(|other| other.phase(64, &|_, _| {}))));
        }));
        // One chunk is no phase: it runs where it is.
        let inner = AtomicUsize::new(0);
        assert!(!refused(3, |team| {
            team.lead(|lead| {
                lead.phase(16, &|_, _| {
                    lead.phase(1, &|_, _| {
                        inner.fetch_add(1, Ordering::SeqCst);
                    })
                });
            });
        }));
        assert_eq!(inner.into_inner(), 16);
    });
}

#[test]
fn a_team_can_be_led_again() {
    within_time(|| {
        let team = Team::new(3);
        for _ in 0..3 {
            let hits = counters(40);
            team.lead(|lead| {
                lead.phase(40, &|_, chunk| {
                    hits[chunk].fetch_add(1, Ordering::SeqCst);
                })
            });
            assert!(hits.iter().all(|hit| hit.load(Ordering::SeqCst) == 1));
        }
    });
}

#[test]
fn workers_have_numbers_of_their_own() {
    within_time(|| {
        let team = Team::new(3);
        assert!(catch_unwind(AssertUnwindSafe(|| team.serve(0))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| team.serve(3))).is_err());
        let refusals = AtomicUsize::new(0);
        let start = Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (team, refusals, start) = (&team, &refusals, &start);
                scope.spawn(move || {
                    start.wait();
                    if catch_unwind(AssertUnwindSafe(|| team.serve(1))).is_err() {
                        refusals.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            start.wait();
            while refusals.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            team.lead(|lead| lead.phase(8, &|worker, _| assert!(worker < 3)));
        });
        assert_eq!(refusals.into_inner(), 1);
    });
}

#[test]
fn numbers_that_cannot_be_counted_are_refused() {
    within_time(|| {
        let seen = AtomicUsize::new(0);
        assert!(refused(4, |team| {
            team.lead(|lead| {
                lead.phase(usize::MAX / 2 + 3, &|_, _| assert!(seen.fetch_add(1, Ordering::SeqCst) < 1000, "enough"));
            });
        }));
        assert_eq!(seen.into_inner(), 0);
        assert!(catch_unwind(|| Team::new((1 << 15) + 1)).is_err());
        // Uneven shares of many chunks: each chunk once.
        let hits = counters(1003);
        assert!(!refused(7, |team| {
            team.lead(|lead| {
                lead.phase(1003, &|_, chunk| {
                    hits[chunk].fetch_add(1, Ordering::SeqCst);
                })
            });
        }));
        assert!(hits.iter().all(|hit| hit.load(Ordering::SeqCst) == 1));
    });
}
