//! The flags of every command that runs a model, and what they make.

use super::flags::MachineFlags;
use super::measurements::Kept;
use super::{output, progress};
use crate::config::Settings;
use crate::engine::KvKind;
use crate::engine::{DEFAULT_BATCH, Embedder, Options, Session};
use crate::gguf::{Gguf, RowLayout, layout_name};
use crate::machine::Machine;
use crate::model::Model;
use crate::parallel::Isa;
use crate::parallel::{Pool, chosen_isa};
use crate::predict::threads::ThreadCounts;
use crate::predict::{self, plan};
use crate::store::Store;
use crate::units::show_bytes;
use crate::{Error, ErrorKind, Result, interrupt, machine, store};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

/// The default model where it is on this machine; nothing is fetched only to be measured.
pub(super) fn default_model() -> Result<std::path::PathBuf> {
    let name = store::catalogue::default_entry().name;
    let path = store::resolve(name).map_err(|_| Error::usage("Which model? tokki list shows what is here."))?;
    output::say(&format!("tokki: {name}, the default model"));
    Ok(path)
}

/// Tokens that are read at a time where the machine is to stay cool: it rests between them.
const COOL_BATCH: usize = 32;

/// Whether the machine is to stay cool.
pub(super) fn cool(settings: &Settings) -> bool {
    settings.power().as_deref() == Some("cool")
}

/// How many threads these settings mean here. More than there are CPUs would wait for one another.
pub(super) fn threads(settings: &Settings) -> usize {
    let all = machine::threads().0;
    let Some(wanted) = settings.threads() else { return if cool(settings) { all.div_ceil(2) } else { all } };
    let cpus = Machine::read().allowed.len().max(1);
    if wanted.forced || wanted.count <= cpus {
        return wanted.count;
    }
    let s = if cpus == 1 { "" } else { "s" };
    output::say(&format!(
        "tokki: {0} threads were asked for and this machine gives {cpus} CPU{s}, so {cpus} compute (cores that are \
         shared out among more threads are slower); --threads {0}! means {0} all the same",
        wanted.count
    ));
    cpus
}

/// What was tried on this machine, by what it holds for.
const TRIED: &str = "threads.json";
const MAX_TRIED_BYTES: u64 = 1 << 16;

/// What a trial of numbers of threads found, kept.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Tried {
    counts: ThreadCounts,
    /// Other programs kept cores busy meanwhile: it holds as long as some do.
    busy: bool,
}

/// The numbers of threads that these settings mean here; on mixed cores ([`Machine::mixed`]) a trial settles them.
fn thread_counts(settings: &Settings) -> Result<ThreadCounts> {
    let store = Store::of(settings).ok();
    let busy = |threads| machine::busy(threads).is_some();
    if settings.threads().is_none()
        && let Some(found) = tried(&Machine::read(), store.as_ref(), busy, predict::threads::try_counts)?
    {
        let limited = |count: usize| if cool(settings) { count.div_ceil(2) } else { count };
        return Ok(ThreadCounts { decode: limited(found.decode), prefill: limited(found.prefill) });
    }
    let all = threads(settings);
    Ok(ThreadCounts { decode: all, prefill: all })
}

/// The best numbers of threads on a machine of mixed cores, from the store or by a trial, which is kept there. What was found
/// beside other programs is tried again without them.
fn tried(
    machine: &Machine,
    store: Option<&Store>,
    busy: impl Fn(usize) -> bool,
    try_counts: impl FnOnce(&[usize], Isa) -> Result<ThreadCounts>,
) -> Result<Option<ThreadCounts>> {
    let Some(numbers @ [fast, all]) = machine.mixed() else { return Ok(None) };
    let isa = chosen_isa()?;
    let key = format!("{}, {}, {fast} of {all} cores", machine.cpu, isa.name());
    let known = Kept::in_store(store, TRIED, MAX_TRIED_BYTES);
    // A file that was written by hand may say anything.
    let possible = |found: ThreadCounts| numbers.contains(&found.decode) && numbers.contains(&found.prefill);
    let before = known.find(&key).filter(|before: &Tried| possible(before.counts));
    if let Some(before) = before.filter(|before| !before.busy || busy(all)) {
        return Ok(Some(before.counts));
    }
    let busy = busy(all);
    let counts = try_counts(&numbers, isa)?;
    known.keep(key, Tried { counts, busy });
    Ok(Some(counts))
}

/// What a session was made with, for programs: what holds, wherever it was set.
pub(super) fn options(session: &Session) -> serde_json::Value {
    let options = session.options();
    serde_json::json!({ "threads": session.pool().threads(), "threads_decode": session.pool().few_threads(), "resting": session.pool().rests(), "context": options.context, "kv_type": options.kv.name(),
        "read_ahead_bytes": options.read_ahead, "latents_expanded": options.expand_latents, "rows": layout_name(session.model().gguf.layout()) })
}

/// A model with the threads that run it.
pub(super) struct Compute {
    pub(super) settings: Settings,
    pub(super) model: Arc<Model>,
    pub(super) pool: Arc<Pool>,
}

impl Compute {
    /// Opens the model `name`, a path or a store name.
    pub(super) fn open(name: impl AsRef<OsStr>, flags: &MachineFlags) -> Result<Self> {
        Self::open_path(&store::resolve(name)?, flags)
    }

    /// Opens the model in a file.
    pub(super) fn open_path(path: &Path, flags: &MachineFlags) -> Result<Self> {
        let settings = Settings::load()?.with(flags).for_model(path);
        let pool = Self::pool_of(&settings)?;
        Self::with(settings, path, pool)
    }

    /// The threads that the flags ask for.
    pub(super) fn pool(flags: &MachineFlags) -> Result<Arc<Pool>> {
        Self::pool_of(&Settings::load()?.with(flags))
    }

    /// The threads that the settings ask for.
    pub(super) fn pool_of(settings: &Settings) -> Result<Arc<Pool>> {
        // What is wrong with TOKKI_ISA is told before anything is tried with it.
        Pool::new(1)?;
        let counts = thread_counts(settings)?;
        // Phases of answers get no more threads than prompts do, where those are faster with few.
        let pool = Pool::new(counts.prefill)?.with_few(counts.decode)?;
        // What a person names, the system may place.
        let pool = if settings.threads().is_none() { pool.on_cores(&Machine::read()) } else { pool };
        Ok(Arc::new(if cool(settings) { pool.resting() } else { pool }))
    }

    /// Opens the model in a file, to be run by `pool`.
    pub(super) fn with_pool(path: &Path, flags: &MachineFlags, pool: Arc<Pool>) -> Result<Self> {
        Self::with(Settings::load()?.with(flags).for_model(path), path, pool)
    }

    fn with(settings: Settings, path: &Path, pool: Arc<Pool>) -> Result<Self> {
        let mut model = Model::open(path)?;
        if settings.interleave() == Some(true) && model.gguf.layout() == RowLayout::Plain {
            // What cannot be run has been said by now.
            model = Model::from_gguf(interleaved(model.gguf)?)?;
        }
        Ok(Self { settings, model: Arc::new(model), pool })
    }

    /// Tokens to read at a time, where `wanted` were.
    pub(super) fn batch(&self, wanted: usize) -> usize {
        if cool(&self.settings) { wanted.min(COOL_BATCH) } else { wanted }
    }

    /// An empty session with a context that fits into memory; room for `needed` positions at least where no context was
    /// asked for.
    ///
    /// # Errors
    /// [`Error::Input`] with the numbers when it does not fit.
    pub(super) fn session(&self, needed: usize) -> Result<Session> {
        let free = plan::free_memory_for(&self.model, &Machine::read());
        let (kind, batch) = (kv_kind(&self.settings)?, self.batch(DEFAULT_BATCH));
        let choice = plan::choose(&self.model, kind, batch, wanted_context(&self.settings, needed), free)?;
        if let Some(remark) = &choice.remark {
            output::say(&format!("tokki: {remark}"));
        }
        self.warm(choice.need.total() <= free)?;
        let read_ahead = match self.settings.read_ahead().as_deref() {
            Some("on") => choice.need.window(free),
            None | Some("auto") if choice.need.total() > free => choice.need.window(free),
            _ => 0,
        };
        if self.settings.is_flag("latent_prefill") && !self.model.spec.layers.iter().any(|layer| layer.is_latent()) {
            output::say("tokki: --latent-prefill changes nothing: this model has no latent attention");
        }
        let expand_latents = self.settings.latent_prefill().as_deref() == Some("expanded");
        let options = Options { context: choice.need.context, kv: kind, batch, read_ahead, expand_latents };
        Ok(Session::new(Arc::clone(&self.model), Arc::clone(&self.pool), options))
    }

    /// Makes vectors of texts of at most the context, or of `needed` tokens where no context was asked for.
    pub(super) fn embedder(&self, needed: usize) -> Result<Embedder> {
        let options = self.session(needed)?.options().clone();
        Ok(Embedder::new(Arc::clone(&self.model), Arc::clone(&self.pool), options))
    }

    /// Reads a cold model ahead, where it `fits` into memory, with a bar on a terminal.
    fn warm(&self, fits: bool) -> Result<()> {
        /// Less than this comes in a moment anyway.
        const NOTICEABLE: u64 = 64 << 20;
        let gguf = &self.model.gguf;
        let (missing, all) = (gguf.missing_bytes(), gguf.file_bytes());
        if !fits || missing < NOTICEABLE.max(all / 50) {
            return Ok(());
        }
        let bar = progress::reading("reading the model", all);
        let outcome = gguf.warm(&mut |done| {
            bar.set_position(done);
            interrupt::check()
        });
        bar.finish_and_clear();
        outcome
    }
}

/// How the cache keeps keys and values.
fn kv_kind(settings: &Settings) -> Result<KvKind> {
    let kv = settings.kv_type();
    let kind = kv.as_deref().map_or(Some(KvKind::F16), KvKind::by_name);
    kind.ok_or_else(|| {
        let (found, known) = (kv.unwrap_or_default(), KvKind::WORDS.join(", "));
        Error::usage(format!("There is no kv_type {found:?}: it is one of {known}."))
    })
}

/// The context that was asked for, or that a text of `needed` tokens wants.
fn wanted_context(settings: &Settings, needed: usize) -> Option<usize> {
    settings.ctx().or((needed > plan::DEFAULT_CONTEXT).then_some(needed))
}

/// A model as its file tells, and how long a conversation with it could be: nothing is warmed up or laid out anew.
pub(super) fn peek(path: &Path, flags: &MachineFlags) -> Result<(Model, usize)> {
    let settings = Settings::load()?.with(flags).for_model(path);
    let model = Model::open(path)?;
    let free = plan::free_memory_for(&model, &Machine::read());
    let choice = plan::choose(&model, kv_kind(&settings)?, DEFAULT_BATCH, wanted_context(&settings, 0), free)?;
    Ok((model, choice.need.context))
}

/// A copy of the weights with interleaved rows, with a bar on a terminal.
///
/// # Errors
/// [`Error::Input`] when there is no memory for a copy.
fn interleaved(gguf: Gguf) -> Result<Gguf> {
    let (bytes, free) = (gguf.file_bytes(), plan::free_memory(&Machine::read()));
    if bytes > free {
        let (need, free) = (show_bytes(bytes), show_bytes(free));
        let why = format!(
            "--interleave needs {need} for a copy of the weights, and {free} are free. Leave it out, or store the model so: \
             tokki import FILE --interleave"
        );
        return Err(Error::usage(why).of(ErrorKind::TooLarge));
    }
    let bar = progress::reading("arranging the weights", bytes);
    let outcome = gguf.interleaved(&|done| {
        bar.inc(done);
        interrupt::check()
    });
    bar.finish_and_clear();
    let gguf = outcome?;
    if gguf.layout() == RowLayout::Plain {
        output::say("tokki: --interleave changes nothing: this model has no quantized matrices of at least 16 rows");
    }
    Ok(gguf)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::machine::{Core, CoreKind};

    fn mixed() -> Machine {
        let core =
            |cpu| Core { cpus: vec![cpu], kind: if cpu < 2 { CoreKind::Performance } else { CoreKind::Efficiency } };
        let cpus: Vec<usize> = (0..6).collect();
        Machine {
            cores: cpus.iter().copied().map(core).collect(),
            online: cpus.clone(),
            allowed: cpus,
            ..Machine::default()
        }
    }

    #[test]
    fn a_trial_on_mixed_cores_is_made_once_and_a_wrong_file_costs_another() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::at(home.path().to_path_buf());
        let found = ThreadCounts { decode: 2, prefill: 6 };
        let key = format!("my CPU, {}, 2 of 6 cores", chosen_isa().unwrap().name());
        let machine = Machine { cpu: "my CPU".into(), ..mixed() };
        let asked = |counts: &[usize], _: Isa| {
            assert_eq!(counts, [2, 6]);
            Ok(found)
        };
        let never = |_: &[usize], _: Isa| -> Result<ThreadCounts> { unreachable!("it is known") };
        let idle = |_: usize| false;
        assert_eq!(tried(&machine, Some(&store), idle, asked).unwrap(), Some(found));
        assert_eq!(tried(&machine, Some(&store), idle, never).unwrap(), Some(found));
        let counts = ThreadCounts { decode: 4000, prefill: 6 };
        Kept::in_store(Some(&store), TRIED, MAX_TRIED_BYTES).keep(key, Tried { counts, busy: false });
        assert_eq!(tried(&machine, Some(&store), idle, asked).unwrap(), Some(found));
        assert_eq!(tried(&Machine::default(), Some(&store), idle, never).unwrap(), None);
    }

    #[test]
    fn what_was_tried_beside_other_programs_holds_as_long_as_they_run() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::at(home.path().to_path_buf());
        let [few, all] = [2, 6].map(|n| ThreadCounts { decode: n, prefill: n });
        let never = |_: &[usize], _: Isa| -> Result<ThreadCounts> { unreachable!("it is known") };
        assert_eq!(tried(&mixed(), Some(&store), |_| true, |_, _| Ok(few)).unwrap(), Some(few));
        assert_eq!(tried(&mixed(), Some(&store), |_| true, never).unwrap(), Some(few));
        assert_eq!(tried(&mixed(), Some(&store), |_| false, |_, _| Ok(all)).unwrap(), Some(all));
        assert_eq!(tried(&mixed(), Some(&store), |_| true, never).unwrap(), Some(all));
    }
}
