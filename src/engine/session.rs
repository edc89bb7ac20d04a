//! One sequence: its tokens, its cache, its buffers.

use super::{Llm, Options};
use crate::forward::{PassSettings, Scratch, Span, Trace, Want, forward};
use crate::kv::{CacheShape, KvCache};
use crate::machine::{self, Machine};
use crate::model::Model;
use crate::parallel::Pool;
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokki_quant::attention::TILE;

/// One sequence of tokens and what is cached of it.
pub struct Session {
    model: Arc<Model>,
    pool: Arc<Pool>,
    cache: KvCache,
    scratch: Scratch,
    tokens: Vec<u32>,
    options: Options,
    cancel: Arc<AtomicBool>,
    trace: Option<Arc<dyn Trace>>,
}

impl Session {
    /// An empty session.
    pub fn new(model: Arc<Model>, pool: Arc<Pool>, options: Options) -> Self {
        let cache = KvCache::new(CacheShape::new(&model.spec, options.kv));
        Self::with_cache(model, pool, options, cache, Vec::new())
    }

    /// An empty session of `llm`, on as many threads as this machine has useful cores.
    ///
    /// # Errors
    /// Threads that cannot be started.
    pub fn open(llm: &Llm, options: Options) -> Result<Self> {
        let pool = Arc::new(Pool::new(machine::threads().0)?.on_cores(&Machine::read()));
        Ok(Self::new(Arc::clone(llm.model()), pool, options))
    }

    /// A session that continues from a cache and the tokens it holds.
    pub(crate) fn with_cache(
        model: Arc<Model>,
        pool: Arc<Pool>,
        options: Options,
        cache: KvCache,
        mut tokens: Vec<u32>,
    ) -> Self {
        tokens.truncate(cache.len());
        let context = options.context.min(model.spec.longest().unwrap_or(usize::MAX));
        let options = Options { context, ..options };
        let cancel = Arc::default();
        Self { model, pool, cache, scratch: Scratch::default(), tokens, options, cancel, trace: None }
    }

    /// Has `observer` told of the intermediates of every pass from here on.
    pub fn trace(&mut self, observer: Arc<dyn Trace>) {
        self.trace = Some(observer);
    }

    /// For tests: the values that the buffers of its passes hold, and those that are counted for passes of `n` tokens.
    #[cfg(feature = "testing")]
    pub fn buffers(&self, n: usize) -> (usize, usize) {
        (self.scratch.values(), crate::forward::counted_values(&self.model, n))
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The threads.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// How it runs.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The cache.
    pub(crate) fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// The tokens whose keys and values are cached.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Positions that are still free.
    pub fn room(&self) -> usize {
        self.options.context - self.tokens.len().min(self.options.context)
    }

    /// Set this to end a running [`Session::feed`] before its next layer; the session stays usable.
    pub fn cancel_flag(&self) -> &Arc<AtomicBool> {
        &self.cancel
    }

    /// Makes `flag` the one that ends a running [`Session::feed`].
    pub fn stop_when(&mut self, flag: &Arc<AtomicBool>) {
        self.cancel = Arc::clone(flag);
    }

    /// Forgets all tokens from `len` on; more where the model keeps a state that can't be had for `len`: see
    /// [`Session::tokens`].
    pub fn truncate(&mut self, len: usize) {
        self.cache.truncate(len);
        self.tokens.truncate(self.cache.len());
    }

    /// Keeps what the session and `tokens` have in common from the start, forgets the rest, and returns how many of
    /// `tokens` need not be fed again. The last one always is, so that feeding gives logits.
    pub fn reuse(&mut self, tokens: &[u32]) -> usize {
        self.aim(tokens.len());
        let common = self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let keep = common.min(tokens.len().saturating_sub(1));
        self.truncate(keep);
        self.tokens.len()
    }

    /// Appends tokens and returns the logits after the last one. `progress` is told how many are done, after each pass.
    ///
    /// # Errors
    /// [`Error::ContextFull`] before anything is computed; [`Error::Interrupted`] when the cancel flag was set (tokens of
    /// finished passes stay).
    pub fn feed(&mut self, tokens: &[u32], progress: &mut dyn FnMut(usize)) -> Result<&[f32]> {
        self.check_room(tokens.len())?;
        let read_again = self.aim(self.tokens.len() + tokens.len());
        self.feed_pieces(&read_again, Want::Nothing, &mut |_| {})?;
        // A recurrent state cannot be cut: the states at the last page's border and at the end of a prompt are kept, so that
        // the next one, which may differ from its last tokens, need not begin from the start.
        let stateful = self.cache.shape().state_len() > 0 && tokens.len() > 1;
        let border = (self.tokens.len() + tokens.len()).saturating_sub(1) / TILE * TILE;
        let first = border.saturating_sub(self.tokens.len());
        if stateful && first > 0 {
            self.feed_pieces(&tokens[..first], Want::Nothing, progress)?;
            self.cache.checkpoint();
            self.feed_pieces(&tokens[first..], Want::Last, &mut |done| progress(first + done))?;
        } else {
            self.feed_pieces(tokens, Want::Last, progress)?;
        }
        if stateful {
            self.cache.checkpoint();
        }
        let vocab = self.model.spec.vocab;
        Ok(self.scratch.logits(if tokens.is_empty() { 0 } else { vocab }))
    }

    /// Makes the cache one for a conversation of `len` tokens: returns those that have to be read again for it.
    fn aim(&mut self, len: usize) -> Vec<u32> {
        self.cache.aim(len);
        self.tokens.split_off(self.cache.len())
    }

    /// Appends tokens in passes, of which the last one gives what is wanted.
    fn feed_pieces(&mut self, tokens: &[u32], want: Want, progress: &mut dyn FnMut(usize)) -> Result<()> {
        let rows = self.rows(tokens, usize::MAX);
        let batches = tokens.len().div_ceil(rows);
        for (index, batch) in tokens.chunks(rows).enumerate() {
            let last = index + 1 == batches;
            self.pass(batch, if last { want } else { Want::Nothing })?;
            progress(index * rows + batch.len());
        }
        Ok(())
    }

    /// Appends tokens and hands the logits after each one to `each`, with the token's index. All are those of one
    /// conversation of the length that it then has (see `KvCache::aim`).
    ///
    /// # Errors
    /// As [`Session::feed`], and those of `each`.
    pub fn feed_all(&mut self, tokens: &[u32], each: &mut dyn FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
        /// Logits of a whole batch would be half a gigabyte for a large vocabulary.
        const ROWS: usize = 64;
        self.check_room(tokens.len())?;
        let read_again = self.aim(self.tokens.len() + tokens.len());
        self.feed_pieces(&read_again, Want::Nothing, &mut |_| {})?;
        let (vocab, rows) = (self.model.spec.vocab, self.rows(tokens, ROWS));
        for (index, batch) in tokens.chunks(rows).enumerate() {
            let first = index * rows;
            let logits = self.pass(batch, Want::All)?;
            logits.chunks_exact(vocab).enumerate().try_for_each(|(row, logits)| each(first + row, logits))?;
        }
        Ok(())
    }

    /// Tokens of one pass, at most `most`: all of them where a position sees those after it.
    fn rows(&self, tokens: &[u32], most: usize) -> usize {
        if self.model.spec.causal { self.options.batch.min(most) } else { tokens.len() }.max(1)
    }

    fn check_room(&self, more: usize) -> Result<()> {
        let (needed, available) = (self.tokens.len() + more, self.options.context);
        if let Some(most) = self.model.spec.context_most.filter(|&most| needed > most) {
            let wanted = format!("at most {most}: choosing among more, by an indexer, is not supported");
            return Err(
                Error::input("tokens that attention goes over", wanted, needed.to_string()).of(ErrorKind::ContextFull)
            );
        }
        if needed > available { Err(Error::ContextFull { needed, available }) } else { Ok(()) }
    }

    fn pass(&mut self, tokens: &[u32], want: Want) -> Result<&[f32]> {
        let setting = PassSettings {
            read_ahead: self.options.read_ahead,
            expand_latents: self.options.expand_latents,
            trace: self.trace.as_deref(),
            ..PassSettings::new(&self.model, &self.pool, &self.cancel)
        };
        let span = Span { cache: &mut self.cache, tokens, want };
        let done = forward(&setting, &mut self.scratch, &mut [span]).map(<[f32]>::len);
        // A pass that was cut short may have cost a recurrent state more than the pass.
        self.tokens.truncate(self.cache.len());
        let len = done?;
        // Microseconds, and nothing that was computed with a part of a model is believed.
        if let Err(error) = self.model.gguf.intact() {
            self.cache.truncate(self.tokens.len());
            self.tokens.truncate(self.cache.len());
            return Err(error);
        }
        self.tokens.extend_from_slice(tokens);
        Ok(self.scratch.logits(len))
    }
}

crate::text::opaque!(Session);
