//! Products with many columns.
//!
//! Rows are taken in bands. Of each band, some blocks are unpacked to a panel that fits in the second-level cache, are
//! multiplied with all columns, a few at a time, and thrown away. One lane is one row, so a lane does for its row and a
//! column exactly what [`crate::dot`] defines, whatever the shape of the tile.

mod panel;
mod results;
#[cfg(test)]
mod tests;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no other architecture has a unit of tiles"))]
mod tiles;
#[cfg(test)]
mod tiles_tests;
mod x_tile;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use crate::activation::{Activations, Bytes32};
use crate::formats::{Format32, Format256};
use crate::isa::dispatch::{portable, with_tiles, with_vectors};
use crate::isa::simd::{Dots, Kernel, MAX_ROWS, Simd, Task, Words};
use crate::isa::{Isa, caches, costs};
use crate::layout::{Layout, Plain};
use crate::matrix::Matrix;
use crate::product::{Columns, Product};
use crate::share::{FilledOnce, Line, Tile};
use panel::{Kind, Multiply, Of32, Of256, Unpack};
use results::write_rows;
use tiles::{ByTiles, MIN_TILED_COLUMNS};
use x_tile::{SLICE, XTile, XTileMut};

/// Bytes that a panel and the sums of its rows should not exceed: activations need the rest of the second-level cache.
fn panel_bytes() -> usize {
    caches::second_level() / 5 * 4
}

/// The product with a matrix of a format of 32 weights, in the layout `L`. Returns whether it's been done: not without vectors.
pub(crate) fn gemm_32<L: Layout, F: Format32>(isa: Isa, product: Product<'_, '_>) -> bool {
    with_vectors(isa, Gemm(product, PhantomData::<(L, Of32<F>)>)).is_ok()
}

/// The product with a matrix of a format of super-blocks, in the layout `L`. Returns whether it's been done: not without vectors.
pub(crate) fn gemm_256<L: Layout, F: Format256>(isa: Isa, mut product: Product<'_, '_>) -> bool {
    // Asked as a constant of its own: other formats are not compiled for tiles.
    if const { F::BY_TILES } {
        match tiled::<L, F>(isa, product) {
            Ok(()) => return true,
            Err(given_back) => product = given_back,
        }
    }
    with_vectors(isa, Gemm(product, PhantomData::<(L, Of256<F>)>)).is_ok()
}

/// The product by tiles, where `isa` has them and they pay; else it's given back.
fn tiled<'a, 't, L: Layout, F: Format256>(isa: Isa, product: Product<'a, 't>) -> Result<(), Product<'a, 't>> {
    if product.cols.len() < MIN_TILED_COLUMNS || product.m.cols() == 0 {
        return Err(product);
    }
    with_tiles(isa, ByTiles(product, PhantomData::<(L, F)>)).map_err(|ByTiles(product, _)| product)
}

/// As [`gemm_256`] in portable code, for rows as files have them.
pub(crate) fn gemm_256_portable<F: Format256>(product: Product<'_, '_>) -> bool {
    portable(Gemm(product, PhantomData::<(Plain, Of256<F>)>));
    true
}

struct Gemm<'a, 't, T>(Product<'a, 't>, PhantomData<T>);

impl<L: Layout, F: Format32> Kernel for Gemm<'_, '_, (L, Of32<F>)> {
    type Out = ();

    fn run<S: Simd>(self, s: S) {
        gemm::<S, L, Of32<F>>(s, self.0);
    }
}

impl<L: Layout, F: Format256> Kernel for Gemm<'_, '_, (L, Of256<F>)> {
    type Out = ();

    fn run<S: Simd>(self, s: S) {
        // Asked as a constant of its own: most formats have one plan for all CPUs, and are compiled once.
        let has_choice = const { <Of256<F> as Kind<S>>::LAYOUT.is_wider_than(<Of256<F, 2> as Kind<S>>::LAYOUT) };
        match has_choice {
            true if costs::mul_u32_is_double() => gemm::<S, L, Of256<F, 2>>(s, self.0),
            _ => gemm::<S, L, Of256<F>>(s, self.0),
        }
    }
}

/// Memory of a thread, kept between products.
struct Scratch {
    panel: Vec<Line>,
    sums: Vec<Line>,
    x: Vec<Line>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        const { RefCell::new(Scratch { panel: Vec::new(), sums: Vec::new(), x: Vec::new() }) };
}

/// `len` vectors of `S` in `memory`, holding anything.
fn vectors<S: Words>(memory: &mut Vec<Line>, len: usize) -> &mut [S::V] {
    let lines = (len * size_of::<S::V>()).div_ceil(size_of::<Line>());
    if memory.len() < lines {
        memory.resize(lines, Line([0; 64]));
    }
    // SAFETY: any bits are a vector, and it has no padding, as `Words`, an unsafe trait, promises.
    let vectors = unsafe { Line::numbers_mut(memory) };
    &mut vectors[..len]
}

// The loops of a product of many columns, from outside (memory) to inside (registers):
//
//   for each band of rows whose panel and sums fit in the second-level cache:
//     for each slice of the blocks of a row (SLICE weights, so that a panel of some groups fits beside the activations):
//       panel = unpack(band, slice)                          once for all columns: records of scales and quants
//       for each tile of up to TILE_COLUMNS columns:
//         x = the columns' quants of the slice, in the form that the panel wants: once for all bands and threads
//         if this is the first slice: sums = 0
//         for each group of two vectors of rows:             multiply: registers hold 2 * TILE_COLUMNS sums
//           for each block: isum = dot(panel, x); sums = fma(d * x.d, isum, sums)
//         if this is the last slice: write sums to the output

/// A band of rows, in groups of two vectors, and a slice of their blocks, number `at` of them.
struct Slice {
    rows: Range<usize>,
    groups: usize,
    at: usize,
    from: usize,
    blocks: usize,
}

/// Columns in tiles, and where those are arranged.
struct Tiles<'a> {
    x: &'a Activations,
    cols: Columns<'a>,
    count: usize,
    /// With all rows of the activations what one thread arranges serves all products; chosen ones are each thread's own.
    shared: Option<&'a FilledOnce>,
}

impl<'a> Tiles<'a> {
    fn new<S: Words, K: Kind<S>>(product: &Product<'a, '_>, slices: usize) -> Self {
        let (x, cols) = (product.x, product.cols);
        let count = cols.len().div_ceil(S::TILE_COLUMNS);
        let shared = match cols {
            Columns::All(_) => x.arranged(K::ORDER.number(), slices * count, K::ORDER.lines()),
            Columns::Chosen(_) => None,
        };
        Self { x, cols, count, shared }
    }

    /// The columns of tile `t`.
    fn columns<S: Words>(&self, t: usize) -> Range<usize> {
        // Columns that are multiplied in pairs are not parted.
        let (n, together) = (self.cols.len(), if S::DOTS == Dots::Tiles32 { 2 } else { 1 });
        let border = |t: usize| n.min(n.div_ceil(together) * t / self.count * together);
        border(t)..border(t + 1)
    }

    /// Tile `t` of a slice: arranged already, or now, or in `own` where another thread is at it.
    fn tile<'t, S: Words, K: Kind<S>>(&'t self, s: S, t: usize, slice: &Slice, own: &'t mut Vec<Line>) -> XTile<'t> {
        let arrange = |lines: &mut [Line]| {
            let mut tile = XTileMut::of(K::ORDER, lines);
            for (c, column) in self.columns::<S>(t).enumerate() {
                let column = self.cols.get(column);
                tile.set_bytes(s, c, quants::<S, K>(self.x, column, slice));
                K::set_sums(&mut tile, c, self.x, column, slice.from..slice.from + slice.blocks);
            }
        };
        let lines = match self.shared.and_then(|shared| shared.get(slice.at * self.count + t, arrange)) {
            Some(lines) => lines,
            None => {
                own.resize(own.len().max(K::ORDER.lines()), Line([0; 64]));
                arrange(own);
                own
            }
        };
        XTile::of(K::ORDER, lines)
    }

    /// Asks for a part, that of group `g`, of what the tile after `t` will be arranged from. Tiles that are arranged already lie one
    /// after the other, and the CPU fetches them better by itself.
    fn fetch_next<S: Words, K: Kind<S>>(&self, s: S, t: usize, slice: &Slice, g: usize) {
        if self.shared.is_some() || t + 1 == self.count {
            return;
        }
        let part = |len: usize, g: usize| len.min(g * len.div_ceil(slice.groups));
        for column in self.columns::<S>(t + 1) {
            let column = self.cols.get(column);
            if g == 0 {
                K::fetch_sums(s, self.x, column, slice.from..slice.from + slice.blocks);
            }
            let next = quants::<S, K>(self.x, column, slice);
            s.prefetch_all(&next[part(next.len(), g)..part(next.len(), g + 1)], 0);
        }
    }
}

/// Rows of a band of about equal ones. Its panel and, where columns are arranged once for all, its sums fit in the second-level cache;
/// where each band arranges them again, it has more rows.
fn band<S: Words, K: Kind<S>>(tiles: &Tiles<'_>, rows: usize, in_slice: usize, kept: usize) -> usize {
    let panel = in_slice * K::RECORD;
    let sums = if tiles.shared.is_some() { kept * 4 * S::TILE_COLUMNS } else { 0 };
    let groups = panel_bytes() / ((panel + sums) * size_of::<S::V>());
    let most = groups.max(if tiles.shared.is_some() { MIN_BAND_GROUPS } else { 1 });
    let all = rows.div_ceil(2 * S::N).max(1);
    2 * S::N * all.div_ceil(all.div_ceil(most))
}

/// Fewer groups would not be worth reading a tile for.
const MIN_BAND_GROUPS: usize = 2;

fn gemm<S: Words, L: Layout, K: Kind<S>>(s: S, mut product: Product<'_, '_>) {
    let (n, blocks) = (product.cols.len(), product.m.cols() / K::LEN);
    let all = product.rows.clone();
    if blocks == 0 {
        let rows = product.of_tile(&all);
        (0..n).for_each(|c| product.tile.col_mut(c)[rows.clone()].fill(0.0));
        return;
    }
    let in_slice = blocks.min(SLICE / K::LEN);
    let tiles = Tiles::new::<S, K>(&product, blocks.div_ceil(in_slice));
    // Tiles whose sums are kept for the next slice; where there is none, one after the other takes the same place.
    let kept = if in_slice < blocks { tiles.count } else { 1 };
    let band = band::<S, K>(&tiles, all.len(), in_slice, kept);
    SCRATCH.with_borrow_mut(|Scratch { panel, sums, x }| {
        for first in (L::first(all.start, S::N)..all.end).step_by(band) {
            let rows = first..all.end.min(first + band);
            let groups = rows.len().div_ceil(2 * S::N);
            let sums = vectors::<S>(sums, kept * groups * 4 * S::TILE_COLUMNS);
            for (at, from) in (0..blocks).step_by(in_slice).enumerate() {
                let slice = Slice { rows: rows.clone(), groups, at, from, blocks: in_slice.min(blocks - from) };
                let panel = vectors::<S>(panel, groups * slice.blocks * K::RECORD);
                unpack::<S, L, K>(s, product.m, &slice, panel);
                multiply_all::<S, K>(s, &mut product, &tiles, &slice, panel, x, sums);
            }
        }
    });
}

/// Multiplies a slice with all columns, adding to `sums`, and writes the results if the slice is the last.
fn multiply_all<S: Words, K: Kind<S>>(
    s: S,
    product: &mut Product<'_, '_>,
    tiles: &Tiles<'_>,
    slice: &Slice,
    panel: &[S::V],
    own: &mut Vec<Line>,
    sums: &mut [S::V],
) {
    let last = slice.from + slice.blocks == product.m.cols() / K::LEN;
    let of_tile = slice.groups * 4 * S::TILE_COLUMNS;
    for t in 0..tiles.count {
        let sums = if sums.len() == of_tile { &mut *sums } else { &mut sums[t * of_tile..][..of_tile] };
        let columns = tiles.columns::<S>(t);
        let x = tiles.tile::<S, K>(s, t, slice, own);
        if slice.at == 0 {
            // Here, while they are near, rather than all of them at once.
            s.vectorize(Clear(sums));
        }
        let panels = panel.chunks_exact(slice.blocks * K::RECORD);
        for (g, (panel, sums)) in panels.zip(sums.chunks_exact_mut(4 * S::TILE_COLUMNS)).enumerate() {
            tiles.fetch_next::<S, K>(s, t, slice, g);
            multiply::<S, K>(s, panel, &x, columns.len(), sums);
        }
        if last {
            // Of the first vector of rows some may lie before those that are wanted.
            let wanted = slice.rows.start.max(product.rows.start)..slice.rows.end;
            let (skip, rows) = (wanted.start - slice.rows.start, product.of_tile(&wanted));
            finish::<S, K>(s, sums, (skip, rows), columns, product.tile);
        }
    }
}

/// The quants of a column that a slice is multiplied with.
fn quants<'a, S: Words, K: Kind<S>>(x: &'a Activations, column: usize, slice: &Slice) -> &'a [Bytes32] {
    &K::quants(x, column)[slice.from * K::LEN / 32..][..slice.blocks * K::LEN / 32]
}

/// Sets vectors to zero.
struct Clear<'a, V>(&'a mut [V]);

impl<S: Words> Task<S> for Clear<'_, S::V> {
    type Out = ();

    #[inline(always)]
    fn run(self, s: S) {
        self.0.fill(s.splat_u32(0));
    }
}

/// Unpacks a slice: groups one after the other, each with its blocks. The last row stands in for those that are missing.
fn unpack<S: Words, L: Layout, K: Kind<S>>(s: S, m: &Matrix<'_>, slice: &Slice, panel: &mut [S::V]) {
    for (g, panel) in panel.chunks_exact_mut(slice.blocks * K::RECORD).enumerate() {
        let first = slice.rows.start + g * 2 * S::N;
        // Of the second vector all rows may be missing.
        let second = (first + S::N).min(L::first(slice.rows.end - 1, S::N));
        let to = slice.from + slice.blocks;
        let rows = [first, second].map(|first| L::group::<K::Format, S>(m.stored(), first, slice.rows.end, to));
        // The next group's rows: by the next slice of the same rows, lines fetched now would have left the caches.
        let ahead = 2 * S::N * m.row_bytes();
        s.vectorize(Unpack { types: PhantomData::<(L, K)>, rows, from: slice.from, ahead, panel });
    }
}

/// Multiplies a group with `columns` columns.
fn multiply<S: Words, K: Kind<S>>(s: S, panel: &[S::V], x: &XTile<'_>, columns: usize, sums: &mut [S::V]) {
    macro_rules! choose {
        ($($c:literal)*) => {
            match columns {
                $($c if const { $c <= S::TILE_COLUMNS } => {
                    let sums = &mut sums[..4 * $c];
                    s.vectorize(Multiply::<'_, K, S, $c> { kind: PhantomData, panel, x, sums });
                })*
                _ => panic!("a tile of {columns} columns"),
            }
        };
    }
    choose!(1 2 3 4 5 6);
}

/// Writes the results of a tile, but for the first `skip`: `rows` counts from the first of `tile`.
fn finish<S: Words, K: Kind<S>>(
    s: S,
    sums: &[S::V],
    (skip, rows): (usize, Range<usize>),
    columns: Range<usize>,
    tile: &mut Tile<'_>,
) {
    s.vectorize(Finish { kind: PhantomData::<K>, sums, skip, rows, columns, tile });
}

/// Writes the results of some columns, from number `skip` on.
struct Finish<'a, 't, K, V> {
    kind: PhantomData<K>,
    sums: &'a [V],
    skip: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    tile: &'a mut Tile<'t>,
}

impl<S: Words, K: Kind<S>> Task<S> for Finish<'_, '_, K, S::V> {
    type Out = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { sums, skip, rows, columns, tile, .. } = self;
        let n = columns.len();
        let total = |group: &[S::V], r: usize, c: usize| {
            let mut words = [0; MAX_ROWS];
            s.store_u32(K::total(s, group[r * n + c], group[(2 + r) * n + c]), &mut words);
            words.map(f32::from_bits)
        };
        for (c, column) in columns.enumerate() {
            let out = &mut tile.col_mut(column)[rows.clone()];
            let groups = sums.chunks_exact(4 * S::TILE_COLUMNS);
            // Groups whose rows are all wanted: of a length that the compiler knows.
            let whole = if skip == 0 { out.len() / (2 * S::N) } else { 0 };
            for (group, out) in groups.clone().zip(out.chunks_exact_mut(2 * S::N)).take(whole) {
                let (first, second) = out.split_at_mut(S::N);
                first.copy_from_slice(&total(group, 0, c)[..S::N]);
                second.copy_from_slice(&total(group, 1, c)[..S::N]);
            }
            for (g, group) in groups.enumerate().skip(whole) {
                for r in 0..2 {
                    write_rows(&total(group, r, c), S::N, (2 * g + r) * S::N, skip, out);
                }
            }
        }
    }
}
