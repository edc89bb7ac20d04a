//! The limits of this machine, measured: how fast memory can be read, how many integer multiply-adds can be done.

use super::plan::free_memory;
use crate::Result;
use crate::gguf::Gguf;
use crate::machine::Machine;
use crate::parallel::Pool;
use std::time::{Duration, Instant};
use tokki_quant::ceiling;

/// Larger than any last-level cache that is not shared by a whole rack: where the system doesn't tell how large that is.
const MEASURED_BYTES: usize = 1 << 30;

/// Bytes that no cache holds: so many times what the last ones hold, and `most` at most, or where the system does not tell.
pub(super) fn beyond_caches(times: u64, most: usize) -> usize {
    const MIN_BYTES: usize = 128 << 20;
    let caches = crate::machine::last_level_caches(std::path::Path::new("/"));
    let wanted = |bytes: u64| usize::try_from(bytes.saturating_mul(times)).unwrap_or(most).clamp(MIN_BYTES, most);
    caches.map_or(most, wanted)
}

/// Each limit is the best of several tries within this time.
const LIMIT_TIME: Duration = Duration::from_millis(350);

/// Bytes per second that all threads together can read from memory.
pub fn read_bandwidth(pool: &Pool) -> f64 {
    let buffer = buffer(affordable(beyond_caches(4, MEASURED_BYTES)));
    let chunks: Vec<&[u8]> = buffer.chunks_exact(CHUNK).collect();
    if chunks.is_empty() {
        return 0.0;
    }
    best(|| read_once(pool, &chunks))
}

/// Bytes that a thread reads at a time.
const CHUNK: usize = 1 << 20;

/// Bytes per second at which all threads together read these once.
fn read_once(pool: &Pool, chunks: &[&[u8]]) -> f64 {
    let start = Instant::now();
    pool.run(|lead| {
        lead.phase(chunks.len(), &|_, i| {
            std::hint::black_box(ceiling::read(pool.isa(), chunks[i]));
        });
    });
    chunks.iter().map(|chunk| chunk.len()).sum::<usize>() as f64 / start.elapsed().as_secs_f64()
}

/// Bytes per second at which all threads together read the model's own weights, once through, of a large model a part.
///
/// # Errors
/// A tensor that cannot be read.
pub fn model_bandwidth(pool: &Pool, gguf: &Gguf) -> Result<f64> {
    const MAX_MEASURED: usize = 2 << 30;
    let (mut views, mut size) = (Vec::new(), 0);
    for tensor in gguf.tensors().filter(|tensor| tensor.dtype().is_some()) {
        let view = gguf.view(&tensor.name)?;
        size += view.bytes().len();
        views.push(view);
        if size >= MAX_MEASURED {
            break;
        }
    }
    let chunks: Vec<&[u8]> = views.iter().flat_map(|view| view.bytes().chunks(CHUNK)).collect();
    Ok(read_once(pool, &chunks))
}

/// A buffer of `most` bytes, or of half as many again and again where the system does not give them.
fn buffer(most: usize) -> Vec<u8> {
    let mut buffer = Vec::new();
    let mut len = most;
    while len > 0 && buffer.try_reserve_exact(len).is_err() {
        len /= 2;
    }
    buffer.resize(len, 1);
    buffer
}

/// `most` bytes for a measurement, but no more than a quarter of the free memory: where there's little of it, the process
/// would be killed for a number, or push out the model that it is about to run.
pub fn affordable(most: usize) -> usize {
    const MIN_MEASURED: u64 = 16 << 20;
    (free_memory(&Machine::read()) / 4).max(MIN_MEASURED).min(most as u64) as usize
}

/// Integer multiply-adds per second of all threads together, at the widest that the instruction set has for 4-bit weights.
pub fn integer_peak(pool: &Pool) -> f64 {
    const ROUNDS: usize = 1 << 16;
    let chunks = pool.threads() * 8;
    let (done, _) = ceiling::multiply(pool.isa(), ROUNDS);
    best(|| {
        let start = Instant::now();
        pool.run(|lead| {
            lead.phase(chunks, &|_, _| {
                std::hint::black_box(ceiling::multiply(pool.isa(), ROUNDS));
            });
        });
        (done * chunks as u64) as f64 / start.elapsed().as_secs_f64()
    })
}

fn best(measure: impl Fn() -> f64) -> f64 {
    let start = Instant::now();
    let mut best = 0.0f64;
    while start.elapsed() < LIMIT_TIME {
        best = best.max(measure());
    }
    best
}
