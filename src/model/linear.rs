//! Weights of one matrix product, as a handle on the mapped file.

use crate::gguf::TensorView;
use crate::{Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::Arc;
use tokki_quant::dtype::DType;
use tokki_quant::matrix::{Matrix, RowLayout};

/// Where the bytes of a matrix are: in the mapped file, or (for the few that had to be transposed) on the heap.
#[derive(Clone, Debug)]
enum Bytes {
    Mapped(TensorView),
    Owned(Arc<[u8]>),
}

/// A stack of `count` equal matrices `rows x cols` with optional factors and biases: one for a plain product, one per expert, one
/// per head. Each matrix of the stack starts `stride` rows after the one before.
#[derive(Clone, Debug)]
pub struct Stack {
    bytes: Bytes,
    dtype: DType,
    layout: RowLayout,
    count: usize,
    stride: usize,
    first: usize,
    rows: usize,
    cols: usize,
    scale: Option<Arc<[f32]>>,
    bias: Option<Arc<[f32]>>,
}

impl Stack {
    /// The whole tensor: `{cols, rows}` or `{cols, rows, count}`.
    ///
    /// # Errors
    /// When the tensor's shape is another one.
    pub fn whole(view: TensorView, count: usize, rows: usize, cols: usize) -> Result<Self> {
        Self::part(view, count, rows, 0..rows, cols)
    }

    /// Rows `part` of each of `count` matrices of `stride` rows, for tensors that hold several products in one.
    ///
    /// # Errors
    /// When the tensor's shape is not `{cols, stride, count}`.
    pub fn part(view: TensorView, count: usize, stride: usize, part: Range<usize>, cols: usize) -> Result<Self> {
        let shape = view.shape();
        let axis = |i: usize| shape.get(i).copied().unwrap_or(1);
        let fits = axis(0) == cols && axis(1) == stride && axis(2) == count && axis(3) == 1;
        if !fits {
            let wanted =
                if count == 1 { format!("[{cols}, {stride}]") } else { format!("[{cols}, {stride}, {count}]") };
            let error = Error::input(format!("tensor {}", view.name()), wanted, format!("{shape:?}"));
            return Err(error.of(ErrorKind::InvalidTensor));
        }
        let (dtype, layout) = (view.dtype(), view.layout());
        let stack = Self {
            bytes: Bytes::Mapped(view),
            dtype,
            layout,
            count,
            stride,
            first: part.start,
            rows: part.len(),
            cols,
            scale: None,
            bias: None,
        };
        stack.check()
    }

    /// The tensor's values as `rows` rows of `cols`, whatever its further dimensions.
    ///
    /// # Errors
    /// When the tensor has another number of values, or another first dimension.
    pub fn rows_as_they_lie(view: TensorView, rows: usize, cols: usize) -> Result<Self> {
        let shape = view.shape();
        if shape.first() != Some(&cols) || shape.iter().product::<usize>() != rows * cols {
            let (place, wanted) = (format!("tensor {}", view.name()), format!("{rows} rows of {cols}"));
            return Err(Error::input(place, wanted, format!("{shape:?}")).of(ErrorKind::InvalidTensor));
        }
        let (dtype, layout) = (view.dtype(), view.layout());
        let bytes = Bytes::Mapped(view);
        Self { bytes, dtype, layout, count: 1, stride: rows, first: 0, rows, cols, scale: None, bias: None }.check()
    }

    /// A stack over bytes on the heap, `[count][rows]` rows of `cols` values: what had to be made at load time, or is
    /// made for a measurement.
    ///
    /// # Errors
    /// When the number of bytes is not that of so many rows.
    pub fn owned(dtype: DType, bytes: Vec<u8>, count: usize, rows: usize, cols: usize) -> Result<Self> {
        let bytes = Bytes::Owned(bytes.into());
        Self {
            bytes,
            dtype,
            layout: RowLayout::Plain,
            count,
            stride: rows,
            first: 0,
            rows,
            cols,
            scale: None,
            bias: None,
        }
        .check()
    }

    /// Bytes of it that are no part of the file.
    pub fn heap_bytes(&self) -> u64 {
        match &self.bytes {
            Bytes::Mapped(_) => 0,
            Bytes::Owned(bytes) => bytes.len() as u64,
        }
    }

    /// Every later [`Stack::matrix`] is a part of what is checked here once.
    fn check(self) -> Result<Self> {
        let total = self.stride * self.count;
        match Matrix::new(self.dtype, total, self.cols, self.data()) {
            Ok(_) => Ok(self.in_groups()),
            Err(why) => {
                let place = match &self.bytes {
                    Bytes::Mapped(view) => format!("tensor {}", view.name()),
                    Bytes::Owned(_) => "weights in memory".to_owned(),
                };
                Err(Error::input(place, format!("{total} rows of {}", self.cols), why.to_string())
                    .of(ErrorKind::InvalidTensor))
            }
        }
    }

    /// Every matrix of the stack has to be whole groups of rows that lie side by side; the few stacks that aren't (heads of odd
    /// sizes in one tensor) get their rows back in order, on the heap.
    fn in_groups(mut self) -> Self {
        let Bytes::Mapped(view) = &self.bytes else { return self };
        let rows = |index: usize| index * self.stride + self.first..index * self.stride + self.first + self.rows;
        if !(0..self.count).all(|index| view.can_part(&rows(index))) {
            self.bytes = Bytes::Owned(view.plain_rows(0..self.stride * self.count).into());
            self.layout = RowLayout::Plain;
        }
        self
    }

    /// The same rows seen as `count` matrices of `stride` rows, of which `part` is used.
    ///
    /// # Panics
    /// When the stack is not a single matrix of `count * stride` rows, or `part` leaves the stride.
    #[must_use]
    pub fn restack(mut self, count: usize, stride: usize, part: Range<usize>) -> Self {
        assert!(self.count == 1 && self.rows == count * stride && part.end <= stride, "a stack of {}", self.rows);
        (self.count, self.stride, self.first, self.rows) = (count, stride, part.start, part.len());
        self.in_groups()
    }

    /// With biases, `[count][rows]`.
    #[must_use]
    pub fn with_bias(mut self, bias: Option<Vec<f32>>) -> Self {
        self.bias = bias.map(Into::into);
        self
    }

    /// With factors of the results, one per matrix: `y = scale * W x + bias`.
    #[must_use]
    pub fn with_scale(mut self, scale: Option<Vec<f32>>) -> Self {
        self.scale = scale.map(Into::into);
        self
    }

    fn data(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(view) => view.bytes(),
            Bytes::Owned(bytes) => bytes,
        }
    }

    /// Matrix `index` of the stack.
    ///
    /// # Panics
    /// When `index` is not below [`Stack::count`].
    pub fn matrix(&self, index: usize) -> Matrix<'_> {
        let bytes = &self.data()[self.matrix_range(index)];
        let matrix = match self.layout {
            RowLayout::Plain => Matrix::new(self.dtype, self.rows, self.cols, bytes),
            RowLayout::Interleaved => Matrix::interleaved(self.dtype, self.rows, self.cols, bytes),
        };
        match matrix {
            Ok(matrix) => matrix,
            Err(_) => unreachable!("the whole stack was checked when it was made"),
        }
    }

    /// Where matrix `index` lies in the data.
    fn matrix_range(&self, index: usize) -> Range<usize> {
        assert!(index < self.count, "matrix {index} of a stack of {}", self.count);
        let row_bytes = self.data().len() / (self.stride * self.count);
        let from = (index * self.stride + self.first) * row_bytes;
        from..from + self.rows * row_bytes
    }

    /// Bias of matrix `index`.
    pub fn bias(&self, index: usize) -> Option<&[f32]> {
        self.bias.as_ref().map(|bias| &bias[index * self.rows..(index + 1) * self.rows])
    }

    /// Factor of the results of matrix `index`, before the bias.
    pub fn scale(&self, index: usize) -> Option<f32> {
        self.scale.as_ref().map(|scale| scale[index])
    }

    /// Number of matrices.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Rows of each.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of each.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Format of the weights.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Bytes of one matrix.
    pub fn matrix_bytes(&self) -> usize {
        self.data().len() / (self.stride * self.count) * self.rows
    }

    /// Asks the system to read `matrices` ahead of their use, but no more than `most` bytes of each. A hint that does
    /// nothing for weights that are not in a file.
    ///
    /// # Panics
    /// When a matrix is not below [`Stack::count`].
    pub fn read_ahead(&self, matrices: Range<usize>, most: usize) {
        let Bytes::Mapped(view) = &self.bytes else { return };
        for index in matrices {
            let bytes = self.matrix_range(index);
            view.read_ahead(bytes.start..bytes.end.min(bytes.start.saturating_add(most)));
        }
    }
}
