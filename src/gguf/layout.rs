//! Files whose rows are interleaved: the same file in every byte but two kinds.
//!
//! The rows of a quantized matrix are taken in groups of 16 and lie side by side, field by field
//! ([`RowLayout::Interleaved`]); a group never crosses from one matrix of a stack (an expert) to the next, and the rows left
//! over stay as they are. The numbers of such tensors' types carry a mark and the version of the layout, which no other engine
//! takes for a type that it knows. Nothing moves and nothing grows: the header, its padding and whatever else the file holds
//! stay, so the original comes back byte for byte.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use tokki_quant::dtype::DType;
use tokki_quant::matrix::{self, Matrix, RowLayout};

use super::file::Gguf;
use super::map::{self, Map};
use super::rows::{GROUP, TypeNumber, has_groups};
use super::scan;
use super::tensor::{self, TensorFormat, TensorInfo};
use crate::platform::process;
use crate::{Error, ErrorKind, Result};

/// Bytes that are rearranged at a time, about.
const PIECE: usize = 4 << 20;
/// Pieces that are in memory at once.
const AT_ONCE: usize = 8;
/// Address space for the threads that do it: their stacks, and what the allocator reserves for each.
const ROOM_BESIDE: u64 = 256 << 20;

/// One file of a model, to be written with its rows in a layout.
pub struct Rearranged {
    path: PathBuf,
    map: Arc<Map>,
    file: Option<File>,
    /// The header as it will be.
    header: Vec<u8>,
    pieces: Vec<Piece>,
    layout: RowLayout,
}

/// Some bytes of the file, and what becomes of them.
struct Piece {
    range: Range<usize>,
    work: Work,
}

#[derive(Clone, Copy)]
enum Work {
    /// A part of the header.
    Header,
    Copy,
    /// Rows of one matrix, whole groups of it or to its end.
    Rows(DType, usize),
}

impl Rearranged {
    /// Opens one file of a model, to be written in `layout`.
    ///
    /// # Errors
    /// As [`Gguf::open`] of a single file.
    pub fn open(path: &Path, layout: RowLayout) -> Result<Self> {
        let (map, file) = map::map(path)?;
        Self::of(path, map, Some(file), layout)
    }

    fn of(path: &Path, map: Arc<Map>, file: Option<File>, layout: RowLayout) -> Result<Self> {
        let place = path.display().to_string();
        let scan = scan::scan(&map, &place)?;
        let tensors = tensor::place_all(&scan, 0, map.len(), &place)?;
        let mut header = map[..scan.end].to_vec();
        let mut pieces = split(0..scan.end, PIECE).map(|range| Piece { range, work: Work::Header }).collect();
        for (info, span) in tensors.iter().zip(&scan.tensors) {
            if let Some(dtype) = changes(info, layout) {
                let number = TypeNumber::write(dtype, layout).to_le_bytes();
                header[span.kind_at..][..4].copy_from_slice(&number);
            }
        }
        let mut order: Vec<&TensorInfo> = tensors.iter().filter(|info| changes(info, layout).is_some()).collect();
        order.sort_by_key(|info| info.range.start);
        let mut done = scan.end;
        for info in order {
            copied(done..info.range.start, &mut pieces);
            rearranged(info, &mut pieces);
            done = info.range.end;
        }
        copied(done..map.len(), &mut pieces);
        Ok(Self { path: path.to_path_buf(), map, file, header, pieces, layout })
    }

    /// Length of the file, before and after.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Calls `each` with the file's bytes in their new order, a few megabytes at a time. Its error ends the work.
    ///
    /// # Errors
    /// Those of `each`, and [`Error::Failed`] when the file was cut short meanwhile.
    pub fn write(&self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let pool = self.pool()?;
        let mut buffers = vec![Vec::new(); AT_ONCE];
        for pieces in self.pieces.chunks(AT_ONCE) {
            pool.install(|| {
                buffers.par_iter_mut().zip(pieces).for_each(|(buffer, piece)| {
                    buffer.resize(piece.range.len(), 0);
                    self.fill(piece, buffer);
                });
            });
            for (buffer, _) in buffers.iter().zip(pieces) {
                each(buffer)?;
            }
        }
        self.intact()
    }

    /// The whole in memory; `each` is told of every so many bytes.
    fn fill_all(&self, mut out: &mut [u8], each: &(dyn Fn(u64) -> Result<()> + Sync)) -> Result<()> {
        let mut work = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let (part, rest) = out.split_at_mut(piece.range.len());
            work.push((piece, part));
            out = rest;
        }
        self.pool()?.install(|| {
            work.into_par_iter().try_for_each(|(piece, part)| {
                self.fill(piece, part);
                each(part.len() as u64)
            })
        })?;
        self.intact()
    }

    /// Threads for one work, and room for its buffers.
    fn pool(&self) -> Result<rayon::ThreadPool> {
        process::room((AT_ONCE * PIECE) as u64 + ROOM_BESIDE, "rearranging rows")?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(AT_ONCE.min(threads)).build();
        pool.map_err(|why| Error::failed("threads", why.to_string()).of(ErrorKind::OutOfMemory))
    }

    fn fill(&self, piece: &Piece, out: &mut [u8]) {
        let bytes = &self.map[piece.range.clone()];
        match piece.work {
            Work::Header => out.copy_from_slice(&self.header[piece.range.clone()]),
            Work::Copy => out.copy_from_slice(bytes),
            Work::Rows(dtype, cols) => {
                let rows = bytes.len() / dtype.row_bytes(cols).unwrap_or(1).max(1);
                let done = match self.layout {
                    RowLayout::Interleaved => {
                        Matrix::new(dtype, rows, cols, bytes).map(|m| matrix::interleave(&m, out))
                    }
                    RowLayout::Plain => Matrix::interleaved(dtype, rows, cols, bytes).map(|m| matrix::restore(&m, out)),
                };
                debug_assert!(done.is_ok(), "pieces are whole rows");
            }
        }
        map::let_go(&self.map, piece.range.clone());
    }

    fn intact(&self) -> Result<()> {
        let cut = self.file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|meta| meta.len() < self.bytes()));
        if cut || self.map.is_damaged() {
            let why = "the file was cut short while it was read";
            return Err(Error::failed(self.path.display().to_string(), why));
        }
        Ok(())
    }
}

/// The format of a tensor whose rows will lie another way.
fn changes(info: &TensorInfo, layout: RowLayout) -> Option<DType> {
    let TensorFormat::Known(dtype) = info.format else { return None };
    (info.layout != layout && has_groups(dtype, &info.shape)).then_some(dtype)
}

fn copied(range: Range<usize>, pieces: &mut Vec<Piece>) {
    pieces.extend(split(range, PIECE).map(|range| Piece { range, work: Work::Copy }));
}

/// The rows of a tensor, matrix by matrix.
fn rearranged(info: &TensorInfo, pieces: &mut Vec<Piece>) {
    let (TensorFormat::Known(dtype), [cols, rows, ..]) = (info.format, info.shape.as_slice()) else { return };
    let row = info.range.len() / info.shape[1..].iter().product::<usize>();
    let step = (PIECE / (row * GROUP)).max(1) * GROUP * row;
    for matrix in split(info.range.clone(), rows * row) {
        pieces.extend(split(matrix, step).map(|range| Piece { range, work: Work::Rows(dtype, *cols) }));
    }
}

/// A range in parts of `step`.
fn split(range: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(step.max(1)).map(move |start| start..end.min(start + step))
}

impl Gguf {
    /// How the rows of the weights lie: interleaved where those of any tensor are.
    pub fn layout(&self) -> RowLayout {
        let interleaved = self.tensors().any(|tensor| tensor.layout == RowLayout::Interleaved);
        if interleaved { RowLayout::Interleaved } else { RowLayout::Plain }
    }

    /// Bytes of the model that are in this process's own memory, not in mapped files.
    pub fn copied_bytes(&self) -> u64 {
        let copied = self.shards.iter().filter(|shard| shard.file.is_none());
        copied.map(|shard| shard.map.len() as u64).sum()
    }

    /// The same model with interleaved rows, in memory of this process. The files are let go. `each` is told of every so many
    /// bytes that are done, from several threads; its error ends the work.
    ///
    /// # Errors
    /// [`Error::Failed`] when there is not enough memory, and those of `each`.
    pub fn interleaved(self, each: &(dyn Fn(u64) -> Result<()> + Sync)) -> Result<Self> {
        let mut model: Option<Self> = None;
        for shard in self.shards {
            let file = Rearranged::of(&shard.path, shard.map, None, RowLayout::Interleaved)?;
            let map = map::filled(&shard.path, file.map.len(), &mut |out| file.fill_all(out, each))?;
            let shard = Self::from_map(&shard.path, map, None)?;
            match &mut model {
                Some(model) => model.append(shard)?,
                None => model = Some(shard),
            }
        }
        model.ok_or_else(|| Error::failed("the model", "it has no files"))
    }
}

crate::text::opaque!(Rearranged);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::rows::{TYPE_MARK, is_whole};
    use super::*;
    use crate::testing::{Rng, Writer};

    /// The file at `path` in another layout, as bytes.
    fn rearrange(path: &Path, layout: RowLayout) -> Vec<u8> {
        let mut out = Vec::new();
        Rearranged::open(path, layout)
            .unwrap()
            .write(&mut |bytes| {
                out.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
        out
    }

    #[test]
    fn any_file_comes_back_and_means_the_same() {
        let (mut rng, dir) = (Rng::new(9), tempfile::tempdir().unwrap());
        let mut random = |most: u64| 1 + (rng.signed().abs() * most as f32) as u64 % most;
        for round in 0..60 {
            let mut writer = Writer::new("llama");
            let alignment = [32, 64, 8][round % 3];
            writer.alignment = alignment;
            writer = writer.u32("general.alignment", alignment as u32);
            for number in 0..random(6) {
                let dtype = DType::ALL[random(DType::ALL.len() as u64) as usize - 1];
                let cols = random(3) * dtype.block_len().max(4) as u64;
                let shape = [cols, random(70), random(4)];
                let shape = &shape[..random(3) as usize];
                let rows: u64 = shape[1..].iter().product();
                let size = dtype.row_bytes(cols as usize).unwrap() * rows as usize;
                let data = (0..size).map(|_| random(256) as u8).collect();
                writer = writer.tensor(&format!("t{number}"), shape, dtype.gguf_id(), data);
            }
            let mut original = writer.bytes();
            original.extend_from_slice(&vec![7; round % 5]);
            let (file, other) = (dir.path().join("m.gguf"), dir.path().join("m.tokki"));
            std::fs::write(&file, &original).unwrap();
            let arranged = rearrange(&file, RowLayout::Interleaved);
            assert_eq!(arranged.len(), original.len());
            std::fs::write(&other, &arranged).unwrap();
            assert!(rearrange(&other, RowLayout::Plain) == original, "round {round}");
            assert!(rearrange(&other, RowLayout::Interleaved) == arranged, "what is arranged stays");

            let (plain, interleaved) = (Gguf::open(&file).unwrap(), Gguf::open(&other).unwrap());
            for tensor in plain.tensors() {
                let (wanted, found) = (plain.view(&tensor.name).unwrap(), interleaved.view(&tensor.name).unwrap());
                let rows: usize = tensor.shape[1..].iter().product();
                assert!(wanted.plain_rows(0..rows) == found.plain_rows(0..rows), "{tensor:?}");
                let groups = has_groups(wanted.dtype(), &tensor.shape);
                assert_eq!(found.layout() == RowLayout::Interleaved, groups, "{tensor:?}");
            }
        }
    }

    #[test]
    fn parts_are_whole_groups_or_go_to_the_end_of_a_matrix() {
        for (unit, part, whole) in [
            (32, 0..32, true),
            (32, 16..32, true),
            (32, 8..24, false),
            (40, 0..40, true),
            (40, 16..40, true),
            (40, 0..36, false),
            (40, 0..80, false),
            (48, 16..96, true),
            (40, 40..80, true),
            (40, 40..56, true),
            (40, 48..80, false),
        ] {
            assert_eq!(is_whole(unit, &part), whole, "{part:?} of matrices of {unit}");
        }
    }

    #[test]
    fn type_numbers_that_are_no_layout_of_ours_are_formats() {
        for number in [0, 12, 39, 0xff, 0x1234_5678, TYPE_MARK << 16 | 0x200 | 12] {
            let expected = if number >> 16 == TYPE_MARK {
                TypeNumber::Newer(2)
            } else {
                TypeNumber::Known(number, RowLayout::Plain)
            };
            assert_eq!(TypeNumber::read(number), expected);
        }
        let number = TypeNumber::write(DType::Q4K, RowLayout::Interleaved);
        assert_eq!(TypeNumber::read(number), TypeNumber::Known(12, RowLayout::Interleaved));
    }
}
