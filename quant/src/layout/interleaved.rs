//! Sixteen rows side by side.
//!
//! Rows are taken in groups of 16. Block `b` of all rows of a group is one *super-block* of 16 times a block's bytes: unit by
//! unit of the format's fields (1, 2 or 4 bytes), that of row 0, of row 1, .., of row 15:
//!
//! ```text
//! a block of Q8_0:     d q0 q1 q2 q3 q4 ..                  (d: 2 bytes, then words of four quants)
//! 16 blocks together:  d[row 0] d[row 1] .. d[row 15]  q0..q3[row 0] q0..q3[row 1] .. q0..q3[row 15]  q4..q7[row 0] ..
//! ```
//!
//! A unit that stands at byte `at` of a block starts at byte `16 at` of the super-block, so nothing grows, nothing is lost,
//! and nothing but the units' sizes has to be known. One lane is one row: a vector of words is a single load, and a group is
//! one stream of memory. Rows left over (fewer than 16) follow as they are.

use super::{Layout, Stored};
use crate::formats::{Field, Format, GROUP, Rows};
use crate::isa::simd::Words;

/// Groups of sixteen rows, field by field.
pub(crate) struct Interleaved;

/// Some rows of a group, from row `lane` of it on.
pub(crate) struct Lanes16<'a, F: Format> {
    blocks: &'a [[F::Block; GROUP]],
    lane: usize,
}

impl<F: Format> Clone for Lanes16<'_, F> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Format> Copy for Lanes16<'_, F> {}

/// The same of one super-block, of a length that the compiler knows: reading then needs no check.
#[derive(Clone, Copy)]
pub(crate) struct Block16<'a> {
    bytes: &'a [u8],
    lane: usize,
}

impl Layout for Interleaved {
    type Group<'a, F: Format> = Lanes16<'a, F>;

    /// A group is one stream: as far as memory needs to answer.
    #[inline(always)]
    fn ahead(_row: usize, _n: usize) -> usize {
        0
    }

    #[inline(always)]
    fn first(row: usize, n: usize) -> usize {
        row / n * n
    }

    #[inline(always)]
    fn together(n: usize) -> usize {
        GROUP / n
    }

    #[inline(always)]
    fn beside<'a, F: Format + 'a, S: Words>(group: Lanes16<'a, F>, vectors: usize) -> Lanes16<'a, F> {
        Lanes16 { lane: group.lane + vectors * S::N, ..group }
    }

    #[inline(always)]
    fn group<'a, F: Format, S: Words>(m: Stored<'a>, first: usize, _end: usize, blocks: usize) -> Lanes16<'a, F> {
        let group = GROUP * m.row;
        let bytes = &m.bytes[first / GROUP * group..][..group];
        Lanes16 { blocks: &F::super_blocks(bytes)[..blocks], lane: first % GROUP }
    }

    #[inline(always)]
    fn block<'a, F: Format + 'a, S: Words>(group: Lanes16<'a, F>, b: usize) -> impl Rows<S> {
        // The mask tells the compiler that loads stay inside the super-block.
        Block16 { bytes: F::super_bytes(&group.blocks[b]), lane: group.lane & (GROUP - S::N) }
    }

    #[inline(always)]
    fn prefetch<F: Format, S: Words>(_s: S, _group: Lanes16<'_, F>, _b: usize, _ahead: usize) {}
}

impl<S: Words> Rows<S> for Block16<'_> {
    #[inline(always)]
    fn word(self, s: S, at: usize) -> S::V {
        s.load_words(&self.bytes[GROUP * at + 4 * self.lane..][..4 * S::N])
    }

    #[inline(always)]
    fn quad(self, s: S, at: usize) -> [S::V; 4] {
        [self.word(s, at), self.word(s, at + 4), self.word(s, at + 8), self.word(s, at + 12)]
    }

    #[inline(always)]
    fn f16(self, s: S, at: usize) -> S::V {
        s.load_halves(&self.bytes[GROUP * at + 2 * self.lane..][..2 * S::N])
    }

    #[inline(always)]
    fn word_of(self, row: usize, at: usize) -> u32 {
        let word = &self.bytes[GROUP * at + 4 * (self.lane + row)..];
        u32::from_le_bytes([word[0], word[1], word[2], word[3]])
    }

    #[inline(always)]
    fn byte_of(self, row: usize, at: usize) -> u8 {
        self.bytes[GROUP * at + self.lane + row]
    }
}

/// Copies every unit of a block of row `r` of a group: `N` bytes from where it stands in the block to where it stands in the
/// super-block, or back.
#[inline(always)]
fn copy_units(fields: &[Field], r: usize, mut copy: impl Copier) {
    let mut at = 0;
    for field in fields {
        for _ in 0..field.count {
            let in_group = GROUP * at + field.unit * r;
            match field.unit {
                4 => copy.copy::<4>(at, in_group),
                2 => copy.copy::<2>(at, in_group),
                _ => copy.copy::<1>(at, in_group),
            }
            at += field.unit;
        }
    }
}

/// Copies a unit of `N` bytes, at `at` in a block and at `in_group` in a super-block.
trait Copier {
    fn copy<const N: usize>(&mut self, at: usize, in_group: usize);
}

/// From a block to a super-block.
struct Arrange<'a>(&'a [u8], &'a mut [u8]);

impl Copier for Arrange<'_> {
    #[inline(always)]
    fn copy<const N: usize>(&mut self, at: usize, in_group: usize) {
        self.1[in_group..][..N].copy_from_slice(&self.0[at..][..N]);
    }
}

/// From a super-block to a block.
struct Restore<'a>(&'a [u8], &'a mut [u8]);

impl Copier for Restore<'_> {
    #[inline(always)]
    fn copy<const N: usize>(&mut self, at: usize, in_group: usize) {
        self.1[at..][..N].copy_from_slice(&self.0[in_group..][..N]);
    }
}

/// Interleaves rows of `row` bytes, blocks of these fields; `out` is as long as `bytes`. The rows left over stay as they are.
pub(crate) fn arrange(fields: &[Field], row: usize, bytes: &[u8], out: &mut [u8]) {
    let block = Field::total(fields);
    let (whole, rest) = groups(row, bytes);
    let (out, out_rest) = out.split_at_mut(whole.len());
    out_rest.copy_from_slice(rest);
    for (group, out) in whole.chunks_exact(GROUP * row.max(1)).zip(out.chunks_exact_mut(GROUP * row.max(1))) {
        for (r, row) in group.chunks_exact(row).enumerate() {
            for (block, out) in row.chunks_exact(block).zip(out.chunks_exact_mut(GROUP * block)) {
                copy_units(fields, r, Arrange(block, out));
            }
        }
    }
}

/// The inverse of [`arrange`].
pub(crate) fn restore(fields: &[Field], row: usize, bytes: &[u8], out: &mut [u8]) {
    let (whole, rest) = groups(row, bytes);
    let (out, out_rest) = out.split_at_mut(whole.len());
    out_rest.copy_from_slice(rest);
    for (group, out) in whole.chunks_exact(GROUP * row.max(1)).zip(out.chunks_exact_mut(GROUP * row.max(1))) {
        out.chunks_exact_mut(row).enumerate().for_each(|(r, row)| restore_row(fields, group, r, row));
    }
}

/// The rows of whole groups, and those left over.
fn groups(row: usize, bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.len() / (GROUP * row.max(1)) * (GROUP * row))
}

/// Row `r` of a group, as it was before [`arrange`].
pub(crate) fn restore_row(fields: &[Field], group: &[u8], r: usize, row: &mut [u8]) {
    let block = Field::total(fields);
    for (block, group) in row.chunks_exact_mut(block).zip(group.chunks_exact(GROUP * block)) {
        copy_units(fields, r, Restore(group, block));
    }
}
