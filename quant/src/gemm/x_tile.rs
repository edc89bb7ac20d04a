//! A few columns of activations, a few blocks long, copied close together so that they stay in the nearest cache while all
//! rows of a panel pass by.

use super::panel::Form;
use crate::activation::{ActRow32, ActRow256, Bytes32};

/// Bytes of a column in a tile: 2048 values as bytes, 1024 as 16-bit halves.
pub(super) const COLUMN: usize = 2048;

/// One cache line more than a column: columns a power of two apart would compete for the same lines of the cache.
const STRIDE: usize = COLUMN + 64;

/// Room for columns in a tile.
pub(super) const MOST_COLUMNS: usize = 8;

/// Room for blocks: a column of blocks of 32.
const BLOCKS: usize = COLUMN / 32;

/// The activations of up to [`MOST_COLUMNS`] columns.
#[repr(C, align(64))]
pub(super) struct XTile {
    q: [[u8; STRIDE]; MOST_COLUMNS],
    /// Scales: of each block, for each column.
    d: [[f32; MOST_COLUMNS]; BLOCKS],
    /// Blocks of 32: the sum of a block, as bits of an f32. Blocks of 256: eight words a block, two sums of groups each.
    sums: [[u32; MOST_COLUMNS]; BLOCKS],
}

impl XTile {
    pub(super) const fn new() -> Self {
        let (d, sums) = ([[0.0; MOST_COLUMNS]; BLOCKS], [[0; MOST_COLUMNS]; BLOCKS]);
        Self { q: [[0; STRIDE]; MOST_COLUMNS], d, sums }
    }

    /// Block `b` of the first `C` columns, blocks of `LEN` bytes.
    #[inline(always)]
    pub(super) fn bytes<const C: usize, const LEN: usize>(&self, b: usize) -> [&[u8; LEN]; C] {
        let mut columns = [const { &[0; LEN] }; C];
        for (column, q) in columns.iter_mut().zip(&self.q) {
            *column = &q.as_chunks::<LEN>().0[b];
        }
        columns
    }

    /// The scales of block `b`, one for each column.
    #[inline(always)]
    pub(super) fn scales(&self, b: usize) -> &[f32; MOST_COLUMNS] {
        &self.d[b]
    }

    /// Row `i` of the sums.
    #[inline(always)]
    pub(super) fn sums(&self, i: usize) -> &[u32; MOST_COLUMNS] {
        &self.sums[i]
    }

    fn set_bytes(&mut self, c: usize, q: &[Bytes32], form: Form) {
        let out = &mut self.q[c];
        match form {
            Form::Signed => {
                for (out, q) in out.as_chunks_mut::<32>().0.iter_mut().zip(q) {
                    for (out, q) in out.iter_mut().zip(q.0) {
                        *out = q as u8;
                    }
                }
            }
            Form::Unsigned => {
                for (out, q) in out.as_chunks_mut::<32>().0.iter_mut().zip(q) {
                    for (out, q) in out.iter_mut().zip(q.0) {
                        *out = q as u8 ^ 0x80;
                    }
                }
            }
            Form::Halves => {
                let quads = q.iter().flat_map(|q| q.0.as_chunks::<4>().0);
                for (out, &[a, b, c, d]) in out.as_chunks_mut::<8>().0.iter_mut().zip(quads) {
                    let halves = [a, c, b, d].map(|q| u64::from(i16::from(q) as u16));
                    *out = (halves[0] | halves[1] << 16 | halves[2] << 32 | halves[3] << 48).to_le_bytes();
                }
            }
        }
    }

    /// Column `c` becomes `blocks` blocks of `x` from `from` on.
    pub(super) fn set_32(&mut self, c: usize, x: ActRow32<'_>, from: usize, blocks: usize, form: Form) {
        self.set_bytes(c, &x.q[from..from + blocks], form);
        for i in 0..blocks {
            self.d[i][c] = x.d[from + i];
            self.sums[i][c] = (x.sums[from + i] as f32).to_bits();
        }
    }

    /// As [`XTile::set_32`]; `groups` is how many groups of a block have minima, 8 or 16.
    pub(super) fn set_256(
        &mut self,
        c: usize,
        x: ActRow256<'_>,
        from: usize,
        blocks: usize,
        form: Form,
        groups: usize,
    ) {
        self.set_bytes(c, &x.q[8 * from..8 * (from + blocks)], form);
        for i in 0..blocks {
            self.d[i][c] = x.d[from + i];
            let sums = &x.sums[from + i];
            let sums = if groups == 8 { &sums.by_32[..] } else { &sums.by_16[..] };
            for (g, &[a, b]) in sums.as_chunks().0.iter().enumerate() {
                self.sums[8 * i + g][c] = u32::from(a as u16) | u32::from(b as u16) << 16;
            }
        }
    }
}
