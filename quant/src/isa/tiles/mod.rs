//! Units that multiply tiles: whole matrices of bytes, in eight registers of their own. What works on tiles is written on
//! [`TileUnit`], so that an emulation runs it where a CPU has no such unit.

#[cfg(test)]
pub(super) mod emulated;

use super::simd::{MAX_ROWS, Words};

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;

/// A tile in memory: sixteen rows of 64 bytes, as words whose lowest byte comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
pub(crate) struct TileMemory(pub(crate) [[u32; MAX_ROWS]; TILE_ROWS]);

impl TileMemory {
    pub(crate) const ZERO: Self = Self([[0; MAX_ROWS]; TILE_ROWS]);
}

/// How many rows, and bytes of a row, each of eight tiles has: the 64 bytes that `ldtilecfg` reads.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl TileConfig {
    /// All tiles as large as they can be. A product of small tiles takes as long as one of large ones.
    pub(crate) const WHOLE: Self = {
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        let mut tile = 0;
        while tile < 8 {
            (row_bytes[tile], rows[tile]) = (64, TILE_ROWS as u8);
            tile += 1;
        }
        Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
    };
}

/// A unit of eight tiles, numbered from 0, that is configured by [`TileConfig::WHOLE`] on this thread for as long as it lives.
pub(crate) trait TileUnit {
    /// Sets tile `T` to zeros.
    fn zero<const T: u8>(&mut self);
    /// Tile `T` gets what is in memory.
    fn load<const T: u8>(&mut self, from: &TileMemory);
    /// The inverse of [`TileUnit::load`].
    fn store<const T: u8>(&mut self, to: &mut TileMemory);
    /// Adds the product of tile `A`, of signed bytes, and tile `B`, of signed or unsigned bytes, to tile `C`, of words that wrap:
    /// word `n` of row `m` gets byte `4 k + i` of row `m` of `A` times byte `4 n + i` of row `k` of `B`, for all `k` and `i`.
    fn add_product<const C: u8, const A: u8, const B: u8, const SIGNED: bool>(&mut self);
}

/// An operation with its arguments, generic over the token and the unit that it runs with. What it calls starts no other one.
pub(crate) trait TileKernel {
    /// What it returns.
    type Out;
    /// Runs it, compiled without the instructions of `S`: see [`super::simd::Token::vectorize`].
    fn run<S: Words, U: TileUnit>(self, s: S, unit: &mut U) -> Self::Out;
}
