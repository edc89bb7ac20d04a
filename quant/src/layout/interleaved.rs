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
use crate::formats::{Field, Format, Rows};
use crate::isa::simd::Words;

/// Rows side by side.
pub(crate) const GROUP: usize = 16;

/// Groups of sixteen rows, field by field.
pub(crate) struct Interleaved;

/// Some rows of a group, from row `lane` of it on.
#[derive(Clone, Copy)]
pub(crate) struct Lanes16<'a> {
    bytes: &'a [u8],
    lane: usize,
}

impl Layout for Interleaved {
    type Group<'a, F: Format> = Lanes16<'a>;

    const PREFETCH: bool = false;

    #[inline(always)]
    fn first(row: usize, n: usize) -> usize {
        row / n * n
    }

    #[inline(always)]
    fn group<'a, F: Format, S: Words>(m: Stored<'a>, first: usize, _end: usize, blocks: usize) -> Lanes16<'a> {
        let group = GROUP * m.row;
        let bytes = &m.bytes[first / GROUP * group..][..group];
        Lanes16 { bytes: &bytes[..blocks * GROUP * F::BYTES], lane: first % GROUP }
    }

    #[inline(always)]
    fn block<'a, F: Format + 'a, S: Words>(group: Lanes16<'a>, b: usize) -> impl Rows<S> {
        // The mask tells the compiler that loads stay inside the super-block.
        let lane = group.lane & (GROUP - S::N);
        Lanes16 { bytes: &group.bytes[b * GROUP * F::BYTES..][..GROUP * F::BYTES], lane }
    }

    #[inline(always)]
    fn prefetch<F: Format, S: Words>(_s: S, _group: Lanes16<'_>, _b: usize, _ahead: usize) {}
}

impl<S: Words> Rows<S> for Lanes16<'_> {
    #[inline(always)]
    fn word(self, s: S, at: usize) -> S::V {
        s.load_words(&self.bytes[GROUP * at + 4 * self.lane..])
    }

    #[inline(always)]
    fn quad(self, s: S, at: usize) -> [S::V; 4] {
        [self.word(s, at), self.word(s, at + 4), self.word(s, at + 8), self.word(s, at + 12)]
    }

    #[inline(always)]
    fn f16(self, s: S, at: usize) -> S::V {
        s.load_halves(&self.bytes[GROUP * at + 2 * self.lane..])
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

/// Calls `each(size, in a block, in a super-block)` for every unit of a block of row `r` of a group.
fn units(fields: &[Field], r: usize, mut each: impl FnMut(usize, usize, usize)) {
    let mut at = 0;
    for field in fields {
        for _ in 0..field.count {
            each(field.unit, at, GROUP * at + field.unit * r);
            at += field.unit;
        }
    }
}

/// Interleaves rows of `row` bytes, blocks of these fields; `out` is as long as `bytes`. The rows left over stay as they are.
pub(crate) fn arrange(fields: &[Field], row: usize, bytes: &[u8], out: &mut [u8]) {
    out.copy_from_slice(bytes);
    if row == 0 {
        return;
    }
    let block = Field::total(fields);
    for (group, out) in bytes.chunks_exact(GROUP * row).zip(out.chunks_exact_mut(GROUP * row)) {
        for (r, row) in group.chunks_exact(row).enumerate() {
            for (block, out) in row.chunks_exact(block).zip(out.chunks_exact_mut(GROUP * block)) {
                units(fields, r, |size, from, to| out[to..to + size].copy_from_slice(&block[from..from + size]));
            }
        }
    }
}

/// Row `r` of a group, as it was before [`arrange`].
pub(crate) fn restore_row(fields: &[Field], group: &[u8], r: usize, row: &mut [u8]) {
    let block = Field::total(fields);
    for (block, group) in row.chunks_exact_mut(block).zip(group.chunks_exact(GROUP * block)) {
        units(fields, r, |size, to, from| block[to..to + size].copy_from_slice(&group[from..from + size]));
    }
}
