//! Products of weights and activations, every format on every instruction set: bytes of weights per second for one column
//! (what generating a token costs), multiply-adds per second ("elements") for 4, 8 and 512 (batches, prompts). Beside them
//! the most that one thread can do: reading memory, multiplying small integers.
#![allow(missing_docs, reason = "the macros of criterion generate public items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tokki_quant::activation::Activations;
use tokki_quant::ceiling;
use tokki_quant::dtype::DType;
use tokki_quant::isa::Isa;
use tokki_quant::matmul::matmul;
use tokki_quant::matrix::{Matrix, RowLayout, interleave};
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

/// Bytes of weights that stay in the second-level cache.
const CACHED: usize = 400 << 10;

/// Bytes of weights that come from main memory on any machine.
const MEMORY: usize = 640 << 20;

fn vectors() -> impl Iterator<Item = Isa> {
    Isa::available().into_iter().filter(|&isa| isa != Isa::SCALAR)
}

/// Bytes of the rows that are repeated, as many as the second-level cache holds and a multiple of 16.
fn some_bytes(dtype: DType) -> usize {
    let row = K / dtype.block_len() * dtype.block_bytes();
    (CACHED / row).next_multiple_of(16) * row
}

/// Bytes of [`rows`].
fn rows_bytes(dtype: DType, bytes: usize) -> usize {
    some_bytes(dtype) * bytes.div_ceil(some_bytes(dtype))
}

/// Rows of `K` weights, about `bytes` bytes: a few random ones, repeated. Returns their number, too.
fn rows(dtype: DType, bytes: usize) -> (usize, Vec<u8>) {
    let row = K / dtype.block_len() * dtype.block_bytes();
    let some = weights(dtype, some_bytes(dtype) / row, K, &mut Rng(1));
    let all = some.repeat(rows_bytes(dtype, bytes) / some.len());
    (all.len() / row, all)
}

/// The weights in either layout, with the name of the benchmark.
fn layouts(dtype: DType, rows: usize, plain: Vec<u8>) -> [(&'static str, RowLayout, Vec<u8>); 2] {
    let mut arranged = vec![0; plain.len()];
    if let Ok(m) = Matrix::new(dtype, rows, K, &plain) {
        interleave(&m, &mut arranged);
    }
    [("", RowLayout::Plain, plain), ("-interleaved", RowLayout::Interleaved, arranged)]
}

fn matrix(dtype: DType, layout: RowLayout, rows: usize, bytes: &[u8]) -> Option<Matrix<'_>> {
    match layout {
        RowLayout::Plain => Matrix::new(dtype, rows, K, bytes).ok(),
        RowLayout::Interleaved => Matrix::interleaved(dtype, rows, K, bytes).ok(),
    }
}

fn one_column(c: &mut Criterion) {
    for (place, bytes) in [("cached", CACHED), ("memory", MEMORY)] {
        let mut group = c.benchmark_group(format!("decode/{place}"));
        group.sample_size(10);
        for &dtype in DType::ALL {
            // Made only when one of its benchmarks is asked for: memory is much.
            let mut made = None;
            for isa in vectors() {
                let x = activations(isa, &Rng(2).normals(K), K);
                for (i, name) in ["", "-interleaved"].into_iter().enumerate() {
                    group.throughput(Throughput::Bytes(rows_bytes(dtype, bytes) as u64));
                    group.bench_function(BenchmarkId::new(format!("{}{name}", isa.name()), dtype), |b| {
                        let (rows, layouts) = made.get_or_insert_with(|| {
                            let (rows, plain) = rows(dtype, bytes);
                            (rows, layouts(dtype, rows, plain))
                        });
                        let Some(m) = matrix(dtype, layouts[i].1, *rows, &layouts[i].2) else { return };
                        let mut out = vec![0f32; *rows];
                        b.iter(|| matmul(isa, &m, &x, &mut Tile::whole(black_box(&mut out), m.rows())));
                    });
                }
            }
        }
    }
}

fn few_columns(c: &mut Criterion) {
    for n in [4, 8] {
        let mut group = c.benchmark_group(format!("batch_of_{n}"));
        group.sample_size(10);
        for &dtype in DType::ALL {
            let (rows, bytes) = rows(dtype, CACHED);
            let Ok(m) = Matrix::new(dtype, rows, K, &bytes) else { continue };
            let mut out = vec![0f32; n * rows];
            group.throughput(Throughput::Elements((n * rows * K) as u64));
            for isa in vectors() {
                let x = activations(isa, &Rng(2).normals(n * K), K);
                group.bench_function(BenchmarkId::new(isa.name(), dtype), |b| {
                    b.iter(|| matmul(isa, &m, &x, &mut Tile::whole(black_box(&mut out), rows)));
                });
            }
        }
    }
}

/// A row of activations in both block forms.
fn quantize(c: &mut Criterion) {
    let mut group = c.benchmark_group("quantize");
    group.throughput(Throughput::Elements(K as u64));
    let x = Rng(2).normals(K);
    let kinds = [DType::Q8_0, DType::Q4K].into_iter().collect();
    let mut acts = Activations::new();
    for isa in Isa::available() {
        group.bench_function(isa.name(), |b| b.iter(|| acts.reset(kinds, 1, K).write(isa, 0, black_box(&x))));
    }
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(MEMORY as u64));
    let buffer = vec![1u8; MEMORY];
    for isa in vectors() {
        group.bench_function(isa.name(), |b| b.iter(|| ceiling::read(isa, black_box(&buffer))));
    }
}

criterion_group!(benches, limit, read, quantize, one_column, few_columns, prefill);
criterion_main!(benches);
