//! Products by tiles equal the definition: by emulated ones on every machine that has the vectors beside them, and by those
//! of this machine, if it has some.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::marker::PhantomData;
use std::ops::Range;

use proptest::prelude::*;

use super::tests::definition;
use super::tiles::{ByTiles, MIN_TILED_COLUMNS};
use crate::activation::Activations;
use crate::dtype::DType;
use crate::formats::q4_k::Q4K;
use crate::formats::q5_k::Q5K;
use crate::formats::q6_k::Q6K;
use crate::formats::{Format256, GROUP};
use crate::isa::Isa;
use crate::isa::dispatch::{with_emulated_tiles, with_tiles};
use crate::layout::{Interleaved, Layout, Plain};
use crate::matrix::{Matrix, RowLayout, interleave};
use crate::product::{Columns, Product};
use crate::share::Tile;
use crate::testing::{Rng, activations, adversarial, assert_same_bits, weights};

const FORMATS: [DType; 3] = [DType::Q4K, DType::Q5K, DType::Q6K];

/// The product by the tiles of `isa`, or by emulated ones. Returns whether it was made.
fn made<L: Layout, F: Format256>(isa: Option<Isa>, product: Product<'_, '_>) -> bool {
    let kernel = ByTiles(product, PhantomData::<(L, F)>);
    match isa {
        Some(isa) => with_tiles(isa, kernel).is_ok(),
        None => with_emulated_tiles(kernel).is_some(),
    }
}

fn made_of(isa: Option<Isa>, product: Product<'_, '_>) -> bool {
    match (product.m.dtype(), product.m.layout()) {
        (DType::Q4K, RowLayout::Plain) => made::<Plain, Q4K>(isa, product),
        (DType::Q4K, RowLayout::Interleaved) => made::<Interleaved, Q4K>(isa, product),
        (DType::Q5K, RowLayout::Plain) => made::<Plain, Q5K>(isa, product),
        (DType::Q5K, RowLayout::Interleaved) => made::<Interleaved, Q5K>(isa, product),
        (DType::Q6K, RowLayout::Plain) => made::<Plain, Q6K>(isa, product),
        (DType::Q6K, RowLayout::Interleaved) => made::<Interleaved, Q6K>(isa, product),
        other => panic!("{other:?} by tiles"),
    }
}

/// Rows `rows` of a product, by every kind of tiles that there is.
fn check_rows(m: &Matrix<'_>, x: &Activations, cols: Columns<'_>, rows: Range<usize>, wanted: &[f32]) {
    for isa in [None].into_iter().chain(Isa::available().into_iter().map(Some)) {
        let mut out = vec![f32::NAN; cols.len() * m.rows()];
        let mut whole = Tile::whole(&mut out, m.rows());
        let mut tile = whole.narrow(rows.clone());
        if !made_of(isa, Product { m, x, cols, rows: rows.clone(), tile: &mut tile }) {
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
        seed in any::<u64>(), format in 0..FORMATS.len(), odd in any::<bool>(), rows in 1..70usize, blocks in 1..10usize,
        n in 1..75usize, skip in 0..70usize, left in 0..70usize, chosen in any::<bool>(),
    ) {
        let (dtype, k, mut rng) = (FORMATS[format], 256 * blocks, Rng(seed));
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
    for dtype in FORMATS {
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
    let mut rng = Rng(5);
    for n in 1..=2 * MIN_TILED_COLUMNS + 1 {
        let dtype = FORMATS[n % FORMATS.len()];
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
