//! A product of weights and activations, as the kernels take it: which rows, which columns, where the results go.

use std::ops::Range;

use crate::activation::Activations;
use crate::matrix::Matrix;
use crate::share::Tile;

/// Which rows of the activations are multiplied: column `i` of the output is row `get(i)`.
#[derive(Clone, Copy)]
pub(crate) enum Columns<'a> {
    All(usize),
    Chosen(&'a [u32]),
}

impl Columns<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::All(n) => n,
            Self::Chosen(cols) => cols.len(),
        }
    }

    pub(crate) fn get(self, i: usize) -> usize {
        match self {
            Self::All(_) => i,
            Self::Chosen(cols) => cols[i] as usize,
        }
    }
}

/// A product: `tile[c][r]` is row `r` of `m` times row `cols.get(c)` of `x`.
pub(crate) struct Product<'a, 't> {
    pub(crate) m: &'a Matrix<'a>,
    pub(crate) x: &'a Activations,
    pub(crate) cols: Columns<'a>,
    /// Rows of the matrix, of which the tile has all.
    pub(crate) rows: Range<usize>,
    pub(crate) tile: &'a mut Tile<'t>,
}

impl Product<'_, '_> {
    /// Where some rows of the matrix are in the tile.
    pub(crate) fn of_tile(&self, rows: &Range<usize>) -> Range<usize> {
        let first = self.tile.rows().start;
        rows.start - first..rows.end - first
    }
}
