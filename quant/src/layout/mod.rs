//! Where the blocks of several rows lie: one after the other as in the file ([`Plain`]), or field by field side by side
//! ([`Interleaved`]). Kernels read both through the same unpacking.

mod interleaved;
mod plain;

pub(crate) use interleaved::{Interleaved, arrange, restore, restore_row};
pub(crate) use plain::Plain;

use crate::formats::{Format, Rows};
use crate::isa::simd::Words;

/// The most vectors of rows that are walked through together.
pub(crate) const MAX_TOGETHER: usize = 4;

/// The rows of a matrix as bytes.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) bytes: &'a [u8],
    /// Bytes of a row.
    pub(crate) row: usize,
}

/// How rows of blocks lie in memory.
pub(crate) trait Layout {
    /// Some rows, one per lane.
    type Group<'a, F: Format>: Copy;

    /// How far past a block that is read the one to prefetch lies, where rows have `row` bytes and vectors `n`
    /// of them.
    fn ahead(row: usize, n: usize) -> usize;

    /// The first row of the vectors that row `row` is in, where vectors have `n` rows and the first one may start at `row`.
    fn first(row: usize, n: usize) -> usize;

    /// How many vectors of `n` rows are walked through together, as they share cache lines: [`MAX_TOGETHER`] at most.
    fn together(n: usize) -> usize;

    /// The rows `vectors` vectors after those of `group`, which is walked through together with them.
    fn beside<'a, F: Format + 'a, S: Words>(group: Self::Group<'a, F>, vectors: usize) -> Self::Group<'a, F>;

    /// The first `blocks` blocks of rows `first..first + S::N`. The last row before `end` stands in for those from `end` on.
    fn group<'a, F: Format, S: Words>(m: Stored<'a>, first: usize, end: usize, blocks: usize) -> Self::Group<'a, F>;

    /// Block `b` of each.
    fn block<'a, F: Format + 'a, S: Words>(group: Self::Group<'a, F>, b: usize) -> impl Rows<S>;

    /// Prefetches what lies `ahead` bytes past block `b` of each row.
    fn prefetch<F: Format, S: Words>(s: S, group: Self::Group<'_, F>, b: usize, ahead: usize);
}
