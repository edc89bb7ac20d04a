//! What an open model holds.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::map::Map;
use super::tensor::TensorInfo;
use super::value::MetaValue;

/// An open model: its keys, and its tensors in all of its files. Clones share the maps.
#[derive(Clone)]
pub struct Gguf {
    pub(super) shards: Vec<Shard>,
    pub(super) version: u32,
    pub(super) keys: HashMap<String, MetaValue>,
    /// Names of the keys in the order of the file.
    pub(super) key_order: Vec<String>,
    pub(super) tensors: Vec<TensorInfo>,
    pub(super) by_name: HashMap<String, usize>,
    /// Names of the keys that were asked for, where a caller wants to know.
    pub(super) asked: Option<Arc<Mutex<HashSet<String>>>>,
}

/// One mapped file.
#[derive(Clone)]
pub(super) struct Shard {
    pub(super) path: PathBuf,
    pub(super) map: Arc<Map>,
    /// The file behind the map, if there is one.
    pub(super) file: Option<Arc<File>>,
    /// When that was written last.
    pub(super) modified: Option<SystemTime>,
}
