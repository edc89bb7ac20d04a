//! Attention over the cache, in bytes of cache per second: each kind, some ratios of query to key-value heads, from the
//! second-level cache and from main memory; beside them, how fast one thread reads memory at all.
#![allow(missing_docs, reason = "the macros of criterion generate public items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tokki_quant::attention::{KvKind, KvLayout, Partial, Queries, TILE, TileBytes, attend_tile};
use tokki_quant::isa::Isa;

/// Length of a head.
const DIM: usize = 128;

/// Query heads per key-value head.
const GROUPS: [usize; 5] = [1, 3, 5, 8, 64];

/// A cache of about `bytes`, all tiles full.
fn cache(isa: Isa, layout: &KvLayout, bytes: usize) -> Vec<u8> {
    let size = layout.tile_bytes();
    let mut tile = vec![0; size];
    for slot in 0..TILE {
        let head: Vec<f32> = (0..DIM).map(|d| ((slot * 31 + d * 17) % 101) as f32 / 50.0 - 1.0).collect();
        layout.store(isa, &mut tile, slot, &head, &head);
    }
    tile.repeat(bytes.div_ceil(size))
}

/// One decode step's worth of one head: every tile attended to and merged.
fn attend(isa: Isa, layout: &KvLayout, cache: &[u8], queries: &Queries, (all, one): (&mut Partial, &mut Partial)) {
    let visible = vec![0..TILE as u32; queries.rows()];
    all.reset(queries.rows(), layout.v_dim);
    for tile in cache.chunks_exact(layout.tile_bytes()) {
        attend_tile(isa, layout, TileBytes::alone(tile), queries, &visible, None, one);
        all.merge(isa, one);
    }
}

fn attention(c: &mut Criterion) {
    for (place, bytes) in [("cached", 1 << 20), ("memory", 512 << 20)] {
        let mut group = c.benchmark_group(format!("attention/{place}"));
        group.sample_size(10);
        for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::SCALAR) {
            for &(kind, name) in KvKind::NAMES {
                let layout = KvLayout { kind, k_dim: DIM, v_dim: DIM, v_in_k: false };
                let cache = cache(isa, &layout, bytes);
                group.throughput(Throughput::Bytes(cache.len() as u64));
                for rows in GROUPS {
                    let heads = vec![0.5; rows * DIM];
                    let queries = Queries::prepare(isa, &layout, &heads, rows, 0.1);
                    let mut partials = (Partial::new(), Partial::new());
                    group.bench_function(BenchmarkId::new(format!("{}/{name}", isa.name()), rows), |b| {
                        b.iter(|| attend(isa, &layout, &cache, &queries, (&mut partials.0, &mut partials.1)));
                    });
                }
            }
        }
        group.finish();
    }
}

/// The ceiling: one thread sums up integers.
fn plain_read(c: &mut Criterion) {
    let memory = vec![1u64; 64 << 20];
    let mut group = c.benchmark_group("plain read");
    group.sample_size(10).throughput(Throughput::Bytes(8 * memory.len() as u64));
    group
        .bench_function("memory", |b| b.iter(|| black_box(&memory).iter().fold(0, |sum: u64, x| sum.wrapping_add(*x))));
    group.finish();
}

criterion_group!(benches, plain_read, attention);
criterion_main!(benches);
