//! A product of random weights with random activations, made so many times, for tools that count instructions
//! (`scripts/long/instructions`). The instruction set is that of `TOKKI_ISA`.
//!
//! ```sh
//! cargo run --release -p tokki-quant --example product -- q4_k plain 1 4 32 16     # columns, products, rows, blocks of 256
//! cargo run --release -p tokki-quant --example product -- formats                  # and what they are multiplied as
//! ```

use std::hint::black_box;
use std::io::Write;
use std::process::ExitCode;
use tokki_quant::activation::ActKind;
use tokki_quant::dtype::DType;
use tokki_quant::isa::Isa;
use tokki_quant::matmul::matmul;
use tokki_quant::matrix::{Matrix, interleave};
use tokki_quant::share::Tile;
use tokki_quant::testing::{Rng, activations, chosen_isa, weights};

/// What is asked for.
struct Wanted {
    dtype: DType,
    interleaved: bool,
    columns: usize,
    products: usize,
    rows: usize,
    blocks: usize,
}

fn wanted(words: &[String]) -> Option<Wanted> {
    let [dtype, layout, numbers @ ..] = words else { return None };
    let dtype = *DType::ALL.iter().find(|known| known.to_string().eq_ignore_ascii_case(dtype))?;
    let interleaved = match layout.as_str() {
        "plain" => false,
        "interleaved" => true,
        _ => return None,
    };
    let numbers: Vec<usize> = numbers.iter().map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [columns, products, rows, blocks] = numbers[..] else { return None };
    Some(Wanted { dtype, interleaved, columns, products, rows, blocks })
}

fn run(wanted: &Wanted, isa: Isa) -> Option<f32> {
    let Wanted { dtype, interleaved, columns, products, rows, blocks } = *wanted;
    let k = 256 * blocks;
    let mut rng = Rng::new(1);
    let plain = weights(dtype, rows, k, &mut rng);
    let mut bytes = plain.clone();
    let mut m = Matrix::new(dtype, rows, k, &plain).ok()?;
    if interleaved {
        interleave(&m, &mut bytes);
        m = Matrix::interleaved(dtype, rows, k, &bytes).ok()?;
    }
    let x = activations(isa, &rng.normals(columns * k), k);
    let mut out = vec![0f32; columns * rows];
    for _ in 0..products {
        matmul(isa, black_box(&m), &x, &mut Tile::whole(black_box(&mut out), rows));
    }
    Some(out.iter().sum())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["formats"] {
        let kind = |dtype: DType| if dtype.act() == ActKind::F32 { "floats" } else { "bytes" };
        let lines: String = DType::ALL.iter().map(|&dtype| format!("{dtype} {}\n", kind(dtype))).collect();
        return ExitCode::from(u8::from(std::io::stdout().write_all(lines.as_bytes()).is_err()));
    }
    let (Some(wanted), Some(isa)) = (wanted(&words), chosen_isa()) else { return ExitCode::from(2) };
    match black_box(run(&wanted, isa)) {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(2),
    }
}
