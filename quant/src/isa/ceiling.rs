//! Loops that do one thing as fast as the CPU can.

use super::{Isa, Level};

/// Accumulators that hide the latency of a multiply-add.
const CHAINS: usize = 12;

/// Reads all of `buffer`.
pub(crate) fn read(isa: Isa, buffer: &[u8]) -> u64 {
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` above scalar is made only where the CPU has AVX2.
        Level::Avx2 | Level::AvxVnni | Level::Avx512Vnni => unsafe { x86::read(buffer) },
        #[cfg(target_arch = "x86_64")]
        Level::Sse41 => read_words(buffer),
        #[cfg(target_arch = "aarch64")]
        Level::Neon | Level::NeonDot => read_words(buffer),
        Level::Scalar => read_words(buffer),
    }
}

/// See [`crate::ceiling::multiply`].
pub(crate) fn multiply(isa: Isa, rounds: usize) -> (u64, i32) {
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` is made only for what this CPU has.
        Level::Sse41 => unsafe { x86::multiply_pairs_128(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { x86::multiply_pairs(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::AvxVnni => unsafe { x86::multiply_quads_256(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx512Vnni => unsafe { x86::multiply_quads_512(rounds) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: an `Isa` is made only for what this CPU has.
        Level::Neon => unsafe { aarch64::multiply_pairs(rounds) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Level::NeonDot => unsafe { aarch64::multiply_quads(rounds) },
        Level::Scalar => multiply_scalar(rounds),
    }
}

fn read_words(buffer: &[u8]) -> u64 {
    let (words, rest) = buffer.as_chunks::<8>();
    let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, &byte| sum.wrapping_add(u64::from(byte)))
}

fn multiply_scalar(rounds: usize) -> (u64, i32) {
    let mut sums = [0i32; CHAINS];
    for round in 0..rounds {
        let a = i32::from(std::hint::black_box(round) as i8) | 1;
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = sum.wrapping_add(a.wrapping_mul(i as i32 + 1));
        }
    }
    ((rounds * CHAINS) as u64, sums.iter().fold(0, |sum: i32, x| sum.wrapping_add(*x)))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, read_words};
    use std::arch::x86_64::*;

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
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::CHAINS;
    use std::arch::aarch64::*;
    use std::arch::asm;

    /// Products added up in 16 bits, eight times before they are widened.
    #[target_feature(enable = "neon")]
    pub(super) fn multiply_pairs(rounds: usize) -> (u64, i32) {
        const COLUMNS: usize = 4;
        let weights: [int8x16_t; 8] = std::array::from_fn(|i| vdupq_n_s8(i as i8 + 1));
        let mut sums = [vdupq_n_s32(0); COLUMNS];
        for round in 0..rounds {
            let a = std::hint::black_box(round as i8 | 1);
            for (c, sum) in sums.iter_mut().enumerate() {
                let a = vdupq_n_s8(a ^ c as i8);
                let (mut low, mut high) = (vdupq_n_s16(0), vdupq_n_s16(0));
                for &weight in &weights {
                    low = vmlal_s8(low, vget_low_s8(weight), vget_low_s8(a));
                    high = vmlal_high_s8(high, weight, a);
                }
                *sum = vpadalq_s16(vpadalq_s16(*sum, low), high);
            }
        }
        ((rounds * COLUMNS * 8 * 16) as u64, sums.iter().fold(0, |sum: i32, &x| sum.wrapping_add(vaddvq_s32(x))))
    }

    /// Four products added to 32 bits by one instruction.
    #[target_feature(enable = "neon,dotprod")]
    pub(super) fn multiply_quads(rounds: usize) -> (u64, i32) {
        let weights = vdupq_n_s8(7);
        let mut sums = [vdupq_n_s32(0); CHAINS];
        for round in 0..rounds {
            let a = vdupq_n_s8(std::hint::black_box(round as i8 | 1));
            for sum in &mut sums {
                // SAFETY: it's one instruction on registers, which the function's feature stands for.
                unsafe {
                    asm!("sdot {sum:v}.4s, {weights:v}.16b, {a:v}.16b", sum = inout(vreg) *sum, weights = in(vreg) weights,
                        a = in(vreg) a, options(pure, nomem, nostack, preserves_flags));
                }
            }
        }
        ((rounds * CHAINS * 16) as u64, sums.iter().fold(0, |sum: i32, &x| sum.wrapping_add(vaddvq_s32(x))))
    }
}
