//! Query rows, prepared for the products with a tile's keys.

use super::KvLayout;
use super::byte::quantize_f32;
use super::kernels::Group;
use super::sizes::{BLOCK, QUERY_ROWS};
use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, Lanes};

/// Query rows that attend to the same key-value head, scaled and, for q8_0 caches, quantized.
///
/// The rows are cut into groups of at most 8, as even as possible. The values of a group lie side by side: `[k_dim][8]`.
#[derive(Clone, Debug, Default)]
pub struct Queries {
    rows: usize,
    k_dim: usize,
    quantized: bool,
    /// f32 and f16 caches: `[groups][k_dim][8]`.
    values: Vec<[f32; QUERY_ROWS]>,
    /// q8_0 caches: `[groups][k_dim / 4][8]` groups of 4 bytes, 0 past the end.
    bytes: Vec<[[u8; 4]; QUERY_ROWS]>,
    /// q8_0 caches: `[groups][k_dim / 32][8]`.
    scales: Vec<[f32; QUERY_ROWS]>,
    /// q8_0 caches: the sums of the bytes, `[groups][k_dim / 32][8]`.
    sums: Vec<[i32; QUERY_ROWS]>,
}

impl Queries {
    /// No rows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Prepares `n_rows` rows of `k_dim` values that lie one after the other; scores are multiplied by `scale`.
    ///
    /// # Panics
    /// If `rows` doesn't hold `n_rows * k_dim` values.
    pub fn prepare(isa: Isa, layout: &KvLayout, rows: &[f32], n_rows: usize, scale: f32) -> Self {
        assert_eq!(Some(rows.len()), n_rows.checked_mul(layout.k_dim), "prepare: rows");
        let mut queries = Self::new();
        queries.set(isa, layout, (0..n_rows).map(|row| &rows[row * layout.k_dim..][..layout.k_dim]), scale);
        queries
    }

    /// Prepares other rows in the same memory.
    ///
    /// # Panics
    /// If a row isn't `k_dim` long, there are more than `rows` promised, or more than can be counted.
    pub fn set<'r>(&mut self, isa: Isa, layout: &KvLayout, rows: impl ExactSizeIterator<Item = &'r [f32]>, scale: f32) {
        let countable =
            rows.len().checked_next_multiple_of(QUERY_ROWS).and_then(|n| n.checked_mul(layout.k_dim)).is_some();
        assert!(countable, "{} rows of {} values are more than memory can hold", rows.len(), layout.k_dim);
        self.rows = rows.len();
        self.k_dim = layout.k_dim;
        self.quantized = layout.kind.scaled();
        let (values, bytes, scales) = self.sizes();
        for (vec, len) in [(&mut self.values, values), (&mut self.scales, scales)] {
            vec.clear();
            vec.resize(len, [0.0; QUERY_ROWS]);
        }
        self.bytes.clear();
        self.bytes.resize(bytes, [[0; 4]; QUERY_ROWS]);
        self.sums.clear();
        self.sums.resize(scales, [0; QUERY_ROWS]);
        for (row, x) in rows.enumerate() {
            assert!(row < self.rows && x.len() == layout.k_dim, "set: row {row} of {}, {} values", self.rows, x.len());
            dispatch(isa, SetRow { queries: self, row, x, scale });
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether these rows were prepared for such a layout.
    pub(super) fn suit(&self, layout: &KvLayout) -> bool {
        self.k_dim == layout.k_dim && self.quantized == layout.kind.scaled()
    }

    fn group_count(&self) -> usize {
        self.rows.div_ceil(QUERY_ROWS)
    }

    /// Entries of `values`, `bytes` and `scales` for all groups.
    fn sizes(&self) -> (usize, usize, usize) {
        let groups = self.group_count();
        if self.quantized {
            (0, groups * self.k_dim.div_ceil(4), groups * self.k_dim.div_ceil(BLOCK))
        } else {
            (groups * self.k_dim, 0, 0)
        }
    }

    /// First row of group `i`: the rows are spread evenly.
    fn group_start(&self, i: usize) -> usize {
        i * self.rows / self.group_count()
    }

    /// The groups in order.
    pub(super) fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let count = self.group_count();
        (0..count).map(move |i| Group {
            start: self.group_start(i),
            rows: self.group_start(i + 1) - self.group_start(i),
            values: part(&self.values, i, count),
            bytes: part(&self.bytes, i, count),
            scales: part(&self.scales, i, count),
            sums: part(&self.sums, i, count),
        })
    }
}

/// Part `i` of `count` equal ones.
fn part<T>(all: &[T], i: usize, count: usize) -> &[T] {
    let len = all.len() / count;
    &all[i * len..][..len]
}

struct SetRow<'a> {
    queries: &'a mut Queries,
    row: usize,
    x: &'a [f32],
    scale: f32,
}

impl Kernel for SetRow<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let q = self.queries;
        let count = q.group_count();
        // The last group that starts at or before the row.
        let group = (0..count).rev().find(|&i| q.group_start(i) <= self.row).unwrap_or(0);
        let lane = self.row - q.group_start(group);
        if !q.quantized {
            for (out, x) in q.values[group * q.k_dim..].iter_mut().zip(self.x) {
                out[lane] = x * self.scale;
            }
            return;
        }
        let (groups, blocks) = (q.bytes.len() / count, q.scales.len() / count);
        let (bytes_at, scales_at) = (group * groups, group * blocks);
        for (block, x) in self.x.chunks(BLOCK).enumerate() {
            let (scale, bytes, sum) = quantize_f32(s, x);
            q.scales[scales_at + block][lane] = scale * self.scale;
            q.sums[scales_at + block][lane] = sum;
            let used = x.len().div_ceil(4);
            let out = &mut q.bytes[bytes_at + block * (BLOCK / 4)..][..used];
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                out[lane] = *bytes;
            }
        }
    }
}
