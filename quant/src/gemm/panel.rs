//! Panels: some rows of weights, a few blocks long, unpacked and interleaved so that one lane is one row.
//!
//! A panel is a sequence of *records*, one for each block of two vectors of rows. A record is a sequence of pairs of
//! vectors: scales first, then the quants, four neighbouring weights of a row in a word. How many products are summed up
//! in 16 bits, and whether a word holds four bytes or two halves of 16 bits, follows from the largest quant of the format
//! and from how the instruction set multiplies ([`Plan`]).
//!
//! Products of bytes want one unsigned factor on most instruction sets. Quants that aren't negative are multiplied with the signed activations as
//! they are; signed quants with the activations plus 128, and 128 times the sum of the block's quants (scales of groups
//! included) is taken off: it depends on the row alone, so it's part of the record, and is where the integer sum starts.

use std::marker::PhantomData;
use std::ops::Range;

use super::x_tile::{BlockSums, Form, HIGH, MAX_TILE_COLUMNS, Order, XTile, XTileMut};
use crate::activation::{ActRow, Activations, Bytes32};
use crate::formats::{Format, Format32, Format256, Held, Rows};
use crate::isa::simd::{Dots, Task, Words};
use crate::isa::unroll::eight;
use crate::layout::Layout;

/// How the products of a block are summed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// Quants widened to 16 bits, times their group's scale: products go to 32 bits at once.
    Halves,
    /// Bytes: the products of so many words (a divisor of the group's) are summed up as 16-bit numbers before the group's
    /// scale is applied.
    Scaled16(usize),
    /// Bytes: a whole group is summed up in 32 bits, then multiplied with its scale.
    Scaled32,
    /// Bytes: the block has no groups.
    Flat,
}

/// The plan for quants up to `max` in groups of `words` words. A product in 32 bits and its addition take `mul` times as long as one
/// product in 16 bits, which adds by itself.
const fn plan(dots: Dots, (max, signed): (i32, bool), words: usize, groups: bool, mul: usize) -> Plan {
    let product = max * if signed { 255 } else { 127 };
    let (wide, sum) = match dots {
        Dots::None => return Plan::Halves,
        Dots::Pairs16 => (false, 2 * product),
        Dots::Quads32 => (true, 4 * product),
        Dots::Signed32 | Dots::Tiles32 => return if groups { Plan::Scaled32 } else { Plan::Flat },
    };
    let fits = match 32767 / sum {
        8.. => 8,
        4.. => 4,
        2.. => 2,
        1 => 1,
        _ => 0,
    };
    let fits = if fits < words { fits } else { words };
    match (wide, groups) {
        (false, _) if fits == 0 => Plan::Halves,
        (false, _) => Plan::Scaled16(fits),
        (true, false) => Plan::Flat,
        (true, true) if fits * mul >= words && fits > 0 => Plan::Scaled16(fits),
        (true, true) => Plan::Scaled32,
    }
}

/// Whether bytes are multiplied with the activations plus 128: products want one unsigned factor, and the weights, if
/// `signed`, are none.
const fn biased(dots: Dots, plan: Plan, signed: bool) -> bool {
    signed && !matches!((dots, plan), (Dots::Signed32 | Dots::Tiles32, _) | (_, Plan::Halves))
}

/// Where things stand in a record, in pairs of vectors. The scale is at 0, that of the minima at 1.
#[derive(Clone, Copy)]
pub(super) struct Record {
    plan: Plan,
    /// Products are taken of two rows and two columns: two vectors of quants hold words of rows 0, 0, 1, 1 and of 2, 2, 3, 3, and
    /// minima stand likewise, as bytes.
    tiles: bool,
    /// Where the integer sums start from; 0 when they start from zero.
    start: usize,
    /// Scales of groups.
    scales: usize,
    /// Minima of groups, two in a word, or four ([`Record::tiles`]).
    mins: usize,
    /// Quants.
    quants: usize,
    /// Pairs in the record.
    len: usize,
}

impl Record {
    const fn new(dots: Dots, plan: Plan, words: usize, min: bool, biased: bool, groups: usize) -> Self {
        let (halves, tiles) = (matches!(plan, Plan::Halves), matches!(dots, Dots::Tiles32));
        let next = if min { 2 } else { 1 };
        let (start, scales) = if biased { (next, next + 1) } else { (0, next) };
        let mins = scales + if halves { 0 } else { groups };
        let quants = mins + if !min { 0 } else { groups / if tiles { 4 } else { 2 } };
        Self { plan, tiles, start, scales, mins, quants, len: quants + if halves { 2 * words } else { words } }
    }

    /// Whether this one multiplies sums in 32 bits that `other` multiplies in 16.
    pub(super) const fn is_wider_than(self, other: Self) -> bool {
        matches!((self.plan, other.plan), (Plan::Scaled32, Plan::Scaled16(_)))
    }

    /// In which form the activations are wanted.
    const fn form(self) -> Form {
        match self.plan {
            Plan::Halves => Form::Halves,
            _ if self.tiles => Form::Pairs,
            // What the 128 adds is in the record.
            _ if self.start != 0 => Form::Unsigned,
            _ => Form::Signed,
        }
    }
}

/// What the panel kernels need to know of a kind of format, on the vectors of `S`.
pub(super) trait Kind<S: Words>: Sized {
    /// The format.
    type Format: Format;
    /// Weights in a block.
    const LEN: usize = Self::Format::LEN;
    /// How records are laid out.
    const LAYOUT: Record;
    /// How tiles of them are laid out.
    const ORDER: Order;

    /// Vectors in a record.
    const RECORD: usize = 2 * Self::LAYOUT.len;

    /// All quants of a column of activations.
    fn quants(x: &Activations, column: usize) -> &[Bytes32];
    /// Column `c` of the tile gets the scales and sums of some blocks of column `column` of `x`.
    fn set_sums(tile: &mut XTileMut<'_>, c: usize, x: &Activations, column: usize, blocks: Range<usize>);
    /// Asks for what [`Kind::set_sums`] will read.
    fn fetch_sums(s: S, x: &Activations, column: usize, blocks: Range<usize>);
    /// Unpacks a block of one vector of rows, vector `r` of the record.
    fn unpack(s: S, rows: impl Rows<S>, r: usize, record: &mut [S::V]);
    /// Adds the products of block `b` to the sums.
    fn multiply<const C: usize>(s: S, record: &[S::V], x: &XTile<'_>, b: usize, sums: &mut Sums<'_, S, C>);
    /// The result from the sums of the products and of the minima.
    fn total(s: S, products: S::V, minima: S::V) -> S::V;
}

/// The sums of a tile: two vectors of rows times `C` columns, of the products and of the minima.
pub(super) struct Sums<'a, S: Words, const C: usize> {
    products: &'a mut [[S::V; C]; 2],
    minima: &'a mut [[S::V; C]; 2],
}

/// Unpacks blocks `from..` of two vectors of rows, one to each record.
pub(super) struct Unpack<'a, L: Layout, K: Kind<S>, S: Words> {
    pub(super) types: PhantomData<(L, K)>,
    pub(super) rows: [L::Group<'a, K::Format>; 2],
    pub(super) from: usize,
    /// How far past each block, in bytes, the one is that will be unpacked next in its place.
    pub(super) ahead: usize,
    pub(super) panel: &'a mut [S::V],
}

impl<S: Words, L: Layout, K: Kind<S>> Task<S> for Unpack<'_, L, K, S> {
    type Out = ();

    #[inline(always)]
    fn run(self, s: S) {
        for (b, record) in self.panel.chunks_exact_mut(K::RECORD).enumerate() {
            let b = self.from + b;
            for (r, &rows) in self.rows.iter().enumerate() {
                L::prefetch::<K::Format, S>(s, rows, b, self.ahead);
                K::unpack(s, L::block::<K::Format, S>(rows, b), r, record);
            }
        }
    }
}

/// Multiplies the records of two vectors of rows with `C` columns, and adds to `sums`: `[products, minima][2][C]`.
pub(super) struct Multiply<'a, K, S: Words, const C: usize> {
    pub(super) kind: PhantomData<K>,
    pub(super) panel: &'a [S::V],
    pub(super) x: &'a XTile<'a>,
    pub(super) sums: &'a mut [S::V],
}

impl<S: Words, K: Kind<S>, const C: usize> Task<S> for Multiply<'_, K, S, C> {
    type Out = ();

    #[inline(always)]
    fn run(self, s: S) {
        let (sums, _) = self.sums.as_chunks_mut::<C>();
        let (sums, _) = sums.as_chunks_mut::<2>();
        let [products, minima] = sums else { panic!("{} sums of a tile of {C} columns", self.sums.len()) };
        let records = self.panel.chunks_exact(K::RECORD).enumerate();
        if const { K::LEN > 32 } {
            let mut sums = Sums { products, minima };
            for (b, record) in records {
                K::multiply(s, record, self.x, b, &mut sums);
            }
        } else {
            // Short blocks add to their sums so often that these had better stay in registers.
            let (mut held_products, mut held_minima) = (*products, *minima);
            let mut sums = Sums { products: &mut held_products, minima: &mut held_minima };
            for (b, record) in records {
                K::multiply(s, record, self.x, b, &mut sums);
            }
            (*products, *minima) = (held_products, held_minima);
        }
    }
}

/// Pair `at` of a record: vectors `2 at` and `2 at + 1`.
#[inline(always)]
fn pair<V: Copy>(record: &[V], at: usize) -> [V; 2] {
    [record[2 * at], record[2 * at + 1]]
}

/// One step: word `at / 4` of the columns with a pair of vectors of weights, by `op(sum, weights, activations)`.
#[inline(always)]
fn step<S: Words, const C: usize, const LEN: usize>(
    s: S,
    sums: &mut [[S::V; C]; 2],
    weights: [S::V; 2],
    x: &[&[u8; LEN]; C],
    at: usize,
    op: impl Fn(S::V, S::V, S::V) -> S::V,
) {
    for c in 0..C {
        let x = s.splat_u32(u32::from_le_bytes([x[c][at], x[c][at + 1], x[c][at + 2], x[c][at + 3]]));
        sums[0][c] = op(sums[0][c], weights[0], x);
        sums[1][c] = op(sums[1][c], weights[1], x);
    }
}

/// The products of `words` words from `quants[2 from..]`.
#[inline(always)]
fn bytes<S: Words, const SIGNED: bool, const C: usize, const LEN: usize>(
    s: S,
    quants: &[S::V],
    from: usize,
    words: usize,
    x: &[&[u8; LEN]; C],
) -> [[S::V; C]; 2] {
    let mut sums = [[s.splat_u32(0); C]; 2];
    for i in 0..words {
        let at = from + i;
        if i == 0 {
            step(s, &mut sums, pair(quants, at), x, 4 * at, |_, w, x| s.mul_bytes::<SIGNED>(w, x));
        } else {
            step(s, &mut sums, pair(quants, at), x, 4 * at, |sum, w, x| s.dot_bytes::<SIGNED>(sum, w, x));
        }
    }
    sums
}

/// The exact integer products of a block: `quants` are the words of the block, `LEN` the bytes of `x`, `group` the words
/// that share a scale.
#[inline(always)]
fn integers<S: Words, const SIGNED: bool, const C: usize, const LEN: usize>(
    s: S,
    layout: Record,
    group: usize,
    record: &[S::V],
    x: &[&[u8; LEN]; C],
) -> [[S::V; C]; 2] {
    let start = if layout.start == 0 { [s.splat_u32(0); 2] } else { pair(record, layout.start) };
    let mut sums = [[start[0]; C], [start[1]; C]];
    let quants = &record[2 * layout.quants..];
    match layout.plan {
        Plan::Halves => {
            for i in 0..LEN / 4 {
                step(s, &mut sums, pair(quants, i), x, 4 * i, |sum, w, x| s.dot_halves(sum, w, x));
            }
        }
        Plan::Flat => {
            for i in 0..LEN / 4 {
                step(s, &mut sums, pair(quants, i), x, 4 * i, |sum, w, x| s.dot_bytes::<SIGNED>(sum, w, x));
            }
        }
        Plan::Scaled16(words) => {
            for g in 0..LEN / 4 / group {
                // Formats without groups have no scales: theirs is 1.
                let grouped = layout.mins > layout.scales;
                let scale = if grouped { pair(record, layout.scales + g) } else { [s.splat_u32(0x1_0001); 2] };
                for i in 0..group / words {
                    let part = bytes::<S, SIGNED, C, LEN>(s, quants, g * group + i * words, words, x);
                    for c in 0..C {
                        sums[0][c] = s.dot_halves(sums[0][c], part[0][c], scale[0]);
                        sums[1][c] = s.dot_halves(sums[1][c], part[1][c], scale[1]);
                    }
                }
            }
        }
        Plan::Scaled32 => {
            for g in 0..LEN / 4 / group {
                let scale = pair(record, layout.scales + g);
                let part = bytes::<S, SIGNED, C, LEN>(s, quants, g * group, group, x);
                for c in 0..C {
                    sums[0][c] = s.add_u32(sums[0][c], s.mul_u32(part[0][c], scale[0]));
                    sums[1][c] = s.add_u32(sums[1][c], s.mul_u32(part[1][c], scale[1]));
                }
            }
        }
    }
    sums
}

/// Products of two vectors of rows with pairs of columns: of pair `p`, those of rows 0 and 1 of each four are at `2 p`, those of
/// rows 2 and 3 after it.
type Tiles<S> = [[<S as Words>::V; MAX_TILE_COLUMNS]; 2];

/// Adds the products of two words of `C` columns with those of two vectors of rows, `words` of a record.
#[inline(always)]
fn add_tiles<S: Words, const C: usize>(s: S, sums: &mut Tiles<S>, words: [[S::V; 2]; 2], x: impl Fn(usize) -> S::V) {
    for p in 0..C.div_ceil(2) {
        let x = x(p);
        for r in 0..2 {
            sums[r][2 * p] = s.dot_tiles(sums[r][2 * p], words[0][r], x);
            sums[r][2 * p + 1] = s.dot_tiles(sums[r][2 * p + 1], words[1][r], x);
        }
    }
}

/// The sums of `C` columns with one lane for a row.
#[inline(always)]
fn by_rows<S: Words, const C: usize>(s: S, tiles: &Tiles<S>) -> [[S::V; C]; 2] {
    let mut out = [[s.splat_u32(0); C]; 2];
    for r in 0..2 {
        for c in 0..C {
            out[r][c] = s.unzip_words(tiles[r][c / 2 * 2], tiles[r][c / 2 * 2 + 1])[c % 2];
        }
    }
    out
}

/// As [`integers`], by tiles of two rows and two columns: `x` are pairs of columns of `LEN / 2` bytes each.
#[inline(always)]
fn integers_by_tiles<S: Words, const C: usize, const LEN: usize>(
    s: S,
    layout: Record,
    group: usize,
    record: &[S::V],
    x: &[&[u8; LEN]; C],
) -> [[S::V; C]; 2] {
    let zero = [[s.splat_u32(0); MAX_TILE_COLUMNS]; 2];
    let (mut sums, quants) = (zero, &record[2 * layout.quants..]);
    for g in 0..LEN / 8 / group {
        let mut part = if layout.plan == Plan::Flat { sums } else { zero };
        for at in (g * group..(g + 1) * group).step_by(2) {
            let words = [pair(quants, at), pair(quants, at + 1)];
            add_tiles::<S, C>(s, &mut part, words, |p| s.load_words(&x[p][8 * at..8 * at + 16]));
        }
        if layout.plan == Plan::Flat {
            sums = part;
            continue;
        }
        for (r, scale) in pair(record, layout.scales + g).into_iter().enumerate() {
            let scale = s.zip_words(scale, scale);
            for i in 0..C.div_ceil(2) * 2 {
                sums[r][i] = s.add_u32(sums[r][i], s.mul_u32(part[r][i], scale[i % 2]));
            }
        }
    }
    by_rows(s, &sums)
}

/// The products of the minima of super-block `b` with sums of groups, each taken apart into two bytes.
#[inline(always)]
fn minima_by_tiles<S: Words, const C: usize>(
    s: S,
    layout: Record,
    groups: usize,
    record: &[S::V],
    (x, b): (&XTile<'_>, usize),
) -> [[S::V; C]; 2] {
    let zero = [[s.splat_u32(0); MAX_TILE_COLUMNS]; 2];
    let mut sums = [zero; 2];
    for i in 0..groups / 8 {
        let words = [pair(record, layout.mins + 2 * i), pair(record, layout.mins + 2 * i + 1)];
        for (part, sums) in sums.iter_mut().enumerate() {
            add_tiles::<S, C>(s, sums, words, |p| s.load_words(x.minima(b, p, i)[part]));
        }
    }
    let mut tiles = zero;
    for r in 0..2 {
        for i in 0..C.div_ceil(2) * 2 {
            tiles[r][i] = s.add_u32(sums[0][r][i], s.shl(sums[1][r][i], HIGH));
        }
    }
    by_rows(s, &tiles)
}

/// `sums += scale * d * integers`, rounded as the definition does.
#[inline(always)]
fn add_scaled<S: Words, const C: usize>(
    s: S,
    sums: &mut [[S::V; C]; 2],
    scale: [S::V; 2],
    d: &[f32],
    numbers: impl Fn(usize, usize) -> S::V,
) {
    for c in 0..C {
        let d = s.splat_u32(d[c].to_bits());
        for r in 0..2 {
            sums[r][c] = s.fma_f32(s.mul_f32(scale[r], d), numbers(r, c), sums[r][c]);
        }
    }
}

/// Writes 32 quants, words `8 j..8 j + 8` of a block, as vector `r` of a record. `scale(h)` is the scale of the `h`th of their
/// groups of `group` words, in every lane's `i32`. Returns the sum of the quants times their scales, where it's needed.
#[inline(always)]
fn write_chunk<S: Words>(
    s: S,
    layout: Record,
    group: usize,
    (j, quants): (usize, [S::V; 8]),
    scale: impl Fn(usize) -> Option<S::V>,
    (r, record): (usize, &mut [S::V]),
) -> S::V {
    let mut start = s.splat_u32(0);
    for (h, quants) in quants.chunks_exact(group).enumerate() {
        let scale = scale(h);
        let out = &mut record[2 * layout.quants..];
        let twice = |scale| s.or(s.and(scale, s.splat_u32(0xffff)), s.shl(scale, 16));
        if matches!(layout.plan, Plan::Halves) {
            let scaled = |x| scale.map_or(x, |scale| s.mul_halves(x, twice(scale)));
            for (i, &x) in quants.iter().enumerate() {
                // Of 32 weights, first the even ones of each two, then the odd ones.
                let at = 2 * (16 * j + h * group + i) + r;
                (out[at], out[at + 16]) = (scaled(s.even_bytes(x)), scaled(s.odd_bytes(x)));
            }
            continue;
        }
        if layout.tiles {
            for (i, words) in quants.as_chunks::<2>().0.iter().enumerate() {
                let at = 2 * (8 * j + h * group + 2 * i) + r;
                [out[at], out[at + 2]] = s.zip_words(words[0], words[1]);
            }
        }
        let mut sum = s.splat_u32(0);
        for (i, &x) in quants.iter().enumerate().filter(|_| !layout.tiles) {
            out[2 * (8 * j + h * group + i) + r] = x;
            if layout.start != 0 {
                sum = s.add_bytes(sum, x);
            }
        }
        start = s.add_u32(start, scale.map_or(sum, |scale| s.mul_u32(sum, scale)));
        if let Some(scale) = scale {
            record[2 * (layout.scales + j * (8 / group) + h) + r] = match (layout.plan, S::DOTS) {
                (Plan::Scaled16(_), Dots::Pairs16) => twice(scale),
                (Plan::Scaled16(_), _) => s.and(scale, s.splat_u32(0xffff)),
                _ => scale,
            };
        }
    }
    start
}

/// Writes where the integer sums of a block start from, given what [`write_chunk`] returned.
#[inline(always)]
fn write_start<S: Words>(s: S, layout: Record, start: S::V, (r, record): (usize, &mut [S::V])) {
    if layout.start != 0 {
        record[2 * layout.start + r] = s.mul_u32(start, s.splat_u32(-128i32 as u32));
    }
}

/// Quants as panels hold them: signed, or unsigned without an offset.
#[inline(always)]
pub(super) fn plainly<S: Words>(s: S, held: Held, q: [S::V; 8]) -> [S::V; 8] {
    if held.offset() == 0 {
        return q;
    }
    let offset = s.splat_u32(u32::from(held.offset()) * 0x0101_0101);
    eight!(g => s.sub_bytes(q[g], offset))
}

/// Asks for the scales and sums of some blocks.
fn fetch_row<S: Words, T>(s: S, x: ActRow<'_, T>, blocks: Range<usize>) {
    s.prefetch_all(&x.d[blocks.clone()], 0);
    s.prefetch_all(&x.sums[blocks], 0);
}

/// Formats of 32 weights.
pub(super) struct Of32<F>(PhantomData<F>);

impl<F: Format32, S: Words> Kind<S> for Of32<F> {
    type Format = F;
    const LAYOUT: Record = {
        let plan = plan(S::DOTS, (F::HELD.largest(), F::HELD.signed()), 8, false, 1);
        Record::new(S::DOTS, plan, 8, F::MIN, biased(S::DOTS, plan, F::HELD.signed()), 0)
    };
    const ORDER: Order =
        Order { form: <Self as Kind<S>>::LAYOUT.form(), sums: BlockSums::Of32, columns: S::TILE_COLUMNS };

    fn quants(x: &Activations, column: usize) -> &[Bytes32] {
        x.row_32(column).q
    }

    fn set_sums(tile: &mut XTileMut<'_>, c: usize, x: &Activations, column: usize, blocks: Range<usize>) {
        tile.set_sums_32(c, x.row_32(column), blocks);
    }

    fn fetch_sums(s: S, x: &Activations, column: usize, blocks: Range<usize>) {
        fetch_row(s, x.row_32(column), blocks);
    }

    #[inline(always)]
    fn unpack(s: S, rows: impl Rows<S>, r: usize, record: &mut [S::V]) {
        let layout = const { <Self as Kind<S>>::LAYOUT };
        let (d, min) = F::scales(s, rows);
        record[r] = d;
        if F::MIN {
            record[2 + r] = min;
        }
        let quants = plainly(s, F::HELD, F::quants(s, rows));
        let start = write_chunk(s, layout, 8, (0, quants), |_| None, (r, record));
        write_start(s, layout, start, (r, record));
    }

    #[inline(always)]
    fn multiply<const C: usize>(s: S, record: &[S::V], x: &XTile<'_>, b: usize, sums: &mut Sums<'_, S, C>) {
        let (layout, beside) = const { (<Self as Kind<S>>::LAYOUT, <Self as Kind<S>>::ORDER.beside()) };
        // Each asked as a constant of its own: what an instruction set has no use for is then not compiled for it.
        let products = if const { matches!(<Self as Kind<S>>::ORDER.form, Form::Halves) } {
            integers::<S, true, C, 64>(s, layout, 8, record, &x.bytes(beside, b))
        } else if const { matches!(<Self as Kind<S>>::ORDER.form, Form::Pairs) } {
            integers_by_tiles::<S, C, 64>(s, layout, 8, record, &x.bytes(beside, b))
        } else if const { F::HELD.signed() } {
            integers::<S, true, C, 32>(s, layout, 8, record, &x.bytes(beside, b))
        } else {
            integers::<S, false, C, 32>(s, layout, 8, record, &x.bytes(beside, b))
        };
        let d = x.scales(b);
        add_scaled(s, sums.products, pair(record, 0), d, |r, c| s.i32_to_f32(products[r][c]));
        if F::MIN {
            let x = x.sums(b);
            add_scaled(s, sums.minima, pair(record, 1), d, |_, c| s.splat_u32(x[c]));
        }
    }

    #[inline(always)]
    fn total(s: S, products: S::V, minima: S::V) -> S::V {
        if F::MIN { s.add_f32(products, minima) } else { products }
    }
}

/// Formats of super-blocks, where products in 32 bits take `MUL` times as long as those in 16 ([`plan`]).
pub(super) struct Of256<F, const MUL: usize = 1>(PhantomData<F>);

impl<F: Format256, const MUL: usize> Of256<F, MUL> {
    /// Groups with a scale of their own.
    const GROUPS: usize = if F::GROUPS_OF_16 { 16 } else { 8 };
    /// Words that share a scale.
    const GROUP_WORDS: usize = 64 / Self::GROUPS;
}

impl<F: Format256, S: Words, const MUL: usize> Kind<S> for Of256<F, MUL> {
    type Format = F;
    const LAYOUT: Record = {
        let plan = plan(S::DOTS, (F::HELD.largest(), F::HELD.signed()), Self::GROUP_WORDS, true, MUL);
        Record::new(S::DOTS, plan, 64, F::MIN, biased(S::DOTS, plan, F::HELD.signed()), Self::GROUPS)
    };
    const ORDER: Order = {
        let sums = if F::GROUPS_OF_16 { BlockSums::Of16 } else { BlockSums::Of8 };
        Order { form: <Self as Kind<S>>::LAYOUT.form(), sums, columns: S::TILE_COLUMNS }
    };

    fn quants(x: &Activations, column: usize) -> &[Bytes32] {
        x.row_256(column).q
    }

    fn set_sums(tile: &mut XTileMut<'_>, c: usize, x: &Activations, column: usize, blocks: Range<usize>) {
        let x = x.row_256(column);
        match const { <Self as Kind<S>>::ORDER.form } {
            Form::Pairs => tile.set_pairs_256(c, x, blocks, Self::GROUPS),
            _ => tile.set_sums_256(c, x, blocks, Self::GROUPS),
        }
    }

    fn fetch_sums(s: S, x: &Activations, column: usize, blocks: Range<usize>) {
        fetch_row(s, x.row_256(column), blocks);
    }

    #[inline(always)]
    fn unpack(s: S, rows: impl Rows<S>, r: usize, record: &mut [S::V]) {
        let layout = const { <Self as Kind<S>>::LAYOUT };
        let head = F::head(s, rows);
        record[r] = head.d;
        if F::MIN {
            record[2 + r] = head.min;
            for (i, mins) in head.mins[..Self::GROUPS / 4].as_chunks().0.iter().enumerate().filter(|_| layout.tiles) {
                let [first, second] = *mins;
                let at = 2 * (layout.mins + 2 * i) + r;
                [record[at], record[at + 2]] = s.zip_words(first, second);
            }
            for (i, &mins) in head.mins[..Self::GROUPS / 4].iter().enumerate().filter(|_| !layout.tiles) {
                let even = |x| s.and(x, s.splat_u32(0x00ff_00ff));
                let at = 2 * (layout.mins + 2 * i) + r;
                (record[at], record[at + 2]) = (even(mins), even(s.shr(mins, 8)));
            }
        }
        let mut start = s.splat_u32(0);
        F::chunks(
            s,
            rows,
            #[inline(always)]
            |j, q| {
                let scale = |h: usize| {
                    let g = j * (8 / Self::GROUP_WORDS) + h;
                    Some(s.sar(s.shl(head.scales[g / 4], 24 - 8 * (g as u32 % 4)), 24))
                };
                let sum = write_chunk(s, layout, Self::GROUP_WORDS, (j, plainly(s, F::HELD, q)), scale, (r, record));
                start = s.add_u32(start, sum);
            },
        );
        write_start(s, layout, start, (r, record));
    }

    #[inline(always)]
    fn multiply<const C: usize>(s: S, record: &[S::V], x: &XTile<'_>, b: usize, sums: &mut Sums<'_, S, C>) {
        let (layout, beside) = const { (<Self as Kind<S>>::LAYOUT, <Self as Kind<S>>::ORDER.beside()) };
        // As with blocks of 32.
        let products = if const { matches!(<Self as Kind<S>>::ORDER.form, Form::Halves) } {
            integers::<S, true, C, 512>(s, layout, 2 * Self::GROUP_WORDS, record, &x.bytes(beside, b))
        } else if const { matches!(<Self as Kind<S>>::ORDER.form, Form::Pairs) } {
            integers_by_tiles::<S, C, 512>(s, layout, Self::GROUP_WORDS, record, &x.bytes(beside, b))
        } else if const { F::HELD.signed() } {
            integers::<S, true, C, 256>(s, layout, Self::GROUP_WORDS, record, &x.bytes(beside, b))
        } else {
            integers::<S, false, C, 256>(s, layout, Self::GROUP_WORDS, record, &x.bytes(beside, b))
        };
        let d = x.scales(b);
        add_scaled(s, sums.products, pair(record, 0), d, |r, c| s.i32_to_f32(products[r][c]));
        if const { F::MIN && matches!(<Self as Kind<S>>::ORDER.form, Form::Pairs) } {
            let minima = minima_by_tiles::<S, C>(s, layout, Self::GROUPS, record, (x, b));
            add_scaled(s, sums.minima, pair(record, 1), d, |r, c| s.i32_to_f32(minima[r][c]));
        } else if const { F::MIN } {
            let mut minima = [[s.splat_u32(0); C]; 2];
            for i in 0..Self::GROUPS / 2 {
                let (mins, x) = (pair(record, layout.mins + i), x.sums(8 * b + i));
                for c in 0..C {
                    let x = s.splat_u32(x[c]);
                    minima[0][c] = s.dot_halves(minima[0][c], mins[0], x);
                    minima[1][c] = s.dot_halves(minima[1][c], mins[1], x);
                }
            }
            add_scaled(s, sums.minima, pair(record, 1), d, |r, c| s.i32_to_f32(minima[r][c]));
        }
    }

    #[inline(always)]
    fn total(s: S, products: S::V, minima: S::V) -> S::V {
        if F::MIN { s.sub_f32(products, minima) } else { products }
    }
}
