//! Products of weights with 512 columns of activations, in multiply-adds per second ("elements"): each format on each
//! instruction set, beside the most that one thread can do.
#![allow(missing_docs, reason = "the macros of criterion generate public items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tokki_quant::ceiling;
use tokki_quant::dtype::DType;
use tokki_quant::isa::Isa;
use tokki_quant::matmul::matmul;
use tokki_quant::matrix::Matrix;
use tokki_quant::share::Tile;
use tokki_quant::testing::{Rng, activations, weights};

/// Rows of weights: a band, as a thread takes it.
const ROWS: usize = 256;

/// Weights in a row.
const K: usize = 4096;

/// Columns of a prefill.
const COLUMNS: usize = 512;

fn limit(c: &mut Criterion) {
    let mut group = c.benchmark_group("limit");
    const ROUNDS: usize = 100_000;
    for isa in Isa::available() {
        group.throughput(Throughput::Elements(ceiling::multiply(isa, ROUNDS).0));
        group.bench_function(isa.name(), |b| b.iter(|| black_box(ceiling::multiply(isa, black_box(ROUNDS)))));
    }
    group.finish();
}

fn prefill(c: &mut Criterion) {
    let mut rng = Rng(1);
    let x = activations(Isa::SCALAR, &rng.normals(COLUMNS * K), K);
    let mut out = vec![0f32; COLUMNS * ROWS];
    for &dtype in DType::ALL {
        let mut group = c.benchmark_group(format!("prefill/{dtype}"));
        group.sample_size(10);
        group.throughput(Throughput::Elements((ROWS * K * COLUMNS) as u64));
        let bytes = weights(dtype, ROWS, K, &mut rng);
        let Ok(m) = Matrix::new(dtype, ROWS, K, &bytes) else { continue };
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::from_parameter(isa.name()), |b| {
                b.iter(|| matmul(isa, &m, &x, &mut Tile::whole(black_box(&mut out), ROWS)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, limit, prefill);
criterion_main!(benches);
