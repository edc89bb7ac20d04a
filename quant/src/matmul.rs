//! Products of a matrix of weights with rows of activations: chooses the kernel by format, instruction set and number of
//! columns. Which one runs is a matter of speed alone; all of them give the same bits.

use crate::activation::{ActRow32, ActRow256, Activations};
use crate::dot::{self, COLUMNS};
use crate::dtype::Visitor;
use crate::formats::{Float, Format32, Format256};
use crate::isa::Isa;
use crate::matrix::Matrix;
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

/// Which rows of the activations are multiplied: column `i` of the output is row `get(i)`.
#[derive(Clone, Copy)]
pub(crate) enum Columns<'a> {
    All(usize),
    Chosen(&'a [u32]),
}

impl Columns<'_> {
    fn len(self) -> usize {
        match self {
            Self::All(n) => n,
            Self::Chosen(cols) => cols.len(),
        }
    }

    fn get(self, i: usize) -> usize {
        match self {
            Self::All(_) => i,
            Self::Chosen(cols) => cols[i] as usize,
        }
    }
}

fn product(isa: Isa, m: &Matrix<'_>, x: &Activations, cols: Columns<'_>, tile: &mut Tile<'_>) {
    assert!(tile.rows().end <= m.rows(), "rows {:?} of {m:?}", tile.rows());
    let _ = isa;
    for from in (0..cols.len()).step_by(COLUMNS) {
        let to = cols.len().min(from + COLUMNS);
        m.dtype().visit(Portable { m, x, cols, from, to, tile });
    }
}

/// The definition, row by row: up to [`COLUMNS`] columns `from..to`.
struct Portable<'a, 't> {
    m: &'a Matrix<'a>,
    x: &'a Activations,
    cols: Columns<'a>,
    from: usize,
    to: usize,
    tile: &'a mut Tile<'t>,
}

impl<'a> Portable<'a, '_> {
    /// Calls `product(row, columns, results)` for each row.
    fn rows<X: Copy>(self, column: impl Fn(usize) -> X, product: impl Fn(&'a [u8], &[X], &mut [f32])) {
        let columns: Vec<X> = (self.from..self.to).map(|i| column(self.cols.get(i))).collect();
        for (i, r) in self.tile.rows().enumerate() {
            let mut out = [0f32; COLUMNS];
            product(self.m.row(r), &columns, &mut out[..columns.len()]);
            for (c, out) in (self.from..self.to).zip(out) {
                self.tile.col_mut(c)[i] = out;
            }
        }
    }
}

impl Visitor for Portable<'_, '_> {
    type Out = ();

    fn float<F: Float>(self) {
        let x = self.x;
        self.rows(|c| x.row_f32(c), |row, x: &[&[f32]], out| dot::row_float::<F>(F::blocks(row), x, out));
    }

    fn block32<F: Format32>(self) {
        let x = self.x;
        self.rows(|c| x.row_32(c), |row, x: &[ActRow32<'_>], out| dot::row_32::<F>(F::blocks(row), x, out));
    }

    fn block256<F: Format256>(self) {
        let x = self.x;
        self.rows(|c| x.row_256(c), |row, x: &[ActRow256<'_>], out| dot::row_256::<F>(F::blocks(row), x, out));
    }
}
