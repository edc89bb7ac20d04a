//! What the doctor looks at.

use crate::machine::Machine;
use serde::Serialize;
use std::path::PathBuf;

/// Everything the doctor looks at.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Examined {
    pub(super) version: &'static str,
    pub(super) isa: &'static str,
    pub(super) isa_available: Vec<&'static str>,
    /// The one that would be used without a setting.
    pub(super) isa_default: &'static str,
    /// The best one for such processors, and why it would not be used here; none where it would.
    pub(super) isa_off: Option<(&'static str, &'static str)>,
    pub(super) threads: usize,
    /// Those that make answers: another number where the cores are mixed and that is faster.
    pub(super) threads_decode: usize,
    pub(super) threads_reason: String,
    /// The number that would be chosen without a setting.
    pub(super) threads_default: usize,
    /// The settings ask it to stay cool.
    pub(super) cool: bool,
    pub(super) machine: Machine,
    /// Cores that programs wanted in the last minute.
    pub(super) load: Option<f64>,
    /// Bytes per second that all threads together read.
    pub(super) read_bandwidth: Option<f64>,
    /// 4-bit multiply-adds per second of all threads together.
    pub(super) integer_peak: Option<f64>,
    pub(super) store: Health,
    pub(super) config_file: Option<PathBuf>,
    /// What of the settings cannot be read, and why.
    pub(super) settings_unread: Vec<String>,
    /// Names below `[models.NAME]` that no model of the store has, each with the nearest one.
    pub(super) presets_of_none: Vec<(String, Option<String>)>,
}

/// The state of the store.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Health {
    #[serde(serialize_with = "crate::text::path")]
    pub(super) home: PathBuf,
    /// It cannot be seen what is there, and why.
    pub(super) unreadable: Option<String>,
    /// Nothing can be written there, and why.
    pub(super) closed: Option<String>,
    pub(super) disk_free: Option<u64>,
    pub(super) ready: usize,
    pub(super) damaged: Vec<String>,
    pub(super) partial: Vec<String>,
    pub(super) bytes: u64,
}
