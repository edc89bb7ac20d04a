//! What an engine's threads share, in every order that their memory accesses can take, as `loom` goes through them: the bytes that
//! models divide among themselves, and the queue with its counts. `scripts/long/team` builds this with the two files alone, since other
//! crates do not build for a model.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "tests")]

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::mpsc::channel;
use loom::thread;
use std::sync::Arc;
use std::time::Duration;
use tokki_shared::budget::SharedBudget;
use tokki_shared::gauges::{Gauges, Load};

/// Every order with so many preemptions.
fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

#[test]
fn two_models_never_have_more_than_there_is() {
    model(3, || {
        let whole = SharedBudget::new(3);
        let (one, two) = (whole.part(1, 3, Duration::ZERO).unwrap(), whole.part(1, 3, Duration::ZERO).unwrap());
        let greedy = |budget: Arc<tokki_shared::budget::Budget>| {
            move || {
                // Two of three: the one that is sure, and the one that is anybody's.
                let got = budget.take(1) as usize + budget.take(1) as usize;
                assert!(got >= 1, "it is sure of one");
                if got == 2 {
                    budget.give_back(1);
                }
                got
            }
        };
        let other = thread::spawn(greedy(Arc::clone(&two)));
        let got = greedy(Arc::clone(&one))() + other.join().unwrap();
        assert!((3..=4).contains(&got), "{got}: one of them had to wait, or came later");
        assert_eq!((one.used(), two.used(), one.free(), two.free()), (1, 1, 1, 1));
    });
}

#[test]
fn a_newcomer_is_given_what_it_waits_for_while_the_other_takes_on() {
    model(2, || {
        let whole = SharedBudget::new(2);
        let first = whole.part(1, 2, Duration::ZERO).unwrap();
        assert!(first.take(2));
        let (ask, asked) = channel();
        let ask = loom::sync::Mutex::new(ask);
        first.when_asked(move || drop(ask.lock().unwrap().send(())));
        let newcomer = {
            let whole = Arc::clone(&whole);
            thread::spawn(move || whole.part(1, 2, Duration::MAX).unwrap())
        };
        // The thread of the first: it gives when it is asked, and would take more at any time.
        while first.used() > 1 {
            asked.recv().unwrap();
            let rest = first.used() - first.asked();
            while first.used() > rest {
                first.give_back(1);
            }
            first.answered();
            assert!(!first.take(1) || first.used() == 1, "what was promised is not taken again");
        }
        let second = newcomer.join().unwrap();
        assert!(second.take(1) && !first.take(1) && !second.take(1));
        assert_eq!(whole.used(), 2);
    });
}

#[test]
fn what_enters_the_queue_leaves_it_once_whoever_gives_up() {
    model(3, || {
        let gauges = Arc::new(Gauges::default());
        let (send, jobs) = channel();
        // One place to run in, one to wait in.
        let caller = |send: loom::sync::mpsc::Sender<Arc<AtomicBool>>, gauges: Arc<Gauges>| {
            move || {
                if gauges.enter(1, 1, 1).is_ok() {
                    let cancelled = Arc::new(AtomicBool::new(false));
                    send.send(Arc::clone(&cancelled)).unwrap();
                    cancelled.store(true, Ordering::Relaxed);
                    return 1;
                }
                0
            }
        };
        let other = thread::spawn(caller(send.clone(), Arc::clone(&gauges)));
        let scheduler = {
            let gauges = Arc::clone(&gauges);
            thread::spawn(move || {
                let mut served = 0;
                while let Ok(cancelled) = jobs.recv() {
                    served += 1;
                    let gone = cancelled.load(Ordering::Relaxed);
                    gauges.change(|load| {
                        load.leave(1, false);
                        load.running += usize::from(!gone);
                    });
                    let load = gauges.load();
                    assert!(load.running <= 1 && load.waiting <= 1, "{load:?}");
                    if !gone {
                        gauges.change(|load| load.running -= 1);
                    }
                }
                served
            })
        };
        let entered = caller(send, Arc::clone(&gauges))() + other.join().unwrap();
        assert_eq!((scheduler.join().unwrap(), gauges.load()), (entered, Load::default()));
    });
}
