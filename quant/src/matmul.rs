//! Products of a matrix of weights with rows of activations: chooses the kernel by format, layout, instruction set and number
//! of columns. Which one runs is a matter of speed alone; all of them give the same bits.

use std::marker::PhantomData;
use std::ops::Range;

use crate::activation::{ActRow32, ActRow256, Activations};
use crate::dot::{self, MAX_COLUMNS};
use crate::dtype::Visitor;
use crate::floats;
use crate::formats::{Float, Format32, Format256, GROUP};
use crate::gemm;
use crate::gemv::{STEP_ROWS, Steps};
use crate::isa::Isa;
use crate::isa::dispatch::dispatch_vectors;
use crate::isa::simd::Kernel;
use crate::layout::{Interleaved, Layout, Plain};
use crate::matrix::{Matrix, RowLayout};
use crate::product::{Columns, Product};
use crate::share::Tile;

/// `tile[c][r] = sum over k of m[r][k] * x[c][k]`, for the tile's rows and all rows of `x`.
///
/// # Panics
/// When the shapes don't fit, or `x` wasn't written in the form that the format asks for: bugs of the caller.
pub fn matmul(isa: Isa, m: &Matrix<'_>, x: &Activations, tile: &mut Tile<'_>) {
    assert_eq!(x.k(), m.cols(), "activations for a row of {m:?}");
    assert_eq!(x.n(), tile.n(), "rows of activations for the output");
    product(isa, m, x, Columns::All(x.n()), tile);
}

/// As [`matmul`] for chosen rows of `x`: `tile[i]` is the product with row `cols[i]`.
///
/// # Panics
/// As [`matmul`]; and when a chosen row doesn't exist.
pub fn matmul_cols(isa: Isa, m: &Matrix<'_>, x: &Activations, cols: &[u32], tile: &mut Tile<'_>) {
    assert_eq!(x.k(), m.cols(), "activations for a row of {m:?}");
    assert_eq!(cols.len(), tile.n(), "chosen rows of activations for the output");
    product(isa, m, x, Columns::Chosen(cols), tile);
}

fn product(isa: Isa, m: &Matrix<'_>, x: &Activations, cols: Columns<'_>, tile: &mut Tile<'_>) {
    let all = tile.rows();
    assert!(all.end <= m.rows(), "rows {all:?} of {m:?}");
    let grouped = match m.layout() {
        RowLayout::Plain => 0,
        RowLayout::Interleaved => m.rows() / GROUP * GROUP,
    };
    // Rows left over by groups are plain ones.
    let border = all.end.min(grouped).max(all.start);
    for (rows, layout) in [(all.start..border, RowLayout::Interleaved), (border..all.end, RowLayout::Plain)] {
        if !rows.is_empty() {
            rows_of_one_layout(isa, layout, Product { m, x, cols, rows, tile });
        }
    }
}

/// The most columns for which the kernels that unpack in registers are faster than panels: up to so many, weights are read
/// as streams.
pub const FEW: usize = 8;

fn rows_of_one_layout(isa: Isa, layout: RowLayout, product: Product<'_, '_>) {
    let Product { m, x, cols, rows, tile } = product;
    if !m.dtype().visit(Blocked(isa, layout, Product { m, x, cols, rows: rows.clone(), tile })) {
        few_columns(isa, layout, Product { m, x, cols, rows, tile });
    }
}

/// A product by panels, or of floats. Returns whether it's been done.
struct Blocked<'a, 't>(Isa, RowLayout, Product<'a, 't>);

impl Visitor for Blocked<'_, '_> {
    type Out = bool;

    fn float<F: Float>(self) -> bool {
        // The definition is as fast as vectors in portable code.
        if self.0 != Isa::SCALAR {
            floats::product::<F>(self.0, self.2);
        }
        self.0 != Isa::SCALAR
    }

    fn block32<F: Format32>(self) -> bool {
        // Without vectors, panels pay for formats with scales of groups alone.
        let many = self.2.cols.len() > FEW;
        many && match self.1 {
            RowLayout::Plain => gemm::gemm_32::<Plain, F>(self.0, self.2),
            RowLayout::Interleaved => gemm::gemm_32::<Interleaved, F>(self.0, self.2),
        }
    }

    fn block256<F: Format256>(self) -> bool {
        let many = self.2.cols.len() > FEW || (F::BY_PANELS && self.0 != Isa::SCALAR);
        many && match self.1 {
            RowLayout::Plain if self.0 == Isa::SCALAR => gemm::gemm_256_portable::<F>(self.2),
            RowLayout::Plain => gemm::gemm_256::<Plain, F>(self.0, self.2),
            RowLayout::Interleaved => gemm::gemm_256::<Interleaved, F>(self.0, self.2),
        }
    }
}

/// Bytes of weights that are multiplied with all columns before the next ones are looked at.
const STEP_BYTES: usize = 24 << 10;

/// Columns that one pass over rows side by side is for, when `left` are left. Eight at a time pay where unpacking is what costs:
/// of rows that lie one after the other, also with two columns idle.
fn together(layout: RowLayout, left: usize) -> usize {
    match (layout, left) {
        (_, ..=2) => left,
        (RowLayout::Plain, 6..) => 8,
        _ => 4,
    }
}

/// A product a few columns at a time.
fn few_columns(isa: Isa, layout: RowLayout, product: Product<'_, '_>) {
    let Product { m, x, cols, rows, tile } = product;
    // More columns than a kernel takes pass over the same rows again: while those are still in the first-level cache.
    let unit = match layout {
        RowLayout::Plain => STEP_ROWS,
        RowLayout::Interleaved => GROUP,
    };
    let once = together(layout, cols.len()) >= cols.len();
    let few = if once { usize::MAX / unit } else { STEP_BYTES / (unit * m.row_bytes()).max(1) };
    let few = few.max(1) * unit;
    let mut start = rows.start;
    while start < rows.end {
        // Of interleaved rows, all passes but the first begin with a group.
        let from = if layout == RowLayout::Interleaved { start / GROUP * GROUP } else { start };
        let end = from.saturating_add(few);
        let end = end.min(rows.end);
        let mut from = 0;
        while from < cols.len() {
            from += m.dtype().visit(Batch { isa, layout, m, x, cols, from, rows: start..end, tile });
        }
        start = end;
    }
}

/// Products of some rows of a tile with the next few columns, from number `from` on: as many as one kernel takes. Returns
/// how many that were.
struct Batch<'a, 't> {
    isa: Isa,
    layout: RowLayout,
    m: &'a Matrix<'a>,
    x: &'a Activations,
    cols: Columns<'a>,
    from: usize,
    rows: Range<usize>,
    tile: &'a mut Tile<'t>,
}

impl<'a, 't> Batch<'a, 't> {
    /// How many columns are left.
    fn left(&self) -> usize {
        self.cols.len() - self.from
    }

    /// The next `C` columns: the last one several times over when fewer are left. That costs less than a second pass over
    /// the weights. Returns them and how many there are.
    fn next<X, const C: usize>(&self, column: impl Fn(usize) -> X) -> ([X; C], usize) {
        let last = self.cols.len() - 1;
        (std::array::from_fn(|i| column(self.cols.get(last.min(self.from + i)))), C.min(self.left()))
    }

    /// `C` columns with rows side by side.
    fn wide<L: Layout, F, X, const C: usize>(self, column: impl Fn(usize) -> X) -> usize
    where
        Steps<'a, 't, L, F, X, C>: Kernel,
    {
        let (x, count) = self.next(column);
        let Batch { m, rows, tile, from, .. } = self;
        let steps = Steps::<L, F, X, C> { m, x, rows, tile, first: from, types: PhantomData };
        let done = dispatch_vectors(self.isa, steps);
        debug_assert!(done, "portable code follows the definition");
        count
    }

    /// As many columns as one pass takes of those with rows side by side.
    fn widest<F, X>(self, column: impl Fn(usize) -> X) -> usize
    where
        Steps<'a, 't, Plain, F, X, 1>: Kernel,
        Steps<'a, 't, Interleaved, F, X, 1>: Kernel,
        Steps<'a, 't, Plain, F, X, 2>: Kernel,
        Steps<'a, 't, Interleaved, F, X, 2>: Kernel,
        Steps<'a, 't, Plain, F, X, 4>: Kernel,
        Steps<'a, 't, Interleaved, F, X, 4>: Kernel,
        Steps<'a, 't, Plain, F, X, 8>: Kernel,
    {
        match (self.layout, together(self.layout, self.left())) {
            (RowLayout::Plain, 1) => self.wide::<Plain, F, X, 1>(column),
            (RowLayout::Plain, 2) => self.wide::<Plain, F, X, 2>(column),
            (RowLayout::Plain, 8) => self.wide::<Plain, F, X, 8>(column),
            (RowLayout::Plain, _) => self.wide::<Plain, F, X, 4>(column),
            (RowLayout::Interleaved, 1) => self.wide::<Interleaved, F, X, 1>(column),
            (RowLayout::Interleaved, 2) => self.wide::<Interleaved, F, X, 2>(column),
            (RowLayout::Interleaved, _) => self.wide::<Interleaved, F, X, 4>(column),
        }
    }

    /// The definition, row by row, with up to [`MAX_COLUMNS`] columns: calls `product(row, columns, results)`.
    fn portable<X>(self, column: impl Fn(usize) -> X, product: impl Fn(&[u8], &[X], &mut [f32])) -> usize {
        let columns: Vec<X> = (0..self.left().min(MAX_COLUMNS)).map(|i| column(self.cols.get(self.from + i))).collect();
        let first = self.tile.rows().start;
        for r in self.rows {
            let mut out = [0f32; MAX_COLUMNS];
            product(&self.m.plain_row(r), &columns, &mut out[..columns.len()]);
            for (c, out) in out.into_iter().enumerate().take(columns.len()) {
                self.tile.col_mut(self.from + c)[r - first] = out;
            }
        }
        columns.len()
    }
}

impl Visitor for Batch<'_, '_> {
    type Out = usize;

    fn float<F: Float>(self) -> usize {
        let x = self.x;
        self.portable(|c| x.row_f32(c), |row, x: &[&[f32]], out| dot::row_float::<F>(F::blocks(row), x, out))
    }

    fn block32<F: Format32>(self) -> usize {
        let x = self.x;
        let column = |c| x.row_32(c);
        if self.isa == Isa::SCALAR {
            return self.portable(column, |row, x: &[ActRow32<'_>], out| dot::row_32::<F>(F::blocks(row), x, out));
        }
        self.widest::<F, _>(column)
    }

    fn block256<F: Format256>(self) -> usize {
        let x = self.x;
        let column = |c| x.row_256(c);
        if self.isa == Isa::SCALAR {
            return self.portable(column, |row, x: &[ActRow256<'_>], out| dot::row_256::<F>(F::blocks(row), x, out));
        }
        if F::BY_PANELS {
            // Done before.
            return self.left();
        }
        self.widest::<F, _>(column)
    }
}
