//! One thread that serves many requests with one model: continuous batching over a paged cache.
//!
//! Each pass takes one token of every answer that is being written, and a piece of a prompt that is being read, as large as
//! fits into a fraction of a second: no answer stops for longer than that. Requests join and leave between passes.
//! What a request gets does not depend on who else is served, to the bit: rows of a pass do not see each other.
//!
//! Pages of the cache come from one budget. What ended sequences have computed stays in a [`PrefixTree`] until its pages are
//! needed; when even that is empty, the youngest sequence gives its pages up and is read again later. No request is refused
//! what was admitted.

use super::answer::{Answer, Stats};
use super::disk::{self, Disk};
use super::gauges::{Count, Gauges};
use super::sequence::{Event, Job, Sequence};
use super::{EngineOptions, Llm};
use crate::forward::{PassSettings, Scratch, Span, Want, forward};
use crate::kv::{Budget, CacheShape, KvCache, PrefixTree};
use crate::parallel::Pool;
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use tokki_quant::attention::TILE;

/// How fast a machine multiplies until a pass has told: on the slow side, as a piece that is too long keeps others waiting.
const GUESSED_MACS_PER_SECOND: f64 = 20e9;

/// Longest piece of a prompt while others are waiting for their next token.
pub(super) const SHARED_PIECE: Duration = Duration::from_millis(150);
/// Fewest tokens of a piece: below that a pass costs nearly as much as a larger one.
pub(super) const MIN_PIECE: usize = 16;

/// What the thread is asked for.
pub(super) enum Command {
    Submit(Box<Job>),
    Forget(Sender<()>),
    /// What is known of these tokens.
    Snapshot(Vec<u32>, Sender<KvCache>),
    /// Keeps what was computed for these tokens elsewhere.
    Adopt(Vec<u32>, KvCache, Sender<Result<()>>),
    /// Gives pages of past sequences to another model that asks for them.
    Yield,
    /// Forgets these tokens.
    Drop(Vec<u32>, Sender<()>),
    Stop,
}

/// The thread: who runs next.
pub(super) struct Scheduler {
    pub(super) llm: Arc<Llm>,
    pub(super) pool: Arc<Pool>,
    pub(super) options: EngineOptions,
    pub(super) shape: Arc<CacheShape>,
    pub(super) budget: Arc<Budget>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) tree: PrefixTree,
    /// Pages that the memory has no room for.
    pub(super) disk: Option<Disk>,
    pub(super) scratch: Scratch,
    pub(super) waiting: Vec<Job>,
    /// Admitted.
    pub(super) jobs: Vec<Job>,
    /// The answers of `jobs`, oldest first.
    pub(super) running: Vec<Sequence>,
    /// How fast prompts are read.
    pub(super) rows_per_second: f64,
    pub(super) passes: u64,
}

impl Scheduler {
    pub(super) fn new(
        llm: Arc<Llm>,
        pool: Arc<Pool>,
        options: EngineOptions,
        shape: Arc<CacheShape>,
        (budget, gauges): (Arc<Budget>, Arc<Gauges>),
        disk: Option<Disk>,
    ) -> Self {
        let rows_per_second = GUESSED_MACS_PER_SECOND / (llm.model().cost().layer_macs as f64).max(1.0);
        Self {
            llm,
            pool,
            options,
            shape,
            budget,
            gauges,
            tree: PrefixTree::new(),
            disk,
            scratch: Scratch::default(),
            waiting: Vec::new(),
            jobs: Vec::new(),
            running: Vec::new(),
            rows_per_second,
            passes: 0,
        }
    }

    /// Works until it is told to stop.
    pub(super) fn serve(mut self, inbox: &Receiver<Command>) {
        /// How often cancelled requests are looked for while nothing runs.
        const IDLE: Duration = Duration::from_millis(100);
        loop {
            let idle = self.running.is_empty() && self.waiting.is_empty();
            self.budget.set_idle(idle);
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
                    return self.leave();
                }
                next = inbox.try_recv().ok();
            }
            self.drop_cancelled();
            self.admit();
            self.pass();
        }
    }

    /// Does what is asked for; true when that is to stop.
    fn obey(&mut self, command: Command) -> bool {
        // The caller may be gone by the time of the answer.
        match command {
            Command::Submit(job) => self.waiting.push(*job),
            Command::Forget(done) => {
                self.tree.clear();
                self.disk.iter_mut().for_each(Disk::clear);
                let _ = done.send(());
            }
            Command::Snapshot(tokens, reply) => {
                let _ = reply.send(self.tree.find(&tokens, tokens.len(), &self.shape, &self.budget));
            }
            Command::Adopt(tokens, cache, reply) => {
                let _ = reply.send(self.adopt(&tokens, &cache));
            }
            Command::Yield => {
                let rest = self.budget.used() - self.budget.asked();
                while self.budget.used() > rest && (self.evict() || self.budget.is_urgent() && self.preempt(0)) {}
                self.budget.answered();
            }
            Command::Drop(tokens, done) => {
                self.tree.forget(&tokens);
                let known = self.tree.known(&tokens, tokens.len(), &self.shape);
                self.disk.iter_mut().for_each(|disk| disk.forget(&tokens, known));
                let _ = done.send(());
            }
            Command::Stop => return true,
        }
        false
    }

    /// What was computed is still there for the next start.
    fn leave(mut self) {
        self.retire(|_| true);
        if let Some(disk) = &mut self.disk {
            disk::keep_all(disk, &mut self.tree);
        }
    }

    /// Lets go of the page that was not used for the longest time; false when there is none.
    pub(super) fn evict(&mut self) -> bool {
        let Some(page) = self.tree.evict() else { return false };
        self.disk.iter_mut().for_each(|disk| disk.keep(&page));
        true
    }

    /// Longest time of reading from the disk at once while no other sequence waits.
    const LONE_RECALL: Duration = Duration::from_secs(5);

    /// Goes on with what the time did not suffice for when requests were admitted.
    fn recall_more(&mut self) {
        if self.disk.is_none() {
            return;
        }
        for index in 0..self.running.len() {
            let sequence = &self.running[index];
            if sequence.reuse && sequence.pending() > TILE {
                let tokens = sequence.tokens.clone();
                self.recall(&tokens);
            }
        }
    }

    /// Takes what the disk has of a prompt into the memory; others are not kept waiting for long.
    fn recall(&mut self, prompt: &[u32]) {
        let Some(mut disk) = self.disk.take() else { return };
        let time = if self.running.len() > 1 { SHARED_PIECE } else { Self::LONE_RECALL };
        let known = &prompt[..prompt.len() - 1];
        let most = disk.room(known, prompt.len(), &self.tree);
        while self.budget.free() < most {
            let Some(page) = self.tree.evict() else { break };
            disk.keep(&page);
        }
        disk.recall(known, prompt.len(), &mut self.tree, &self.budget, time);
        self.disk = Some(disk);
    }

    /// Keeps what was computed elsewhere; what was not used for the longest time gives way.
    fn adopt(&mut self, tokens: &[u32], cache: &KvCache) -> Result<()> {
        let needed = cache.pages().len() * self.shape.page_bytes() + self.shape.state_bytes();
        while needed > self.budget.free() && self.evict() {}
        let cache = cache.copy_within(&self.budget)?;
        self.tree.keep(tokens, &cache);
        Ok(())
    }

    /// Lets go of sequences whose caller is gone.
    fn drop_cancelled(&mut self) {
        for job in self.waiting.extract_if(.., |job| job.cancelled.load(Ordering::Relaxed)) {
            self.gauges.change(|load| load.leave(job.open, job.follows));
        }
        let gone: Vec<u64> =
            self.jobs.iter().filter(|job| job.cancelled.load(Ordering::Relaxed)).map(|job| job.id).collect();
        gone.into_iter().for_each(|id| self.end_job(id));
    }

    /// Takes a job and its sequences out; what they computed is kept.
    pub(super) fn end_job(&mut self, id: u64) {
        if let Some(at) = self.jobs.iter().position(|job| job.id == id) {
            let open = self.jobs.remove(at).open;
            self.gauges.change(|load| load.running -= open);
        }
        self.retire(|sequence| sequence.job == id);
    }

    /// Takes out sequences; what they computed is kept.
    pub(super) fn retire(&mut self, gone: impl Fn(&Sequence) -> bool) {
        for sequence in self.running.extract_if(.., |sequence| gone(sequence)) {
            self.tree.keep(&sequence.tokens, &sequence.cache);
        }
    }

    pub(super) fn fail_job(&mut self, id: u64, error: Error) {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.id == id) {
            let open = std::mem::take(&mut job.open);
            self.gauges.change(|load| load.running -= open);
            (job.events)(Event::Failed(error));
        }
        self.end_job(id);
    }

    /// Admits waiting requests while there is room: higher priority first, then the client with the fewest answers running,
    /// then the first to come.
    fn admit(&mut self) {
        loop {
            let begun = self.running.len() + self.jobs.iter().map(|job| job.choices.len()).sum::<usize>();
            let running_of = |client| self.jobs.iter().filter(|job| job.client == client).count();
            let rank = |job: &&Job| (-i64::from(job.priority), running_of(job.client), job.id);
            let fits = |job: &&Job| begun + job.choices.len() <= self.options.parallel && self.has_pages(job);
            let Some(id) = self.waiting.iter().filter(fits).min_by_key(rank).map(|job| job.id) else {
                self.waiting.iter().filter(|job| !self.has_pages(job)).take(1).for_each(|job| self.ask_others_for(job));
                return;
            };
            let Some(at) = self.waiting.iter().position(|job| job.id == id) else { return };
            let job = self.waiting.remove(at);
            self.gauges.change(|load| {
                load.leave(job.open, job.follows);
                load.running += job.open;
            });
            self.begin(job);
        }
    }

    /// Whether the pages that sequences hold leave room for a prompt. (What the tree holds gives way.)
    fn has_pages(&self, job: &Job) -> bool {
        let room = self.budget.used() + self.budget.free();
        self.running.is_empty() || self.needed(job) <= room
    }

    /// Bytes of the sequences that run and of one more.
    fn needed(&self, job: &Job) -> usize {
        let held: usize = self.running.iter().map(|s| s.tokens.len().max(s.cache.len()).div_ceil(TILE)).sum();
        let needed = (job.prompt.len() + 1).div_ceil(TILE);
        let states = (self.running.len() + 1) * self.shape.state_bytes();
        (held + needed + 1) * self.shape.page_bytes() + states
    }

    /// Asks other models for the room that a request waits for; it is looked for again before the next pass.
    fn ask_others_for(&self, job: &Job) {
        let room = self.budget.used() + self.budget.free();
        self.budget.ask_others(self.needed(job).saturating_sub(room), true);
    }

    /// Lets models that are idle give up pages of past conversations.
    pub(super) fn ask_idle(&self, bytes: usize) {
        /// Longest time to wait for them: they have nothing else to do.
        const MAX_WAIT: Duration = Duration::from_millis(20);
        let start = Instant::now();
        if self.budget.ask_others(bytes, false) {
            while self.budget.free() < bytes && start.elapsed() < MAX_WAIT {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    fn begin(&mut self, mut job: Job) {
        let wanted = job.choices.remove(0);
        let queue_s = job.started.elapsed().as_secs_f64();
        job.started = Instant::now();
        let stats = Stats { prompt_tokens: job.prompt.len(), queue_s, ..Stats::default() };
        let answer = Answer::new(self.llm.tokenizer(), wanted, stats);
        // The last token is always computed, for its logits.
        let known = if job.reuse { &job.prompt[..job.prompt.len() - 1] } else { &[] };
        if job.reuse {
            self.recall(&job.prompt);
        }
        let mut sequence = Sequence {
            job: job.id,
            choice: 0,
            tokens: job.prompt.clone(),
            cache: self.tree.find(known, job.prompt.len(), &self.shape, &self.budget),
            reuse: job.reuse,
            branch: self.tree.shared(known, job.prompt.len(), &self.shape),
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
    /// One pass over the model, and what follows from it.
    fn pass(&mut self) {
        if self.running.is_empty() {
            return;
        }
        self.recall_more();
        let rows = self.compose();
        let rows = self.make_room(rows);
        if rows.is_empty() {
            // Only possible where one sequence alone is more than the cache.
            if let Some(id) = self.running.first().map(|s| s.job) {
                let full = Error::ContextFull {
                    needed: self.running[0].tokens.len(),
                    available: (self.budget.used() + self.budget.free()) / self.shape.page_bytes().max(1) * TILE,
                };
                self.fail_job(id, full);
            }
            return;
        }
        let start = Instant::now();
        match self.compute(&rows) {
            Ok(logits) => self.advance(&rows, logits),
            // Its caller is gone: the next round lets go of it.
            Err(Error::Interrupted) => {}
            Err(error) => {
                let ids: Vec<u64> = self.jobs.iter().map(|job| job.id).collect();
                ids.into_iter().for_each(|id| self.fail_job(id, error.again()));
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
        // A pass that is for one request only ends as soon as its caller is gone.
        let first = self.running[rows[0].0].job;
        let lone = rows.iter().all(|&(index, _)| self.running[index].job == first);
        let owner = self.jobs.iter().find(|job| lone && job.id == first).map(|job| Arc::clone(&job.cancelled));
        let never = AtomicBool::new(false);
        let read_ahead = self.options.session.read_ahead;
        let cancel = owner.as_deref().unwrap_or(&never);
        // No sequence waits for a token while prompts are read; those of other models may.
        let gives_way = rows.iter().all(|&(index, _)| self.running[index].pending() > 1);
        let setting = PassSettings { read_ahead, gives_way, ..PassSettings::new(model, &self.pool, cancel) };
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
}
