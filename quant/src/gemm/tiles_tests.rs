//! Products by tiles equal the definition: by emulated ones on every machine that has the vectors beside them, and by those
//! of this machine, if it has some.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::marker::PhantomData;
use std::ops::Range;

use proptest::prelude::*;

use super::tests::definition;
use super::tiles::{ByTiles, MIN_TILED_COLUMNS};
use crate::activation::Activations;
use crate::dtype::{DType, Visitor};
use crate::formats::{Float, Format32, Format256, GROUP};
use crate::isa::Isa;
use crate::isa::dispatch::{with_emulated_tiles, with_tiles};
use crate::layout::{Interleaved, Layout, Plain};
use crate::matrix::{Matrix, RowLayout, interleave};
use crate::product::{Columns, Product};
use crate::share::Tile;
use crate::testing::{Rng, activations, adversarial, assert_same_bits, weights};

/// Whether a format is multiplied by tiles.
struct ByTilesOrNot;

impl Visitor for ByTilesOrNot {
    type Out = bool;

    fn float<F: Float>(self) -> bool {
        false
    }

    fn block32<F: Format32>(self) -> bool {
        false
    }

    fn block256<F: Format256>(self) -> bool {
        F::BY_TILES
    }
}

/// The formats that are multiplied by tiles.
fn formats() -> Vec<DType> {
    DType::ALL.iter().copied().filter(|dtype| dtype.visit(ByTilesOrNot)).collect()
}

/// The product by the tiles of `isa`, or by emulated ones. Its result is whether it was made.
struct Made<'a, 't> {
    isa: Option<Isa>,
    product: Product<'a, 't>,
}

impl Made<'_, '_> {
    fn of<L: Layout, F: Format256>(self) -> bool {
        let kernel = ByTiles(self.product, PhantomData::<(L, F)>);
        match self.isa {
            Some(isa) => with_tiles(isa, kernel).is_ok(),
            None => with_emulated_tiles(kernel).is_some(),
        }
    }
}

impl Visitor for Made<'_, '_> {
    type Out = bool;

    fn float<F: Float>(self) -> bool {
        unreachable!("{:?} by tiles", self.product.m)
    }

    fn block32<F: Format32>(self) -> bool {
        unreachable!("{:?} by tiles", self.product.m)
    }

    fn block256<F: Format256>(self) -> bool {
        match self.product.m.layout() {
            RowLayout::Plain => self.of::<Plain, F>(),
            RowLayout::Interleaved => self.of::<Interleaved, F>(),
        }
    }
}

/// Rows `rows` of a product, by every kind of tiles that there is.
fn check_rows(m: &Matrix<'_>, x: &Activations, cols: Columns<'_>, rows: Range<usize>, wanted: &[f32]) {
    for isa in [None].into_iter().chain(Isa::available().into_iter().map(Some)) {
        let mut out = vec![f32::NAN; cols.len() * m.rows()];
        let mut whole = Tile::whole(&mut out, m.rows());
        let mut tile = whole.narrow(rows.clone());
        let product = Product { m, x, cols, rows: rows.clone(), tile: &mut tile };
        if !m.dtype().visit(Made { isa, product }) {
            assert!(isa.is_some() || Isa::by_name("avx512vnni").is_none(), "emulated tiles need vectors alone");
            continue;
        }
        for (c, out) in out.chunks_exact(m.rows()).enumerate() {
            let wanted = &wanted[cols.get(c) * m.rows()..][rows.clone()];
            let what = format!("{m:?}, column {c} of {}, rows {rows:?}, {isa:?}", cols.len());
            assert_same_bits(wanted, &out[rows.clone()], &what);
            assert!(out[..rows.start].iter().chain(&out[rows.end..]).all(|x| x.is_nan()), "{what}: others written");
        }
    }
}

/// Rows `rows` in both layouts.
fn check(m: &Matrix<'_>, x: &Activations, cols: Columns<'_>, rows: Range<usize>) {
    let wanted = definition(m, x);
    check_rows(m, x, cols, rows.clone(), &wanted);
    let mut bytes = vec![0; m.bytes().len()];
    interleave(m, &mut bytes);
    let interleaved = Matrix::interleaved(m.dtype(), m.rows(), m.cols(), &bytes).unwrap();
    let grouped = rows.start..rows.end.min(m.rows() / GROUP * GROUP);
    if !grouped.is_empty() {
        check_rows(&interleaved, x, cols, grouped, &wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn any_shape_equals_the_definition(
        seed in any::<u64>(), format in 0..formats().len(), odd in any::<bool>(), rows in 1..70usize, blocks in 1..10usize,
        n in 1..75usize, skip in 0..70usize, left in 0..70usize, chosen in any::<bool>(),
    ) {
        let (dtype, k, mut rng) = (formats()[format], 256 * blocks, Rng(seed));
        let bytes = if odd { adversarial(dtype, rows, k, &mut rng) } else { weights(dtype, rows, k, &mut rng) };
        let m = Matrix::new(dtype, rows, k, &bytes).unwrap();
        let x = activations(Isa::SCALAR, &rng.normals(n * k), k);
        let some: Vec<u32> = (0..n + 3).map(|i| (i * 7 % n) as u32).collect();
        let cols = if chosen { Columns::Chosen(&some) } else { Columns::All(n) };
        let start = skip.min(rows - 1);
        check(&m, &x, cols, start..rows.saturating_sub(left).max(start + 1));
    }
}

/// A block of each format whose quants are all made of `quant`, whose scales, and minima, of `scale`.
fn uniform(dtype: DType, quant: u8, scale: u8) -> Vec<u8> {
    let one = 0x3c00u16.to_le_bytes();
    let mut block = vec![quant; dtype.block_bytes()];
    if dtype == DType::Q6K {
        block[192..208].fill(scale);
        block[208..].copy_from_slice(&one);
    } else {
        block[4..16].fill(scale);
        block[..4].copy_from_slice(&[one, one].concat());
    }
    block
}

#[test]
fn the_largest_integers_equal_the_definition() {
    let (rows, blocks, n) = (17, 2, 33);
    let k = 256 * blocks;
    // Columns of quants that are all 127, all -127, of alternating sign, zeros, and ordinary ones.
    let mut x = Rng(3).normals(n * k);
    x[..k].fill(1.0);
    x[k..2 * k].fill(-1.0);
    x[2 * k..3 * k].iter_mut().enumerate().for_each(|(i, x)| *x = if i % 2 == 0 { 1.0 } else { -1.0 });
    x[3 * k..4 * k].fill(0.0);
    (x[4 * k], x[5 * k]) = (f32::NAN, f32::INFINITY);
    let x = activations(Isa::SCALAR, &x, k);
    for dtype in formats() {
        for quant in [0x00, 0xff, 0x0f, 0xf0] {
            // Of Q6_K the scales -128, 127, -1 and 0; of the others all bits, none, and some.
            for scale in [0x80, 0x7f, 0xff, 0x00] {
                let bytes = uniform(dtype, quant, scale).repeat(rows * blocks);
                let m = Matrix::new(dtype, rows, k, &bytes).unwrap();
                check(&m, &x, Columns::All(n), 0..rows);
            }
        }
    }
}

#[test]
fn any_number_of_columns_equals_the_definition() {
    // More super-blocks than are multiplied at once.
    let (rows, k) = (GROUP + 1, 5 * 256);
    let (mut rng, formats) = (Rng(5), formats());
    for n in 1..=2 * MIN_TILED_COLUMNS + 1 {
        let dtype = formats[n % formats.len()];
        let bytes = weights(dtype, rows, k, &mut rng);
        let m = Matrix::new(dtype, rows, k, &bytes).unwrap();
        check(&m, &activations(Isa::SCALAR, &rng.normals(n * k), k), Columns::All(n), 0..rows);
    }
}

#[test]
fn rows_of_several_panels_equal_the_definition() {
    let (rows, k, n) = (3000, 256, MIN_TILED_COLUMNS);
    let mut rng = Rng(4);
    let bytes = weights(DType::Q4K, rows, k, &mut rng);
    let m = Matrix::new(DType::Q4K, rows, k, &bytes).unwrap();
    check(&m, &activations(Isa::SCALAR, &rng.normals(n * k), k), Columns::All(n), 5..rows);
}
