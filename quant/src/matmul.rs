//! Products of a matrix of weights with rows of activations: chooses the kernel by format, instruction set and number of
//! columns. Which one runs is a matter of speed alone; all of them give the same bits.

use std::ops::Range;

use crate::activation::{ActRow32, ActRow256, Activations};
use crate::dot::{self, COLUMNS};
use crate::dtype::Visitor;
use crate::floats;
use crate::formats::{Float, Format32, Format256};
use crate::gemm::{self, Lanes32, Lanes256};
use crate::gemv::{self, Steps};
use crate::isa::Isa;
use crate::isa::ints::{self, Kernel, ROWS};
use crate::matrix::Matrix;
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
    if m.dtype().visit(Blocked(isa, Product { m, x, cols, tile })) {
        return;
    }
    // More columns than a kernel takes pass over the same rows again: while those are still in the first-level cache.
    let steps = gemv::steps(all.len());
    let few = if cols.len() > WIDEST { (STEP_BYTES / (ROWS * m.row_bytes()).max(1)).max(1) } else { steps.max(1) };
    for start in (0..steps).step_by(few) {
        let steps = start..steps.min(start + few);
        let mut from = 0;
        while from < cols.len() {
            let batch = Batch { isa, m, x, cols, from, steps: steps.clone(), tile };
            from += m.dtype().visit(batch);
        }
    }
}

/// The most columns for which the kernels that unpack in registers are faster than panels: up to so many, weights are read
/// as streams.
pub const FEW: usize = 8;

/// A product by panels, or of floats. Returns whether it's been done.
struct Blocked<'a, 't>(Isa, Product<'a, 't>);

impl Visitor for Blocked<'_, '_> {
    type Out = bool;

    fn float<F: Float>(self) -> bool {
        // The definition is as fast as vectors in portable code.
        if self.0 != Isa::SCALAR {
            floats::product::<F>(self.0, self.1);
        }
        self.0 != Isa::SCALAR
    }

    fn block32<F: Lanes32>(self) -> bool {
        // Without vectors, panels pay for formats with scales of groups alone.
        let many = self.1.cols.len() > FEW && self.0 != Isa::SCALAR;
        if many {
            gemm::gemm_32::<F>(self.0, self.1);
        }
        many
    }

    fn block256<F: Lanes256>(self) -> bool {
        let many = self.1.cols.len() > FEW;
        if many {
            gemm::gemm_256::<F>(self.0, self.1);
        }
        many
    }
}

/// Bytes of weights that are multiplied with all columns before the next ones are looked at.
const STEP_BYTES: usize = 24 << 10;

/// The most columns that a kernel with rows side by side takes.
const WIDEST: usize = 4;

/// Products of some rows of a tile with the next few columns, from number `from` on: as many as one kernel takes. Returns
/// how many that were.
struct Batch<'a, 't> {
    isa: Isa,
    m: &'a Matrix<'a>,
    x: &'a Activations,
    cols: Columns<'a>,
    from: usize,
    /// Eight rows each.
    steps: Range<usize>,
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

    /// `C` columns with eight rows side by side.
    fn wide<F, X, const C: usize>(self, column: impl Fn(usize) -> X) -> usize
    where
        Steps<'a, 't, F, X, C>: Kernel,
    {
        let (x, count) = self.next(column);
        ints::dispatch(self.isa, Steps::<F, X, C>::new(self.m, x, self.steps, self.tile, self.from));
        count
    }

    /// The definition, row by row, with up to [`COLUMNS`] columns: calls `product(row, columns, results)`.
    fn portable<X>(self, column: impl Fn(usize) -> X, product: impl Fn(&'a [u8], &[X], &mut [f32])) -> usize {
        let columns: Vec<X> = (0..self.left().min(COLUMNS)).map(|i| column(self.cols.get(self.from + i))).collect();
        let all = self.tile.rows();
        for r in all.clone().skip(self.steps.start * ROWS).take(self.steps.len() * ROWS) {
            let mut out = [0f32; COLUMNS];
            product(self.m.row(r), &columns, &mut out[..columns.len()]);
            for (c, out) in out.into_iter().enumerate().take(columns.len()) {
                self.tile.col_mut(self.from + c)[r - all.start] = out;
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
        match self.left() {
            _ if !ints::on(self.isa) => {
                self.portable(column, |row, x: &[ActRow32<'_>], out| dot::row_32::<F>(F::blocks(row), x, out))
            }
            1 => self.wide::<F, _, 1>(column),
            2 => self.wide::<F, _, 2>(column),
            _ => self.wide::<F, _, WIDEST>(column),
        }
    }

    fn block256<F: Format256>(self) -> usize {
        let x = self.x;
        let column = |c| x.row_256(c);
        match self.left() {
            _ if !ints::on(self.isa) => {
                self.portable(column, |row, x: &[ActRow256<'_>], out| dot::row_256::<F>(F::blocks(row), x, out))
            }
            1 => self.wide::<F, _, 1>(column),
            2 => self.wide::<F, _, 2>(column),
            _ => self.wide::<F, _, WIDEST>(column),
        }
    }
}
