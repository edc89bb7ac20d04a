//! Tokens of x86-64: 128-bit vectors ([`Sse41`]), 256-bit ones ([`Avx2`], with or without an instruction for dot products)
//! and 512-bit ones ([`Avx512`]); and a unit of tiles beside the last ([`Amx`]).

mod amx;
mod avx2_dots;
mod avx2_lanes;
mod avx2_words;
mod avx512_lanes;
mod avx512_words;
mod ceiling;
pub(super) mod dots;
mod sse41_dots;
mod sse41_emulated;
mod sse41_lanes;
mod sse41_words;

pub(super) use amx::Amx;

use std::arch::is_x86_feature_detected as has;
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use super::simd::{Simd, Task, Token};

/// Proof that the CPU has SSSE3 and SSE4.1.
#[derive(Clone, Copy)]
pub(super) struct Sse41(());

/// Proof that the CPU has AVX2, FMA and F16C, and what `DOT`, one of [`dots`], needs.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const DOT: u8>(());

/// Proof that the CPU has AVX-512 F, BW, DQ, VL and VNNI, on top of AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl<const DOT: u8> Avx2<DOT> {
    /// Whether four products of bytes are added to 32 bits by one instruction.
    const VNNI: bool = DOT != dots::PAIRS;
}

#[target_feature(enable = "ssse3,sse4.1")]
#[inline(never)]
fn with_sse41<S, T: Task<S>>(s: S, task: T) -> T::Out {
    task.run(s)
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline(never)]
fn with_avx2<S, T: Task<S>>(s: S, task: T) -> T::Out {
    task.run(s)
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
#[inline(never)]
fn with_avx_vnni<S, T: Task<S>>(s: S, task: T) -> T::Out {
    task.run(s)
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline(never)]
fn with_avx512<S, T: Task<S>>(s: S, task: T) -> T::Out {
    task.run(s)
}

impl Token for Sse41 {
    const LACKS: Option<&'static str> = Some("no AVX2: everything works, but slower");

    fn supported() -> bool {
        has!("sse4.1") && has!("ssse3")
    }

    #[inline(always)]
    unsafe fn new() -> Self {
        Self(())
    }

    #[inline(always)]
    fn vectorize<T: Task<Self>>(self, task: T) -> T::Out {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { with_sse41(self, task) }
    }

    #[inline(always)]
    fn prefetch(self, line: *const u8) {
        prefetch(line);
    }

    fn multiply(self, rounds: usize) -> (u64, i32) {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { ceiling::multiply_pairs_128(rounds) }
    }
}

impl<const DOT: u8> Token for Avx2<DOT> {
    fn supported() -> bool {
        let dot = match DOT {
            dots::AVX_VNNI => has!("avxvnni"),
            dots::AVX512_VNNI => Avx512::supported(),
            _ => true,
        };
        has!("avx2") && has!("fma") && has!("f16c") && dot
    }

    #[inline(always)]
    unsafe fn new() -> Self {
        Self(())
    }

    #[inline(always)]
    fn vectorize<T: Task<Self>>(self, task: T) -> T::Out {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            match DOT {
                dots::AVX_VNNI => with_avx_vnni(self, task),
                dots::AVX512_VNNI => with_avx512(self, task),
                _ => with_avx2(self, task),
            }
        }
    }

    #[inline(always)]
    fn prefetch(self, line: *const u8) {
        prefetch(line);
    }

    fn read(self, buffer: &[u8]) -> u64 {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { ceiling::read(buffer) }
    }

    fn multiply(self, rounds: usize) -> (u64, i32) {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            match DOT {
                dots::AVX_VNNI => ceiling::multiply_quads_256(rounds),
                dots::AVX512_VNNI => ceiling::multiply_quads_512(rounds),
                _ => ceiling::multiply_pairs(rounds),
            }
        }
    }
}

impl Token for Avx512 {
    fn supported() -> bool {
        let vectors = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        Avx2::<{ dots::PAIRS }>::supported() && vectors && has!("avx512vnni")
    }

    #[inline(always)]
    unsafe fn new() -> Self {
        Self(())
    }

    #[inline(always)]
    fn vectorize<T: Task<Self>>(self, task: T) -> T::Out {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { with_avx512(self, task) }
    }

    #[inline(always)]
    fn prefetch(self, line: *const u8) {
        prefetch(line);
    }

    fn read(self, buffer: &[u8]) -> u64 {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { ceiling::read(buffer) }
    }

    fn multiply(self, rounds: usize) -> (u64, i32) {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { ceiling::multiply_quads_512(rounds) }
    }
}

#[inline(always)]
fn prefetch(line: *const u8) {
    // SAFETY: every x86-64 CPU has it; fetching ahead has no effect that could be seen, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
}

impl Simd for Sse41 {
    type Few = Self;
    #[inline(always)]
    fn few(self) -> Self {
        self
    }
}

impl<const DOT: u8> Simd for Avx2<DOT> {
    type Few = Self;
    #[inline(always)]
    fn few(self) -> Self {
        self
    }
}

impl Simd for Avx512 {
    /// Eight rows, 256 bits: sixteen streams of memory would be too many.
    type Few = Avx2<{ dots::AVX512_VNNI }>;
    #[inline(always)]
    fn few(self) -> Self::Few {
        Avx2(())
    }
}

/// Runs `kernel` with emulated tiles beside 512-bit vectors, where this CPU has those.
#[cfg(test)]
pub(super) fn with_emulated_tiles<K: super::tiles::TileKernel>(kernel: K) -> Option<K::Out> {
    use super::tiles::{TileConfig, emulated::EmulatedTiles};
    Avx512::supported().then(|| kernel.run(Avx512(()), &mut EmulatedTiles::new(&TileConfig::WHOLE)))
}
