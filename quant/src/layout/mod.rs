//! Where the blocks of several rows lie: one after the other as in the file ([`Plain`]), or field by field side by side
//! ([`Interleaved`]). Kernels read both through the same unpacking.

#[cfg_attr(not(feature = "interleaved"), allow(dead_code, reason = "the kernels of interleaved rows use it"))]
mod interleaved;
mod plain;

#[cfg(any(test, feature = "interleaved"))]
pub(crate) use interleaved::Interleaved;
pub(crate) use interleaved::{GROUP, arrange, restore_row};
pub(crate) use plain::Plain;

use crate::formats::{Format, Rows};
use crate::isa::simd::Words;

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

    /// Whether blocks of several rows lie so far apart that the processor doesn't foresee what is read next.
    const PREFETCH: bool;

    /// The first row of the vector that row `row` is in, where vectors have `n` rows and the first one may start at `row`.
    fn first(row: usize, n: usize) -> usize;

    /// The first `blocks` blocks of rows `first..first + S::N`. The last row before `end` stands in for those from `end` on.
    fn group<'a, F: Format, S: Words>(m: Stored<'a>, first: usize, end: usize, blocks: usize) -> Self::Group<'a, F>;

    /// Block `b` of each.
    fn block<'a, F: Format + 'a, S: Words>(group: Self::Group<'a, F>, b: usize) -> impl Rows<S>;

    /// Prefetches what lies `ahead` bytes past block `b` of each row.
    fn prefetch<F: Format, S: Words>(s: S, group: Self::Group<'_, F>, b: usize, ahead: usize);
}
