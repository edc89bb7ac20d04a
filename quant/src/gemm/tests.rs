#![allow(clippy::unwrap_used, reason = "tests")]

use crate::activation::Activations;
use crate::dtype::DType;
use crate::isa::{Isa, costs};
use crate::matmul::{matmul, matmul_cols};
use crate::matrix::Matrix;
use crate::share::{OutTiles, Tile};
use crate::testing::{
    Rng, activations, adversarial, assert_same_bits, for_each_format, for_each_isa, product, weights,
};

/// The definition, a few columns at a time: too few for panels.
pub(super) fn definition(m: &Matrix<'_>, x: &Activations) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.n() * m.rows()];
    let columns: Vec<u32> = (0..x.n() as u32).collect();
    for (cols, out) in columns.chunks(8).zip(out.chunks_mut(8 * m.rows())) {
        matmul_cols(Isa::SCALAR, m, x, cols, &mut Tile::whole(out, m.rows()));
    }
    out
}

fn check(dtype: DType, rows: usize, k: usize, x: &Activations, bytes: &[u8]) {
    let m = Matrix::new(dtype, rows, k, bytes).unwrap();
    let wanted = definition(&m, x);
    for_each_isa(|isa| {
        let what = format!("{dtype} {rows} x {k}, {} columns, {}", x.n(), isa.name());
        assert_same_bits(&wanted, &product(isa, &m, x), &what);
    });
}

#[test]
fn every_shape_equals_the_definition() {
    let mut rng = Rng(1);
    for_each_format(|dtype| {
        for (rows, blocks, n) in [(1, 1, 9), (3, 3, 10), (8, 2, 17), (33, 5, 11), (40, 9, 70), (65, 19, 12)] {
            // Blocks of 32 that fill more than one slice, too.
            let k = match dtype.block_len() {
                // Not a whole number of vectors.
                1 => 37 * blocks,
                32 => 5 * 32 * blocks,
                len => len * blocks,
            };
            let x = activations(Isa::SCALAR, &rng.normals(n * k), k);
            check(dtype, rows, k, &x, &weights(dtype, rows, k, &mut rng));
        }
    });
}

#[test]
fn every_plan_equals_the_definition() {
    let (rows, n) = (40, 14);
    let mut rng = Rng(8);
    for mul_is_double in [false, true] {
        costs::ASSUMED.set(Some(mul_is_double));
        for_each_format(|dtype| {
            let k = 5 * dtype.block_len().max(32);
            let mut x = rng.normals(n * k);
            // Quants of 127 and -127, beside weights of which some are the largest: the largest sums.
            x[..k].fill(1.0);
            x[k..2 * k].fill(-1.0);
            let x = activations(Isa::SCALAR, &x, k);
            check(dtype, rows, k, &x, &adversarial(dtype, rows, k, &mut rng));
        });
    }
    costs::ASSUMED.set(None);
}

#[test]
fn every_number_of_rows_equals_the_definition() {
    let mut rng = Rng(2);
    for dtype in [DType::Q4K, DType::Q6K, DType::Q4_0, DType::Q8_0, DType::Q4_1] {
        let k = 512;
        let x = activations(Isa::SCALAR, &rng.normals(13 * k), k);
        for rows in 1..=40 {
            check(dtype, rows, k, &x, &weights(dtype, rows, k, &mut rng));
        }
    }
}

#[test]
fn rows_of_several_panels_equal_the_definition() {
    let mut rng = Rng(6);
    for dtype in [DType::Q4K, DType::Q8_0, DType::Q2K] {
        let k = 1280;
        let x = activations(Isa::SCALAR, &rng.normals(9 * k), k);
        check(dtype, 1100, k, &x, &weights(dtype, 1100, k, &mut rng));
    }
}

#[test]
fn extreme_blocks_equal_the_definition() {
    let mut rng = Rng(3);
    for_each_format(|dtype| {
        let (k, n) = (1280, 14);
        // Activations whose quants are all 127, all -127, of alternating sign, and ordinary ones with odd blocks.
        let mut x = rng.normals(n * k);
        x[..k].fill(1.0);
        x[k..2 * k].fill(-1.0);
        x[2 * k..3 * k].iter_mut().enumerate().for_each(|(i, x)| *x = if i % 2 == 0 { 1.0 } else { -1.0 });
        x[3 * k..3 * k + 300].fill(0.0);
        x[4 * k + 17] = f32::INFINITY;
        x[5 * k + 600] = f32::NAN;
        x[6 * k..7 * k].iter_mut().for_each(|x| *x *= 1e-35);
        let x = activations(Isa::SCALAR, &x, k);
        for _ in 0..4 {
            check(dtype, 37, k, &x, &adversarial(dtype, 37, k, &mut rng));
        }
    });
}

#[test]
fn bands_and_chosen_columns_equal_the_whole() {
    let mut rng = Rng(4);
    for_each_format(|dtype| {
        let (rows, k, n) = (70, 768, 23);
        let bytes = weights(dtype, rows, k, &mut rng);
        let m = Matrix::new(dtype, rows, k, &bytes).unwrap();
        let x = activations(Isa::SCALAR, &rng.normals(n * k), k);
        let wanted = definition(&m, &x);
        let cols: Vec<u32> = (0..31).map(|i| (i * 7 % n) as u32).collect();
        for_each_isa(|isa| {
            let mut out = vec![f32::NAN; n * rows];
            let tiles = OutTiles::new(&mut out, rows, 27);
            for band in 0..tiles.bands() {
                matmul(isa, &m, &x, &mut tiles.take(band));
            }
            assert_same_bits(&wanted, &out, &format!("{dtype} in bands, {}", isa.name()));
            let mut out = vec![f32::NAN; cols.len() * rows];
            matmul_cols(isa, &m, &x, &cols, &mut Tile::whole(&mut out, rows));
            for (&c, out) in cols.iter().zip(out.chunks_exact(rows)) {
                let wanted = &wanted[c as usize * rows..][..rows];
                assert_same_bits(wanted, out, &format!("{dtype} column {c}, {}", isa.name()));
            }
        });
    });
}

#[test]
fn threads_that_arrange_the_same_activations_equal_the_definition() {
    let (rows, k, n) = (192, 4352, 40);
    let mut rng = Rng(7);
    let mut x = activations(Isa::SCALAR, &rng.normals(n * k), k);
    for dtype in [DType::Q4K, DType::Q6K, DType::Q5_0] {
        let bytes = weights(dtype, rows, k, &mut rng);
        let m = Matrix::new(dtype, rows, k, &bytes).unwrap();
        for_each_isa(|isa| {
            // Written once more: what was arranged of the rows before them is not read.
            let values = rng.normals(n * k);
            let writer = x.reset(x.kinds(), n, k);
            values.chunks_exact(k).enumerate().for_each(|(row, x)| writer.write(Isa::SCALAR, row, x));
            let wanted = definition(&m, &x);
            let mut out = vec![f32::NAN; n * rows];
            let tiles = OutTiles::new(&mut out, rows, 32);
            std::thread::scope(|scope| {
                for thread in 0..3 {
                    let (tiles, m, x) = (&tiles, &m, &x);
                    scope.spawn(move || {
                        (thread..tiles.bands()).step_by(3).for_each(|band| matmul(isa, m, x, &mut tiles.take(band)));
                    });
                }
            });
            assert_same_bits(&wanted, &out, &format!("{dtype} by three threads, {}", isa.name()));
        });
    }
}

#[test]
fn many_columns_equal_the_definition() {
    let mut rng = Rng(5);
    for dtype in [DType::Q4K, DType::Q6K, DType::Q8_0, DType::Q5_1] {
        let k = 2304;
        let x = activations(Isa::SCALAR, &rng.normals(512 * k), k);
        check(dtype, 45, k, &x, &weights(dtype, 45, k, &mut rng));
    }
}
