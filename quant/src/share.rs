//! Safe ways for several threads to write one buffer: it's cut into parts beforehand, and each part is handed out once.
//!
//! A strided output cannot be split with `chunks_mut` (a band of rows is a piece of every token's row), so the hand-out
//! is checked at run time: one atomic flag per part, set when the part is taken.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// One flag per part; a part can be taken once.
#[derive(Debug)]
struct Taken(Box<[AtomicBool]>);

impl Taken {
    fn new(parts: usize) -> Self {
        Self((0..parts).map(|_| AtomicBool::new(false)).collect())
    }

    /// Panics when the part is out of range or was taken before: both are bugs of the caller, never input.
    fn take(&self, part: usize) {
        assert!(!self.0[part].swap(true, Ordering::Relaxed), "part {part} was handed out twice");
    }
}

/// A slice cut into contiguous chunks that threads take one by one.
#[derive(Debug)]
pub struct Chunks<'a, T> {
    start: *mut T,
    len: usize,
    chunk: usize,
    taken: Taken,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: the only access is through `take`, which hands out each disjoint chunk at most once.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}
// SAFETY: it is a `&mut [T]` in disguise.
unsafe impl<T: Send> Send for Chunks<'_, T> {}

impl<'a, T> Chunks<'a, T> {
    /// Cuts `slice` into chunks of `chunk >= 1` values; the last may be shorter.
    pub fn new(slice: &'a mut [T], chunk: usize) -> Self {
        let chunk = chunk.max(1);
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            chunk,
            taken: Taken::new(slice.len().div_ceil(chunk)),
            owner: PhantomData,
        }
    }

    /// How many chunks there are.
    pub fn count(&self) -> usize {
        self.taken.0.len()
    }

    /// The values of chunk `index`. Each chunk can be taken once: a second time panics.
    #[expect(clippy::mut_from_ref, reason = "each part is handed out once, checked by its flag")]
    pub fn take(&self, index: usize) -> &mut [T] {
        self.taken.take(index);
        let from = index * self.chunk;
        let len = self.chunk.min(self.len - from);
        // SAFETY: `from..from + len` lies inside the slice, no other chunk overlaps it, and the flag says that it was
        // not handed out before; the slice is borrowed mutably for 'a, which outlives `&self`.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}

/// A matrix product's output `[n tokens][ld]`, cut into bands of `band` consecutive rows of the weights (columns of the
/// output): a band is a strided tile.
#[derive(Debug)]
pub struct OutTiles<'a> {
    start: *mut f32,
    n: usize,
    ld: usize,
    band: usize,
    taken: Taken,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only access is through `take`, which hands out each disjoint band at most once.
unsafe impl Sync for OutTiles<'_> {}
// SAFETY: it is a `&mut [f32]` in disguise.
unsafe impl Send for OutTiles<'_> {}

impl<'a> OutTiles<'a> {
    /// Cuts `out`, which holds whole tokens of `ld` values, into bands of `band >= 1` values.
    ///
    /// # Panics
    /// When `out.len()` isn't a multiple of `ld`.
    pub fn new(out: &'a mut [f32], ld: usize, band: usize) -> Self {
        assert!(ld > 0 && out.len().is_multiple_of(ld), "an output of {} values in rows of {ld}", out.len());
        let band = band.max(1);
        Self {
            start: out.as_mut_ptr(),
            n: out.len() / ld,
            ld,
            band,
            taken: Taken::new(ld.div_ceil(band)),
            owner: PhantomData,
        }
    }

    /// How many bands there are.
    pub fn bands(&self) -> usize {
        self.taken.0.len()
    }

    /// Band `index`. Each band can be taken once: a second time panics.
    pub fn take(&self, index: usize) -> Tile<'_> {
        self.taken.take(index);
        let from = index * self.band;
        let rows = from..(from + self.band).min(self.ld);
        Tile { start: self.start, n: self.n, ld: self.ld, rows, owner: PhantomData }
    }
}

/// The part of an output that belongs to a range of rows of the weights: for each token a contiguous slice.
#[derive(Debug)]
pub struct Tile<'a> {
    /// Where row 0 of the first token is, or would be.
    start: *mut f32,
    n: usize,
    ld: usize,
    rows: Range<usize>,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: a tile is the only handle on its values.
unsafe impl Send for Tile<'_> {}

impl<'a> Tile<'a> {
    /// A tile over a whole output of `[n][rows]`.
    ///
    /// # Panics
    /// When `out.len()` isn't a multiple of `rows`.
    pub fn whole(out: &'a mut [f32], rows: usize) -> Self {
        assert!(rows > 0 && out.len().is_multiple_of(rows), "an output of {} values in rows of {rows}", out.len());
        Self { start: out.as_mut_ptr(), n: out.len() / rows, ld: rows, rows: 0..rows, owner: PhantomData }
    }

    /// A tile over an output of some rows alone, `[n][rows.len()]`.
    ///
    /// # Panics
    /// When `out.len()` isn't a multiple of the number of rows.
    pub fn of_rows(out: &'a mut [f32], rows: Range<usize>) -> Self {
        let ld = rows.len();
        assert!(ld > 0 && out.len().is_multiple_of(ld), "an output of {} values in rows of {ld}", out.len());
        let start = out.as_mut_ptr().wrapping_sub(rows.start);
        Self { start, n: out.len() / ld, ld, rows, owner: PhantomData }
    }

    /// The rows of the weights whose results go here.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Number of tokens.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Results of token `c` for the tile's rows.
    pub fn col(&self, c: usize) -> &[f32] {
        assert!(c < self.n, "token {c} of {}", self.n);
        // SAFETY: token `c` exists, `start` is where its row 0 is or would be, and `rows` lies inside its `ld` values; the tile is
        // the only handle on them.
        unsafe { std::slice::from_raw_parts(self.start.wrapping_add(c * self.ld + self.rows.start), self.rows.len()) }
    }

    /// Results of token `c` for the tile's rows, to be written.
    pub fn col_mut(&mut self, c: usize) -> &mut [f32] {
        assert!(c < self.n, "token {c} of {}", self.n);
        // SAFETY: as in `col`, and `&mut self` makes the access exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.wrapping_add(c * self.ld + self.rows.start), self.rows.len())
        }
    }

    /// The same values as a tile of their own, with rows counted from 0.
    pub fn renumbered(self) -> Self {
        // Of an output without tokens there is nothing to point into.
        let start = self.start.wrapping_add(self.rows.start);
        Tile { start, n: self.n, ld: self.ld, rows: 0..self.rows.len(), owner: PhantomData }
    }

    /// The tile limited to the rows `rows` (absolute, inside the tile's own range), for as long as it's borrowed.
    ///
    /// # Panics
    /// When `rows` leaves the tile.
    pub fn narrow(&mut self, rows: Range<usize>) -> Tile<'_> {
        assert!(self.rows.start <= rows.start && rows.start <= rows.end && rows.end <= self.rows.end, "{rows:?}");
        Tile { start: self.start, n: self.n, ld: self.ld, rows, owner: PhantomData }
    }
}

/// A cache line of raw memory.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

impl Line {
    /// Lines as numbers.
    ///
    /// # Safety
    /// Any bits must be a `T`, whose alignment is no more than a line's.
    pub(crate) unsafe fn numbers<T>(lines: &[Self]) -> &[T] {
        // SAFETY: as the caller says; the lines are initialized.
        let (before, numbers, _) = unsafe { lines.align_to::<T>() };
        assert!(before.is_empty(), "numbers are aligned to a cache line at most");
        numbers
    }

    /// As [`Line::numbers`], to be written.
    ///
    /// # Safety
    /// As [`Line::numbers`]; and all bytes of any `T` must be initialized.
    pub(crate) unsafe fn numbers_mut<T>(lines: &mut [Self]) -> &mut [T] {
        // SAFETY: as the caller says; the lines are initialized.
        let (before, numbers, _) = unsafe { lines.align_to_mut::<T>() };
        assert!(before.is_empty(), "numbers are aligned to a cache line at most");
        numbers
    }
}

/// A buffer cut into parts, each of which is filled once, by the thread that asks for it first, and then read by all.
pub(crate) struct FilledOnce {
    memory: Vec<UnsafeCell<Line>>,
    lines: usize,
    states: Box<[AtomicU8]>,
}

/// Nobody asked for the part.
const EMPTY: u8 = 0;
/// A thread is filling it.
const FILLING: u8 = 1;
/// It may be read, and is not written any more.
const FILLED: u8 = 2;

// SAFETY: a part is written by the one thread that took its state from `EMPTY`, and read after it became `FILLED`.
unsafe impl Sync for FilledOnce {}

impl FilledOnce {
    /// `parts` parts of `lines` lines, in `memory` of an earlier one or none.
    pub(crate) fn new(mut memory: Vec<UnsafeCell<Line>>, parts: usize, lines: usize) -> Self {
        let len = parts.checked_mul(lines).expect("as much as the activations themselves, and those are there");
        if memory.len() < len {
            memory.resize_with(len, || UnsafeCell::new(Line([0; 64])));
        }
        Self { memory, lines, states: (0..parts).map(|_| AtomicU8::new(EMPTY)).collect() }
    }

    /// The memory, for another one.
    pub(crate) fn into_memory(self) -> Vec<UnsafeCell<Line>> {
        self.memory
    }

    /// Part `part`, which `fill` fills if nobody did; none while another thread is at it, so that nobody waits.
    pub(crate) fn get(&self, part: usize, fill: impl FnOnce(&mut [Line])) -> Option<&[Line]> {
        let state = &self.states[part];
        let cells = &self.memory[part * self.lines..][..self.lines];
        // A plain load first: exchanges wait for all stores before them.
        if state.load(Ordering::Acquire) != FILLED {
            state.compare_exchange(EMPTY, FILLING, Ordering::Acquire, Ordering::Relaxed).ok()?;
            // SAFETY: this thread alone took the part from `EMPTY`; nobody reads it before it's `FILLED`.
            fill(unsafe { std::slice::from_raw_parts_mut(UnsafeCell::raw_get(cells.as_ptr()), cells.len()) });
            state.store(FILLED, Ordering::Release);
        }
        // SAFETY: it's `FILLED`, and so nobody writes it for as long as `self` is borrowed.
        Some(unsafe { std::slice::from_raw_parts(UnsafeCell::raw_get(cells.as_ptr()), cells.len()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_of_some_rows_has_an_output_of_those_alone() {
        let mut out = [0.0; 6];
        let mut tile = Tile::of_rows(&mut out, 64..67);
        assert_eq!((tile.n(), tile.rows()), (2, 64..67));
        tile.col_mut(1).copy_from_slice(&[1.0, 2.0, 3.0]);
        tile.narrow(65..66).col_mut(0)[0] = 4.0;
        assert_eq!(tile.renumbered().col(0), [0.0, 4.0, 0.0]);
        assert_eq!(out, [0.0, 4.0, 0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_part_is_filled_once_and_read_by_all() {
        let parts = FilledOnce::new(Vec::new(), 64, 3);
        let filled = AtomicU8::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for part in 0..64 {
                        let fill = |lines: &mut [Line]| {
                            filled.fetch_add(1, Ordering::Relaxed);
                            lines.fill(Line([part as u8 + 1; 64]));
                        };
                        // Another thread may be at it.
                        let lines = parts.get(part, fill);
                        assert!(lines.is_none_or(|lines| lines.iter().all(|line| line.0 == [part as u8 + 1; 64])));
                    }
                });
            }
        });
        assert_eq!(filled.into_inner(), 64);
        let again = FilledOnce::new(parts.into_memory(), 2, 5);
        assert!(
            again
                .get(1, |lines| lines.fill(Line([7; 64])))
                .is_some_and(|lines| lines.len() == 5 && lines[4].0 == [7; 64])
        );
    }

    #[test]
    fn chunks_cover_the_slice_once() {
        let mut data = vec![0u32; 23];
        let chunks = Chunks::new(&mut data, 5);
        std::thread::scope(|scope| {
            for i in 0..chunks.count() {
                let chunks = &chunks;
                scope.spawn(move || chunks.take(i).iter_mut().for_each(|v| *v += 1));
            }
        });
        assert!(data.iter().all(|&v| v == 1));
    }

    #[test]
    #[should_panic(expected = "handed out twice")]
    fn a_chunk_is_handed_out_once() {
        let mut data = [0u8; 4];
        let chunks = Chunks::new(&mut data, 2);
        chunks.take(1);
        chunks.take(1);
    }

    #[test]
    fn bands_are_strided_and_disjoint() {
        let mut out = vec![0f32; 3 * 10];
        let tiles = OutTiles::new(&mut out, 10, 4);
        assert_eq!(tiles.bands(), 3);
        for b in 0..3 {
            let mut tile = tiles.take(b);
            let first = tile.rows().start;
            for c in 0..3 {
                for (i, v) in tile.col_mut(c).iter_mut().enumerate() {
                    *v += (100 * c + first + i) as f32;
                }
            }
        }
        for c in 0..3 {
            for r in 0..10 {
                assert_eq!(out[c * 10 + r], (100 * c + r) as f32);
            }
        }
    }
}
