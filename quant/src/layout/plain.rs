//! Row after row, as in the file.

use super::{Layout, Stored};
use crate::formats::{Format, Rows};
use crate::isa::simd::{MAX_ROWS, Words};
use crate::isa::unroll::{first, rows};

/// Each row's blocks one after the other; words of several rows are gathered, or transposed four at a time.
pub(crate) struct Plain;

/// A block of each row; as many count as a vector has.
pub(crate) struct Blocks<'a, B>([&'a B; MAX_ROWS]);

impl<B> Clone for Blocks<'_, B> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Blocks<'_, B> {}

impl Layout for Plain {
    type Group<'a, F: Format> = [&'a [F::Block]; MAX_ROWS];

    /// The next rows, in the order of memory: short ones are more than one vector ahead.
    #[inline(always)]
    fn ahead(row: usize, n: usize) -> usize {
        n * row
    }

    #[inline(always)]
    fn first(row: usize, _n: usize) -> usize {
        row
    }

    #[inline(always)]
    fn together(_n: usize) -> usize {
        1
    }

    #[inline(always)]
    fn beside<'a, F: Format + 'a, S: Words>(
        group: [&'a [F::Block]; MAX_ROWS],
        _vectors: usize,
    ) -> [&'a [F::Block]; MAX_ROWS] {
        group
    }

    #[inline(always)]
    fn group<'a, F: Format, S: Words>(
        m: Stored<'a>,
        first: usize,
        end: usize,
        blocks: usize,
    ) -> [&'a [F::Block]; MAX_ROWS] {
        rows!(S::N, r => &F::blocks(&m.bytes[(first + r).min(end - 1) * m.row..][..m.row])[..blocks], &[])
    }

    #[inline(always)]
    fn block<'a, F: Format + 'a, S: Words>(group: [&'a [F::Block]; MAX_ROWS], b: usize) -> impl Rows<S> {
        let first = &group[0][b];
        Blocks(rows!(S::N, r => &group[r][b], first))
    }

    #[inline(always)]
    fn prefetch<F: Format, S: Words>(s: S, group: [&[F::Block]; MAX_ROWS], b: usize, ahead: usize) {
        for row in &group[..S::N] {
            s.prefetch_all(std::slice::from_ref(&row[b]), ahead);
        }
    }
}

/// `N` bytes of a block.
#[inline(always)]
fn part<const N: usize>(block: &impl AsRef<[u8]>, at: usize) -> &[u8; N] {
    first(&block.as_ref()[at..])
}

impl<S: Words, B: AsRef<[u8]>> Rows<S> for Blocks<'_, B> {
    #[inline(always)]
    fn word(self, s: S, at: usize) -> S::V {
        s.gather(&rows!(S::N, r => part(self.0[r], at), &[0; 4]))
    }

    #[inline(always)]
    fn quad(self, s: S, at: usize) -> [S::V; 4] {
        s.transpose_rows(&rows!(S::N, r => part(self.0[r], at), &[0; 16]))
    }

    #[inline(always)]
    fn f16(self, s: S, at: usize) -> S::V {
        // At the block's end, as the upper half of a word.
        let last = at + 4 > self.0[0].as_ref().len();
        s.f16_to_f32(if last { s.shr(self.word(s, at - 2), 16) } else { self.word(s, at) })
    }

    #[inline(always)]
    fn word_of(self, row: usize, at: usize) -> u32 {
        u32::from_le_bytes(*part(self.0[row], at))
    }

    #[inline(always)]
    fn byte_of(self, row: usize, at: usize) -> u8 {
        self.0[row].as_ref()[at]
    }
}
