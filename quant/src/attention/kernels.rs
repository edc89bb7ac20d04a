//! The inner loops: some query rows against some vectors of a tile, their accumulators in registers.

#![expect(clippy::needless_range_loop, reason = "counted loops over small arrays are what becomes registers")]

use std::marker::PhantomData;
use std::ops::Range;

use super::sizes::{BLOCK, QUERY_ROWS, STRIP, TILE};
use crate::isa::caches::LINE;
use crate::isa::simd::{Kernel, LANES, Simd};

/// Scores, then weights, of a group of rows.
pub(super) type Weights = [[f32; TILE]; QUERY_ROWS];

/// One group of rows.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    /// The first of its rows.
    pub(super) start: usize,
    /// How many.
    pub(super) rows: usize,
    pub(super) values: &'a [[f32; QUERY_ROWS]],
    pub(super) bytes: &'a [[[u8; 4]; QUERY_ROWS]],
    pub(super) scales: &'a [[f32; QUERY_ROWS]],
    pub(super) sums: &'a [[i32; QUERY_ROWS]],
}

/// One strip of keys, and the query rows that it is scored for.
pub(super) struct KeyStrip<'a> {
    /// The keys.
    pub(super) strip: &'a [u8],
    /// The scales of the tile's keys.
    pub(super) scales: &'a [u8],
    pub(super) group: &'a Group<'a>,
    /// Which vectors of 16 keys.
    pub(super) vectors: Range<usize>,
    /// Slot of the strip's first key.
    pub(super) at: usize,
    /// What is fetched meanwhile.
    pub(super) next: Fetch<'a>,
    pub(super) out: &'a mut Weights,
}

/// A loop over a tile for `R` query rows at once, `N` vectors at a time.
pub(super) trait Tiled {
    /// Whether its accumulators are those of [`crate::isa::simd::Lanes::dot4`].
    const DOT: bool;
    /// Rows `row..row + R`.
    fn run<S: Simd, const R: usize, const N: usize>(&mut self, s: S, row: usize);
}

/// Runs `tiled` for `rows` rows, as many at once as there are registers for.
#[inline(always)]
pub(super) fn by_rows<S: Simd, T: Tiled>(s: S, rows: usize, mut tiled: T) {
    let passes = rows.div_ceil(accumulators::<S, T>().min(QUERY_ROWS));
    for pass in 0..passes {
        let row = pass * rows / passes;
        match (pass + 1) * rows / passes - row {
            1 => at_once::<S, T, 1>(s, &mut tiled, row),
            2 => at_once::<S, T, 2>(s, &mut tiled, row),
            3 => at_once::<S, T, 3>(s, &mut tiled, row),
            4 => at_once::<S, T, 4>(s, &mut tiled, row),
            5 => at_once::<S, T, 5>(s, &mut tiled, row),
            6 => at_once::<S, T, 6>(s, &mut tiled, row),
            7 => at_once::<S, T, 7>(s, &mut tiled, row),
            _ => at_once::<S, T, QUERY_ROWS>(s, &mut tiled, row),
        }
    }
}

const fn accumulators<S: Simd, T: Tiled>() -> usize {
    if T::DOT { S::DOT_ACCS } else { S::ACCS }
}

/// `R` rows with as many vectors as the accumulators allow.
#[inline(always)]
fn at_once<S: Simd, T: Tiled, const R: usize>(s: S, tiled: &mut T, row: usize) {
    if const { accumulators::<S, T>() >= 4 * R } {
        s.vectorize(Run::<T, R, 4>(tiled, row));
    } else if const { accumulators::<S, T>() >= 2 * R } {
        s.vectorize(Run::<T, R, 2>(tiled, row));
    } else if const { accumulators::<S, T>() >= R } {
        s.vectorize(Run::<T, R, 1>(tiled, row));
    }
}

struct Run<'a, T, const R: usize, const N: usize>(&'a mut T, usize);

impl<T: Tiled, const R: usize, const N: usize> Kernel for Run<'_, T, R, N> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.0.run::<S, R, N>(s, self.1);
    }
}

/// Memory that is asked for little by little, while something else is in work: asked for at once, it would be more than
/// the processor keeps in flight.
#[derive(Clone, Copy, Default)]
pub(super) struct Fetch<'a>(pub(super) &'a [u8]);

impl<'a> Fetch<'a> {
    /// Part `index` of `parts`.
    pub(super) fn part(self, index: usize, parts: usize) -> Self {
        Self(self.turns(parts).0.nth(index).unwrap_or_default())
    }

    /// Equal shares for the turns of a loop; the last ones may get none.
    #[inline(always)]
    fn turns(self, turns: usize) -> Turns<'a> {
        let len = self.0.len().div_ceil(turns.max(1)).next_multiple_of(LINE);
        Turns(self.0.chunks(len.max(1)))
    }

    /// Asks for all of it.
    #[inline(always)]
    pub(super) fn now<S: Simd>(self, s: S) {
        (0..self.0.len()).step_by(LINE).for_each(|at| s.prefetch(self.0.as_ptr().wrapping_add(at)));
    }
}

/// Iterations of an inner loop for each turn.
const TURN: usize = 16;

/// See [`Fetch::turns`].
struct Turns<'a>(std::slice::Chunks<'a, u8>);

impl Turns<'_> {
    #[inline(always)]
    fn next<S: Simd>(&mut self, s: S) {
        if let Some(share) = self.0.next() {
            Fetch(share).now(s);
        }
    }
}

/// How values lie in memory.
pub(super) trait Element {
    /// Bytes of a vector.
    const BYTES: usize;
    /// Vector `index` of `bytes`.
    fn load<S: Simd>(s: S, bytes: &[u8], index: usize) -> S::F;
}

/// Scores of f32 and f16 keys: `strip` is `[k_dim][64 keys]`, a row of it `ROW` bytes.
pub(super) struct Scores<'a, E, const ROW: usize> {
    strip: &'a [[u8; ROW]],
    /// `[k_dim][8 rows]`.
    queries: &'a [[f32; QUERY_ROWS]],
    /// Which vectors of 16 keys.
    vectors: Range<usize>,
    /// Slot of the strip's first key.
    at: usize,
    /// What is fetched meanwhile.
    next: Fetch<'a>,
    out: &'a mut Weights,
    element: PhantomData<E>,
}

impl<'a, E, const ROW: usize> Scores<'a, E, ROW> {
    pub(super) fn new(keys: KeyStrip<'a>) -> Self {
        let KeyStrip { strip, group, vectors, at, next, out, scales: _ } = keys;
        Self { strip: strip.as_chunks().0, queries: group.values, vectors, at, next, out, element: PhantomData }
    }
}

impl<E: Element, const ROW: usize> Tiled for Scores<'_, E, ROW> {
    const DOT: bool = false;

    #[inline(always)]
    fn run<S: Simd, const R: usize, const N: usize>(&mut self, s: S, row: usize) {
        assert!(row + R <= QUERY_ROWS, "rows of a group");
        let mut first = self.vectors.start / N * N;
        let turns = turns::<N>(&self.vectors, self.strip.len().div_ceil(TURN));
        let mut next = std::mem::take(&mut self.next).turns(turns);
        while first < self.vectors.end {
            assert!(first + N <= STRIP / LANES, "vectors of a strip");
            let mut acc = [[s.splat(0.0); N]; R];
            for (keys, queries) in self.strip.chunks(TURN).zip(self.queries.chunks(TURN)) {
                next.next(s);
                for (keys, queries) in keys.iter().zip(queries) {
                    let mut k = [s.splat(0.0); N];
                    for n in 0..N {
                        k[n] = E::load(s, keys, first + n);
                    }
                    for r in 0..R {
                        let q = s.splat(queries[row + r]);
                        for n in 0..N {
                            acc[r][n] = s.fma(k[n], q, acc[r][n]);
                        }
                    }
                }
            }
            for r in 0..R {
                let out = &mut self.out[row + r][self.at..][..STRIP].as_chunks_mut().0[first..first + N];
                for n in 0..N {
                    s.store(acc[r][n], &mut out[n]);
                }
            }
            first += N;
        }
    }
}

/// How many turns it takes, if `each` for every `N` of a strip's vectors.
fn turns<const N: usize>(vectors: &Range<usize>, each: usize) -> usize {
    (vectors.end - vectors.start / N * N).div_ceil(N) * each
}

/// Scores of q8_0 keys: exact integers within a block, one fused multiply-add per block.
pub(super) struct DotScores<'a> {
    /// `[k_dim / 4][64 keys][4]`.
    pub(super) strip: &'a [[u8; 4 * STRIP]],
    /// `[k_dim / 32][128 keys]` f16.
    pub(super) scales: &'a [[u8; 2 * TILE]],
    pub(super) group: &'a Group<'a>,
    /// Which vectors of 16 keys.
    pub(super) vectors: Range<usize>,
    /// Slot of the strip's first key.
    pub(super) at: usize,
    /// What is fetched meanwhile.
    pub(super) next: Fetch<'a>,
    pub(super) out: &'a mut Weights,
}

impl DotScores<'_> {
    /// The integer products of one block.
    #[inline(always)]
    fn block<S: Simd, const R: usize, const N: usize>(
        s: S,
        keys: &[[u8; 4 * STRIP]],
        queries: &[[[u8; 4]; QUERY_ROWS]],
        sums: &[i32; QUERY_ROWS],
        (row, first): (usize, usize),
    ) -> [[S::I; N]; R] {
        let mut acc = [[s.splat_i(0); N]; R];
        for r in 0..R {
            acc[r] = [s.dot_start(sums[row + r]); N];
        }
        for (keys, queries) in keys.iter().zip(queries) {
            let keys = keys.as_chunks().0;
            let mut k = [s.load_k(&keys[first]); N];
            for n in 1..N {
                k[n] = s.load_k(&keys[first + n]);
            }
            for r in 0..R {
                for n in 0..N {
                    acc[r][n] = s.dot4(acc[r][n], k[n], queries[row + r]);
                }
            }
        }
        acc
    }
}

impl Tiled for DotScores<'_> {
    const DOT: bool = true;

    #[inline(always)]
    fn run<S: Simd, const R: usize, const N: usize>(&mut self, s: S, row: usize) {
        assert!(row + R <= QUERY_ROWS, "rows of a group");
        let mut first = self.vectors.start / N * N;
        let turns = turns::<N>(&self.vectors, self.strip.len().div_ceil(BLOCK / 4));
        let mut next = std::mem::take(&mut self.next).turns(turns);
        while first < self.vectors.end {
            assert!(first + N <= STRIP / LANES, "vectors of a strip");
            let start = self.at + first * LANES;
            let out = &mut self.out[row..][..R];
            for out in &mut *out {
                out[start..][..N * LANES].fill(0.0);
            }
            let blocks = self.strip.chunks(BLOCK / 4).zip(self.group.bytes.chunks(BLOCK / 4));
            let scales = self.scales.iter().zip(self.group.scales.iter().zip(self.group.sums));
            for ((keys, queries), (key_scales, (query_scales, sums))) in blocks.zip(scales) {
                next.next(s);
                let products = Self::block::<S, R, N>(s, keys, queries, sums, (row, first));
                let key_scales = &key_scales[2 * start..][..2 * N * LANES];
                for n in 0..N {
                    let key_scale = s.load_f16(&key_scales.as_chunks().0[n]);
                    for r in 0..R {
                        let scale = s.mul(key_scale, s.splat(query_scales[row + r]));
                        let out = &mut out[r][start..][..N * LANES].as_chunks_mut().0[n];
                        s.store(s.fma(s.to_f32(products[r][n]), scale, s.load(out)), out);
                    }
                }
            }
            first += N;
        }
    }
}

/// One strip of values and the rows that it is added to.
pub(super) struct Part<'a> {
    /// `[128 slots][width]`.
    pub(super) strip: &'a [u8],
    /// What is fetched meanwhile.
    pub(super) next: Fetch<'a>,
    pub(super) width: usize,
    pub(super) slots: Range<usize>,
    /// For each block of 32 values of the strip: the weights of the rows.
    pub(super) weights: [&'a Weights; STRIP / BLOCK],
    /// The first of the rows within `weights`; those of `acc` start with it.
    pub(super) row: usize,
    /// From the strip's first value of the first row on.
    pub(super) acc: &'a mut [f32],
    /// Values from one row to the next.
    pub(super) stride: usize,
}

/// Adds weighted values.
pub(super) struct Values<'a, E> {
    part: Part<'a>,
    element: PhantomData<E>,
}

impl<'a, E: Element> Values<'a, E> {
    pub(super) fn new(part: Part<'a>) -> Self {
        Self { part, element: PhantomData }
    }

    /// Vectors `first..first + N` of the strip; `first` is a multiple of `N`.
    #[inline(always)]
    fn vectors<S: Simd, const R: usize, const N: usize>(
        &mut self,
        s: S,
        row: usize,
        first: usize,
        next: &mut Turns<'_>,
    ) {
        let Part { strip, width, ref slots, weights, ref mut acc, stride, .. } = self.part;
        assert!(slots.end <= TILE && N <= STRIP / LANES, "slots of a tile");
        // With one or two vectors all are in one block.
        let block = first * LANES / BLOCK;
        let weights = [block, (block + 1).min(STRIP / BLOCK - 1)].map(|at| rows::<R>(weights[at], self.part.row + row));
        let mut sums = [[s.splat(0.0); N]; R];
        for r in 0..R {
            let acc = &acc[(row + r) * stride..][first * LANES..][..N * LANES];
            for n in 0..N {
                sums[r][n] = s.load(&acc.as_chunks().0[n]);
            }
        }
        let (start, step) = (first * E::BYTES, width / LANES * E::BYTES);
        for from in slots.clone().step_by(TURN) {
            next.next(s);
            for slot in from..slots.end.min(from + TURN) {
                let values = &strip[start + slot * step..][..N * E::BYTES];
                let mut v = [s.splat(0.0); N];
                for n in 0..N {
                    v[n] = E::load(s, values, n);
                }
                for r in 0..R {
                    for n in 0..N {
                        sums[r][n] = s.fma(v[n], s.splat(weights[n * LANES / BLOCK][r][slot]), sums[r][n]);
                    }
                }
            }
        }
        for r in 0..R {
            let acc = &mut acc[(row + r) * stride..][first * LANES..][..N * LANES];
            for n in 0..N {
                s.store(sums[r][n], &mut acc.as_chunks_mut().0[n]);
            }
        }
    }
}

/// Rows `row..row + R`.
#[inline(always)]
fn rows<const R: usize>(weights: &Weights, row: usize) -> &[[f32; TILE]; R] {
    weights[row..].first_chunk().expect("no more rows than a group has")
}

impl<E: Element> Tiled for Values<'_, E> {
    const DOT: bool = false;

    #[inline(always)]
    fn run<S: Simd, const R: usize, const N: usize>(&mut self, s: S, row: usize) {
        let vectors = self.part.width / LANES;
        let turns = (vectors / N + vectors % N) * self.part.slots.len().div_ceil(TURN);
        let mut next = std::mem::take(&mut self.part.next).turns(turns);
        let mut first = 0;
        while first + N <= vectors {
            self.vectors::<S, R, N>(s, row, first, &mut next);
            first += N;
        }
        while first < vectors {
            self.vectors::<S, R, 1>(s, row, first, &mut next);
            first += 1;
        }
    }
}
