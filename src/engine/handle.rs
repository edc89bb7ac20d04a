//! A model that serves many at once, as its users see it: what is asked goes to the thread that schedules.

use super::disk::Disk;
use super::gauges::{Gauges, Load};
use super::generate::check_prompt;
use super::scheduler::{Command, Scheduler};
use super::sequence::{Job, Submission};
use super::{Embedder, EngineOptions, Llm, Options, Session, not_generative, session_file};
use crate::arch::Spec;
use crate::kv::{Budget, CacheShape};
use crate::parallel::Pool;
use crate::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokki_quant::attention::TILE;

/// Bytes of the smallest cache that an engine can be started with: one whole conversation, and a page that is copied
/// because it is shared.
#[doc(hidden)]
pub fn least_cache(spec: &Spec, session: &Options) -> usize {
    let shape = CacheShape::new(spec, session.kv);
    shape.bytes(session.context) + shape.page_bytes()
}

/// A model that serves many at once.
pub struct Engine {
    llm: Arc<Llm>,
    options: EngineOptions,
    budget: Arc<Budget>,
    gauges: Arc<Gauges>,
    pool: Arc<Pool>,
    commands: Mutex<Sender<Command>>,
    next: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the engine's thread.
    ///
    /// # Errors
    /// When the thread cannot be started, the cache does not hold one conversation, or the folder on disk cannot be used.
    pub fn start(llm: Arc<Llm>, pool: Arc<Pool>, mut options: EngineOptions) -> Result<Self> {
        let longest = llm.model().spec.longest().unwrap_or(usize::MAX);
        options.session.context = options.session.context.min(longest);
        let shape = Arc::new(CacheShape::new(&llm.model().spec, options.session.kv));
        let least = least_cache(&llm.model().spec, &options.session);
        if options.cache_bytes < least {
            let found = format!("{} bytes", options.cache_bytes);
            return Err(Error::input("the cache", format!("at least {least} bytes for one conversation"), found)
                .hint("give it more memory, or use a smaller context"));
        }
        let budget = part(&options, least)?;
        let gauges: Arc<Gauges> = Arc::default();
        let (commands, inbox) = channel();
        let yields = commands.clone();
        // When the thread has ended, there is none to yield to.
        budget.when_asked(move || drop(yields.send(Command::Yield)));
        let disk = options.disk.as_ref().map(|place| Disk::open(place, llm.model(), &shape)).transpose()?.flatten();
        let shared = (Arc::clone(&budget), Arc::clone(&gauges));
        let scheduler = Scheduler::new(Arc::clone(&llm), Arc::clone(&pool), options.clone(), shape, shared, disk);
        let thread = std::thread::Builder::new().name("tokki-engine".into()).spawn(move || scheduler.serve(&inbox));
        let thread = thread.map_err(|why| Error::failed("the engine", format!("cannot start its thread: {why}")))?;
        let (next, commands) = (AtomicU64::new(1), Mutex::new(commands));
        Ok(Self { llm, options, budget, gauges, pool, commands, next, thread: Some(thread) })
    }

    /// The model.
    pub fn llm(&self) -> &Arc<Llm> {
        &self.llm
    }

    /// How it runs.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Makes vectors with this model on the same threads.
    pub fn embedder(&self) -> Embedder {
        Embedder::new(Arc::clone(self.llm.model()), Arc::clone(&self.pool), self.options.session.clone())
            .counting_in(Arc::clone(&self.gauges))
    }

    /// What it is doing.
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// Bytes of the cache that are in use, and how many there may be.
    pub fn cache(&self) -> (usize, usize) {
        (self.budget.used(), self.budget.limit())
    }

    /// Tokens of a page of the cache, and how many pages it has.
    pub fn pages(&self) -> (usize, usize) {
        let shape = CacheShape::new(&self.llm.model().spec, self.options.session.kv);
        (TILE, self.budget.limit() / shape.page_bytes().max(1))
    }

    /// Whether nothing is waiting or running.
    pub fn is_idle(&self) -> bool {
        self.gauges.load() == Load::default()
    }

    /// Puts a request into the queue. What comes of it is told to its `events`.
    ///
    /// # Errors
    /// [`Error::ContextFull`] or [`Error::Input`] for a prompt that leaves no room for an answer or answers that are too
    /// many, [`Error::Busy`] when the queue is full, [`Error::Failed`] when the model's file is no longer what it was.
    pub fn submit(&self, submission: Submission) -> Result<()> {
        let Submission { prompt, choices, priority, client, reuse, follows, events, cancelled } = submission;
        if let Some(why) = not_generative(&self.llm.model().spec) {
            return Err(Error::input("the model", "one that continues text", why));
        }
        check_prompt(&prompt, self.options.session.context)?;
        if choices.is_empty() || choices.len() > self.options.parallel {
            let wanted = format!("1 to {} answers at once", self.options.parallel);
            return Err(Error::input("n", wanted, choices.len().to_string()));
        }
        // What is known to be damaged is said before anything is promised.
        self.llm.model().gguf.intact()?;
        let open = choices.len();
        match follows {
            true => self.gauges.follow(open),
            false => {
                let entered = self.gauges.enter(open, self.options.parallel, self.options.queue);
                entered.map_err(|waiting| Error::Busy { waiting })?;
            }
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let job = Job { id, priority, client, reuse, follows, prompt, choices, open, events, cancelled, started };
        self.send(Command::Submit(Box::new(job)))
    }

    /// Writes what has been computed for `tokens` to a session file; returns how many of them that is.
    ///
    /// # Errors
    /// A file that cannot be written; the old one is then still there.
    pub fn save(&self, tokens: &[u32], path: &Path) -> Result<usize> {
        let (reply, wait) = channel();
        self.send(Command::Snapshot(tokens.to_vec(), reply))?;
        let cache = wait.recv().map_err(|_| gone())?;
        let saved = cache.len();
        let (model, pool) = (Arc::clone(self.llm.model()), Arc::clone(&self.pool));
        let session = Session::with_cache(model, pool, self.options.session.clone(), cache, tokens.to_vec());
        session_file::save(&session, serde_json::Value::Null, path)?;
        Ok(saved)
    }

    /// Takes over what a session file holds; returns its tokens.
    ///
    /// # Errors
    /// A file that is damaged or of another model, a cache that does not hold it.
    pub fn restore(&self, path: &Path) -> Result<Vec<u32>> {
        let (model, pool) = (Arc::clone(self.llm.model()), Arc::clone(&self.pool));
        let (session, _) = session_file::load(path, model, pool, self.options.session.clone())?;
        let (reply, wait) = channel();
        self.send(Command::Adopt(session.tokens().to_vec(), session.cache().clone(), reply))?;
        wait.recv().map_err(|_| gone())??;
        Ok(session.tokens().to_vec())
    }

    /// Forgets what was computed for `tokens`, as far as no other sequence builds on it.
    ///
    /// # Errors
    /// When the engine's thread is gone.
    pub fn forget_sequence(&self, tokens: &[u32]) -> Result<()> {
        let (done, wait) = channel();
        self.send(Command::Drop(tokens.to_vec(), done))?;
        wait.recv().map_err(|_| gone())
    }

    /// Forgets what past sequences have computed.
    ///
    /// # Errors
    /// When the engine's thread is gone.
    pub fn forget(&self) -> Result<()> {
        let (done, wait) = channel();
        self.send(Command::Forget(done))?;
        wait.recv().map_err(|_| gone())
    }

    fn send(&self, command: Command) -> Result<()> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).send(command).map_err(|_| gone())
    }
}

/// The part of the memory for caches that a model begins with: one conversation, and more as long as there is some.
fn part(options: &EngineOptions, least: usize) -> Result<Arc<Budget>> {
    /// Longest time that others have to give it back: a pass or two.
    const MAX_WAIT: Duration = Duration::from_secs(30);
    let Some(shared) = &options.shared else { return Ok(Budget::new(options.cache_bytes)) };
    shared.part(least, options.cache_bytes, MAX_WAIT).ok_or_else(|| {
        let wanted = format!("{least} bytes for one conversation beside those of the other open models");
        let found = format!("{} bytes for all of them", shared.limit());
        Error::input("the cache", wanted, found)
            .hint("give it more memory, or use a smaller context")
            .of(ErrorKind::OutOfMemory)
    })
}

fn gone() -> Error {
    Error::failed("the engine", "its thread has ended")
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

crate::text::opaque!(Engine);
