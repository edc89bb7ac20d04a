//! Loops that read and multiply as fast as the CPU can.

use std::arch::x86_64::*;

use crate::isa::simd::{CHAINS, read_words};

/// Reads `buffer` in four streams of vectors.
#[target_feature(enable = "avx2")]
pub(super) fn read(buffer: &[u8]) -> u64 {
    const STEP: usize = 256;
    let (blocks, rest) = buffer.as_chunks::<STEP>();
    let mut sums = [_mm256_setzero_si256(); 4];
    for block in blocks {
        for (i, part) in block.as_chunks::<32>().0.iter().enumerate() {
            // SAFETY: `part` is 32 bytes.
            let x = unsafe { _mm256_loadu_si256(part.as_ptr().cast()) };
            sums[i % 4] = _mm256_add_epi64(sums[i % 4], x);
        }
    }
    let sum = _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
    let mut lanes = [0u64; 4];
    // SAFETY: `lanes` is 32 bytes.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
    lanes.iter().fold(read_words(rest), |sum, x| sum.wrapping_add(*x))
}

/// Pairs of products added up in 16 bits, eight times before they are widened: the most that 4-bit weights allow.
#[target_feature(enable = "avx2")]
pub(super) fn multiply_pairs(rounds: usize) -> (u64, i32) {
    const COLUMNS: usize = 4;
    let ones = _mm256_set1_epi16(1);
    let weights: [__m256i; 8] = std::array::from_fn(|i| _mm256_set1_epi8(i as i8 + 1));
    let mut sums = [_mm256_setzero_si256(); COLUMNS];
    for round in 0..rounds {
        let a = std::hint::black_box(round as i32 | 1);
        let a: [__m256i; COLUMNS] = std::array::from_fn(|c| _mm256_set1_epi32(a << c));
        for (sum, a) in sums.iter_mut().zip(a) {
            let mut pairs = _mm256_maddubs_epi16(weights[0], a);
            for weight in &weights[1..] {
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(*weight, a));
            }
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
    }
    ((rounds * COLUMNS * 8 * 32) as u64, sums.iter().fold(0, |sum: i32, x| sum.wrapping_add(lanes_256(*x))))
}

/// As [`multiply_pairs`] with vectors of 128 bits.
#[target_feature(enable = "ssse3,sse4.1")]
pub(super) fn multiply_pairs_128(rounds: usize) -> (u64, i32) {
    const COLUMNS: usize = 4;
    let ones = _mm_set1_epi16(1);
    let weights: [__m128i; 8] = std::array::from_fn(|i| _mm_set1_epi8(i as i8 + 1));
    let mut sums = [_mm_setzero_si128(); COLUMNS];
    for round in 0..rounds {
        let a = std::hint::black_box(round as i32 | 1);
        let a: [__m128i; COLUMNS] = std::array::from_fn(|c| _mm_set1_epi32(a << c));
        for (sum, a) in sums.iter_mut().zip(a) {
            let mut pairs = _mm_maddubs_epi16(weights[0], a);
            for weight in &weights[1..] {
                pairs = _mm_add_epi16(pairs, _mm_maddubs_epi16(*weight, a));
            }
            *sum = _mm_add_epi32(*sum, _mm_madd_epi16(pairs, ones));
        }
    }
    let lanes = sums.map(|x| {
        let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
        _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x)))
    });
    ((rounds * COLUMNS * 8 * 16) as u64, lanes.into_iter().fold(0, i32::wrapping_add))
}

#[target_feature(enable = "avx2,avxvnni")]
pub(super) fn multiply_quads_256(rounds: usize) -> (u64, i32) {
    let weights = _mm256_set1_epi8(7);
    let mut sums = [_mm256_setzero_si256(); CHAINS];
    for round in 0..rounds {
        let a = _mm256_set1_epi32(std::hint::black_box(round as i32 | 1));
        for sum in &mut sums {
            *sum = _mm256_dpbusd_avx_epi32(*sum, weights, a);
        }
    }
    ((rounds * CHAINS * 32) as u64, sums.iter().fold(0, |sum: i32, x| sum.wrapping_add(lanes_256(*x))))
}

#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn multiply_quads_512(rounds: usize) -> (u64, i32) {
    let weights = _mm512_set1_epi32(0x0707_0707);
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    for round in 0..rounds {
        let a = _mm512_set1_epi32(std::hint::black_box(round as i32 | 1));
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, weights, a);
        }
    }
    let sum = sums.iter().fold(0, |sum: i32, x| sum.wrapping_add(_mm512_reduce_add_epi32(*x)));
    ((rounds * CHAINS * 64) as u64, sum)
}

#[target_feature(enable = "avx2")]
fn lanes_256(x: __m256i) -> i32 {
    let mut lanes = [0i32; 8];
    // SAFETY: `lanes` is 32 bytes.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), x) };
    lanes.iter().fold(0, |sum, x| sum.wrapping_add(*x))
}
