//! Products with many columns by a unit of tiles: the same panels, with bytes that tiles can multiply.
//!
//! A weight is multiplied with the scale of its group beforehand. Quants times scales are exact integers of 16 bits, whose low and
//! high bytes stand in two *planes*: tiles multiply each with the activations, and `low + (high << 8)` is the one integer of the
//! super-block, from which the sums go on as everywhere. Low bytes are unsigned; high ones are signed, which all that are never
//! negative can be called as well, as they are small:
//!
//! | | quants | scales | products | high bytes |
//! |---|---|---|---|---|
//! | Q4_K | 0..=15 | 0..=63 | 0..=945 | 0..=3 |
//! | Q5_K | 0..=31 | 0..=63 | 0..=1953 | 0..=7 |
//! | Q6_K | -32..=31 | -128..=127 | -4064..=4096 | -16..=16 |
//!
//! No integer overflows: with activations of -127 to 127, the 256 products of low bytes add up to 256 * 127 * 255 = 8.3 million at
//! most, those of high bytes to 256 * 127 * 16 = 0.52 million, 2^8 times which are 134 million; and the minima, below 64, of
//! eight groups whose sums are 32 * 127 at most, to 2.1 million.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use super::panel::plainly;
use super::results::write_rows;

use crate::activation::ActRow256;
use crate::formats::{Format256, Rows};
use crate::isa::caches;
use crate::isa::simd::{MAX_ROWS, Task, Words};
use crate::isa::tiles::{TILE_ROWS, TileKernel, TileMemory, TileUnit};
use crate::layout::Layout;
use crate::matrix::Matrix;
use crate::product::Product;

/// From how many columns on tiles are used: as many as are multiplied at once. With fewer, a part of the unit is idle, for a short
/// tile takes as long as a whole one; and building planes takes several times as long as unpacking, which few columns do
/// not make up for. What surrounds the tiles was measured on a Xeon that hides its own, and their time reckoned from the cycles
/// of each instruction: with 16 columns they would take as long as AVX-512-VNNI, with 32 three quarters of that.
pub(super) const MIN_TILED_COLUMNS: usize = TILED_COLUMNS;

/// Columns that are multiplied at once: two tiles.
const TILED_COLUMNS: usize = 2 * TILE_ROWS;

/// Tiles that the quants of a super-block fill: 64 of each row in one.
const STEPS: usize = 256 / 64;

/// Super-blocks that are multiplied before the next rows are.
const IN_SLICE: usize = 4;

/// Bytes that a panel and the sums of its rows with all columns should not exceed: activations need the rest of the second-level
/// cache. Tiles are so fast that whatever comes from beyond it takes longer than their products.
fn band_bytes() -> usize {
    caches::second_level() / 4 * 3
}

/// The fewest groups of sixteen rows that are worth copying activations for.
const MIN_GROUPS: usize = 8;

/// How many rows make a band, of `rows` rows in groups of `n`: bands are about equal.
fn band_rows(rows: usize, n: usize, blocks: usize, tiles: usize) -> usize {
    let groups = rows.div_ceil(n);
    let most = band_bytes() / (blocks * size_of::<Weights>() + tiles * size_of::<Sums>());
    n * groups.div_ceil(groups.div_ceil(most.max(MIN_GROUPS)).max(1))
}

/// A super-block of sixteen rows, one per lane.
#[derive(Clone)]
#[repr(C, align(64))]
struct Weights {
    /// Of each 64 weights the low bytes, and the high ones: row `k` of a tile has weights `4 k..4 k + 4`.
    planes: [[TileMemory; 2]; STEPS],
    d: [u32; MAX_ROWS],
    min: [u32; MAX_ROWS],
    /// Minima of two groups each, as 16-bit halves.
    mins: [[u32; MAX_ROWS]; 4],
}

impl Weights {
    const ZERO: Self =
        Self { planes: [[TileMemory::ZERO; 2]; STEPS], d: [0; MAX_ROWS], min: [0; MAX_ROWS], mins: [[0; MAX_ROWS]; 4] };
}

/// Some super-blocks of up to [`TILED_COLUMNS`] columns of activations; the rest holds anything.
struct Tiled {
    /// Row `c % 16` of tile `c / 16` is a column.
    q: [[[TileMemory; 2]; STEPS]; IN_SLICE],
    d: [[f32; TILED_COLUMNS]; IN_SLICE],
    /// Sums of two groups each, as the minima of weights are paired.
    sums: [[[u32; 4]; TILED_COLUMNS]; IN_SLICE],
}

/// What the tiles give for one super-block: the words of a row are rows of weights, the rows are columns.
struct Integers {
    low: [TileMemory; 2],
    high: [TileMemory; 2],
}

/// Of sixteen rows and [`TILED_COLUMNS`] columns, as bits of f32.
#[derive(Clone)]
#[repr(C, align(64))]
struct Sums {
    products: [[u32; MAX_ROWS]; TILED_COLUMNS],
    minima: [[u32; MAX_ROWS]; TILED_COLUMNS],
}

impl Sums {
    const ZERO: Self = Self { products: [[0; MAX_ROWS]; TILED_COLUMNS], minima: [[0; MAX_ROWS]; TILED_COLUMNS] };
}

/// Memory of a thread, kept between products.
struct Scratch {
    panel: Vec<Weights>,
    sums: Vec<Sums>,
    x: Box<Tiled>,
    /// Of a super-block, and of the one before it.
    integers: Box<[Integers; 2]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        panel: Vec::new(),
        sums: Vec::new(),
        x: Box::new(Tiled {
            q: [[[TileMemory::ZERO; 2]; STEPS]; IN_SLICE],
            d: [[0.0; TILED_COLUMNS]; IN_SLICE],
            sums: [[[0; 4]; TILED_COLUMNS]; IN_SLICE],
        }),
        integers: Box::new([const { Integers { low: [TileMemory::ZERO; 2], high: [TileMemory::ZERO; 2] } }; 2]),
    });
}

/// The first `len` values, holding anything.
fn first<'a, T: Clone>(memory: &'a mut Vec<T>, len: usize, value: &T) -> &'a mut [T] {
    if memory.len() < len {
        memory.resize(len, value.clone());
    }
    &mut memory[..len]
}

/// The product with a matrix of the format `F` in the layout `L`, of one super-block a row at least.
pub(super) struct ByTiles<'a, 't, L, F>(pub(super) Product<'a, 't>, pub(super) PhantomData<(L, F)>);

// The loops, from outside (memory) to inside (tiles):
//
//   for each band of rows whose planes and sums fit in the second-level cache:
//     sums = 0
//     for each slice of the super-blocks of a row (IN_SLICE of them, so that the activations fit in the first level):
//       panel = planes(band, slice)                          once for all columns
//       for each 32 columns:
//         x = the columns' quants of the slice, as tiles
//         for each 16 rows:                                  multiply: four tiles hold the sums of 16 rows, 32 columns, 2 planes
//           for each super-block: integers = x * planes
//                                 meanwhile, of the one before: sums = fma(d * x.d, integers, sums)
//         if this is the last slice: write sums to the output
impl<L: Layout, F: Format256> TileKernel for ByTiles<'_, '_, L, F> {
    type Out = ();

    fn run<S: Words, U: TileUnit>(self, s: S, unit: &mut U) {
        const { assert!(S::N == TILE_ROWS, "a row of a tile is a vector of rows") };
        // What is only mentioned for other formats is checked for them, too.
        const { assert!(!F::BY_TILES || F::HELD.largest() * 128 <= i16::MAX as i32, "products have 16 bits") };
        const { assert!(!(F::BY_TILES && F::MIN && F::GROUPS_OF_16), "there is room for eight minima") };
        let mut product = self.0;
        let (tiles, blocks) = (product.cols.len().div_ceil(TILED_COLUMNS), product.m.cols() / F::LEN);
        let (begin, end) = (L::first(product.rows.start, S::N), product.rows.end);
        let in_slice = blocks.min(IN_SLICE);
        let band = band_rows(end - begin, S::N, in_slice, tiles);
        SCRATCH.with_borrow_mut(|Scratch { panel, sums, x, integers }| {
            for start in (begin..end).step_by(band) {
                let rows = start..end.min(start + band);
                let groups = rows.len().div_ceil(S::N);
                let sums = first(sums, tiles * groups, &Sums::ZERO);
                sums.fill(Sums::ZERO);
                for from in (0..blocks).step_by(in_slice) {
                    let slice = from..blocks.min(from + in_slice);
                    let panel = first(panel, groups * slice.len(), &Weights::ZERO);
                    build::<S, L, F>(s, product.m, &rows, &slice, panel);
                    multiply_all::<S, U, F>(s, unit, &mut product, (&rows, &slice, panel), (x, integers, sums));
                }
            }
        });
    }
}

/// Multiplies a panel, of some rows and super-blocks, with all columns and adds to `sums`; writes the results if the
/// super-blocks are the last.
fn multiply_all<S: Words, U: TileUnit, F: Format256>(
    s: S,
    unit: &mut U,
    product: &mut Product<'_, '_>,
    (rows, slice, panel): (&Range<usize>, &Range<usize>, &[Weights]),
    (x, integers, sums): (&mut Tiled, &mut [Integers; 2], &mut [Sums]),
) {
    let groups = panel.len() / slice.len();
    let last = slice.end == product.m.cols() / F::LEN;
    for (t, sums) in sums.chunks_exact_mut(groups).enumerate() {
        let columns = t * TILED_COLUMNS..product.cols.len().min((t + 1) * TILED_COLUMNS);
        for (c, column) in columns.clone().enumerate() {
            let row = product.x.row_256(product.cols.get(column));
            s.vectorize(SetColumn { x, c, row, blocks: slice.clone() });
        }
        for (panel, sums) in panel.chunks_exact(slice.len()).zip(sums.iter_mut()) {
            multiply::<S, U, F>(s, unit, panel, x, (columns.len(), integers, sums));
        }
        if last {
            finish::<S, F>(s, sums, rows, columns, product);
        }
    }
}

/// Column `c` of some activations gets super-blocks `blocks` of a row.
struct SetColumn<'a> {
    x: &'a mut Tiled,
    c: usize,
    row: ActRow256<'a>,
    blocks: Range<usize>,
}

impl<S: Words> Task<S> for SetColumn<'_> {
    type Out = ();

    #[inline(always)]
    fn run(self, _s: S) {
        let Self { x, c, row, blocks } = self;
        for (i, b) in blocks.enumerate() {
            x.d[i][c] = row.d[b];
            for (words, &[first, second]) in x.sums[i][c].iter_mut().zip(row.sums[b].by_32.as_chunks().0) {
                *words = u32::from(first as u16) | u32::from(second as u16) << 16;
            }
            for (tiles, q) in x.q[i].iter_mut().zip(row.q[8 * b..8 * b + 8].as_chunks::<2>().0) {
                let out = &mut tiles[c / TILE_ROWS].0[c % TILE_ROWS];
                for (out, q) in out.as_chunks_mut::<8>().0.iter_mut().zip(q) {
                    for (word, bytes) in out.iter_mut().zip(q.0.as_chunks::<4>().0) {
                        *word = u32::from_le_bytes(bytes.map(|q| q as u8));
                    }
                }
            }
        }
    }
}

/// Unpacks super-blocks `slice` of `rows`: sixteen rows one after the other, each with its super-blocks. The last row stands in for
/// those that are missing.
fn build<S: Words, L: Layout, F: Format256>(
    s: S,
    m: &Matrix<'_>,
    rows: &Range<usize>,
    slice: &Range<usize>,
    panel: &mut [Weights],
) {
    for (g, panel) in panel.chunks_exact_mut(slice.len()).enumerate() {
        let rows = L::group::<F, S>(m.stored(), rows.start + g * S::N, rows.end, slice.end);
        s.vectorize(Build::<'_, L, F> { rows, from: slice.start, ahead: S::N * m.row_bytes(), panel });
    }
}

/// Unpacks super-blocks `from..` of sixteen rows.
struct Build<'a, L: Layout, F: Format256> {
    rows: L::Group<'a, F>,
    from: usize,
    /// How far past each block, in bytes, the one is that will be unpacked next in its place.
    ahead: usize,
    panel: &'a mut [Weights],
}

impl<S: Words, L: Layout, F: Format256> Task<S> for Build<'_, L, F> {
    type Out = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { rows, from, ahead, panel } = self;
        for (b, weights) in panel.iter_mut().enumerate() {
            L::prefetch::<F, S>(s, rows, from + b, ahead);
            write_planes::<S, F>(s, L::block::<F, S>(rows, from + b), weights);
        }
    }
}

/// Unpacks a super-block.
#[inline(always)]
fn write_planes<S: Words, F: Format256>(s: S, rows: impl Rows<S>, weights: &mut Weights) {
    let head = F::head(s, rows);
    s.store_u32(head.d, &mut weights.d);
    if F::MIN {
        s.store_u32(head.min, &mut weights.min);
        // Sums of groups are paired likewise.
        for (pair, &mins) in weights.mins.as_chunks_mut::<2>().0.iter_mut().zip(&head.mins) {
            s.store_u32(lower(s, mins), &mut pair[0]);
            s.store_u32(lower(s, s.shr(mins, 8)), &mut pair[1]);
        }
    }
    F::chunks(
        s,
        rows,
        #[inline(always)]
        |j, q| {
            let [low, high] = &mut weights.planes[j / 2];
            for (i, q) in plainly(s, F::HELD, q).into_iter().enumerate() {
                let group = if F::GROUPS_OF_16 { 2 * j + i / 4 } else { j };
                let scale = s.sar(s.shl(head.scales[group / 4], 24 - 8 * (group as u32 % 4)), 24);
                let scale = s.or(s.and(scale, s.splat_u32(0xffff)), s.shl(scale, 16));
                let (even, odd) = (s.mul_halves(s.even_bytes(q), scale), s.mul_halves(s.odd_bytes(q), scale));
                let at = j % 2 * 8 + i;
                s.store_u32(s.or(lower(s, even), s.shl(lower(s, odd), 8)), &mut low.0[at]);
                let upper_of_odd = s.and(odd, s.splat_u32(0xff00_ff00));
                s.store_u32(s.or(lower(s, s.shr(even, 8)), upper_of_odd), &mut high.0[at]);
            }
        },
    );
}

/// The lower byte of each half.
#[inline(always)]
fn lower<S: Words>(s: S, x: S::V) -> S::V {
    s.and(x, s.splat_u32(0x00ff_00ff))
}

/// Multiplies a panel of sixteen rows with `n` columns and adds to the sums.
fn multiply<S: Words, U: TileUnit, F: Format256>(
    s: S,
    unit: &mut U,
    panel: &[Weights],
    x: &Tiled,
    (n, integers, sums): (usize, &mut [Integers; 2], &mut Sums),
) {
    if n > TILE_ROWS {
        s.vectorize(Multiply::<'_, U, F, 2> { format: PhantomData, unit, panel, x, integers, sums });
    } else {
        s.vectorize(Multiply::<'_, U, F, 1> { format: PhantomData, unit, panel, x, integers, sums });
    }
}

/// Multiplies a panel of sixteen rows with `M` tiles of columns and adds to the sums.
struct Multiply<'a, U, F, const M: usize> {
    format: PhantomData<F>,
    unit: &'a mut U,
    panel: &'a [Weights],
    x: &'a Tiled,
    integers: &'a mut [Integers; 2],
    sums: &'a mut Sums,
}

impl<S: Words, U: TileUnit, F: Format256, const M: usize> Task<S> for Multiply<'_, U, F, M> {
    type Out = ();

    /// The vectors work on a super-block while the unit works on the next one: a few columns beside each step of tiles.
    #[inline(always)]
    fn run(self, s: S) {
        let Self { unit, panel, x, integers: [these, before], sums, .. } = self;
        let (mut these, mut before) = (these, before);
        for b in 0..=panel.len() {
            for k in 0..STEPS {
                if let Some(weights) = panel.get(b) {
                    step::<U, M>(unit, k == 0, &x.q[b][k], &weights.planes[k]);
                }
                if b > 0 {
                    let scales = Scales::of(s, &panel[b - 1]);
                    for c in 0..M * TILE_ROWS / STEPS {
                        scales.add::<F>(s, (x, b - 1, k * (M * TILE_ROWS / STEPS) + c), before, sums);
                    }
                }
            }
            if b < panel.len() {
                store::<U, M>(unit, these);
            }
            (these, before) = (before, these);
        }
    }
}

/// Adds the products of 64 weights: tiles 0 and 1 are columns, 2 and 3 the planes, 4 and 5 sums of low bytes, 6 and 7 of high ones.
#[inline(always)]
fn step<U: TileUnit, const M: usize>(unit: &mut U, is_first: bool, x: &[TileMemory; 2], planes: &[TileMemory; 2]) {
    if is_first {
        unit.zero::<4>();
        unit.zero::<5>();
        unit.zero::<6>();
        unit.zero::<7>();
    }
    unit.load::<0>(&x[0]);
    unit.load::<2>(&planes[0]);
    unit.add_product::<4, 0, 2, false>();
    if M == 2 {
        unit.load::<1>(&x[1]);
        unit.add_product::<5, 1, 2, false>();
    }
    unit.load::<3>(&planes[1]);
    unit.add_product::<6, 0, 3, true>();
    if M == 2 {
        unit.add_product::<7, 1, 3, true>();
    }
}

/// Writes what [`step`] has added up.
#[inline(always)]
fn store<U: TileUnit, const M: usize>(unit: &mut U, out: &mut Integers) {
    unit.store::<4>(&mut out.low[0]);
    unit.store::<6>(&mut out.high[0]);
    if M == 2 {
        unit.store::<5>(&mut out.low[1]);
        unit.store::<7>(&mut out.high[1]);
    }
}

/// What of a super-block is not in its planes.
struct Scales<V> {
    d: V,
    min: V,
    mins: [V; 4],
}

impl<V: Copy> Scales<V> {
    #[inline(always)]
    fn of<S: Words<V = V>>(s: S, weights: &Weights) -> Self {
        let [a, b, c, d] = &weights.mins;
        let mins = [s.load_u32(a), s.load_u32(b), s.load_u32(c), s.load_u32(d)];
        Self { d: s.load_u32(&weights.d), min: s.load_u32(&weights.min), mins }
    }

    /// Adds column `c` of super-block `b` to the sums, rounded as the definition does.
    #[inline(always)]
    fn add<F: Format256>(
        &self,
        s: impl Words<V = V>,
        (x, b, c): (&Tiled, usize, usize),
        integers: &Integers,
        sums: &mut Sums,
    ) {
        let (tile, row) = (c / TILE_ROWS, c % TILE_ROWS);
        let (low, high) = (s.load_u32(&integers.low[tile].0[row]), s.load_u32(&integers.high[tile].0[row]));
        let d = s.splat_u32(x.d[b][c].to_bits());
        add_scaled(s, self.d, d, s.add_u32(low, s.shl(high, 8)), &mut sums.products[c]);
        if F::MIN {
            let mut minima = s.splat_u32(0);
            for (&mins, &x) in self.mins.iter().zip(&x.sums[b][c]) {
                minima = s.dot_halves(minima, mins, s.splat_u32(x));
            }
            add_scaled(s, self.min, d, minima, &mut sums.minima[c]);
        }
    }
}

/// `sum += scale * d * numbers`.
#[inline(always)]
fn add_scaled<S: Words>(s: S, scale: S::V, d: S::V, numbers: S::V, sum: &mut [u32; MAX_ROWS]) {
    s.store_u32(s.fma_f32(s.mul_f32(scale, d), s.i32_to_f32(numbers), s.load_u32(sum)), sum);
}

/// Writes the results of some columns: `rows` are those of the band.
fn finish<S: Words, F: Format256>(
    s: S,
    sums: &[Sums],
    rows: &Range<usize>,
    columns: Range<usize>,
    product: &mut Product<'_, '_>,
) {
    // Of the first vector of rows some may lie before those that are wanted.
    let wanted = rows.start.max(product.rows.start)..rows.end;
    let (skip, of_tile) = (wanted.start - rows.start, product.of_tile(&wanted));
    for (c, column) in columns.enumerate() {
        let out = &mut product.tile.col_mut(column)[of_tile.clone()];
        s.vectorize(Finish { format: PhantomData::<F>, sums, c, skip, out });
    }
}

/// Writes the results of column `c`, from row `skip` of the sums on.
struct Finish<'a, F> {
    format: PhantomData<F>,
    sums: &'a [Sums],
    c: usize,
    skip: usize,
    out: &'a mut [f32],
}

impl<S: Words, F: Format256> Task<S> for Finish<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { sums, c, skip, out, .. } = self;
        for (g, sums) in sums.iter().enumerate() {
            let (products, minima) = (s.load_u32(&sums.products[c]), s.load_u32(&sums.minima[c]));
            let mut words = [0; MAX_ROWS];
            s.store_u32(if F::MIN { s.sub_f32(products, minima) } else { products }, &mut words);
            write_rows(&words.map(f32::from_bits), S::N, g * S::N, skip, out);
        }
    }
}
