//! The engine: many requests at once, each with what it would have got alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use tokki::engine::{
    Count, Engine, EngineOptions, Event, FinishReason, Generation, Llm, Options, Request, Session, Stats, Submission,
    Wanted,
};
use tokki::internals::model::Model;
use tokki::internals::parallel::Pool;
use tokki::internals::sample::{Form, Params, Sampler};
use tokki_quant::attention::KvKind;

const OPTIONS: Options = Options { context: 512, kv: KvKind::F16, batch: 512, read_ahead: 0, expand_latents: false };

fn model() -> Arc<Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf");
    Arc::new(Model::open(&path).unwrap())
}

fn engine(parallel: usize, queue: usize, pages: usize) -> Engine {
    let llm = Arc::new(Llm::new(model()).unwrap());
    let shape = tokki::internals::CacheShape::new(&llm.model().spec, KvKind::F16);
    let options = EngineOptions {
        session: OPTIONS,
        parallel,
        queue,
        cache_bytes: pages * shape.page_bytes(),
        shared: None,
        disk: None,
    };
    Engine::start(llm, Arc::new(Pool::new(2).unwrap()), options).unwrap()
}

fn wanted(seed: u64, max_tokens: usize) -> Wanted {
    let params = Params { temperature: 1.0, ..Params::default() };
    Wanted { max_tokens: Some(max_tokens), ignore_eos: true, ..Wanted::plain(Sampler::new(params, seed).unwrap()) }
}

fn prompt(number: usize, length: usize) -> Vec<u32> {
    // The first 200 tokens are common to all.
    (0..length).map(|i| if i < 200 { i * 31 % 250 } else { (i * 17 + number * 7) % 250 } as u32 + 3).collect()
}

/// A request under way.
struct Asked {
    events: Receiver<Event>,
    cancelled: Arc<AtomicBool>,
}

fn ask(engine: &Engine, prompt: Vec<u32>, choices: Vec<Wanted>) -> tokki::error::Result<Asked> {
    let (sender, events) = channel();
    let cancelled = Arc::new(AtomicBool::new(false));
    engine.submit(Submission {
        prompt,
        choices,
        priority: 0,
        client: 0,
        reuse: true,
        follows: false,
        events: Box::new(move |event| drop(sender.send(event))),
        cancelled: Arc::clone(&cancelled),
    })?;
    Ok(Asked { events, cancelled })
}

/// The texts of all answers, and what they took.
fn all(asked: Asked, choices: usize) -> Vec<(String, Stats)> {
    let mut texts = vec![String::new(); choices];
    let mut stats = vec![Stats::default(); choices];
    let mut open = choices;
    while open > 0 {
        match asked.events.recv().unwrap() {
            Event::Part { choice, part, .. } => texts[choice].push_str(&part.text),
            Event::Done { choice, stats: took, .. } => {
                stats[choice] = took;
                open -= 1;
            }
            Event::Failed(error) => panic!("{error}"),
            Event::Prefill { .. } | Event::Token { .. } => {}
        }
    }
    texts.into_iter().zip(stats).collect()
}

/// What one session of its own gives.
fn alone(prompt: Vec<u32>, wanted: Wanted) -> String {
    let llm = Llm::new(model()).unwrap();
    let mut session = Session::new(Arc::clone(llm.model()), Arc::new(Pool::new(1).unwrap()), OPTIONS);
    let request = Request { prompt, wanted };
    let generation = Generation::start(&mut session, llm.tokenizer(), request, &mut |_, _| {}).unwrap();
    generation.map(|part| part.unwrap().text).collect()
}

#[test]
fn requests_together_get_what_each_gets_alone() {
    let engine = engine(8, 100, 60);
    let requests: Vec<(Vec<u32>, u64, usize)> =
        (0..12).map(|i| (prompt(i, 3 + i * 37), i as u64, 5 + i * 9 % 40)).collect();
    let start = |(prompt, seed, most): &(Vec<u32>, u64, usize)| {
        ask(&engine, prompt.clone(), vec![wanted(*seed, *most)]).unwrap()
    };
    let asked: Vec<Asked> = requests.iter().map(start).collect();
    for ((prompt, seed, most), asked) in requests.iter().zip(asked) {
        let (text, stats) = all(asked, 1).remove(0);
        assert_eq!(text, alone(prompt.clone(), wanted(*seed, *most)), "seed {seed}");
        assert_eq!((stats.tokens, stats.finish), (*most, Some(FinishReason::Length)));
    }
}

#[test]
fn a_cache_that_is_too_small_for_all_costs_time_only() {
    // Two conversations fit; five run.
    let engine = engine(5, 100, 9);
    let requests: Vec<Vec<u32>> = (0..5).map(|i| prompt(i, 180 + 10 * i)).collect();
    let asked: Vec<Asked> = requests.iter().map(|p| ask(&engine, p.clone(), vec![wanted(3, 200)]).unwrap()).collect();
    for (prompt, asked) in requests.iter().zip(asked) {
        assert_eq!(all(asked, 1)[0].0, alone(prompt.clone(), wanted(3, 200)));
    }
    assert!(engine.gauges().total(Count::Preemptions) > 0);
}

#[test]
fn a_second_turn_reads_only_what_is_new() {
    let engine = engine(4, 10, 40);
    let first = all(ask(&engine, prompt(1, 300), vec![wanted(1, 20)]).unwrap(), 1).remove(0);
    assert_eq!(first.1.cached_tokens, 0);
    let second = all(ask(&engine, prompt(1, 310), vec![wanted(1, 5)]).unwrap(), 1).remove(0);
    assert_eq!(second.1.cached_tokens, 300);
    assert_eq!(second.0, alone(prompt(1, 310), wanted(1, 5)));
    // Another one shares the beginning.
    let other = all(ask(&engine, prompt(2, 260), vec![wanted(1, 5)]).unwrap(), 1).remove(0);
    assert_eq!(other.1.cached_tokens, 200);
    engine.forget().unwrap();
    assert_eq!(engine.cache().0, 0);
    let again = all(ask(&engine, prompt(2, 260), vec![wanted(1, 5)]).unwrap(), 1).remove(0);
    assert_eq!((again.1.cached_tokens, again.0), (0, other.0));
}

#[test]
fn several_answers_share_one_reading() {
    let engine = engine(4, 10, 40);
    let choices = (0..3).map(|seed| wanted(seed, 12)).collect();
    let answers = all(ask(&engine, prompt(0, 250), choices).unwrap(), 3);
    for (seed, (text, _)) in answers.iter().enumerate() {
        assert_eq!(*text, alone(prompt(0, 250), wanted(seed as u64, 12)), "{seed}");
    }
    assert_eq!(engine.gauges().total(Count::PromptTokens), 250);
}

#[test]
fn a_full_queue_refuses_and_a_cancelled_request_makes_room() {
    let engine = engine(1, 1, 10);
    let long = || ask(&engine, prompt(0, 50), vec![wanted(1, 400)]);
    let running = long().unwrap();
    // It has left the queue when its first event comes.
    running.events.recv().unwrap();
    let queued = long().unwrap();
    assert!(matches!(long(), Err(tokki::Error::Busy { waiting: 1 })));
    running.cancelled.store(true, Ordering::Relaxed);
    let start = std::time::Instant::now();
    while queued.events.try_recv().is_err() {
        assert!(start.elapsed().as_secs() < 20);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // It is served now: another one may wait, and what waits may give up.
    let waiting = long().unwrap();
    assert!(matches!(long(), Err(tokki::Error::Busy { waiting: 1 })));
    waiting.cancelled.store(true, Ordering::Relaxed);
    while engine.gauges().load().waiting > 0 {
        assert!(start.elapsed().as_secs() < 20);
    }
    queued.cancelled.store(true, Ordering::Relaxed);
    while !engine.is_idle() {
        assert!(start.elapsed().as_secs() < 20);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Two answers to one request need two places; where only one is free, it has to wait.
#[test]
fn places_are_counted_by_answers() {
    let engine = engine(2, 0, 10);
    let long = |n: usize| ask(&engine, prompt(0, 50), (0..n).map(|_| wanted(1, 400)).collect());
    let first = long(1).unwrap();
    assert!(matches!(long(2), Err(tokki::Error::Busy { .. })));
    let second = long(1).unwrap();
    assert!(matches!(long(1), Err(tokki::Error::Busy { .. })));
    for running in [first, second] {
        running.cancelled.store(true, Ordering::Relaxed);
    }
}

#[test]
fn prompts_that_leave_no_room_are_refused() {
    let engine = engine(1, 1, 10);
    assert!(matches!(ask(&engine, prompt(0, 512), vec![wanted(1, 1)]), Err(tokki::Error::ContextFull { .. })));
    assert!(ask(&engine, Vec::new(), vec![wanted(1, 1)]).is_err());
    assert!(ask(&engine, prompt(0, 10), vec![wanted(1, 1), wanted(2, 1)]).is_err());
    let (_, stats) = all(ask(&engine, prompt(0, 500), vec![wanted(1, 100)]).unwrap(), 1).remove(0);
    assert_eq!((stats.finish, stats.tokens), (Some(FinishReason::Context), 12));
}

/// Where a form is complete and allows nothing but the end, the answer ends, however many tokens it was to have.
#[test]
fn a_complete_form_ends_an_answer_that_was_to_be_longer() {
    let engine = engine(2, 10, 60);
    let form = Form::Lark("start: \"ab\"".to_owned());
    let constraint = engine.llm().constraint(&form).unwrap();
    let short = Wanted { constraint: Some(Box::new(constraint)), min_tokens: 50, ignore_eos: false, ..wanted(1, 60) };
    let (text, stats) = all(ask(&engine, prompt(0, 20), vec![short]).unwrap(), 1).remove(0);
    assert_eq!((text.as_str(), stats.finish), ("ab", Some(FinishReason::Stop)));
}
