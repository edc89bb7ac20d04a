//! Tensors of a file: what they are, where they lie, and the checks that make a view safe to hand out.

use std::ops::Range;
use std::sync::Arc;

use super::map::Map;
use tokki_quant::dtype::DType;
use tokki_quant::matrix::{Matrix, RowLayout};

use super::rows::{self, TypeNumber};
use super::scan::{Scan, TensorSpan, shown};
use super::{foreign, map};
use crate::units::show_bytes;
use crate::{Error, ErrorKind, Result};

/// The format of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorFormat {
    /// One that can be computed with.
    Known(DType),
    /// Another one, by its GGUF number.
    Unsupported(u32),
}

impl TensorFormat {
    fn from_id(id: u32) -> Self {
        DType::from_gguf(id).map_or(Self::Unsupported(id), Self::Known)
    }

    /// The community's name: `Q4_K`, or `IQ2_XXS (type 16)` for one that is not supported.
    pub fn name(self) -> String {
        match self {
            Self::Known(dtype) => dtype.name().to_owned(),
            Self::Unsupported(id) => match foreign::find(id) {
                Some(row) => format!("{} (type {id})", row.name),
                None => format!("type {id}"),
            },
        }
    }

    /// Values and bytes of one block, where they are known.
    fn block(self) -> Option<(u64, u64)> {
        match self {
            Self::Known(dtype) => Some((dtype.block_len() as u64, dtype.block_bytes() as u64)),
            Self::Unsupported(id) => foreign::find(id).and_then(|row| row.block),
        }
    }
}

/// What a file says about one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// `blk.0.attn_q.weight`, ...
    pub name: String,
    /// Number of values along each axis, the contiguous one first; 1 to 4 axes, none of them 0.
    pub shape: Vec<usize>,
    /// How the values are stored.
    pub format: TensorFormat,
    /// How the rows lie.
    pub layout: RowLayout,
    /// Bytes in the file; `None` when the format's size is not known.
    pub bytes: Option<u64>,
    /// Which file of a split model holds it, from 0.
    pub(super) shard: usize,
    /// Where it lies in that file; empty when `bytes` is not known.
    pub(super) range: Range<usize>,
}

impl TensorInfo {
    /// The format, if it can be computed with.
    pub fn dtype(&self) -> Option<DType> {
        match self.format {
            TensorFormat::Known(dtype) => Some(dtype),
            TensorFormat::Unsupported(_) => None,
        }
    }

    /// The values as f32, if they are single numbers that are not [`TensorFormat::Known`]. `map` is the file that holds them.
    pub(super) fn numbers(&self, map: &Map) -> Option<Vec<f32>> {
        let TensorFormat::Unsupported(id) = self.format else { return None };
        let row = foreign::find(id)?;
        let (read, (_, bytes)) = (row.number?, row.block?);
        Some(map[self.range.clone()].chunks_exact(bytes as usize).map(read).collect())
    }

    /// Number of values.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&n| n as u64).product()
    }
}

/// What to do with a file that ends before its tensors do.
const CUT_SHORT: &str = "the file is cut short: download it again";

/// Sizes and places all tensors of one file of `file_len` bytes.
///
/// # Errors
/// [`Error::Input`] for rows that are no whole number of blocks, misaligned, overlapping or missing data.
pub(super) fn place_all(scan: &Scan, shard: usize, file_len: usize, place: &str) -> Result<Vec<TensorInfo>> {
    let data = (scan.end as u64).next_multiple_of(scan.alignment);
    let mut tensors = Vec::with_capacity(scan.tensors.len());
    for span in &scan.tensors {
        tensors
            .push(place_one(span, data, scan.alignment, shard, file_len, place).map_err(|e| cut(e, scan, file_len))?);
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().filter(|t| !t.range.is_empty()).collect();
    order.sort_by_key(|t| t.range.start);
    for pair in order.windows(2) {
        if pair[0].range.end > pair[1].range.start {
            let found = format!("{} and {} on the same bytes", shown(&pair[0].name), shown(&pair[1].name));
            return Err(Error::input(place, "tensors that do not overlap", found).of(ErrorKind::InvalidTensor));
        }
    }
    Ok(tensors)
}

/// Says how much of a file is there, where the error is that it ends too early.
fn cut(error: Error, scan: &Scan, file_len: usize) -> Error {
    let end = |span: &TensorSpan| {
        let TypeNumber::Known(id, _) = TypeNumber::read(span.kind) else { return None };
        let (block_len, block_bytes) = TensorFormat::from_id(id).block()?;
        let values = span.shape.iter().try_fold(1u64, |all, &dim| all.checked_mul(dim))?;
        let data = (scan.end as u64).next_multiple_of(scan.alignment);
        data.checked_add(span.offset)?.checked_add(values / block_len * block_bytes)
    };
    let whole = scan.tensors.iter().filter_map(end).max().unwrap_or_default();
    match &error {
        Error::Input { hint, .. } if hint == CUT_SHORT => {
            let (there, whole) = (show_bytes(file_len as u64), show_bytes(whole));
            error.hint(format!("the file is cut short, {there} of {whole} are there: download it again"))
        }
        _ => error,
    }
}

fn place_one(
    span: &TensorSpan,
    data: u64,
    alignment: u64,
    shard: usize,
    file_len: usize,
    place: &str,
) -> Result<TensorInfo> {
    let wrong = |wanted: String, found: String| {
        Err(Error::input(format!("{place}: tensor {}", shown(&span.name)), wanted, found).of(ErrorKind::InvalidTensor))
    };
    let (format, layout) = match TypeNumber::read(span.kind) {
        TypeNumber::Known(id, layout) => (TensorFormat::from_id(id), layout),
        TypeNumber::Newer(version) => {
            let found = format!("rows arranged in version {version} of tokki's layout");
            return wrong("rows as files have them, or arranged in version 1".into(), found)
                .map_err(|e: Error| e.hint("a newer tokki wrote it: use that one, or let it export the model"));
        }
    };
    if !span.offset.is_multiple_of(alignment) {
        return wrong(format!("an offset that is a multiple of {alignment}"), span.offset.to_string());
    }
    let start = data.checked_add(span.offset).filter(|&at| at <= file_len as u64);
    let Some(start) = start else {
        return wrong(format!("data within the file's {file_len} bytes"), format!("an offset of {}", span.offset));
    };
    let mut shape = Vec::with_capacity(span.shape.len());
    for &dim in &span.shape {
        let Ok(dim) = usize::try_from(dim) else {
            return wrong("dimensions that this machine can address".into(), dim.to_string());
        };
        shape.push(dim);
    }
    if layout == RowLayout::Interleaved
        && !matches!(format, TensorFormat::Known(dtype) if rows::has_groups(dtype, &shape))
    {
        let found = format!("{} of the shape {shape:?}, marked as interleaved", format.name());
        return wrong("a quantized matrix of at least 16 rows where rows are interleaved".into(), found);
    }
    let mut info = TensorInfo { name: span.name.clone(), shape, format, layout, bytes: None, shard, range: 0..0 };
    let Some((block_len, block_bytes)) = format.block() else { return Ok(info) };
    if !span.shape[0].is_multiple_of(block_len) {
        let wanted = format!("rows that are a multiple of {block_len} values ({})", format.name());
        return wrong(wanted, span.shape[0].to_string());
    }
    // No overflow: the pre-scan bounds the number of values by 2^46, and no block has over 2^9 bytes.
    let bytes = info.elements() / block_len * block_bytes;
    let Some(end) = start.checked_add(bytes).filter(|&end| end <= file_len as u64) else {
        let wanted = format!("{bytes} bytes of data from byte {start}");
        return Err(Error::input(
            format!("{place}: tensor {}", shown(&span.name)),
            wanted,
            format!("the end of the file at {file_len}"),
        )
        .of(ErrorKind::InvalidTensor)
        .hint(CUT_SHORT));
    };
    info.bytes = Some(bytes);
    info.range = start as usize..end as usize;
    Ok(info)
}

/// The data of one tensor: an owned handle on the map, cheap to clone.
#[derive(Clone)]
pub struct TensorView {
    map: Arc<Map>,
    range: Range<usize>,
    name: Arc<str>,
    shape: Arc<[usize]>,
    dtype: DType,
    layout: RowLayout,
}

impl TensorView {
    /// Fails for a format that cannot be computed with.
    pub(super) fn new(info: &TensorInfo, map: &Arc<Map>, place: &str) -> Result<Self> {
        let TensorFormat::Known(dtype) = info.format else {
            let place = format!("{place}: tensor {}", shown(&info.name));
            return Err(unsupported(place, info.format));
        };
        Ok(Self {
            map: Arc::clone(map),
            range: info.range.clone(),
            name: info.name.as_str().into(),
            shape: info.shape.as_slice().into(),
            dtype,
            layout: info.layout,
        })
    }

    /// Name of the tensor.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of values along each axis, the contiguous one first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How the values are stored.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// How the rows lie.
    pub fn layout(&self) -> RowLayout {
        self.layout
    }

    /// Whether rows `part` of all rows can be taken out as they lie: always where those lie one after the other, else only
    /// whole groups of them.
    pub fn can_part(&self, part: &Range<usize>) -> bool {
        self.layout == RowLayout::Plain || rows::is_whole(self.shape[1], part)
    }

    /// The first `most` bytes, or all there are, as they are where rows lie one after the other.
    pub fn first_bytes(&self, most: usize) -> Vec<u8> {
        let rows = self.shape[1..].iter().product::<usize>();
        let row = (self.bytes().len() / rows).max(1);
        let mut bytes = self.plain_rows(0..most.div_ceil(row).min(rows));
        bytes.truncate(most);
        bytes
    }

    /// Rows `part` of all rows, one after the other whatever the file's layout.
    ///
    /// # Panics
    /// When there are fewer rows.
    pub fn plain_rows(&self, part: Range<usize>) -> Vec<u8> {
        let unit = self.shape.get(1).copied().unwrap_or(1);
        let row = self.bytes().len() / self.shape[1..].iter().product::<usize>();
        if self.layout == RowLayout::Plain {
            return self.bytes()[part.start * row..part.end * row].to_vec();
        }
        let mut out = Vec::with_capacity(part.len() * row);
        for r in part {
            let matrix = &self.bytes()[r / unit * unit * row..][..unit * row];
            match Matrix::interleaved(self.dtype, unit, self.shape[0], matrix) {
                Ok(matrix) => out.extend_from_slice(&matrix.plain_row(r % unit)),
                Err(_) => unreachable!("the tensor was placed as whole rows"),
            }
        }
        out
    }

    /// The bytes in the file: whole blocks, `shape` of them, in the order of [`TensorView::layout`].
    pub fn bytes(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }

    /// Asks the operating system to read bytes `part` of the tensor into the page cache, without waiting for them. A
    /// hint: failure is ignored, as are bytes past the tensor's end.
    pub fn read_ahead(&self, part: Range<usize>) {
        let end = self.range.end.min(self.range.start.saturating_add(part.end));
        let start = end.min(self.range.start.saturating_add(part.start));
        map::read_ahead(&self.map, start..end);
    }
}

impl std::fmt::Debug for TensorView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.name, self.shape, self.dtype.name())
    }
}

fn unsupported(place: String, format: TensorFormat) -> Error {
    let names: Vec<&str> = DType::ALL.iter().map(|d| d.name()).collect();
    Error::input(place, format!("a format out of {}", names.join(", ")), format.name())
        .of(ErrorKind::UnsupportedFormat)
        .hint("get the model in another quantization, for example Q4_K_M")
}
