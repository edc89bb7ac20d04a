//! An elementary operation, or attention to one tile of the cache, made so many times, for tools that count instructions
//! (`scripts/long/instructions`). The instruction set is that of `TOKKI_ISA`.
//!
//! ```sh
//! cargo run --release -p tokki-quant --example operation -- rms_norm 4 2048          # times, values
//! cargo run --release -p tokki-quant --example operation -- attention/f16 4 8 128 128    # times, rows, length of keys and of values
//! ```

use std::hint::black_box;
use std::process::ExitCode;
use tokki_quant::activation::{ActKinds, Activations};
use tokki_quant::attention::{KvKind, KvLayout, Partial, Queries, TILE, TileBytes, attend_tile};
use tokki_quant::dtype::DType;
use tokki_quant::isa::Isa;
use tokki_quant::ops;
use tokki_quant::testing::{Rng, chosen_isa};

/// One operation on rows of `n` values; what it works on is made before.
fn elementary(name: &str, isa: Isa, n: usize, times: usize) -> Option<f32> {
    let mut rng = Rng::new(1);
    let (x, y, mut out) = (rng.normals(n), rng.normals(n), rng.normals(n));
    let mut acts = Activations::new();
    // What these formats are multiplied with.
    let kinds: ActKinds = [if name == "quantize_32" { DType::Q8_0 } else { DType::Q4K }].into_iter().collect();
    for _ in 0..times {
        let (x, y, out) = (black_box(&x[..]), black_box(&y[..]), black_box(&mut out[..]));
        match name {
            "rms_norm" => ops::rms_norm(isa, x, y, 1e-5, out),
            "softmax" => ops::softmax(isa, out),
            "silu_mul" => ops::silu_mul(isa, out, x),
            "add" => ops::add(isa, out, x),
            "rope_halves" | "rope_adjacent" => ops::rope(isa, out, &x[..n / 2], &y[..n / 2], name == "rope_halves"),
            "quantize_32" | "quantize_256" => acts.reset(kinds, 1, n).write(isa, 0, x),
            _ => return None,
        }
    }
    Some(out.iter().sum())
}

/// So many rows of queries at a full tile.
fn attention(kind: KvKind, isa: Isa, numbers: [usize; 3], times: usize) -> f32 {
    let [rows, k_dim, v_dim] = numbers;
    let layout = KvLayout { kind, k_dim, v_dim, v_in_k: false };
    let mut rng = Rng::new(1);
    let mut tile = vec![0; layout.tile_bytes()];
    for slot in 0..TILE {
        let (key, value) = (rng.normals(k_dim), rng.normals(v_dim));
        layout.store(isa, &mut tile, slot, &key, &value);
    }
    let queries = Queries::prepare(isa, &layout, &rng.normals(rows * k_dim), rows, 0.1);
    let visible = vec![0..TILE as u32; rows];
    let mut out = Partial::new();
    for _ in 0..times {
        attend_tile(isa, &layout, TileBytes::alone(black_box(&tile)), &queries, &visible, None, black_box(&mut out));
    }
    out.sum().iter().sum()
}

fn run(words: &[String], isa: Isa) -> Option<f32> {
    let [name, times, numbers @ ..] = words else { return None };
    let times = times.parse().ok()?;
    let numbers: Vec<usize> = numbers.iter().map(|number| number.parse().ok()).collect::<Option<_>>()?;
    match (name.strip_prefix("attention/"), &numbers[..]) {
        (Some(kind), &[rows, k_dim, v_dim]) => {
            Some(attention(KvKind::by_name(kind)?, isa, [rows, k_dim, v_dim], times))
        }
        (None, &[n]) if n.is_multiple_of(256) => elementary(name, isa, n, times),
        _ => None,
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match chosen_isa().and_then(|isa| black_box(run(&words, isa))) {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(2),
    }
}
