//! How many threads are fastest on a machine of mixed cores, settled by a short trial: for one token, which memory binds, and
//! for a prompt, which products bind.
//!
//! Small cores read memory as well as large ones, up to a point: then every phase waits for the last of them. So each number
//! of threads does the work of both kinds, in phases as a model has them, and the shortest time counts.

use crate::Result;
use crate::machine::Machine;
use crate::parallel::Pool;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokki_quant::activation::Activations;
use tokki_quant::dtype::DType;
use tokki_quant::isa::Isa;
use tokki_quant::matmul::matmul;
use tokki_quant::matrix::Matrix;
use tokki_quant::share::OutTiles;

/// Numbers of threads: for passes of few tokens, and for prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadCounts {
    /// For one token, or one each of a few conversations.
    pub decode: usize,
    /// For prompts.
    pub prefill: usize,
}

/// The format that is multiplied: the one that most models are in.
const DTYPE: DType = DType::Q4K;
/// Rows and weights in a row of a matrix: 2.4 MB of Q4_K, a phase.
const TRIED_ROWS: usize = 1024;
const COLS: usize = 4096;
/// Matrices that a token passes through: more than most caches hold.
const MATRICES: usize = 16;
/// Tokens of a prompt.
const PROMPT_TOKENS: usize = 32;
/// Rows that a thread takes at a time.
const THREAD_ROWS: usize = 32;
/// For each number of threads and each kind of work: two of both, with making the weights and a look for other programs, are
/// below 200 ms.
const THREADS_TIME: Duration = Duration::from_millis(20);
/// More threads have to be so much faster: they heat the machine, and keep others from it.
const MIN_SPEEDUP: f64 = 1.03;

/// The best of these numbers of threads, which are in rising order, for both kinds of work.
///
/// # Errors
/// Threads that cannot be started.
pub fn try_counts(counts: &[usize], isa: Isa) -> Result<ThreadCounts> {
    let (work, machine) = (Work::new(isa), Machine::read());
    let mut speeds = [Vec::new(), Vec::new()];
    for &count in counts {
        let pool = Pool::with_isa(count, isa)?.on_cores(&machine);
        for (tokens, speeds) in [1, PROMPT_TOKENS].into_iter().zip(&mut speeds) {
            speeds.push((count, 1.0 / work.seconds(&pool, tokens)));
        }
    }
    let [decode, prefill] = speeds.map(|speeds| least_of_the_fastest(&speeds));
    Ok(ThreadCounts { decode, prefill })
}

/// The first of some numbers of threads that none of the later ones beats by [`MIN_SPEEDUP`].
fn least_of_the_fastest(speeds: &[(usize, f64)]) -> usize {
    let best = speeds.iter().map(|&(_, speed)| speed).fold(0.0, f64::max);
    speeds.iter().find(|&&(_, speed)| speed * MIN_SPEEDUP >= best).map_or(1, |&(count, _)| count)
}

/// Weights and activations that stand for a model's.
struct Work {
    weights: Vec<u8>,
    one: Activations,
    many: Activations,
}

impl Work {
    fn new(isa: Isa) -> Self {
        let row = COLS / DTYPE.block_len() * DTYPE.block_bytes();
        let x: Vec<f32> = (0..COLS).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
        let activations = |tokens| {
            let mut out = Activations::new();
            let writer = out.reset([DTYPE].into_iter().collect(), tokens, COLS);
            (0..tokens).for_each(|token| writer.write(isa, token, &x));
            out
        };
        // Bytes that are small numbers as scales, and two numbers as weights: zeros would be one page of memory again and again.
        Self { weights: vec![0x21; MATRICES * TRIED_ROWS * row], one: activations(1), many: activations(PROMPT_TOKENS) }
    }

    /// The least that a pass took: of one token through all matrices, of many through one.
    fn seconds(&self, pool: &Pool, tokens: usize) -> f64 {
        let (x, matrices) = if tokens == 1 { (&self.one, MATRICES) } else { (&self.many, 1) };
        let mut out = vec![0.0; tokens * TRIED_ROWS];
        let mut least = f64::INFINITY;
        let begin = Instant::now();
        // The first pass wakes the threads.
        for pass in 0.. {
            let start = Instant::now();
            self.pass(pool, x, matrices, &mut out);
            if pass > 0 {
                least = least.min(start.elapsed().as_secs_f64());
            }
            if pass > 0 && begin.elapsed() >= THREADS_TIME {
                break;
            }
        }
        least
    }

    fn pass(&self, pool: &Pool, x: &Activations, matrices: usize, out: &mut [f32]) {
        pool.run(|lead| {
            for bytes in self.weights.chunks_exact(self.weights.len() / MATRICES).take(matrices) {
                let Ok(matrix) = Matrix::new(DTYPE, TRIED_ROWS, COLS, bytes) else { continue };
                let tiles = OutTiles::new(out, TRIED_ROWS, THREAD_ROWS);
                lead.phase(tiles.bands(), &|_, band| matmul(pool.isa(), &matrix, x, &mut tiles.take(band)));
            }
        });
        std::hint::black_box(out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn fewer_threads_win_where_more_are_hardly_faster() {
        assert_eq!(least_of_the_fastest(&[(4, 10.0), (8, 10.2)]), 4);
        assert_eq!(least_of_the_fastest(&[(4, 10.0), (8, 12.0)]), 8);
        assert_eq!(least_of_the_fastest(&[(4, 10.0), (6, 12.1), (8, 12.2)]), 6);
        assert_eq!(least_of_the_fastest(&[(4, 10.0), (8, 7.0)]), 4);
    }

    #[test]
    fn a_trial_is_short_and_says_one_of_the_numbers() {
        let begin = Instant::now();
        let found = try_counts(&[1, 2], Isa::best()).unwrap();
        assert!([1, 2].contains(&found.decode) && [1, 2].contains(&found.prefill), "{found:?}");
        // Many times what it takes alone: other tests are running.
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }

    #[test]
    fn a_pass_multiplies_by_all_weights() {
        let work = Work::new(Isa::SCALAR);
        let mut out = vec![f32::NAN; TRIED_ROWS];
        work.pass(&Pool::with_isa(2, Isa::best()).unwrap(), &work.one, MATRICES, &mut out);
        assert!(out.iter().all(|x| x.is_finite() && *x != 0.0 && *x == out[0]), "{:?}", &out[..4]);
    }
}
