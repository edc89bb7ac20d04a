//! Attention over tiles of the key-value cache.
//!
//! A tile holds the keys and values of [`TILE`] consecutive positions of one key-value head, aligned to position 0. Each
//! tile is attended to on its own, which gives a [`Partial`] (largest score, sum of exponentials, weighted values) for
//! every query row; partials are merged in the order of the tiles. A tile's partial depends on nothing but that tile and
//! that row, so neither threads nor batches nor calls change a bit.
//!
//! # What is computed, to the bit
//! - Score of a key, f32 and f16 caches: `s = fma(k[d], q[d], s)` for `d` rising from 0, `q` multiplied by the scale
//!   before. (Not the 16 strided sums of other reductions: here the lanes are keys. A query value is broadcast to 16
//!   keys at once, which needs no horizontal sum; per row of a tile those cost more than the products.)
//! - Score, q8_0 caches: query and key are blocks of 32 signed bytes with one scale each; `s = fma(n, kd * qd, s)` for
//!   blocks rising from 0, `n` the exact integer product of the two blocks, `qd` the query block's scale times the scale
//!   of attention.
//! - `cap * tanh(s / cap)` where there is a soft cap, the largest over the visible keys, `p = e^(s - max)`. Their sum is
//!   16 strided sums by slot and one fixed tree.
//! - Values: `acc[d] = fma(p, v[d], acc[d])` over the visible keys in their order; q8_0: `fma(p * vd, v[d], acc[d])`.

mod byte;
mod float;
mod format;
mod half;
mod kernels;
mod kind;
mod load;
mod partial;
mod queries;
mod sizes;
mod store;
mod tile;
mod unpack;

pub use kind::KvKind;
pub use partial::Partial;
pub use queries::Queries;
pub use sizes::TILE;
pub use tile::{TileBytes, attend_tile, attend_tile_biased};

use crate::isa::simd::LANES;
use sizes::{BLOCK, STRIP};

/// Longest key or value: a tile's size can then be computed.
const MAX_DIM: usize = 1 << 30;

/// How one key-value head is cached.
///
/// A tile holds, one after the other:
/// - the keys: for each strip of 64 positions, `[k_dim][64]` values (q8_0: `[k_dim / 4][64][4]` bytes, each plus 128);
/// - q8_0: the keys' scales, `[k_dim / 32][128]` f16;
/// - the values, unless they're part of the keys: for each strip of 64 values of the head, `[128][64]` (the last strip
///   is as narrow as a multiple of 16 allows); q8_0: then the scales, `[v_dim / 32][128]` f16.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct KvLayout {
    /// What is stored for each value.
    pub kind: KvKind,
    /// Length of a key.
    pub k_dim: usize,
    /// Length of a value.
    pub v_dim: usize,
    /// The value is the first `v_dim` of the key's entries, stored once (latent attention).
    pub v_in_k: bool,
}

impl KvLayout {
    /// Size of a tile: a multiple of 64. Tiles are fastest if they also start at multiples of 64.
    ///
    /// # Panics
    /// When a key or a value is longer than 2^30, or a value that is part of a key longer than the key.
    pub fn tile_bytes(&self) -> usize {
        assert!(self.k_dim.max(self.v_dim) <= MAX_DIM, "heads of {} and {} values", self.k_dim, self.v_dim);
        assert!(!self.v_in_k || self.v_dim <= self.k_dim, "{} values in a key of {}", self.v_dim, self.k_dim);
        let values = if self.v_in_k { 0 } else { self.value_bytes() + self.scale_bytes(self.v_dim) };
        self.values_start() + values
    }

    /// Bytes of one strip of keys.
    fn key_strip_bytes(&self) -> usize {
        self.k_dim.next_multiple_of(self.kind.together()) * STRIP * self.kind.value_bytes()
    }

    /// Where the keys' scales start.
    fn key_scales_start(&self) -> usize {
        self.key_strip_bytes() * (TILE / STRIP)
    }

    /// Where the values start.
    fn values_start(&self) -> usize {
        self.key_scales_start() + self.scale_bytes(self.k_dim)
    }

    /// Bytes of the values without their scales.
    fn value_bytes(&self) -> usize {
        self.v_dim.next_multiple_of(LANES) * TILE * self.kind.value_bytes()
    }

    /// Where the values' scales start.
    fn value_scales_start(&self) -> usize {
        self.values_start() + self.value_bytes()
    }

    /// Bytes of the scales of heads of `dim` values.
    fn scale_bytes(&self, dim: usize) -> usize {
        if self.kind.scaled() { dim.div_ceil(BLOCK) * TILE * 2 } else { 0 }
    }
}

#[cfg(test)]
mod tests;
