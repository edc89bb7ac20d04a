//! Activations: rows of `f32`, quantized once per layer input in the forms that the weights' formats ask for.
//!
//! The definition, for a block of 32 or 256 values with the largest magnitude `max`:
//! * `d = max / 127`, `q = round(x * (127 / max))`, ties to even, so `-127 <= q <= 127`;
//! * a block of zeros, or of values below [`TINY`] (whose reciprocal would overflow), has `d = 0` and `q = 0`;
//! * a block with a NaN or an infinity has `d = NaN` and `q = 0`: whatever it's multiplied with becomes NaN, rather than
//!   something that looks like a number.
//!
//! Sums are of the quantized values, exact.

use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, LANES, Lanes};
use crate::share::{Chunks, FilledOnce, Line};
use std::cell::UnsafeCell;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Blocks whose largest magnitude is below this count as zeros: 2^-100.
pub const TINY: f32 = 7.888_609e-31;

/// 32 signed bytes, aligned so that one load fetches them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Bytes32(pub [i8; 32]);

/// Sums over the groups of a super-block, each in the order of [`sum_slot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Sums256 {
    /// Over the 16 groups of 16.
    pub by_16: [i16; 16],
    /// Over the 8 groups of 32.
    pub by_32: [i16; 8],
}

impl Sums256 {
    const ZERO: Self = Self { by_16: [0; 16], by_32: [0; 8] };
}

/// Where the sum of group `g` stands: the second and third of every four change places. So where the scales of four groups
/// are the bytes of a word, the sums of the even bytes are neighbours, and those of the odd ones.
pub const fn sum_slot(g: usize) -> usize {
    g / 4 * 4 + g % 2 * 2 + g % 4 / 2
}

/// A set of [`ActKind`]s.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ActKinds(u8);

impl ActKinds {
    /// No kind.
    pub const fn none() -> Self {
        Self(0)
    }

    /// With `kind`, too.
    #[must_use]
    pub const fn with(self, kind: ActKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    /// Whether `kind` is in it.
    pub const fn has(self, kind: ActKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }
}

/// In which form a format wants the activations it's multiplied with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ActKind {
    /// Single precision.
    F32,
    /// Signed bytes, a scale and a sum for every 32.
    Block32,
    /// Signed bytes, a scale for every 256, a sum for every 16.
    Block256,
}

impl ActKind {
    /// Bytes that a value takes in this form, with its part of scales and sums.
    pub fn bytes_per_value(self) -> f64 {
        let of = |values: usize, sums: usize| (values + size_of::<f32>() + sums) as f64 / values as f64;
        match self {
            Self::F32 => size_of::<f32>() as f64,
            Self::Block32 => of(32, size_of::<i32>()),
            Self::Block256 => of(256, size_of::<Sums256>()),
        }
    }

    /// Bytes that it takes at most for each format that is multiplied with many of these rows: those are copied to the order in
    /// which its kernels read them, a byte a value with scales and sums in tiles of which some are not full.
    pub fn arranged_bytes_per_value(self) -> f64 {
        if self == Self::F32 { 0.0 } else { 1.4 }
    }
}

/// Rows of bytes with scales and sums: `B` values per scale, `S` = sums of a block.
#[derive(Debug)]
struct Blocks<S> {
    q: Vec<Bytes32>,
    d: Vec<f32>,
    sums: Vec<S>,
}

impl<S> Default for Blocks<S> {
    fn default() -> Self {
        Self { q: Vec::new(), d: Vec::new(), sums: Vec::new() }
    }
}

impl<S: Copy> Blocks<S> {
    /// For `n` rows of `blocks` blocks of `bytes32` times 32 values. What's there already is kept, not cleared.
    fn writer(&mut self, n: usize, blocks: usize, bytes32: usize, sums: S) -> BlocksWriter<'_, S> {
        BlocksWriter {
            q: Chunks::new(room(&mut self.q, n * blocks * bytes32, Bytes32([0; 32])), blocks * bytes32),
            d: Chunks::new(room(&mut self.d, n * blocks, 0.0), blocks),
            sums: Chunks::new(room(&mut self.sums, n * blocks, sums), blocks),
        }
    }

    fn row(&self, row: usize, blocks: usize, bytes32: usize) -> ActRow<'_, S> {
        ActRow {
            q: &self.q[row * blocks * bytes32..][..blocks * bytes32],
            d: &self.d[row * blocks..][..blocks],
            sums: &self.sums[row * blocks..][..blocks],
        }
    }
}

/// The first `len` elements, `value` where there were fewer. It never shrinks: inputs of a layer differ in width, and what
/// was cut off would be cleared again for the next wide one.
fn room<T: Clone>(memory: &mut Vec<T>, len: usize, value: T) -> &mut [T] {
    if memory.len() < len {
        memory.resize(len, value);
    }
    &mut memory[..len]
}

#[derive(Debug)]
struct BlocksWriter<'a, S> {
    q: Chunks<'a, Bytes32>,
    d: Chunks<'a, f32>,
    sums: Chunks<'a, S>,
}

/// One row of quantized activations.
#[derive(Clone, Copy, Debug)]
pub struct ActRow<'a, S> {
    /// The quantized values, 32 by 32.
    pub q: &'a [Bytes32],
    /// The scale of each block.
    pub d: &'a [f32],
    /// The sums of each block.
    pub sums: &'a [S],
}

/// One row in blocks of 32: a sum for each.
pub type ActRow32<'a> = ActRow<'a, i32>;

/// One row in blocks of 256: 24 sums for each.
pub type ActRow256<'a> = ActRow<'a, Sums256>;

/// `n` rows of `k` activations, in each form that was asked for. Buffers are kept between calls.
#[derive(Debug, Default)]
pub struct Activations {
    kinds: ActKinds,
    n: usize,
    k: usize,
    floats: Vec<f32>,
    by_32: Blocks<i32>,
    by_256: Blocks<Sums256>,
    arranged: Arranged,
}

/// Copies of the rows in the order in which kernels read many of them, made when they are first asked for.
#[derive(Default)]
struct Arranged {
    orders: [OnceLock<(u32, FilledOnce)>; MAX_ORDERS],
    /// Memory of rows that were there before.
    spare: Mutex<Vec<Vec<UnsafeCell<Line>>>>,
}

/// Orders that are kept at a time: those of the formats that are multiplied with the same rows, two in most models.
const MAX_ORDERS: usize = 8;

impl std::fmt::Debug for Arranged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let orders = self.orders.iter().filter_map(|order| order.get().map(|(order, _)| order));
        f.debug_set().entries(orders).finish()
    }
}

impl Arranged {
    /// Nothing is arranged any more; the memory is kept.
    fn clear(&mut self) {
        let spare = self.spare.get_mut().unwrap_or_else(PoisonError::into_inner);
        spare.extend(self.orders.iter_mut().filter_map(OnceLock::take).map(|(_, parts)| parts.into_memory()));
        // The largest is used first.
        spare.sort_unstable_by_key(Vec::len);
    }

    fn memory(&self) -> Vec<UnsafeCell<Line>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }
}

impl Activations {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of rows.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Values in a row.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The forms that are there.
    pub fn kinds(&self) -> ActKinds {
        self.kinds
    }

    /// Makes room for `n` rows of `k` values in the forms `kinds`, to be written through the returned writer. Rows that
    /// aren't written hold what was there before.
    ///
    /// # Panics
    /// When `k` isn't a whole number of the blocks asked for (rows of weights always are), or the values are more than can be
    /// counted.
    pub fn reset(&mut self, kinds: ActKinds, n: usize, k: usize) -> ActWriter<'_> {
        let rows = |kind| if kinds.has(kind) { n } else { 0 };
        assert!(rows(ActKind::Block32) == 0 || k.is_multiple_of(32), "{k} activations in blocks of 32");
        assert!(rows(ActKind::Block256) == 0 || k.is_multiple_of(256), "{k} activations in blocks of 256");
        // No product below is larger.
        assert!(n.checked_mul(k).is_some(), "{n} rows of {k} activations are more than memory can hold");
        (self.kinds, self.n, self.k) = (kinds, n, k);
        self.arranged.clear();
        ActWriter {
            kinds,
            k,
            floats: Chunks::new(room(&mut self.floats, rows(ActKind::F32) * k, 0.0), k),
            by_32: self.by_32.writer(rows(ActKind::Block32), k / 32, 1, 0),
            by_256: self.by_256.writer(rows(ActKind::Block256), k / 256, 8, Sums256::ZERO),
        }
    }

    /// Row `row` in single precision.
    ///
    /// # Panics
    /// When the form wasn't asked for, or there is no such row.
    pub fn row_f32(&self, row: usize) -> &[f32] {
        self.check(ActKind::F32, row);
        &self.floats[row * self.k..][..self.k]
    }

    /// Row `row` in blocks of 32.
    ///
    /// # Panics
    /// As [`Activations::row_f32`].
    pub fn row_32(&self, row: usize) -> ActRow32<'_> {
        self.check(ActKind::Block32, row);
        self.by_32.row(row, self.k / 32, 1)
    }

    /// Row `row` in blocks of 256.
    ///
    /// # Panics
    /// As [`Activations::row_f32`].
    pub fn row_256(&self, row: usize) -> ActRow256<'_> {
        self.check(ActKind::Block256, row);
        self.by_256.row(row, self.k / 256, 8)
    }

    /// The rows in order `order`, a number that says all that their arrangement depends on: `parts` parts of `lines` lines. None
    /// when too many other orders were asked for since the rows were written.
    pub(crate) fn arranged(&self, order: u32, parts: usize, lines: usize) -> Option<&FilledOnce> {
        self.arranged.orders.iter().find_map(|slot| {
            let (held, filled) = slot.get_or_init(|| (order, FilledOnce::new(self.arranged.memory(), parts, lines)));
            (*held == order).then_some(filled)
        })
    }

    fn check(&self, kind: ActKind, row: usize) {
        assert!(self.kinds.has(kind), "activations were not written as {kind:?}");
        assert!(row < self.n, "row {row} of {} rows of activations", self.n);
    }
}

/// Writes the rows of [`Activations`], from several threads if need be.
#[derive(Debug)]
pub struct ActWriter<'a> {
    kinds: ActKinds,
    k: usize,
    floats: Chunks<'a, f32>,
    by_32: BlocksWriter<'a, i32>,
    by_256: BlocksWriter<'a, Sums256>,
}

impl ActWriter<'_> {
    /// Writes row `row` in every form asked for.
    ///
    /// # Panics
    /// When the row was written before, doesn't exist, or `x` isn't `k` values long: bugs of the caller, never input.
    pub fn write(&self, isa: Isa, row: usize, x: &[f32]) {
        assert_eq!(x.len(), self.k, "the length of a row of activations");
        if self.k == 0 {
            return;
        }
        if self.kinds.has(ActKind::F32) {
            self.floats.take(row).copy_from_slice(x);
        }
        if self.kinds.has(ActKind::Block32) {
            let (q, d, sums) = (self.by_32.q.take(row), self.by_32.d.take(row), self.by_32.sums.take(row));
            dispatch(isa, Quantize32 { x, q, d, sums });
        }
        if self.kinds.has(ActKind::Block256) {
            let (q, d, sums) = (self.by_256.q.take(row), self.by_256.d.take(row), self.by_256.sums.take(row));
            dispatch(isa, Quantize256 { x, q, d, sums });
        }
    }
}

/// A row of blocks of 32, to be quantized.
struct Quantize32<'a> {
    x: &'a [f32],
    q: &'a mut [Bytes32],
    d: &'a mut [f32],
    sums: &'a mut [i32],
}

impl Kernel for Quantize32<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let Self { x, q, d, sums } = self;
        for (((x, q), d), sum) in x.as_chunks::<32>().0.iter().zip(q).zip(d).zip(sums) {
            let (x, _) = x.as_chunks::<LANES>();
            let factor;
            (*d, factor) = scale(s.max_lane_i(s.max_i(magnitude(s, &x[0]), magnitude(s, &x[1]))));
            let (q, _) = q.0.as_chunks_mut::<LANES>();
            *sum = round(s, &x[0], factor, &mut q[0]) + round(s, &x[1], factor, &mut q[1]);
        }
    }
}

/// A row of blocks of 256, to be quantized.
struct Quantize256<'a> {
    x: &'a [f32],
    q: &'a mut [Bytes32],
    d: &'a mut [f32],
    sums: &'a mut [Sums256],
}

impl Kernel for Quantize256<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let Self { x, q, d, sums } = self;
        for (((x, q), d), sums) in x.as_chunks::<256>().0.iter().zip(q.as_chunks_mut::<8>().0).zip(d).zip(sums) {
            let (x, _) = x.as_chunks::<LANES>();
            let mut max = magnitude(s, &x[0]);
            for x in &x[1..] {
                max = s.max_i(max, magnitude(s, x));
            }
            let factor;
            (*d, factor) = scale(s.max_lane_i(max));
            *sums = Sums256::ZERO;
            for (g, x) in x.iter().enumerate() {
                let (q, _) = q[g / 2].0.as_chunks_mut::<LANES>();
                // At most 16 * 127 in magnitude.
                let sum = round(s, x, factor, &mut q[g % 2]) as i16;
                sums.by_16[sum_slot(g)] = sum;
                sums.by_32[sum_slot(g / 2)] += sum;
            }
        }
    }
}

/// The bits of the magnitudes. They sort as integers, with infinity and NaN on top; a maximum of floats would drop NaN.
#[inline(always)]
fn magnitude<S: Lanes>(s: S, x: &[f32; LANES]) -> S::I {
    s.and_i(s.bits(s.load(x)), s.splat_i(0x7fff_ffff))
}

/// `(d, factor)` of a block whose largest magnitude has these bits: quants are the values times the factor, rounded; no
/// factor means all zeros.
#[inline(always)]
fn scale(max: i32) -> (f32, Option<f32>) {
    let max = f32::from_bits(max as u32);
    if !max.is_finite() {
        (f32::NAN, None)
    } else if max < TINY {
        (0.0, None)
    } else {
        (max / 127.0, Some(127.0 / max))
    }
}

/// Rounds `x * factor` to bytes and returns their sum.
#[inline(always)]
fn round<S: Lanes>(s: S, x: &[f32; LANES], factor: Option<f32>, q: &mut [i8; LANES]) -> i32 {
    let Some(factor) = factor else {
        *q = [0; LANES];
        return 0;
    };
    // Added to 1.5 * 2^23, a float of up to 127 in magnitude rounds to an integer, half to even, in the lowest bits.
    let magic = s.splat(12_582_912.0);
    let shifted = s.add(s.mul(s.load(x), s.splat(factor)), magic);
    let mut bytes = [0; LANES];
    s.store_i8(s.bits(shifted), &mut bytes);
    *q = bytes.map(|byte| byte as i8);
    s.sum(s.sub(shifted, magic)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, assert_same_bits, for_each_isa};

    const ALL: ActKinds = ActKinds::none().with(ActKind::F32).with(ActKind::Block32).with(ActKind::Block256);

    fn one(x: &[f32]) -> Activations {
        let mut acts = Activations::new();
        acts.reset(ALL, 1, x.len()).write(Isa::best(), 0, x);
        acts
    }

    #[test]
    fn values_come_back_within_half_a_step() {
        let x: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.3).collect();
        let acts = one(&x);
        assert_eq!(acts.row_f32(0), x);
        let (row32, row256) = (acts.row_32(0), acts.row_256(0));
        for (i, x) in x.iter().enumerate() {
            for (d, q) in
                [(row32.d[i / 32], row32.q[i / 32].0[i % 32]), (row256.d[i / 256], row256.q[i / 32].0[i % 32])]
            {
                assert!((d * f32::from(q) - x).abs() <= 0.501 * d, "value {i}");
            }
        }
    }

    #[test]
    fn sums_are_of_the_quantized_values() {
        let x: Vec<f32> = (0..512).map(|i| (i as f32).sin()).collect();
        let acts = one(&x);
        for b in 0..16 {
            assert_eq!(acts.row_32(0).sums[b], acts.row_32(0).q[b].0.iter().map(|&q| i32::from(q)).sum::<i32>());
        }
        let row = acts.row_256(0);
        for g in 0..32 {
            let group = &row.q[g / 2].0[g % 2 * 16..][..16];
            let pair = |g: usize| row.sums[g / 16].by_16[sum_slot(g % 16)];
            assert_eq!(row.sums[g / 16].by_32[sum_slot(g % 16 / 2)], pair(g & !1) + pair(g | 1));
            assert_eq!(row.sums[g / 16].by_16[sum_slot(g % 16)], group.iter().map(|&q| i16::from(q)).sum::<i16>());
        }
    }

    #[test]
    fn ties_round_to_even_and_the_largest_value_is_127() {
        let mut x = [0f32; 256];
        x[..5].copy_from_slice(&[-127.0, 0.5, 1.5, 2.5, -2.5]);
        let acts = one(&x);
        assert_eq!(acts.row_256(0).d[0], 1.0);
        assert_eq!(acts.row_256(0).q[0].0[..6], [-127, 0, 2, 2, -2, 0]);
    }

    #[test]
    fn zero_tiny_and_broken_blocks() {
        let mut x = [1f32; 256];
        x[..32].fill(0.0);
        x[32..64].fill(1e-31);
        x[70] = f32::NAN;
        x[100] = f32::NEG_INFINITY;
        let acts = one(&x);
        let row = acts.row_32(0);
        assert_eq!((row.d[0], row.sums[0], row.d[1], row.sums[1]), (0.0, 0, 0.0, 0));
        assert!(row.d[2].is_nan() && row.d[3].is_nan());
        assert_eq!((row.q[2], row.q[3]), (Bytes32([0; 32]), Bytes32([0; 32])));
        assert_eq!((row.d[4], row.q[4]), (1.0 / 127.0, Bytes32([127; 32])));
        assert!(acts.row_256(0).d[0].is_nan());
    }

    #[test]
    fn every_instruction_set_equals_the_definition() {
        let mut rng = Rng(4);
        let mut x = rng.normals(2048);
        for (i, scale) in [0.0, 1e-45, 1e-38, 7.9e-31, 1e-30, 1e30, f32::MAX / 4.0].into_iter().enumerate() {
            x[256 * i + 64..256 * i + 160].iter_mut().for_each(|x| *x *= scale);
        }
        x[300..812].iter_mut().for_each(|x| *x *= 1e-32);
        (x[1000], x[1500], x[2000]) = (f32::NAN, f32::INFINITY, -0.0);
        for_each_isa(|isa| {
            let mut acts = Activations::new();
            acts.reset(ALL, 1, x.len()).write(isa, 0, &x);
            for (len, d) in [(32, acts.row_32(0).d), (256, acts.row_256(0).d)] {
                for ((b, x), &d) in x.chunks(len).enumerate().zip(d) {
                    let max = x.iter().fold(0f32, |max, x| max.max(x.abs()));
                    let zero = max < TINY || !x.iter().all(|x| x.is_finite());
                    let wanted = if !x.iter().all(|x| x.is_finite()) {
                        f32::NAN
                    } else if zero {
                        0.0
                    } else {
                        max / 127.0
                    };
                    assert_same_bits(&[wanted], &[d], &format!("{} scale {b} of {len}", isa.name()));
                    for (i, x) in x.iter().enumerate() {
                        let wanted = if zero { 0.0 } else { (x * (127.0 / max)).round_ties_even() };
                        let at = b * len + i;
                        let q = if len == 32 { acts.row_32(0).q } else { acts.row_256(0).q };
                        assert_eq!(f32::from(q[at / 32].0[at % 32]), wanted, "{} value {at}, {len}", isa.name());
                    }
                }
            }
        });
    }

    #[test]
    #[should_panic(expected = "handed out twice")]
    fn a_row_is_written_once() {
        let mut acts = Activations::new();
        let writer = acts.reset(ALL, 2, 256);
        writer.write(Isa::SCALAR, 1, &[0.0; 256]);
        writer.write(Isa::SCALAR, 1, &[0.0; 256]);
    }

    #[test]
    #[should_panic(expected = "not written as Block32")]
    fn a_form_must_be_asked_for() {
        let mut acts = Activations::new();
        acts.reset(ActKinds::none().with(ActKind::F32), 1, 32).write(Isa::SCALAR, 0, &[0.0; 32]);
        acts.row_32(0);
    }
}
