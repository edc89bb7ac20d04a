//! Sizes that all files of attention share.

use crate::isa::simd::LANES;

/// Positions in a tile.
pub const TILE: usize = 128;

/// Values that share a scale in a q8_0 cache.
pub(super) const BLOCK: usize = 32;

/// Keys, or values of a head, that lie side by side in a tile: a strip is read from front to back.
pub(super) const STRIP: usize = 64;

/// Rows that meet a tile together.
pub(super) const QUERY_ROWS: usize = 8;

/// The largest finite f16.
pub(super) const F16_MAX: f32 = 65504.0;

/// Width of the strip of values that starts at value `start` of `dim`.
pub(super) fn strip_width(dim: usize, start: usize) -> usize {
    (dim - start).min(STRIP).next_multiple_of(LANES)
}
