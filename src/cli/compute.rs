//! The flags of every command that runs a model, and what they make.

use super::{output, progress};
use crate::config::{MachineFlags, Settings};
use crate::engine::{DEFAULT_BATCH, Embedder, Options, Session};
use crate::gguf::{Gguf, RowLayout};
use crate::machine::Machine;
use crate::model::Model;
use crate::parallel::Pool;
use crate::predict::plan;
use crate::units::show_bytes;
use crate::{Error, Result, interrupt, machine, store};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use tokki_quant::attention::KvKind;

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
        Self::with_pool(path, flags, Self::pool(flags)?)
    }

    /// The threads that the flags ask for.
    pub(super) fn pool(flags: &MachineFlags) -> Result<Arc<Pool>> {
        let threads = Settings::load()?.with(flags).threads().unwrap_or_else(|| machine::threads().0);
        Ok(Arc::new(Pool::new(threads)?))
    }

    /// Opens the model in a file, to be run by `pool`.
    pub(super) fn with_pool(path: &Path, flags: &MachineFlags, pool: Arc<Pool>) -> Result<Self> {
        let settings = Settings::load()?.with(flags);
        let mut model = Model::open(path)?;
        if settings.interleave() == Some(true) && model.gguf.layout() == RowLayout::Plain {
            // What cannot be run has been said by now.
            model = Model::from_gguf(interleaved(model.gguf)?)?;
        }
        Ok(Self { settings, model: Arc::new(model), pool })
    }

    /// An empty session with a context that fits into memory; room for `needed` positions at least where no context was
    /// asked for.
    ///
    /// # Errors
    /// [`Error::Input`] with the numbers when it does not fit.
    pub(super) fn session(&self, needed: usize) -> Result<Session> {
        let kv = self.settings.kv_type();
        let kind = kv.as_deref().map_or(Some(KvKind::F16), KvKind::by_name);
        let kind = kind.ok_or_else(|| Error::input("kv_type", "f32, f16 or q8_0", kv.unwrap_or_default()))?;
        let wanted = self.settings.ctx().or((needed > plan::DEFAULT_CONTEXT).then_some(needed));
        let free = plan::free_memory_for(&self.model, &Machine::read());
        let choice = plan::choose(&self.model, kind, DEFAULT_BATCH, wanted, free)?;
        if let Some(remark) = &choice.remark {
            output::say(&format!("tokki: {remark}"));
        }
        self.warm(choice.need.total() <= free)?;
        let read_ahead = match self.settings.read_ahead().as_deref() {
            Some("on") => choice.need.window(free),
            None | Some("auto") if choice.need.total() > free => choice.need.window(free),
            _ => 0,
        };
        let expand_latents = self.settings.latent_prefill().as_deref() == Some("expanded");
        let options =
            Options { context: choice.need.context, kv: kind, batch: DEFAULT_BATCH, read_ahead, expand_latents };
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

/// A copy of the weights with interleaved rows, with a bar on a terminal.
///
/// # Errors
/// [`Error::Input`] when there is no memory for a copy.
fn interleaved(gguf: Gguf) -> Result<Gguf> {
    let (bytes, free) = (gguf.file_bytes(), plan::free_memory(&Machine::read()));
    if bytes > free {
        let found = format!("{} free", show_bytes(free));
        return Err(Error::input(
            "memory",
            format!("{} for --interleave's copy of the weights", show_bytes(bytes)),
            found,
        )
        .hint("leave --interleave out, or store the model so: tokki import FILE --interleave"));
    }
    let bar = progress::reading("arranging the weights", bytes);
    let outcome = gguf.interleaved(&|done| {
        bar.inc(done);
        interrupt::check()
    });
    bar.finish_and_clear();
    outcome
}
