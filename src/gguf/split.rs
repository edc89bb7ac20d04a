//! Models split over several files: `NAME-00001-of-00003.gguf`, keys `split.no`, `split.count`, `split.tensors.count`.

use std::path::PathBuf;

use super::file::Gguf;
use super::shard_name::{MAX_SHARDS, ShardName};
use crate::{Error, Result};

/// Most bytes between the data of one part and the start of the next, where they were joined.
const MAX_PADDING: usize = 4096;

/// The other files of a split model, in order; none for a model in one file.
///
/// # Errors
/// [`Error::Input`] when `first` is not the first file, or its name does not follow the pattern.
pub(super) fn others(first: &Gguf) -> Result<Vec<PathBuf>> {
    let count = first.usize("split.count")?.unwrap_or(1);
    if count <= 1 {
        return Ok(Vec::new());
    }
    let place = first.path().display().to_string();
    if count > MAX_SHARDS {
        return Err(Error::input(
            format!("{place}: key split.count"),
            format!("at most {MAX_SHARDS}"),
            count.to_string(),
        ));
    }
    if joined(first) {
        return Err(Error::input(place, "one file of a split model", format!("{count} of them joined, as cat does"))
            .hint("take the parts as they were, in one folder: the first opens all; or merge them with llama.cpp's gguf-split"));
    }
    let name = first.path().file_name().and_then(|name| name.to_str());
    let Some(named) = name.and_then(ShardName::parse).filter(|named| named.count == count) else {
        return Err(Error::input(place, format!("a name that ends in -00001-of-{count:05}.gguf"), "another one")
            .hint("give the files of a split model their original names"));
    };
    let number = first.usize("split.no")?.unwrap_or(0);
    if number != 0 || named.number != 1 {
        return Err(Error::input(place, "the first file of a split model", format!("number {}", number + 1))
            .hint(format!("open {}", first.path().with_file_name(named.with_number(1)).display())));
    }
    Ok((2..=count).map(|n| first.path().with_file_name(named.with_number(n))).collect())
}

/// Whether another GGUF file begins after the data of this one.
fn joined(first: &Gguf) -> bool {
    let bytes: &[u8] = &first.shards[0].map;
    let end = first.tensors.iter().map(|tensor| tensor.range.end).max().unwrap_or(0);
    bytes
        .get(end..)
        .is_some_and(|rest| end > 0 && rest[..rest.len().min(MAX_PADDING)].windows(4).any(|four| four == b"GGUF"))
}

/// Checks that `shard` is file `number` (from 0) of the model that `first` begins.
pub(super) fn check_member(first: &Gguf, shard: &Gguf, number: usize) -> Result<()> {
    for (key, want) in [("split.no", number), ("split.count", first.need_usize("split.count")?)] {
        let found = shard.need_usize(key)?;
        if found != want {
            let place = format!("{}: key {key}", shard.path().display());
            return Err(Error::input(place, want.to_string(), found.to_string())
                .hint("this file belongs to another model, or is misnamed"));
        }
    }
    Ok(())
}

/// Checks that all tensors of a split model are there.
pub(super) fn check_total(model: &Gguf) -> Result<()> {
    let split = model.usize("split.count")?.is_some_and(|count| count > 1);
    match model.usize("split.tensors.count")?.filter(|_| split) {
        Some(want) if want != model.tensors.len() => {
            let place = format!("{}: key split.tensors.count", model.path().display());
            Err(Error::input(place, format!("{want} tensors in all files"), model.tensors.len().to_string()))
        }
        _ => Ok(()),
    }
}
