//! The flags of every command that runs a model, and what they make.

use crate::config::{MachineFlags, Settings};
use crate::engine::{DEFAULT_BATCH, Options, Session};
use crate::model::Model;
use crate::parallel::Pool;
use crate::{Error, Result, machine, store};
use std::sync::Arc;
use tokki_quant::attention::KvKind;

/// Context when none is asked for: long enough for a conversation, small enough to fit beside the weights.
const DEFAULT_CONTEXT: usize = 8192;

/// A model with the threads that run it.
pub(super) struct Compute {
    pub(super) settings: Settings,
    pub(super) model: Arc<Model>,
    pub(super) pool: Arc<Pool>,
}

impl Compute {
    /// Opens the model `name`, a path or a store name.
    pub(super) fn open(name: &str, flags: &MachineFlags) -> Result<Self> {
        let settings = Settings::load()?.with(flags);
        let threads = settings.threads().unwrap_or_else(|| machine::threads().0);
        let model = Model::open(&store::resolve(name)?)?;
        Ok(Self { settings, model: Arc::new(model), pool: Arc::new(Pool::new(threads)?) })
    }

    /// An empty session; room for `needed` positions at least where no context was asked for.
    pub(super) fn session(&self, needed: usize) -> Result<Session> {
        let trained = self.model.spec.context_train;
        let context = self.settings.ctx().unwrap_or_else(|| trained.min(DEFAULT_CONTEXT).max(needed.min(trained)));
        let kv = self.settings.kv_type();
        let kind = kv.as_deref().map_or(Some(KvKind::Q8), KvKind::by_name);
        let kind = kind.ok_or_else(|| Error::input("kv_type", "f32, f16 or q8_0", kv.unwrap_or_default()))?;
        let options = Options { context, kv: kind, batch: DEFAULT_BATCH };
        Ok(Session::new(Arc::clone(&self.model), Arc::clone(&self.pool), options))
    }
}
