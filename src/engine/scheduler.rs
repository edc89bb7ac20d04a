//! One thread that serves many requests with one model: continuous batching over a paged cache.
//!
//! Each pass takes one token of every answer that is being written, and a piece of a prompt that is being read, as large as
//! fits into a fraction of a second: nobody's writing stops for longer than that. Requests join and leave between passes.
//! What a request gets does not depend on who else is served, to the bit: rows of a pass do not see each other.
//!
//! Pages of the cache come from one budget. What ended sequences have computed stays in a [`PrefixTree`] until its pages are
//! needed; when even that is empty, the youngest sequence gives its pages up and is read again later. Nobody is refused
//! what was admitted.

use super::answer::{Answer, Stats};
use super::gauges::{Count, Gauges};
use super::generate::check_prompt;
use super::sequence::{Event, Job, Sequence, Submission};
use super::{Embedder, Llm, Options, Session, not_generative, saved};
use crate::arch::Spec;
use crate::forward::{Scratch, Setting, Span, Want, forward};
use crate::kv::{Budget, CacheShape, KvCache, PrefixTree};
use crate::parallel::Pool;
use crate::{Error, Result};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokki_quant::attention::TILE;

/// Longest piece of a prompt while others are waiting for their next token.
const SHARED_PIECE: Duration = Duration::from_millis(150);
/// The same while nobody is.
const LONE_PIECE: Duration = Duration::from_millis(500);
/// How fast a machine multiplies until a pass has told: on the slow side, as a piece that is too long keeps others waiting.
const GUESSED_MACS_PER_SECOND: f64 = 20e9;
/// Fewest tokens of a piece: below that a pass costs nearly as much as a larger one.
const MIN_PIECE: usize = 16;

/// How an [`Engine`] runs.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Of each conversation: its context above all.
    pub session: Options,
    /// Answers that are written at the same time.
    pub parallel: usize,
    /// Requests that wait at most; more are refused.
    pub queue: usize,
    /// Bytes of the cache, all conversations and what is kept of past ones together.
    pub cache_bytes: usize,
}

/// Bytes of the smallest cache that an engine can be started with: one whole conversation, and a page that is copied
/// because it is shared.
pub fn least_cache(spec: &Spec, session: &Options) -> usize {
    let shape = CacheShape::new(spec, session.kv);
    shape.bytes(session.context) + shape.page_bytes()
}

enum Command {
    Submit(Box<Job>),
    Forget(Sender<()>),
    /// What is known of these tokens.
    Snapshot(Vec<u32>, Sender<KvCache>),
    /// Keeps what was computed for these tokens elsewhere.
    Adopt(Vec<u32>, KvCache, Sender<Result<()>>),
    /// Forgets these tokens.
    Drop(Vec<u32>, Sender<()>),
    Stop,
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
    /// When the thread cannot be started, or the cache does not hold one conversation.
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
        let budget = Budget::new(options.cache_bytes);
        let gauges: Arc<Gauges> = Arc::default();
        let (commands, inbox) = channel();
        let scheduler = Scheduler {
            llm: Arc::clone(&llm),
            pool: Arc::clone(&pool),
            options: options.clone(),
            shape,
            budget: Arc::clone(&budget),
            gauges: Arc::clone(&gauges),
            tree: PrefixTree::new(),
            scratch: Scratch::default(),
            waiting: Vec::new(),
            jobs: Vec::new(),
            running: Vec::new(),
            rows_per_second: GUESSED_MACS_PER_SECOND / (llm.model().cost().layer_macs as f64).max(1.0),
            passes: 0,
        };
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
    }

    /// What it is doing.
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// Bytes of the cache that are in use, and how many there may be.
    pub fn cache(&self) -> (usize, usize) {
        (self.budget.used(), self.budget.limit())
    }

    /// Whether nothing is waiting or running.
    pub fn is_idle(&self) -> bool {
        self.gauges.waiting.load(Ordering::Acquire) == 0 && self.gauges.running.load(Ordering::Acquire) == 0
    }

    /// Puts a request into the queue. What comes of it is told to its `events`.
    ///
    /// # Errors
    /// [`Error::ContextFull`] or [`Error::Input`] for a prompt that leaves no room for an answer or answers that are too
    /// many, [`Error::Busy`] when the queue is full.
    pub fn submit(&self, submission: Submission) -> Result<()> {
        let Submission { prompt, choices, priority, client, events, cancelled } = submission;
        if let Some(why) = not_generative(&self.llm.model().spec) {
            return Err(Error::input("the model", "one that continues text", why));
        }
        check_prompt(&prompt, self.options.session.context)?;
        if choices.is_empty() || choices.len() > self.options.parallel {
            let wanted = format!("1 to {} answers at once", self.options.parallel);
            return Err(Error::input("n", wanted, choices.len().to_string()));
        }
        let limit = self.options.queue + self.options.parallel;
        let enter = |waiting: usize| (waiting < limit).then_some(waiting + 1);
        let entered = self.gauges.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter);
        if let Err(waiting) = entered {
            return Err(Error::Busy { waiting });
        }
        let open = choices.len();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let job = Job { id, priority, client, prompt, choices, open, events, cancelled, started };
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
        saved::save(&session, serde_json::Value::Null, path)?;
        Ok(saved)
    }

    /// Takes over what a session file holds; returns its tokens.
    ///
    /// # Errors
    /// A file that is damaged or of another model, a cache that does not hold it.
    pub fn restore(&self, path: &Path) -> Result<Vec<u32>> {
        let (model, pool) = (Arc::clone(self.llm.model()), Arc::clone(&self.pool));
        let (session, _) = saved::load(path, model, pool, self.options.session.clone())?;
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

struct Scheduler {
    llm: Arc<Llm>,
    pool: Arc<Pool>,
    options: EngineOptions,
    shape: Arc<CacheShape>,
    budget: Arc<Budget>,
    gauges: Arc<Gauges>,
    tree: PrefixTree,
    scratch: Scratch,
    waiting: Vec<Job>,
    /// Admitted.
    jobs: Vec<Job>,
    /// The answers of `jobs`, oldest first.
    running: Vec<Sequence>,
    /// How fast prompts are read.
    rows_per_second: f64,
    passes: u64,
}

impl Scheduler {
    fn serve(mut self, inbox: &Receiver<Command>) {
        /// How often cancelled requests are looked for while nothing runs.
        const IDLE: Duration = Duration::from_millis(100);
        loop {
            let idle = self.running.is_empty() && self.waiting.is_empty();
            let first = if idle {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else if self.running.is_empty() {
                inbox.recv_timeout(IDLE)
            } else {
                inbox.try_recv().map_err(|why| match why {
                    std::sync::mpsc::TryRecvError::Empty => RecvTimeoutError::Timeout,
                    std::sync::mpsc::TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            };
            let mut next = match first {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            while let Some(command) = next {
                if self.obey(command) {
                    return;
                }
                next = inbox.try_recv().ok();
            }
            self.drop_cancelled();
            self.admit();
            self.pass();
            self.gauges.running.store(self.running.len(), Ordering::Release);
        }
    }

    /// Does what is asked for; true when that is to stop.
    fn obey(&mut self, command: Command) -> bool {
        // Whoever asked may be gone by the time of the answer.
        match command {
            Command::Submit(job) => self.waiting.push(*job),
            Command::Forget(done) => {
                self.tree.clear();
                let _ = done.send(());
            }
            Command::Snapshot(tokens, reply) => {
                let _ = reply.send(self.tree.find(&tokens, tokens.len(), &self.shape, &self.budget));
            }
            Command::Adopt(tokens, cache, reply) => {
                let _ = reply.send(self.adopt(&tokens, &cache));
            }
            Command::Drop(tokens, done) => {
                self.tree.forget(&tokens);
                let _ = done.send(());
            }
            Command::Stop => return true,
        }
        false
    }

    /// Keeps what was computed elsewhere; what was not used for the longest time gives way.
    fn adopt(&mut self, tokens: &[u32], cache: &KvCache) -> Result<()> {
        let needed = cache.pages().len() * self.shape.page_bytes() + self.shape.state_bytes();
        while needed > self.budget.free() && self.tree.forget_one() {}
        let cache = cache.copy_within(&self.budget)?;
        self.tree.keep(tokens, &cache);
        Ok(())
    }

    /// Lets go of what nobody waits for any more.
    fn drop_cancelled(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain(|job| !job.cancelled.load(Ordering::Relaxed));
        self.gauges.waiting.fetch_sub(before - self.waiting.len(), Ordering::AcqRel);
        let gone: Vec<u64> =
            self.jobs.iter().filter(|job| job.cancelled.load(Ordering::Relaxed)).map(|job| job.id).collect();
        gone.into_iter().for_each(|id| self.end_job(id));
    }

    /// Takes a job and its sequences out; what they computed is kept.
    fn end_job(&mut self, id: u64) {
        self.jobs.retain(|job| job.id != id);
        self.retire(|sequence| sequence.job == id);
    }

    /// Takes out sequences; what they computed is kept.
    fn retire(&mut self, gone: impl Fn(&Sequence) -> bool) {
        for sequence in self.running.extract_if(.., |sequence| gone(sequence)) {
            self.tree.keep(&sequence.tokens, &sequence.cache);
        }
    }

    fn fail_job(&mut self, id: u64, error: Error) {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.id == id) {
            (job.events)(Event::Failed(error));
        }
        self.end_job(id);
    }

    /// Admits waiting requests while there is room: higher priority first, then whoever has the fewest answers running,
    /// then the first to come.
    fn admit(&mut self) {
        loop {
            let begun = self.running.len() + self.jobs.iter().map(|job| job.choices.len()).sum::<usize>();
            let running_of = |client| self.jobs.iter().filter(|job| job.client == client).count();
            let rank = |job: &&Job| (-i64::from(job.priority), running_of(job.client), job.id);
            let fits = |job: &&Job| begun + job.choices.len() <= self.options.parallel && self.has_pages(job);
            let Some(id) = self.waiting.iter().filter(fits).min_by_key(rank).map(|job| job.id) else { return };
            let Some(at) = self.waiting.iter().position(|job| job.id == id) else { return };
            let job = self.waiting.remove(at);
            self.gauges.running.fetch_add(1, Ordering::AcqRel);
            self.gauges.waiting.fetch_sub(1, Ordering::AcqRel);
            self.begin(job);
        }
    }

    /// Whether the pages that sequences hold leave room for a prompt. (What the tree holds gives way.)
    fn has_pages(&self, job: &Job) -> bool {
        let held: usize = self.running.iter().map(|s| s.tokens.len().max(s.cache.len()).div_ceil(TILE)).sum();
        let needed = (job.prompt.len() + 1).div_ceil(TILE);
        let states = (self.running.len() + 1) * self.shape.state_bytes();
        self.running.is_empty() || (held + needed + 1) * self.shape.page_bytes() + states <= self.budget.limit()
    }

    fn begin(&mut self, mut job: Job) {
        let wanted = job.choices.remove(0);
        job.started = Instant::now();
        let stats = Stats { prompt_tokens: job.prompt.len(), ..Stats::default() };
        let answer = Answer::new(self.llm.tokenizer(), wanted, stats);
        let mut sequence = Sequence {
            job: job.id,
            choice: 0,
            tokens: job.prompt.clone(),
            // The last token is always computed, for its logits.
            cache: self.tree.find(&job.prompt[..job.prompt.len() - 1], job.prompt.len(), &self.shape, &self.budget),
            answer,
            untold: Vec::new(),
            began: job.started,
        };
        let cached = sequence.cache.len();
        sequence.answer.stats_mut().cached_tokens = cached;
        self.gauges.add(Count::Requests, 1);
        self.gauges.add(Count::PromptTokens, job.prompt.len() as u64);
        self.gauges.add(Count::CachedTokens, cached as u64);
        (job.events)(Event::Prefill { done: cached, total: job.prompt.len(), cached, seconds: 0.0 });
        self.jobs.push(job);
        self.running.push(sequence);
    }

    /// How many tokens of each running sequence the next pass takes: WHO DECIDES THE BATCH.
    fn compose(&mut self) -> Vec<(usize, usize)> {
        // What a conversation outgrows is read again, as what was given up to others is.
        self.running.iter_mut().for_each(|sequence| sequence.cache.aim(sequence.tokens.len()));
        let writing = self.running.iter().filter(|s| s.pending() == 1).count();
        let lone = writing == 0 && self.waiting.is_empty();
        let piece = if lone { LONE_PIECE } else { SHARED_PIECE };
        let most = self.options.session.batch;
        let mut left = ((piece.as_secs_f64() * self.rows_per_second) as usize).clamp(MIN_PIECE, most.max(MIN_PIECE));
        // A page's worth of tokens that somebody else has computed by now is not computed again.
        for sequence in self.running.iter_mut().filter(|sequence| sequence.pending() > TILE) {
            let (known, len) = (&sequence.tokens[..sequence.tokens.len() - 1], sequence.tokens.len());
            if self.tree.known(known, len, &self.shape) >= sequence.cache.len() + TILE {
                sequence.cache = self.tree.find(known, len, &self.shape, &self.budget);
            }
        }
        let mut reading: Vec<usize> = (0..self.running.len()).filter(|&i| self.running[i].pending() > 1).collect();
        // Short prompts do not wait for long ones, and long ones do get on.
        if self.passes.is_multiple_of(2) {
            reading.sort_by_key(|&i| self.running[i].pending());
        }
        let mut rows: Vec<(usize, usize)> =
            (0..self.running.len()).filter(|&i| self.running[i].pending() == 1).map(|i| (i, 1)).collect();
        for index in reading {
            let n = self.to_border(index, self.running[index].pending().min(left));
            if n > 0 {
                rows.push((index, n));
                left -= n;
            }
        }
        rows.sort_unstable();
        rows
    }

    /// At most `n` tokens of a prompt, of models with a recurrent state only as far as the last page's border within it: the
    /// next message often differs from this prompt's last tokens, and the state there is what it can begin with.
    fn to_border(&self, index: usize, n: usize) -> usize {
        let sequence = &self.running[index];
        let (from, end) = (sequence.cache.len(), sequence.tokens.len());
        let border = (end - 1) / TILE * TILE;
        let cut = self.shape.state_len() > 0 && from < border && from + n > border;
        if cut { border - from } else { n }
    }

    /// Makes room in the cache for these rows: past sequences give way, then the youngest running ones. Returns the rows
    /// that can be computed.
    fn make_room(&mut self, rows: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
        let mut granted: Vec<(usize, usize)> = Vec::new();
        for (index, n) in rows {
            while self.running[index].cache.missing(n) > self.budget.free() {
                if self.tree.forget_one() {
                    continue;
                }
                let youngest = (index + 1..self.running.len()).rev().find(|&i| !self.running[i].cache.is_empty());
                let Some(youngest) = youngest else { break };
                self.running[youngest].cache.truncate(0);
                self.gauges.add(Count::Preemptions, 1);
            }
            if self.running[index].cache.reserve(n).is_ok() {
                granted.push((index, n));
            }
        }
        granted
    }

    /// One pass over the model, and what follows from it.
    fn pass(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let rows = self.compose();
        let rows = self.make_room(rows);
        if rows.is_empty() {
            // Only possible where one sequence alone is more than the cache.
            if let Some(id) = self.running.first().map(|s| s.job) {
                let full = Error::ContextFull {
                    needed: self.running[0].tokens.len(),
                    available: self.budget.limit() / self.shape.page_bytes().max(1) * TILE,
                };
                self.fail_job(id, full);
            }
            return;
        }
        let start = Instant::now();
        match self.compute(&rows) {
            Ok(logits) => self.advance(&rows, logits),
            // Whoever it was for is gone: the next round lets go of it.
            Err(Error::Interrupted) => {}
            Err(error) => {
                let text = error.to_string();
                let ids: Vec<u64> = self.jobs.iter().map(|job| job.id).collect();
                ids.into_iter().for_each(|id| self.fail_job(id, Error::failed("the model", text.clone())));
            }
        }
        let n: usize = rows.iter().map(|row| row.1).sum();
        if n > MIN_PIECE {
            let rate = n as f64 / start.elapsed().as_secs_f64().max(1e-6);
            self.rows_per_second = 0.7 * self.rows_per_second + 0.3 * rate;
        }
        self.passes += 1;
        self.gauges.add(Count::Passes, 1);
        self.gauges.add(Count::Rows, rows.len() as u64);
    }

    /// The logits after the last token of every sequence that is computed to its end, in the order of `rows`.
    fn compute(&mut self, rows: &[(usize, usize)]) -> Result<Vec<f32>> {
        let model = self.llm.model();
        // A pass that is for one request only ends as soon as nobody waits for it.
        let first = self.running[rows[0].0].job;
        let lone = rows.iter().all(|&(index, _)| self.running[index].job == first);
        let owner = self.jobs.iter().find(|job| lone && job.id == first).map(|job| Arc::clone(&job.cancelled));
        let never = AtomicBool::new(false);
        let read_ahead = self.options.session.read_ahead;
        let cancel = owner.as_deref().unwrap_or(&never);
        let setting =
            Setting { model, pool: &self.pool, read_ahead, expand_latents: false, cancel, vectors: false, trace: None };
        let mut spans = Vec::with_capacity(rows.len());
        let mut chosen = rows.iter().peekable();
        for (index, sequence) in self.running.iter_mut().enumerate() {
            let Some(&&(_, n)) = chosen.peek().filter(|row| row.0 == index) else { continue };
            chosen.next();
            let from = sequence.cache.len();
            let want = if from + n == sequence.tokens.len() { Want::Last } else { Want::Nothing };
            spans.push(Span { cache: &mut sequence.cache, tokens: &sequence.tokens[from..from + n], want });
        }
        let logits = forward(&setting, &mut self.scratch, &mut spans)?.to_vec();
        // Nothing that was computed with a part of a model is believed.
        if let Err(error) = model.gguf.intact() {
            for &(index, n) in rows {
                let cache = &mut self.running[index].cache;
                cache.truncate(cache.len() - n);
            }
            return Err(error);
        }
        Ok(logits)
    }

    /// Chooses the next tokens, all sequences at the same time, and tells what happened.
    fn advance(&mut self, rows: &[(usize, usize)], mut logits: Vec<f32>) {
        let vocab = self.llm.model().spec.vocab;
        let mut logits = logits.chunks_exact_mut(vocab);
        let (mut chosen, mut copies) = (Vec::new(), Vec::new());
        for &(index, n) in rows {
            if n > 1 || self.running[index].answer.stats().tokens == 0 {
                self.read(index);
            }
            if self.running[index].pending() > 0 {
                continue;
            }
            let Some(logits) = logits.next() else { break };
            copies.extend(self.fork(index).map(|fork| (fork, logits.to_vec())));
            chosen.push((index, logits));
        }
        chosen.extend(copies.iter_mut().map(|(index, logits)| (*index, logits.as_mut_slice())));
        let mut ended = Vec::new();
        for (index, next) in self.choose(chosen) {
            let id = self.running[index].job;
            if let Err(error) = next.map(|next| self.tell(index, next)) {
                ended.push((id, Some(error)));
            }
        }
        let done: Vec<u64> = self.jobs.iter().filter(|job| job.open == 0).map(|job| job.id).collect();
        ended.extend(done.into_iter().map(|id| (id, None)));
        for (id, error) in ended {
            match error {
                Some(error) => self.fail_job(id, error),
                None => self.end_job(id),
            }
        }
        self.retire(|sequence| sequence.answer.is_finished());
    }

    /// A piece of a prompt has been read.
    fn read(&mut self, index: usize) {
        let sequence = &mut self.running[index];
        if sequence.pending() <= TILE {
            sequence.cache.checkpoint();
        }
        let whole = sequence.cache.len() / TILE * TILE;
        self.tree.keep(&sequence.tokens[..whole], &sequence.cache);
        if let Some(job) = self.jobs.iter_mut().find(|job| job.id == sequence.job) {
            let (total, cached) = (job.prompt.len(), sequence.answer.stats().cached_tokens);
            let done = sequence.cache.len().min(total);
            let seconds = job.started.elapsed().as_secs_f64();
            (job.events)(Event::Prefill { done, total, cached, seconds });
        }
    }

    /// Begins the other answers of a request whose prompt has just been read, on the same pages. Returns where they run.
    fn fork(&mut self, index: usize) -> Range<usize> {
        let (id, first) = (self.running[index].job, self.running.len());
        let Some(at) = self.jobs.iter().position(|job| job.id == id) else { return first..first };
        for (number, wanted) in std::mem::take(&mut self.jobs[at].choices).into_iter().enumerate() {
            let sequence = &self.running[index];
            let stats = sequence.answer.stats().clone();
            let answer = Answer::new(self.llm.tokenizer(), wanted, stats);
            let (tokens, cache) = (sequence.tokens.clone(), sequence.cache.clone());
            let (began, untold) = (sequence.began, Vec::new());
            let fork = Sequence { job: id, choice: number + 1, tokens, cache, answer, untold, began };
            self.running.push(fork);
        }
        first..self.running.len()
    }

    /// The next token of each of these sequences, from the logits after its last one. Choosing takes as long as a part of a pass
    /// where vocabularies are large or answers have a form, so all threads of the pool take part.
    fn choose(&mut self, mut chosen: Vec<(usize, &mut [f32])>) -> Vec<(usize, Result<Option<u32>>)> {
        let now = Instant::now();
        chosen.sort_by_key(|(index, _)| *index);
        let mut chosen = chosen.into_iter().peekable();
        let mut turns = Vec::new();
        for (index, sequence) in self.running.iter_mut().enumerate() {
            let Some((_, logits)) = chosen.next_if(|(wanted, _)| *wanted == index) else { continue };
            let Some(job) = self.jobs.iter().find(|job| job.id == sequence.job) else { continue };
            let stats = sequence.answer.stats_mut();
            if stats.tokens == 0 {
                stats.prefill_s = (now - job.started).as_secs_f64();
                sequence.began = now;
            }
            stats.decode_s = (now - sequence.began).as_secs_f64();
            let room = self.options.session.context.saturating_sub(sequence.tokens.len());
            turns.push(Mutex::new(Turn { index, sequence, logits, room, next: Ok(None) }));
        }
        match turns.as_slice() {
            [] => {}
            [one] => Turn::take(one),
            turns => self.pool.run(|lead| lead.phase(turns.len(), &|_, turn| Turn::take(&turns[turn]))),
        }
        let turns = turns.into_iter().map(|turn| turn.into_inner().unwrap_or_else(PoisonError::into_inner));
        turns.map(|turn| (turn.index, turn.next)).collect()
    }

    /// Tells what came of a sequence's next token.
    fn tell(&mut self, index: usize, next: Option<u32>) {
        let sequence = &mut self.running[index];
        let Some(job) = self.jobs.iter_mut().find(|job| job.id == sequence.job) else { return };
        let choice = sequence.choice;
        if let Some(token) = next {
            self.gauges.add(Count::GeneratedTokens, 1);
            self.gauges.add(Count::Steps, u64::from(sequence.answer.stats().tokens > 1));
            sequence.untold.push(token);
            sequence.answer.end_at_limit();
            // Nothing is computed for a token after which nothing comes.
            if !sequence.answer.is_finished() {
                sequence.tokens.push(token);
            }
        }
        while let Some(chosen) = sequence.answer.take_logprob() {
            (job.events)(Event::Token { choice, chosen });
        }
        while let Some(part) = sequence.answer.take() {
            (job.events)(Event::Part { choice, part, tokens: std::mem::take(&mut sequence.untold) });
        }
        if sequence.answer.is_finished() {
            job.open -= 1;
            let stats = sequence.answer.stats();
            self.gauges.add(Count::PrefillMicros, (stats.prefill_s * 1e6) as u64);
            self.gauges.add(Count::DecodeMicros, (stats.decode_s * 1e6) as u64);
            self.gauges.note_length(sequence.tokens.len());
            let (stats, tokens) = (sequence.answer.stats().clone(), std::mem::take(&mut sequence.untold));
            (job.events)(Event::Done { choice, stats, tokens });
        }
    }
}

/// A sequence that is to get its next token.
struct Turn<'a> {
    index: usize,
    sequence: &'a mut Sequence,
    logits: &'a mut [f32],
    /// Tokens for which the context has room.
    room: usize,
    next: Result<Option<u32>>,
}

impl Turn<'_> {
    fn take(turn: &Mutex<Self>) {
        let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Self { sequence, logits, room, next, .. } = &mut *turn;
        *next = sequence.answer.next(logits, &sequence.tokens, *room);
    }
}
