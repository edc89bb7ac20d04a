//! The models that are offered, by name: opened when first asked for, let go of when idle for a while.

use super::card::Card;
use super::error::ApiError;
use super::options::Defaults;
use super::slots::Slots;
use super::timings::Measured;
use crate::engine::{Count, Embedder, Engine, Gauges, Llm, Pooling, SharedEmbedder};
use crate::units::unix_seconds;
use crate::{ErrorKind, Result};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a request that waits for another model to give way looks again.
const ROOM_CHECK: Duration = Duration::from_millis(20);

/// Opens a model and starts its engine.
pub type Open = Box<dyn Fn() -> Result<Engine> + Send + Sync>;

/// A model that a server can serve.
pub struct Offer {
    /// What it is called; the first one is its id.
    pub names: Vec<String>,
    /// Words that the list of models shows beside it.
    pub tags: Vec<String>,
    /// Its (first) file.
    pub path: PathBuf,
    /// What holds where a request says nothing.
    pub defaults: Defaults,
    /// Whether that is still a model, found out before another one gives way for it.
    pub check: Box<dyn Fn() -> Result<()> + Send + Sync>,
    /// Reads what lists tell of it without opening it for work: the model, and how long a conversation may be.
    pub peek: Box<dyn Fn() -> Result<(Llm, usize)> + Send + Sync>,
    /// Opens it.
    pub open: Open,
}

/// How many models are open, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Residency {
    /// Models that are open at the same time at most; opening another one closes the one unused for the longest time, and
    /// waits while all are in use.
    pub most: usize,
    /// How long a model stays open after its last use; `None` = for ever.
    pub keep: Option<Duration>,
    /// How vectors of tokens become one of a text; `None` = as each file says.
    pub pooling: Option<Pooling>,
}

impl Default for Residency {
    fn default() -> Self {
        Self { most: usize::MAX, keep: None, pooling: None }
    }
}

/// One open model. Its users hold it: it is not closed before.
pub(super) struct Served {
    pub(super) name: String,
    pub(super) engine: Engine,
    pub(super) defaults: Defaults,
    /// Makes vectors with the same model, one text at a time.
    pub(super) embedder: SharedEmbedder,
    /// Requests that use it or wait for it.
    pub(super) embedding: AtomicUsize,
    pub(super) slots: Slots,
    pub(super) measured: Arc<Measured>,
}

/// One model of the list, open or not.
pub(super) struct Entry {
    pub(super) offer: Offer,
    /// Bytes of its file, and when that was changed.
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
    loaded: Mutex<Option<Loaded>>,
    /// What lists tell of it, while it is not open.
    card: OnceLock<Arc<Card>>,
    /// What llama-server's `/props` says of it.
    props: Mutex<Option<serde_json::Value>>,
    /// What its engines have counted that are gone.
    past: Gauges,
    /// What was measured of its answers.
    pub(super) measured: Arc<Measured>,
}

struct Loaded {
    served: Arc<Served>,
    used: Instant,
    keep: Option<Duration>,
}

impl Loaded {
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.served) == 1 && self.served.engine.is_idle()
    }
}

impl Entry {
    pub(super) fn name(&self) -> &str {
        &self.offer.names[0]
    }

    /// Seconds since 1970 when its file was written.
    pub(super) fn created(&self) -> u64 {
        unix_seconds(self.modified)
    }

    fn loaded(&self) -> MutexGuard<'_, Option<Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open model, if it is open; that is no use of it.
    pub(super) fn served(&self) -> Option<Arc<Served>> {
        self.loaded().as_ref().map(|loaded| Arc::clone(&loaded.served))
    }

    /// What lists tell of it; `None` where its file cannot be read. That takes a moment the first time.
    pub(super) fn card(&self) -> Option<Arc<Card>> {
        if let Some(served) = self.served() {
            let context = served.engine.options().session.context;
            return Some(Arc::new(Card::of(served.engine.llm(), context)));
        }
        if let Some(card) = self.card.get() {
            return Some(Arc::clone(card));
        }
        let (llm, context) = (self.offer.peek)().ok()?;
        Some(Arc::clone(self.card.get_or_init(|| Arc::new(Card::of(&llm, context)))))
    }

    /// The same as a use of it.
    fn take(&self) -> Option<Arc<Served>> {
        self.loaded().as_mut().map(|loaded| {
            loaded.used = Instant::now();
            Arc::clone(&loaded.served)
        })
    }

    pub(super) fn props(&self) -> Option<serde_json::Value> {
        self.props.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn keep_props(&self, props: serde_json::Value) {
        *self.props.lock().unwrap_or_else(PoisonError::into_inner) = Some(props);
    }

    /// What was counted so far, by this engine and those before.
    pub(super) fn total(&self, what: Count) -> u64 {
        self.past.total(what) + self.gauge(|engine| engine.gauges().total(what))
    }

    /// Most tokens that a sequence has had.
    pub(super) fn longest(&self) -> usize {
        self.past.longest().max(self.gauge(|engine| engine.gauges().longest()))
    }

    /// Requests that wait, those for vectors included.
    pub(super) fn waiting(&self) -> f64 {
        self.gauge(|engine| engine.gauges().load().waiting as f64) + self.embedding().saturating_sub(1) as f64
    }

    /// Answers under way, vectors among them.
    pub(super) fn running(&self) -> f64 {
        self.gauge(|engine| engine.gauges().load().running as f64) + self.embedding().min(1) as f64
    }

    /// Requests for vectors: one text is read at a time.
    fn embedding(&self) -> usize {
        self.served().map_or(0, |served| served.embedding.load(Ordering::Relaxed))
    }

    /// Bytes of the cache that are in use, and how many there may be.
    pub(super) fn cache(&self) -> (usize, usize) {
        self.gauge(Engine::cache)
    }

    fn gauge<T: Default>(&self, value: impl Fn(&Engine) -> T) -> T {
        self.loaded().as_ref().map(|loaded| value(&loaded.served.engine)).unwrap_or_default()
    }

    /// How long an open model stays so after its last use; `None` = for ever.
    pub(super) fn keep(&self, keep: Option<Duration>) {
        if let Some(loaded) = self.loaded().as_mut() {
            loaded.keep = keep;
        }
    }

    /// When an open model will be closed.
    pub(super) fn expires(&self) -> Option<Duration> {
        let loaded = self.loaded();
        let loaded = loaded.as_ref()?;
        Some(loaded.keep?.saturating_sub(loaded.used.elapsed()))
    }

    /// When it was last used, if it is open and not in use now.
    fn idle_since(&self) -> Option<Instant> {
        self.loaded().as_ref().filter(|loaded| loaded.is_idle()).map(|loaded| loaded.used)
    }

    /// Closes it unless it is in use.
    fn close(&self) -> bool {
        // Its engine's thread is waited for without the lock.
        let gone = self.loaded().take_if(|loaded| loaded.is_idle());
        if let Some(gone) = &gone {
            self.past.absorb(gone.served.engine.gauges());
        }
        gone.is_some()
    }
}

/// All offered models; the first one answers requests that name none.
pub struct Models {
    entries: Vec<Arc<Entry>>,
    residency: Residency,
    /// One model is opened at a time.
    opening: Arc<tokio::sync::Mutex<()>>,
    /// A request waits until a model that is in use can give way.
    crowded: AtomicBool,
}

/// Says that a request waits for room, until it has it or is gone.
struct Crowd<'a>(&'a AtomicBool);

impl<'a> Crowd<'a> {
    fn new(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        Self(flag)
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Models {
    /// A list of models, none of them open.
    pub fn new(offers: impl IntoIterator<Item = Offer>, residency: Residency) -> Self {
        let entry = |offer: Offer| {
            let meta = std::fs::metadata(&offer.path).ok();
            let bytes = meta.as_ref().map_or(0, std::fs::Metadata::len);
            let modified = meta.and_then(|meta| meta.modified().ok()).unwrap_or(UNIX_EPOCH);
            Arc::new(Entry {
                offer,
                bytes,
                modified,
                loaded: Mutex::default(),
                card: OnceLock::new(),
                props: Mutex::default(),
                past: Gauges::default(),
                measured: Arc::default(),
            })
        };
        let entries = offers.into_iter().map(entry).collect();
        Self { entries, residency, opening: Arc::default(), crowded: AtomicBool::new(false) }
    }

    /// Opens the first model, which is what a server that serves one is for.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_first(&self) -> Result<()> {
        match self.entries.first() {
            Some(first) => self.open(first).map(drop),
            None => Ok(()),
        }
    }

    /// The first model, while it is open.
    pub(super) fn first(&self) -> Option<Arc<Llm>> {
        Some(Arc::clone(self.entries.first()?.served()?.engine.llm()))
    }

    /// The whole list.
    pub(super) fn all(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// Something told of each model by what its file says, which takes a moment for those that are not open.
    pub(super) async fn list<T: Send + 'static>(
        self: &Arc<Self>,
        told: impl Fn(&Entry, Option<&Card>) -> T + Send + 'static,
    ) -> Vec<T> {
        let models = Arc::clone(self);
        let each = move || models.entries.iter().map(|entry| told(entry, entry.card().as_deref())).collect();
        tokio::task::spawn_blocking(each).await.unwrap_or_default()
    }

    /// The same of one model.
    pub(super) async fn describe<T: Send + 'static>(
        entry: Arc<Entry>,
        told: impl FnOnce(&Entry, Option<&Card>) -> T + Send + 'static,
    ) -> std::result::Result<T, ApiError> {
        let work = tokio::task::spawn_blocking(move || told(&entry, entry.card().as_deref()));
        work.await.map_err(|_| ApiError::internal("reading the model's header failed"))
    }

    /// Those that are open.
    pub(super) fn open_ones(&self) -> Vec<Arc<Served>> {
        self.entries.iter().filter_map(|entry| entry.served()).collect()
    }

    /// Bytes of all caches together, and how many there may be; none while no model is open that shares them.
    pub(super) fn shared_cache(&self) -> Option<(usize, usize)> {
        let shared = self.open_ones().iter().find_map(|model| model.engine.options().shared.clone())?;
        Some((shared.used(), shared.limit()))
    }

    /// The entry of this name. Where only one is offered it answers to every name, as clients have names of their own; the
    /// answer says which model it was.
    pub(super) fn find(&self, name: Option<&str>) -> std::result::Result<&Arc<Entry>, ApiError> {
        let plain = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_lowercase();
        let by = |same: &dyn Fn(&str) -> bool| {
            self.entries.iter().find(|entry| entry.offer.names.iter().any(|own| same(own)))
        };
        let found = match name {
            None | Some("" | "default" | "unknown") => self.entries.first(),
            Some(name) => {
                by(&|own| own == name).or_else(|| by(&|own| plain(own) == plain(name))).or(match &self.entries[..] {
                    [only] => Some(only),
                    _ => None,
                })
            }
        };
        found.ok_or_else(|| ApiError::no_model(name.unwrap_or_default()))
    }

    /// The model of this name, opened if it is not.
    ///
    /// # Errors
    /// 404 for an unknown name, 503 when it cannot be opened.
    pub(super) async fn get(self: &Arc<Self>, name: Option<&str>) -> std::result::Result<Arc<Served>, ApiError> {
        let entry = Arc::clone(self.find(name)?);
        // While a request waits for room all wait in turn: a model that is always in use would never give way.
        let open = || (!self.crowded.load(Ordering::Relaxed)).then(|| entry.take()).flatten();
        if let Some(served) = open() {
            return Ok(served);
        }
        let turn = Arc::new(Arc::clone(&self.opening).lock_owned().await);
        if let Some(served) = entry.take() {
            return Ok(served);
        }
        let mut crowd = None;
        loop {
            // The client may be gone before it ends; the next one's turn comes when this model is open.
            let (models, entry, turn) = (Arc::clone(self), Arc::clone(&entry), Arc::clone(&turn));
            let work = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                models.open_if_there_is_room(&entry)
            });
            match work.await.unwrap_or_else(|_| Err(ApiError::internal("opening the model failed"))) {
                Ok(None) => {}
                Ok(Some(served)) => return Ok(served),
                Err(why) => return Err(why),
            }
            crowd.get_or_insert_with(|| Crowd::new(&self.crowded));
            tokio::time::sleep(ROOM_CHECK).await;
        }
    }

    /// Opens a model; `None` while models that are in use have to give way first: there are too many of them, or they have
    /// the memory that it needs.
    fn open_if_there_is_room(&self, entry: &Entry) -> std::result::Result<Option<Arc<Served>>, ApiError> {
        let broken = |why: crate::Error| {
            ApiError::broken(format!("model '{}' cannot be opened: {}", entry.name(), why.without_folders()))
        };
        // For what is no model any more, no other one gives way.
        (entry.offer.check)().map_err(broken)?;
        if !self.make_room() {
            return Ok(None);
        }
        match self.open(entry) {
            Ok(served) => Ok(Some(served)),
            Err(why) if why.kind() == ErrorKind::OutOfMemory && !self.open_ones().is_empty() => Ok(None),
            Err(why) => Err(broken(why)),
        }
    }

    /// Closes models until one more may be open; false when too many of them are in use.
    fn make_room(&self) -> bool {
        while self.open_ones().len() >= self.residency.most {
            if !self.close_one() {
                return false;
            }
        }
        true
    }

    /// Opens a model; idle ones give way where there is no memory for it.
    fn open(&self, entry: &Entry) -> Result<Arc<Served>> {
        let engine = loop {
            match (entry.offer.open)() {
                Ok(engine) => break engine,
                Err(why) if !matches!(why.kind(), ErrorKind::OutOfMemory | ErrorKind::TooLarge) => return Err(why),
                Err(_) if self.close_one() => {}
                Err(why) => return Err(why),
            }
        };
        let slots = Slots::new(engine.options().parallel);
        let served = Arc::new(Served {
            name: entry.name().to_owned(),
            embedder: SharedEmbedder::new(self.embedder(&engine)),
            embedding: AtomicUsize::new(0),
            engine,
            defaults: entry.offer.defaults.clone(),
            slots,
            measured: Arc::clone(&entry.measured),
        });
        let loaded = Loaded { served: Arc::clone(&served), used: Instant::now(), keep: self.residency.keep };
        *entry.loaded() = Some(loaded);
        Ok(served)
    }

    fn embedder(&self, engine: &Engine) -> Embedder {
        let mut embedder = engine.embedder();
        if let Some(pooling) = self.residency.pooling {
            embedder.set_pooling(pooling);
        }
        embedder
    }

    /// Closes the open model that has not been used for the longest time; false when all are in use.
    fn close_one(&self) -> bool {
        let idle = self.entries.iter().filter_map(|entry| Some((entry.idle_since()?, entry)));
        idle.min_by_key(|(used, _)| *used).is_some_and(|(_, entry)| entry.close())
    }

    /// Closes this model now; false while it is in use.
    pub(super) fn close(&self, name: &str) -> std::result::Result<bool, ApiError> {
        let entry = self.find(Some(name))?;
        Ok(entry.served().is_none() || entry.close())
    }

    /// Closes what has been idle for long enough.
    pub(super) fn close_expired(&self) {
        for entry in &self.entries {
            if entry.expires().is_some_and(|left| left.is_zero()) {
                entry.close();
            }
        }
    }
}

crate::text::opaque!(Offer, Models);
