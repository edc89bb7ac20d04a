//! What a product reads next, fetched in the order of memory while it computes.

use std::ops::Range;

use crate::isa::caches::LINE;
use crate::isa::simd::Token;

/// Bytes from what a product reads to what it prefetches, at least: memory needs time to answer.
const MIN_DISTANCE: usize = 8 << 10;

/// What is read after the rows of a step, or after a block of them: fetched line by line while the step goes on.
#[derive(Clone, Copy)]
pub(crate) struct Next<'a> {
    /// The first byte of the step's first row.
    pub(crate) start: &'a u8,
    /// How far past it those lie that are prefetched.
    pub(crate) ahead: usize,
}

impl<'a> Next<'a> {
    /// What lies `ahead` bytes past the step's rows, or further where that is too near.
    pub(crate) fn new(rows: &'a [u8], ahead: usize) -> Self {
        Self { start: rows.first().unwrap_or(&0), ahead: ahead.max(MIN_DISTANCE) }
    }

    /// Prefetches lines `lines` of the weights that a part of the step reads, or rather of those as far past them, of which `from` is
    /// the first byte.
    #[inline(always)]
    pub(crate) fn prefetch<S: Token>(self, s: S, from: usize, lines: Range<usize>) {
        let start: *const u8 = self.start;
        for line in lines {
            s.prefetch(start.wrapping_add(self.ahead + from + line * LINE));
        }
    }
}
