//! A matrix of weights, as it lies in the file.

use std::borrow::Cow;

use crate::dtype::{DType, Visitor};
use crate::formats::{Field, Float, Format32, Format256, GROUP, decode_32, decode_256, decode_float};
use crate::layout::{self, Stored};

/// Why bytes are not a matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MatrixError {
    /// A row isn't a whole number of blocks.
    PartialBlock {
        /// The format.
        dtype: DType,
        /// Weights in a row.
        cols: usize,
    },
    /// The number of bytes doesn't fit the shape; `wanted` is `None` when it overflows.
    Size {
        /// The format.
        dtype: DType,
        /// Number of rows.
        rows: usize,
        /// Weights in a row.
        cols: usize,
        /// Bytes that the shape needs.
        wanted: Option<usize>,
        /// Bytes that are there.
        found: usize,
    },
}

impl std::fmt::Display for MatrixError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::PartialBlock { dtype, cols } => {
                write!(f, "rows of {cols} weights in {dtype}: wanted a multiple of {}", dtype.block_len())
            }
            Self::Size { dtype, rows, cols, wanted: Some(wanted), found } => {
                write!(f, "{rows} rows of {cols} weights in {dtype}: wanted {wanted} bytes, found {found}")
            }
            Self::Size { dtype, rows, cols, wanted: None, .. } => {
                write!(f, "{rows} rows of {cols} weights in {dtype} are more than memory can hold")
            }
        }
    }
}

impl std::error::Error for MatrixError {}

/// How the rows of a matrix lie in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RowLayout {
    /// One after the other, as in GGUF files.
    #[default]
    Plain,
    /// Sixteen rows side by side, field by field: each group of 16 is one stream of memory, and needs no rearranging in
    /// registers. Rows left over (the number of rows modulo 16), and formats whose blocks are single numbers, are plain.
    Interleaved,
}

impl RowLayout {
    /// Rows that lie side by side where rows are interleaved.
    pub const GROUP: usize = GROUP;
}

/// `rows` x `cols` weights in one format, checked once: kernels rely on it.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    dtype: DType,
    layout: RowLayout,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// Rows of `cols` weights, one after the other without gaps.
    ///
    /// # Errors
    /// When a row isn't a whole number of blocks, or `bytes` isn't exactly `rows` rows.
    pub fn new(dtype: DType, rows: usize, cols: usize, bytes: &'a [u8]) -> Result<Self, MatrixError> {
        if !cols.is_multiple_of(dtype.block_len()) {
            return Err(MatrixError::PartialBlock { dtype, cols });
        }
        let wanted = dtype.row_bytes(cols).and_then(|row| row.checked_mul(rows));
        match dtype.row_bytes(cols) {
            Some(row_bytes) if wanted == Some(bytes.len()) => {
                Ok(Self { dtype, layout: RowLayout::Plain, rows, cols, row_bytes, bytes })
            }
            _ => Err(MatrixError::Size { dtype, rows, cols, wanted, found: bytes.len() }),
        }
    }

    /// As [`Matrix::new`], of bytes that [`interleave`] wrote.
    ///
    /// # Errors
    /// As [`Matrix::new`].
    pub fn interleaved(dtype: DType, rows: usize, cols: usize, bytes: &'a [u8]) -> Result<Self, MatrixError> {
        let layout = if dtype.interleaves() { RowLayout::Interleaved } else { RowLayout::Plain };
        Self::new(dtype, rows, cols, bytes).map(|matrix| Self { layout, ..matrix })
    }

    /// How the rows lie.
    pub fn layout(&self) -> RowLayout {
        self.layout
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Weights in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The format.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// All rows.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All rows and how long each is, for the kernels.
    #[inline(always)]
    pub(crate) fn stored(&self) -> Stored<'a> {
        Stored { bytes: self.bytes, row: self.row_bytes }
    }

    /// The bytes of row `r`, which doesn't lie beside others.
    ///
    /// # Panics
    /// When there is no row `r`, or it's one of a group.
    pub(crate) fn row(&self, r: usize) -> &'a [u8] {
        assert!(r < self.rows && !self.in_group(r), "row {r} of {self:?}");
        &self.bytes[r * self.row_bytes..][..self.row_bytes]
    }

    /// Whether row `r` lies beside others.
    #[inline(always)]
    fn in_group(&self, r: usize) -> bool {
        self.layout == RowLayout::Interleaved && r < self.rows / GROUP * GROUP
    }

    /// The bytes of row `r`, as the file had them.
    ///
    /// # Panics
    /// When there is no row `r`.
    pub fn plain_row(&self, r: usize) -> Cow<'a, [u8]> {
        assert!(r < self.rows, "row {r} of {self:?}");
        if !self.in_group(r) {
            return Cow::Borrowed(self.row(r));
        }
        let mut row = vec![0; self.row_bytes];
        let group = &self.bytes[r / GROUP * GROUP * self.row_bytes..][..GROUP * self.row_bytes];
        layout::restore_row(self.dtype.visit(Fields), group, r % GROUP, &mut row);
        Cow::Owned(row)
    }

    /// Row `r`, decoded to single precision: the format's specification, without rounding beyond its own products.
    ///
    /// # Panics
    /// When there is no row `r`, or `out` doesn't hold exactly a row.
    pub fn decode_row(&self, r: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols, "the length of a decoded row");
        self.dtype.visit(Decode { row: &self.plain_row(r), out });
    }
}

/// Writes the weights of `m`, a plain matrix, to `out` for [`Matrix::interleaved`]: the same bytes in another order, from
/// which [`Matrix::plain_row`] gives them back.
///
/// # Panics
/// When `m` is interleaved already, or `out` isn't as long as its bytes.
pub fn interleave(m: &Matrix<'_>, out: &mut [u8]) {
    assert!(m.layout == RowLayout::Plain && out.len() == m.bytes.len(), "interleave: {m:?} to {} bytes", out.len());
    if m.dtype.interleaves() {
        layout::arrange(m.dtype.visit(Fields), m.row_bytes, m.bytes, out);
    } else {
        out.copy_from_slice(m.bytes);
    }
}

/// Writes the rows of `m` to `out` as files have them: the inverse of [`interleave`].
///
/// # Panics
/// When `out` isn't as long as the matrix's bytes.
pub fn restore(m: &Matrix<'_>, out: &mut [u8]) {
    assert!(out.len() == m.bytes.len(), "restore: {m:?} to {} bytes", out.len());
    match m.layout {
        RowLayout::Plain => out.copy_from_slice(m.bytes),
        RowLayout::Interleaved => layout::restore(m.dtype.visit(Fields), m.row_bytes, m.bytes, out),
    }
}

/// The fields of a format's block.
pub(crate) struct Fields;

impl Visitor for Fields {
    type Out = &'static [Field];

    fn float<F: Float>(self) -> Self::Out {
        F::FIELDS
    }

    fn block32<F: Format32>(self) -> Self::Out {
        F::FIELDS
    }

    fn block256<F: Format256>(self) -> Self::Out {
        F::FIELDS
    }
}

impl std::fmt::Debug for Matrix<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Matrix({} x {} {} {:?})", self.rows, self.cols, self.dtype, self.layout)
    }
}

struct Decode<'a> {
    row: &'a [u8],
    out: &'a mut [f32],
}

impl Visitor for Decode<'_> {
    type Out = ();

    fn float<F: Float>(self) {
        decode_float::<F>(self.row, self.out);
    }

    fn block32<F: Format32>(self) {
        decode_32::<F>(self.row, self.out);
    }

    fn block256<F: Format256>(self) {
        decode_256::<F>(self.row, self.out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn shapes_are_checked() {
        let bytes = [0; 36];
        assert!(Matrix::new(DType::Q4_0, 2, 32, &bytes).is_ok());
        assert!(Matrix::new(DType::Q4_0, 1, 64, &bytes).is_ok());
        assert!(Matrix::new(DType::Q4_0, 0, 32, &[]).is_ok());
        let partial = Matrix::new(DType::Q4_0, 2, 33, &bytes).unwrap_err();
        assert_eq!(partial.to_string(), "rows of 33 weights in Q4_0: wanted a multiple of 32");
        let size = Matrix::new(DType::Q4_0, 3, 32, &bytes).unwrap_err();
        assert_eq!(size.to_string(), "3 rows of 32 weights in Q4_0: wanted 54 bytes, found 36");
        let huge = Matrix::new(DType::F32, usize::MAX, 1 << 40, &bytes).unwrap_err();
        assert!(matches!(huge, MatrixError::Size { wanted: None, .. }));
    }
}
