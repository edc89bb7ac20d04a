//! Where results of vectors of rows go: some rows of the first vector, and of the last, may not be wanted.

use crate::isa::simd::MAX_ROWS;

/// Writes the first `n` of `results`, those of rows `at..at + n`, to `out`, whose first one is row `skip`.
#[inline(always)]
pub(super) fn write_rows(results: &[f32; MAX_ROWS], n: usize, at: usize, skip: usize, out: &mut [f32]) {
    let (from, to) = (at.max(skip), (at + n).min(skip + out.len()));
    if to == from + n {
        // A length that the compiler knows: a vector, rather than a call.
        out[from - skip..][..n].copy_from_slice(&results[..n]);
    } else if from < to {
        out[from - skip..to - skip].copy_from_slice(&results[from - at..to - at]);
    }
}
