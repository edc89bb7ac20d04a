//! Products against a plain sum in double precision, and every kernel against the definition, bit by bit.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use tokki_quant::activation::ActKind;
use tokki_quant::dtype::DType;
use tokki_quant::isa::Isa;
use tokki_quant::matmul::{matmul, matmul_cols};
use tokki_quant::matrix::{Matrix, interleave, restore};
use tokki_quant::share::{OutTiles, Tile};
use tokki_quant::testing::{
    Rng, activations, adversarial, assert_same_bits, for_each_format, for_each_isa, product, weights,
};

/// Rows of `k` weights that the portable code's `matmul` gets right within what quantizing the activations explains.
fn check_against_f64(dtype: DType, rows: usize, k: usize, columns: usize, seed: u64) {
    let mut rng = Rng(seed);
    let bytes = weights(dtype, rows, k, &mut rng);
    let m = Matrix::new(dtype, rows, k, &bytes).unwrap();
    let x = rng.normals(columns * k);
    let found = product(Isa::SCALAR, &m, &activations(Isa::SCALAR, &x, k));
    let mut w = vec![0f32; k];
    for r in 0..rows {
        m.decode_row(r, &mut w);
        for (c, x) in x.chunks_exact(k).enumerate() {
            let wanted: f64 = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
            // Each activation is off by up to half a step, max|x| / 254 (and a little from rounding the factor); the
            // accumulator rounds each of the up to k sums by 2^-24 of what it holds, minima and all.
            let max = x.iter().fold(0f64, |max, &x| max.max(f64::from(x.abs())));
            let step = if dtype.act() == ActKind::F32 { 0.0 } else { max / 253.0 };
            let norm: f64 = w.iter().map(|&w| f64::from(w.abs())).sum();
            // Minima cancel against what they are subtracted from: their size counts too.
            let tolerance = norm * (step + max * k as f64 * 2f64.powi(-22)) + 1e-30;
            let found = f64::from(found[c * rows + r]);
            assert!((found - wanted).abs() <= tolerance, "{dtype} {k}: wanted {wanted}, found {found} +- {tolerance}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn products_are_near_the_plain_sum(blocks in 1usize..6, rows in 1usize..4, columns in 1usize..4, seed: u64) {
        for_each_format(|dtype| check_against_f64(dtype, rows, blocks * 256, columns, seed));
    }
}

/// Lengths of a row: one block, an odd number of blocks, long; float rows also with a tail.
fn lengths(dtype: DType) -> Vec<usize> {
    match dtype.block_len() {
        1 => vec![1, 15, 16, 17, 31, 33, 100, 576],
        len => vec![len, 2 * len, 3 * len, 5 * len, 9 * len],
    }
}

fn check_isas(dtype: DType, rows: usize, k: usize, columns: usize, bytes: &[u8], x: &[f32]) {
    let m = Matrix::new(dtype, rows, k, bytes).unwrap();
    let wanted = product(Isa::SCALAR, &m, &activations(Isa::SCALAR, x, k));
    for_each_isa(|isa| {
        let found = product(isa, &m, &activations(isa, x, k));
        assert_same_bits(&wanted, &found, &format!("{dtype} {} rows {rows} k {k} columns {columns}", isa.name()));
    });
}

#[test]
fn every_kernel_equals_the_definition() {
    let mut rng = Rng(1);
    for_each_format(|dtype| {
        for rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 33] {
            for k in lengths(dtype) {
                let x = rng.normals(9 * k);
                let ordinary = weights(dtype, rows, k, &mut rng);
                let hostile = adversarial(dtype, rows, k, &mut rng);
                for columns in 1..=9 {
                    check_isas(dtype, rows, k, columns, &ordinary, &x[..columns * k]);
                    check_isas(dtype, rows, k, columns, &hostile, &x[..columns * k]);
                }
            }
        }
    });
}

#[test]
fn extreme_activations_do_not_overflow() {
    let mut rng = Rng(2);
    for_each_format(|dtype| {
        let k = 1024;
        let bytes = adversarial(dtype, 8, k, &mut rng);
        for sign in [1.0, -1.0] {
            // All quants of the activations are 127 or -127: the largest sums that there are.
            check_isas(dtype, 8, k, 2, &bytes, &vec![sign * 3.0; 2 * k]);
        }
        let mut x = rng.normals(k);
        (x[3], x[300], x[700]) = (f32::NAN, f32::INFINITY, 1e38);
        check_isas(dtype, 8, k, 1, &bytes, &x);
        check_isas(dtype, 8, k, 1, &bytes, &vec![1e-38; k]);
    });
}

#[test]
fn results_do_not_depend_on_tiles_or_batches() {
    let mut rng = Rng(3);
    let (rows, k, columns) = (37, 768, 11);
    for_each_format(|dtype| {
        let bytes = weights(dtype, rows, k, &mut rng);
        let m = Matrix::new(dtype, rows, k, &bytes).unwrap();
        let x = rng.normals(columns * k);
        for_each_isa(|isa| {
            let acts = activations(isa, &x, k);
            let wanted = product(isa, &m, &acts);
            for band in [1, 5, 16] {
                let mut out = vec![f32::NAN; columns * rows];
                let tiles = OutTiles::new(&mut out, rows, band);
                (0..tiles.bands()).for_each(|b| matmul(isa, &m, &acts, &mut tiles.take(b)));
                drop(tiles);
                assert_same_bits(&wanted, &out, &format!("{dtype} {} bands of {band}", isa.name()));
            }
            let chosen = [10u32, 0, 3, 3, 7];
            let mut out = vec![f32::NAN; chosen.len() * rows];
            matmul_cols(isa, &m, &acts, &chosen, &mut Tile::whole(&mut out, rows));
            for (out, &c) in out.chunks_exact(rows).zip(&chosen) {
                let wanted = &wanted[c as usize * rows..][..rows];
                assert_same_bits(wanted, out, &format!("{dtype} {} column {c} chosen", isa.name()));
            }
        });
    });
}

/// The whole product of the same weights, interleaved.
fn interleaved(isa: Isa, m: &Matrix<'_>, x: &tokki_quant::activation::Activations) -> Vec<f32> {
    let mut bytes = vec![0xaa; m.bytes().len()];
    interleave(m, &mut bytes);
    product(isa, &Matrix::interleaved(m.dtype(), m.rows(), m.cols(), &bytes).unwrap(), x)
}

#[test]
fn interleaved_rows_come_back() {
    let mut rng = Rng(4);
    for_each_format(|dtype| {
        for rows in [1, 15, 16, 17, 32, 50] {
            let k = 3 * dtype.block_len().max(5);
            let bytes = weights(dtype, rows, k, &mut rng);
            let plain = Matrix::new(dtype, rows, k, &bytes).unwrap();
            let mut arranged = vec![0xaa; bytes.len()];
            interleave(&plain, &mut arranged);
            let other = Matrix::interleaved(dtype, rows, k, &arranged).unwrap();
            let mut back = vec![0; bytes.len()];
            restore(&other, &mut back);
            assert_eq!(back, bytes, "{dtype}, {rows} rows");
            let (mut wanted, mut found) = (vec![0f32; k], vec![0f32; k]);
            for r in 0..rows {
                assert_eq!(plain.plain_row(r), other.plain_row(r), "{dtype}, row {r} of {rows}");
                plain.decode_row(r, &mut wanted);
                other.decode_row(r, &mut found);
                assert_same_bits(&wanted, &found, &format!("{dtype}, row {r} of {rows}"));
            }
            if dtype.interleaves() && rows >= 16 {
                assert_ne!(arranged, bytes, "{dtype}, {rows} rows");
            }
        }
    });
}

#[test]
fn products_of_interleaved_rows_equal_those_of_plain_ones() {
    let mut rng = Rng(5);
    for_each_format(|dtype| {
        for (rows, blocks) in [(16, 1), (17, 3), (33, 2), (64, 5), (100, 9)] {
            let k = blocks * dtype.block_len().max(16);
            let x = rng.normals(40 * k);
            for bytes in [weights(dtype, rows, k, &mut rng), adversarial(dtype, rows, k, &mut rng)] {
                let m = Matrix::new(dtype, rows, k, &bytes).unwrap();
                for columns in [1, 2, 3, 4, 5, 8, 9, 40] {
                    let x = activations(Isa::SCALAR, &x[..columns * k], k);
                    let wanted = product(Isa::SCALAR, &m, &x);
                    for_each_isa(|isa| {
                        let what = format!("{dtype} {} rows {rows} k {k} columns {columns}", isa.name());
                        assert_same_bits(&wanted, &product(isa, &m, &x), &what);
                        assert_same_bits(&wanted, &interleaved(isa, &m, &x), &format!("interleaved {what}"));
                    });
                }
            }
        }
    });
}

#[test]
fn interleaved_rows_may_be_shared_out_anyhow() {
    let mut rng = Rng(6);
    let (rows, k) = (75, 512);
    for dtype in [DType::Q4K, DType::Q6K, DType::Q4_0, DType::Q8_0, DType::MXFP4, DType::IQ2XXS] {
        let bytes = weights(dtype, rows, k, &mut rng);
        let plain = Matrix::new(dtype, rows, k, &bytes).unwrap();
        let mut arranged = vec![0; bytes.len()];
        interleave(&plain, &mut arranged);
        let m = Matrix::interleaved(dtype, rows, k, &arranged).unwrap();
        for columns in [1, 7, 12] {
            let x = activations(Isa::SCALAR, &rng.normals(columns * k), k);
            let wanted = product(Isa::SCALAR, &plain, &x);
            for_each_isa(|isa| {
                for band in [1, 5, 12, 16, 29] {
                    let mut out = vec![f32::NAN; columns * rows];
                    let tiles = OutTiles::new(&mut out, rows, band);
                    (0..tiles.bands()).for_each(|b| matmul(isa, &m, &x, &mut tiles.take(b)));
                    drop(tiles);
                    assert_same_bits(&wanted, &out, &format!("{dtype} {} bands of {band}, {columns}", isa.name()));
                }
            });
        }
    }
}
