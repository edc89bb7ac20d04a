//! Writes the file of a plan: the header, then each tensor out of its format's pool.

#[cfg(test)]
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::arch::Role;
use crate::error::FileAction;
use crate::gguf::DType;
use crate::gguf::write::Writer;
use crate::{Error, Result};

use super::blocks::Pools;
use super::keys;
use super::plan::Plan;
use super::planned_tensor::PlannedTensor;

/// Multiple that tensors are placed at.
const ALIGNMENT: u64 = Writer::ALIGNMENT as u64;
/// Bytes between two reports of progress.
const REPORT: u64 = 8 << 20;

/// What gets the bytes written and the bytes in all. An error of its own ends the work.
type Progress<'p> = &'p mut dyn FnMut(u64, u64) -> std::io::Result<()>;

#[cfg(test)]
/// Writes `plan` to `path`; `progress` gets the bytes written and the bytes in all. The same plan gives the same file.
/// Returns the size of the file. A file that could not be finished is removed.
///
/// # Errors
/// [`Error::Io`] when the file cannot be created or written.
pub fn write(plan: &Plan, path: &Path, progress: Progress<'_>) -> Result<u64> {
    let file = File::create(path).map_err(|e| Error::io(path, FileAction::Create, e))?;
    write_to(plan, file, progress).map_err(|e| {
        // The write error is what counts; that the remains may stay behind is its consequence.
        let _ = std::fs::remove_file(path);
        Error::io(path, FileAction::Write, e)
    })
}

/// Writes `plan` to a file in `folder` that is removed when the handle is dropped, or the work ends early.
///
/// # Errors
/// As [`write()`]; [`Error::Interrupted`] where `progress` says so.
pub fn temporary(plan: &Plan, folder: &Path, progress: Progress<'_>) -> Result<NamedTempFile> {
    let file = tempfile::Builder::new()
        .prefix(&format!("tokki-{}-", plan.shape.name))
        .suffix(".gguf")
        .tempfile_in(folder)
        .map_err(|e| Error::io(folder, FileAction::Create, e))?;
    write_to(plan, file.as_file(), progress).map_err(|e| match e.kind() {
        std::io::ErrorKind::Interrupted => Error::Interrupted,
        _ => Error::io(file.path(), FileAction::Write, e),
    })?;
    Ok(file)
}

/// Writes only the header of `plan` to a file in `folder` that is removed when the handle is dropped: the data are a hole
/// of the right size. Enough for everything that only asks what the model is.
///
/// # Errors
/// As [`write()`].
pub fn outline(plan: &Plan, folder: &Path) -> Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(&format!("tokki-{}-", plan.shape.name))
        .suffix(".gguf")
        .tempfile_in(folder)
        .map_err(|e| Error::io(folder, FileAction::Create, e))?;
    let header = keys::file(&plan.name(), &plan.shape, plan.recipe, &plan.tensors).header();
    let data: u64 = plan.tensors.iter().map(|tensor| tensor.bytes().next_multiple_of(ALIGNMENT)).sum();
    let written = file.write_all(&header).and_then(|()| file.as_file().set_len(header.len() as u64 + data));
    written.map_err(|e| Error::io(file.path(), FileAction::Write, e))?;
    Ok(file)
}

fn write_to(plan: &Plan, file: impl Write, progress: Progress<'_>) -> std::io::Result<u64> {
    let header = keys::file(&plan.name(), &plan.shape, plan.recipe, &plan.tensors).header();
    let padded = |tensor: &PlannedTensor| tensor.bytes().next_multiple_of(ALIGNMENT);
    let total = header.len() as u64 + plan.tensors.iter().map(padded).sum::<u64>();
    let mut out = Counted { out: BufWriter::with_capacity(1 << 16, file), done: 0, reported: 0, total, progress };
    out.put(&header)?;
    let mut pools = Pools::new(0x9E37_79B9_7F4A_7C15);
    for tensor in &plan.tensors {
        if tensor.dtype == DType::F32 {
            out.put(&vector(plan, tensor, &mut pools))?;
        } else {
            repeat(&mut out, tensor, &mut pools)?;
        }
        let padding = padded(tensor) - tensor.bytes();
        out.put(&[0; ALIGNMENT as usize][..padding as usize])?;
    }
    out.out.flush()?;
    (out.progress)(out.done, total)?;
    Ok(out.done)
}

/// A writer that reports.
struct Counted<'a, W: Write> {
    out: BufWriter<W>,
    done: u64,
    reported: u64,
    total: u64,
    progress: Progress<'a>,
}

impl<W: Write> Counted<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.out.write_all(bytes)?;
        self.done += bytes.len() as u64;
        if self.done - self.reported >= REPORT {
            self.reported = self.done;
            (self.progress)(self.done, self.total)?;
        }
        Ok(())
    }
}

/// The bytes of an F32 tensor: norms are ones, divisors are computed, the rest (biases, sinks, routers) is random.
fn vector(plan: &Plan, tensor: &PlannedTensor, pools: &mut Pools) -> Vec<u8> {
    let values = tensor.values() as usize;
    if tensor.name.ends_with("norm.weight") {
        return 1f32.to_le_bytes().repeat(values);
    }
    if let (true, Some(factor)) = (tensor.role == Role::Divisors, plan.shape.rope_divisors) {
        let divisor = |i| llama3_divisor(i, values, plan.shape.rope_base, factor);
        return (0..values).flat_map(|i| divisor(i).to_le_bytes()).collect();
    }
    let (pool, start) = pools.pool(tensor.dtype);
    pool.iter().copied().cycle().skip(start * 4).take(values * 4).collect()
}

/// The divisor of the frequency of pair `i` of `pairs`: 1 for short waves, `factor` for waves longer than the original
/// context of 8192, a ramp between (the published scaling of Llama 3.1).
fn llama3_divisor(i: usize, pairs: usize, base: f32, factor: f32) -> f32 {
    let original = 8192f32;
    let wave = 2.0 * std::f32::consts::PI * base.powf(i as f32 / pairs as f32);
    if wave < original / 4.0 {
        1.0
    } else if wave > original {
        factor
    } else {
        let kept = (original / wave - 1.0) / 3.0;
        1.0 / ((1.0 - kept) / factor + kept)
    }
}

/// Fills a tensor from its pool, going round as often as it takes.
fn repeat<W: Write>(out: &mut Counted<'_, W>, tensor: &PlannedTensor, pools: &mut Pools) -> std::io::Result<()> {
    let (pool, start) = pools.pool(tensor.dtype);
    let mut rest = tensor.bytes();
    let mut from = start * tensor.dtype.block_bytes();
    while rest > 0 {
        let take = rest.min((pool.len() - from) as u64) as usize;
        out.put(&pool[from..from + take])?;
        rest -= take as u64;
        from = 0;
    }
    Ok(())
}
