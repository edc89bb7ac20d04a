//! A few columns of activations, a few blocks long, copied close together so that they stay in the nearest cache while all
//! rows of a panel pass by.

use std::ops::Range;

use crate::activation::{ActRow32, ActRow256, Bytes32, sum_slot};
use crate::isa::simd::{MAX_ROWS, Task, Words};
use crate::share::Line;

/// Values of a column in a tile. Rows of no more than these are multiplied in one go, and no sums wait for another slice.
pub(super) const SLICE: usize = 4096;

/// Room for columns in a tile.
pub(super) const MAX_TILE_COLUMNS: usize = 8;

/// Room for blocks of 32.
const BLOCKS: usize = SLICE / 32;

/// What the upper byte of a sum of a group counts where it's taken apart into two signed bytes.
pub(super) const HIGH: u32 = 7;

/// How activations stand in an [`XTile`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Signed bytes.
    Signed,
    /// Bytes plus 128.
    Unsigned,
    /// Widened to 16 bits: of 32 values the even ones (of each two, the first), then the odd ones.
    Halves,
    /// Signed bytes of two columns side by side: eight of one, then eight of the other.
    Pairs,
}

/// Which sums of a block products take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BlockSums {
    /// Blocks of 32: that of the block.
    Of32,
    /// Blocks of 256: those of 8 groups.
    Of8,
    /// Blocks of 256: those of 16 groups.
    Of16,
}

/// How a tile is laid out: areas of whole lines, the quants, then the scales, the sums and the bytes of minima. Of the quants, a
/// block of all columns follows another, as they are read: a single stream, which the CPU fetches in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) form: Form,
    pub(super) sums: BlockSums,
    /// Columns that a tile has room for, up to [`MAX_TILE_COLUMNS`].
    pub(super) columns: usize,
}

impl Order {
    /// A number of its own for each order.
    pub(super) const fn number(self) -> u32 {
        (self.form as u32 * 3 + self.sums as u32) * (MAX_TILE_COLUMNS as u32 + 1) + self.columns as u32
    }

    /// Bytes of a block of one column (with [`Form::Pairs`], of a pair).
    const fn block_bytes(self) -> usize {
        let values = if matches!(self.sums, BlockSums::Of32) { 32 } else { 256 };
        if matches!(self.form, Form::Halves | Form::Pairs) { 2 * values } else { values }
    }

    /// Columns side by side, or pairs with [`Form::Pairs`].
    pub(super) const fn beside(self) -> usize {
        if matches!(self.form, Form::Pairs) { self.columns.div_ceil(2) } else { self.columns }
    }

    /// Where each area begins, in lines, and where the last one ends.
    const fn areas(self) -> [usize; 5] {
        let pairs = matches!(self.form, Form::Pairs);
        let blocks = if matches!(self.sums, BlockSums::Of32) { SLICE / 32 } else { SLICE / 256 };
        let d = (blocks * self.beside() * self.block_bytes()).div_ceil(64);
        let sums = d + blocks.div_ceil(2);
        let minima = sums + BLOCKS / 2;
        [0, d, sums, minima, minima + if pairs { SLICE / 256 * MAX_TILE_COLUMNS / 2 } else { 0 }]
    }

    /// Lines of a tile.
    pub(super) const fn lines(self) -> usize {
        self.areas()[4]
    }
}

/// The activations of a few columns.
#[derive(Clone, Copy)]
pub(super) struct XTile<'a> {
    q: &'a [u8],
    /// Scales: of each block, for each column.
    d: &'a [[f32; MAX_TILE_COLUMNS]],
    /// Blocks of 32: the sum of a block, as bits of an f32. Blocks of 256: eight words a block, two sums of groups each.
    sums: &'a [[u32; MAX_TILE_COLUMNS]],
    /// With [`Form::Pairs`], of each block of 256 for each pair of columns: what sums of groups, in the order of the groups, are
    /// times [`HIGH`] and what is left, two vectors of bytes each for two columns.
    minima: &'a [[[[u8; 16]; 4]; MAX_TILE_COLUMNS / 2]],
}

/// The same, to be written.
pub(super) struct XTileMut<'a> {
    order: Order,
    q: &'a mut [u8],
    d: &'a mut [[f32; MAX_TILE_COLUMNS]],
    sums: &'a mut [[u32; MAX_TILE_COLUMNS]],
    minima: &'a mut [[[[u8; 16]; 4]; MAX_TILE_COLUMNS / 2]],
}

impl<'a> XTile<'a> {
    /// What [`XTileMut`] wrote in this order.
    pub(super) fn of(order: Order, lines: &'a [Line]) -> Self {
        let [_, d, sums, minima, end] = order.areas();
        // SAFETY: bytes and arrays of bytes, `f32` and `u32`: any bits are such.
        unsafe {
            Self {
                q: Line::numbers(&lines[..d]),
                d: Line::numbers(&lines[d..sums]),
                sums: Line::numbers(&lines[sums..minima]),
                minima: Line::numbers(&lines[minima..end]),
            }
        }
    }

    /// Block `b` of the first `C` columns of `beside`, blocks of `LEN` bytes; with [`Form::Pairs`], of the first `C` pairs.
    #[inline(always)]
    pub(super) fn bytes<const C: usize, const LEN: usize>(&self, beside: usize, b: usize) -> [&'a [u8; LEN]; C] {
        let block = &self.q[b * beside * LEN..][..C.min(beside) * LEN];
        let mut columns = [const { &[0; LEN] }; C];
        for (column, q) in columns.iter_mut().zip(block.as_chunks().0) {
            *column = q;
        }
        columns
    }

    /// The scales of block `b`, one for each column.
    #[inline(always)]
    pub(super) fn scales(&self, b: usize) -> &'a [f32; MAX_TILE_COLUMNS] {
        &self.d[b]
    }

    /// Row `i` of the sums.
    #[inline(always)]
    pub(super) fn sums(&self, i: usize) -> &'a [u32; MAX_TILE_COLUMNS] {
        &self.sums[i]
    }

    /// Of super-block `b` and a pair of columns, the sums of groups `8 i..8 i + 8`: their lower parts, and their upper ones.
    #[inline(always)]
    pub(super) fn minima(&self, b: usize, pair: usize, i: usize) -> [&'a [u8; 16]; 2] {
        let minima = &self.minima[b][pair];
        [&minima[i], &minima[2 + i]]
    }
}

impl<'a> XTileMut<'a> {
    /// A tile in `lines`, at least [`Order::lines`] of them, which hold anything.
    pub(super) fn of(order: Order, lines: &'a mut [Line]) -> Self {
        let [_, d, sums, minima, end] = order.areas();
        let (q, rest) = lines[..end].split_at_mut(d);
        let (of_d, rest) = rest.split_at_mut(sums - d);
        let (of_sums, of_minima) = rest.split_at_mut(minima - sums);
        // SAFETY: bytes and arrays of bytes, `f32` and `u32`: any bits are such, and all of their bytes are initialized.
        unsafe {
            Self {
                order,
                q: Line::numbers_mut(q),
                d: Line::numbers_mut(of_d),
                sums: Line::numbers_mut(of_sums),
                minima: Line::numbers_mut(of_minima),
            }
        }
    }

    /// Column `c` gets the quants `q`.
    pub(super) fn set_bytes<S: Words>(&mut self, s: S, c: usize, q: &[Bytes32]) {
        let (order, bytes) = (self.order, self.order.block_bytes());
        let at = bytes * if order.form == Form::Pairs { c / 2 } else { c };
        s.vectorize(SetBytes { out: &mut *self.q, q, order, at, second: c % 2 == 1 });
    }

    /// Column `c` gets the scales and sums of some blocks of `x`.
    pub(super) fn set_sums_32(&mut self, c: usize, x: ActRow32<'_>, blocks: Range<usize>) {
        for (i, b) in blocks.enumerate() {
            self.d[i][c] = x.d[b];
            self.sums[i][c] = (x.sums[b] as f32).to_bits();
        }
    }

    /// As [`XTileMut::set_sums_256`] for [`Form::Pairs`].
    pub(super) fn set_pairs_256(&mut self, c: usize, x: ActRow256<'_>, blocks: Range<usize>, groups: usize) {
        for (i, b) in blocks.enumerate() {
            self.d[i][c] = x.d[b];
            let sums = &x.sums[b];
            let sums = if groups == 8 { &sums.by_32[..] } else { &sums.by_16[..] };
            let minima = &mut self.minima[i][c / 2];
            for g in 0..groups {
                let (sum, at) = (sums[sum_slot(g)], 8 * (c % 2) + g % 8);
                minima[g / 8][at] = (sum & ((1 << HIGH) - 1)) as u8;
                minima[2 + g / 8][at] = (sum >> HIGH) as u8;
            }
        }
    }

    /// As [`XTileMut::set_sums_32`]; `groups` is how many groups of a block have minima, 8 or 16.
    pub(super) fn set_sums_256(&mut self, c: usize, x: ActRow256<'_>, blocks: Range<usize>, groups: usize) {
        for (i, b) in blocks.enumerate() {
            self.d[i][c] = x.d[b];
            let sums = &x.sums[b];
            let sums = if groups == 8 { &sums.by_32[..] } else { &sums.by_16[..] };
            for (g, &[a, b]) in sums.as_chunks().0.iter().enumerate() {
                self.sums[8 * i + g][c] = u32::from(a as u16) | u32::from(b as u16) << 16;
            }
        }
    }
}

/// Copies quants to a column.
struct SetBytes<'a> {
    out: &'a mut [u8],
    q: &'a [Bytes32],
    order: Order,
    /// Where the column is in a block of all.
    at: usize,
    /// The second column of a pair.
    second: bool,
}

impl<S: Words> Task<S> for SetBytes<'_> {
    type Out = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { out, q, order, at, second } = self;
        let bytes = order.block_bytes();
        // Of 32 quants come 32 bytes, or 64.
        let pieces = if matches!(order.sums, BlockSums::Of32) { 1 } else { 8 };
        for (block, q) in out.chunks_exact_mut(order.beside() * bytes).zip(q.chunks(pieces)) {
            let out = &mut block[at..][..bytes];
            match order.form {
                Form::Signed => copy(out, q, 0),
                Form::Unsigned => copy(out, q, 0x80),
                Form::Pairs => beside(out, q, second),
                Form::Halves => widen_all(s, out, q),
            }
        }
    }
}

/// Quants widened to 16 bits.
#[inline(always)]
fn widen_all<S: Words>(s: S, out: &mut [u8], q: &[Bytes32]) {
    for (out, q) in out.as_chunks_mut::<64>().0.iter_mut().zip(q) {
        let (words, _) = q.0.as_chunks::<4>();
        let mut bytes = [0; MAX_ROWS];
        for (word, bytes_4) in bytes.iter_mut().zip(words) {
            *word = u32::from_le_bytes(bytes_4.map(|q| q as u8));
        }
        widen(s, bytes, out);
    }
}

/// The even bytes of 8 words, widened, then the odd ones.
#[inline(always)]
fn widen<S: Words>(s: S, mut words: [u32; MAX_ROWS], out: &mut [u8; 64]) {
    for at in (0..8).step_by(S::N.min(8)) {
        let x = s.load_u32(&words);
        for (half, x) in [s.even_bytes(x), s.odd_bytes(x)].into_iter().enumerate() {
            let mut wide = [0; MAX_ROWS];
            s.store_u32(x, &mut wide);
            for (i, wide) in wide.iter().enumerate().take(S::N.min(8)) {
                out[32 * half + 4 * (at + i)..][..4].copy_from_slice(&wide.to_le_bytes());
            }
        }
        words.rotate_left(S::N % MAX_ROWS);
    }
}

/// Copies bytes with some bits turned.
#[inline(always)]
fn copy(out: &mut [u8], q: &[Bytes32], bits: u8) {
    for (out, q) in out.as_chunks_mut::<32>().0.iter_mut().zip(q) {
        for (out, q) in out.iter_mut().zip(q.0) {
            *out = q as u8 ^ bits;
        }
    }
}

/// Copies bytes to every second eight.
#[inline(always)]
fn beside(out: &mut [u8], q: &[Bytes32], second: bool) {
    for (out, q) in out.as_chunks_mut::<64>().0.iter_mut().zip(q) {
        for (out, q) in out.as_chunks_mut::<16>().0.iter_mut().zip(q.0.as_chunks::<8>().0) {
            let out = if second { &mut out[8..] } else { &mut out[..8] };
            out.copy_from_slice(&q.map(|q| q as u8));
        }
    }
}
