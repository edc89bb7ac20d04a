//! How rows lie in a file: what marks interleaved ones, and which tensors and parts of tensors can be.

use std::ops::Range;

use tokki_quant::dtype::DType;
use tokki_quant::matrix::RowLayout;

/// The extension of files with interleaved rows.
pub const EXTENSION: &str = "tokki";

/// Rows that lie side by side.
pub(super) const GROUP: usize = RowLayout::GROUP;
/// The upper half of a marked type number: `TK` in the file.
pub(super) const TYPE_MARK: u32 = 0x4b54;
/// The only version of the layout so far.
const LAYOUT_VERSION: u32 = 1;
/// What the number of a tensor's type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TypeNumber {
    /// A format, and how its rows lie.
    Known(u32, RowLayout),
    /// A version of the layout that is not known here.
    Newer(u32),
}

impl TypeNumber {
    pub(super) fn read(number: u32) -> Self {
        match (number >> 16, number >> 8 & 0xff, number & 0xff) {
            (TYPE_MARK, LAYOUT_VERSION, format) => Self::Known(format, RowLayout::Interleaved),
            (TYPE_MARK, version, _) => Self::Newer(version),
            _ => Self::Known(number, RowLayout::Plain),
        }
    }

    pub(super) fn write(dtype: DType, layout: RowLayout) -> u32 {
        match layout {
            RowLayout::Plain => dtype.gguf_id(),
            RowLayout::Interleaved => TYPE_MARK << 16 | LAYOUT_VERSION << 8 | dtype.gguf_id(),
        }
    }
}

/// Whether the rows of a tensor can lie side by side: blocks of several weights, and a group's worth of rows in each matrix.
pub(super) fn has_groups(dtype: DType, shape: &[usize]) -> bool {
    dtype.interleaves() && dtype.gguf_id() < 0x100 && shape.get(1).is_some_and(|&rows| rows >= GROUP)
}

/// Whether rows `part` of matrices of `unit` interleaved rows each are whole groups, or go to the end of one.
pub(super) fn is_whole(unit: usize, part: &Range<usize>) -> bool {
    let (start, end) = (part.start % unit, part.end % unit);
    let inside = part.end <= (part.start / unit + 1) * unit;
    start.is_multiple_of(GROUP) && end.is_multiple_of(GROUP) && (inside || unit.is_multiple_of(GROUP))
}

/// What people call a layout.
pub fn layout_name(layout: RowLayout) -> &'static str {
    match layout {
        RowLayout::Plain => "plain",
        RowLayout::Interleaved => "interleaved",
    }
}
