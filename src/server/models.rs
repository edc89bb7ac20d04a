//! The models that are served, by name.

use super::error::ApiError;
use crate::engine::Engine;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// One served model.
pub(super) struct Served {
    pub(super) name: String,
    pub(super) engine: Arc<Engine>,
    /// Seconds since 1970 when it was loaded.
    pub(super) created: u64,
}

/// All served models; the first one answers requests that name none.
pub struct Models {
    served: Vec<Arc<Served>>,
}

impl Models {
    /// Models with the names under which they are served.
    pub fn new(models: impl IntoIterator<Item = (String, Engine)>) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let served = |(name, engine)| Arc::new(Served { name, engine: Arc::new(engine), created });
        Self { served: models.into_iter().map(served).collect() }
    }

    pub(super) fn all(&self) -> &[Arc<Served>] {
        &self.served
    }

    /// The model of this name. Where only one is served it answers to every name, as clients have names of their own;
    /// the answer says which model it was.
    pub(super) fn get(&self, name: Option<&str>) -> Result<Arc<Served>, ApiError> {
        let plain = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_lowercase();
        let found = match name {
            None | Some("" | "default" | "unknown") => self.served.first(),
            Some(name) => self.served.iter().find(|model| model.name == name).or_else(|| {
                self.served.iter().find(|model| plain(&model.name) == plain(name)).or(match &self.served[..] {
                    [only] => Some(only),
                    _ => None,
                })
            }),
        };
        found.cloned().ok_or_else(|| ApiError::no_model(name.unwrap_or_default()))
    }
}
