//! GGUF files: checked metadata and views of tensors, straight from the memory map.
//!
//! Opening a file never reads its weights. The header is pre-scanned within fixed bounds (`scan`), decoded (`decode`, the only
//! place that knows `gguf-rs`), and every tensor is sized, placed and checked against the file's length and its
//! neighbours (`tensor`). Arrays, vocabularies above all, stay in the map and are read through [`Array`]. A model split
//! over several files (`-00001-of-00003.gguf`) is opened by its first file and looks like one.

mod decode;
mod file;
mod foreign;
mod keys;
mod layout;
mod magic;
mod map;
mod other;
mod rows;
mod scan;
mod shard_name;
mod split;
mod tensor;
mod value;
mod warm;
pub(crate) mod write;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use file::Shard;
use map::Map;

pub use file::Gguf;
pub use keys::CHAT_TEMPLATE;
pub use layout::Rearranged;
pub use rows::{EXTENSION, layout_name};
pub use shard_name::ShardName;
pub use tensor::{TensorFormat, TensorInfo, TensorView};
pub use tokki_quant::dtype::DType;
pub use tokki_quant::matrix::RowLayout;
#[cfg(any(test, feature = "testing"))]
pub use value::ValueKind;
pub use value::{Array, MetaValue};

pub use scan::header_len;

use scan::shown;

use crate::platform::process;
use crate::{Error, ErrorKind, Result};

/// Whether the file at `path` begins as a GGUF file does.
pub fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = |mut file: File| std::io::Read::read_exact(&mut file, &mut magic).is_ok();
    crate::platform::input::open_regular(path).is_ok_and(read) && &magic == b"GGUF"
}

impl Gguf {
    /// Opens the model at `path`; for a split model, its first file.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be opened or mapped; [`Error::Input`] for everything in it that is not as it
    /// has to be, naming the file and the byte, key or tensor.
    pub fn open(path: &Path) -> Result<Self> {
        let mut model = Self::open_one(path)?;
        for (number, name) in split::others(&model)?.into_iter().enumerate() {
            let shard = Self::open_one(&name)?;
            split::check_member(&model, &shard, number + 1)?;
            model.append(shard)?;
        }
        split::check_total(&model)?;
        other::check(&model)?;
        model.intact()?;
        Ok(model)
    }

    /// Opens a copy of `bytes` as a model in one file; `name` stands for its path in errors.
    ///
    /// # Errors
    /// [`Error::Input`] as for [`Gguf::open`], and for a part of a split model.
    pub fn from_bytes(name: &Path, bytes: &[u8]) -> Result<Self> {
        let model = Self::from_map(name, map::copy(name, bytes)?, None)?;
        match model.usize("split.count")? {
            Some(2..) => Err(model.wrong("split.count", "1: a model in one piece")),
            _ => Ok(model),
        }
    }

    fn open_one(path: &Path) -> Result<Self> {
        let (map, file) = map::map(path)?;
        Self::from_map(path, map, Some(Arc::new(file)))
    }

    fn from_map(path: &Path, map: Arc<Map>, file: Option<Arc<File>>) -> Result<Self> {
        let place = path.display().to_string();
        let mut scan = scan::scan(&map, &place)?;
        // What is made of a header, the vocabulary above all, is some times as large.
        process::room(8 * scan.end as u64, &place)?;
        let key_order = scan.keys.iter().map(|key| key.name.clone()).collect();
        let tensors = tensor::place_all(&scan, 0, map.len(), &place)?;
        let keys = decode::keys(&mut scan, &map, &place)?;
        let by_name = tensors.iter().enumerate().map(|(i, tensor)| (tensor.name.clone(), i)).collect();
        let modified = file.as_ref().and_then(|file| file.metadata().ok()?.modified().ok());
        let shards = vec![Shard { path: path.to_path_buf(), map, file, modified }];
        Ok(Self { shards, version: scan.version, keys, key_order, tensors, by_name, asked: None })
    }

    /// Adds the tensors of another file of the same model. Its keys repeat those of the first and are dropped.
    fn append(&mut self, other: Self) -> Result<()> {
        let shard = self.shards.len();
        for mut tensor in other.tensors {
            if let Some(&twin) = self.by_name.get(&tensor.name) {
                let first = self.shards[self.tensors[twin].shard].path.display();
                let place = format!("{}: tensor {}", other.shards[0].path.display(), shown(&tensor.name));
                return Err(Error::input(
                    place,
                    "each tensor in one file of a split model",
                    format!("it in {first} too"),
                ));
            }
            tensor.shard = shard;
            self.by_name.insert(tensor.name.clone(), self.tensors.len());
            self.tensors.push(tensor);
        }
        self.shards.extend(other.shards);
        Ok(())
    }

    /// The file that was opened: the first one of a split model.
    pub fn path(&self) -> &Path {
        &self.shards[0].path
    }

    /// All files of the model, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.path.as_path())
    }

    /// Bytes of all files together.
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.map.len() as u64).sum()
    }

    /// Version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// All tensors, in the order of the files.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.iter()
    }

    /// Formats with the number of tensors that have them and their bytes (0 where the size is not known), those with most
    /// bytes first.
    pub fn formats(&self) -> Vec<(TensorFormat, usize, u64)> {
        let mut formats: Vec<(TensorFormat, usize, u64)> = Vec::new();
        for tensor in &self.tensors {
            let bytes = tensor.bytes.unwrap_or(0);
            match formats.iter_mut().find(|(format, ..)| *format == tensor.format) {
                Some((_, tensors, sum)) => (*tensors, *sum) = (*tensors + 1, *sum + bytes),
                None => formats.push((tensor.format, 1, bytes)),
            }
        }
        formats.sort_by_cached_key(|&(format, _, bytes)| (std::cmp::Reverse(bytes), format.name()));
        formats
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&i| &self.tensors[i])
    }

    /// The data of the tensor of this name.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no such tensor, or its format cannot be computed with.
    pub fn view(&self, name: &str) -> Result<TensorView> {
        let Some(info) = self.tensor(name) else {
            let place = format!("{}: tensor {}", self.path().display(), shown(name));
            return Err(Error::input(place, "this tensor", "none of this name")
                .of(ErrorKind::MissingTensor)
                .hint("the file is incomplete, or made for another architecture"));
        };
        let shard = &self.shards[info.shard];
        TensorView::new(info, &shard.map, &shard.path.display().to_string())
    }

    /// The values of a tensor of single numbers in a format that products are not computed with (integers, double precision),
    /// each as the nearest f32; `None` for other formats.
    pub fn numbers(&self, name: &str) -> Option<Vec<f32>> {
        let info = self.tensor(name)?;
        info.numbers(&self.shards[info.shard].map)
    }
}

impl std::fmt::Debug for Gguf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (keys, tensors) = (self.keys.len(), self.tensors.len());
        write!(f, "Gguf({}, {keys} keys, {tensors} tensors)", self.path().display())
    }
}
