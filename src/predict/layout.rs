//! What interleaved rows are worth on this machine: the same weights of a model, multiplied in both layouts in turn.

use crate::Result;
use crate::gguf::{DType, Gguf, RowLayout, TensorFormat};
use crate::model::Stack;
use crate::parallel::Pool;
use std::time::Instant;
use tokki_quant::activation::Activations;
use tokki_quant::matmul::matmul;
use tokki_quant::matrix::{self, Matrix};
use tokki_quant::share::OutTiles;

/// Bytes of weights that are multiplied: more than caches hold.
const SAMPLE: usize = 96 << 20;
/// Fewer say nothing about memory.
const MIN_SAMPLE: usize = 32 << 20;
/// Rounds, each of both layouts.
const LAYOUT_ROUNDS: usize = 7;
/// Rows that a thread takes at a time.
const BAND_ROWS: usize = 128;

/// The format that most of a model's bytes are in.
pub fn main_format(gguf: &Gguf) -> Option<DType> {
    gguf.formats().into_iter().find_map(|(format, ..)| match format {
        TensorFormat::Known(dtype) => Some(dtype),
        TensorFormat::Unsupported(_) => None,
    })
}

/// How many times as fast one token is with interleaved rows, by matrices of `dtype` of a model with plain ones; `None` where it
/// has too few of them to tell.
///
/// # Errors
/// A tensor that cannot be read.
pub fn gain(gguf: &Gguf, dtype: DType, pool: &Pool) -> Result<Option<f64>> {
    if !dtype.interleaves() || gguf.layout() == RowLayout::Interleaved {
        return Ok(None);
    }
    let matrices = sample(gguf, dtype)?;
    let size: usize = matrices.iter().map(|stack| stack.matrix_bytes()).sum();
    if size < MIN_SAMPLE {
        return Ok(None);
    }
    // Copies of both, so that neither is read from a file.
    let both: Vec<(usize, usize, [Vec<u8>; 2])> = matrices
        .iter()
        .map(|stack| {
            let matrix = stack.matrix(0);
            let mut arranged = vec![0; matrix.bytes().len()];
            matrix::interleave(&matrix, &mut arranged);
            (matrix.rows(), matrix.cols(), [matrix.bytes().to_vec(), arranged])
        })
        .collect();
    let mut seconds = [Vec::new(), Vec::new()];
    for _ in 0..LAYOUT_ROUNDS {
        for (layout, seconds) in seconds.iter_mut().enumerate() {
            let start = Instant::now();
            for (rows, cols, bytes) in &both {
                let matrix = match layout {
                    0 => Matrix::new(dtype, *rows, *cols, &bytes[0]),
                    _ => Matrix::interleaved(dtype, *rows, *cols, &bytes[1]),
                };
                matrix.into_iter().for_each(|matrix| once(&matrix, pool));
            }
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let [plain, interleaved] = seconds.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[LAYOUT_ROUNDS / 2]
    });
    Ok(Some(plain / interleaved))
}

/// Matrices of a format, as many as the sample holds.
fn sample(gguf: &Gguf, dtype: DType) -> Result<Vec<Stack>> {
    let (mut matrices, mut size) = (Vec::new(), 0);
    for tensor in gguf.tensors() {
        let &[cols, rows] = tensor.shape.as_slice() else { continue };
        let bytes = dtype.row_bytes(cols).map_or(usize::MAX, |row| row.saturating_mul(rows));
        if tensor.dtype() == Some(dtype) && rows >= BAND_ROWS && size + bytes <= SAMPLE {
            matrices.push(Stack::whole(gguf.view(&tensor.name)?, 1, rows, cols)?);
            size += bytes;
        }
    }
    Ok(matrices)
}

/// The product with one row of activations.
fn once(matrix: &Matrix<'_>, pool: &Pool) {
    let x: Vec<f32> = (0..matrix.cols()).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
    let mut acts = Activations::new();
    acts.reset([matrix.dtype()].into_iter().collect(), 1, matrix.cols()).write(pool.isa(), 0, &x);
    let mut out = vec![0.0; matrix.rows()];
    let tiles = OutTiles::new(&mut out, matrix.rows(), BAND_ROWS);
    pool.run_few(|lead| {
        lead.phase(tiles.bands(), &|_, band| matmul(pool.isa(), matrix, &acts, &mut tiles.take(band)));
    });
    std::hint::black_box(&out);
}
