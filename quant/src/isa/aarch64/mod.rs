//! Tokens of aarch64: 128-bit vectors, with or without instructions for dot products of bytes and for products of small
//! matrices of bytes ([`Neon`]).

mod ceiling;
pub(super) mod dots;
mod lanes;
mod row_dots;
mod words;

use std::arch::{asm, is_aarch64_feature_detected as has};

use super::simd::{Simd, Task, Token};

/// Proof that the CPU has NEON, and what `MUL`, one of [`dots`], needs.
#[derive(Clone, Copy)]
pub(super) struct Neon<const MUL: u8>(());

#[target_feature(enable = "neon")]
#[inline(never)]
fn with_neon<S, T: Task<S>>(s: S, task: T) -> T::Out {
    task.run(s)
}

#[target_feature(enable = "neon,dotprod")]
#[inline(never)]
fn with_dot<S, T: Task<S>>(s: S, task: T) -> T::Out {
    task.run(s)
}

#[target_feature(enable = "neon,dotprod,i8mm")]
#[inline(never)]
fn with_tiles<S, T: Task<S>>(s: S, task: T) -> T::Out {
    task.run(s)
}

impl<const MUL: u8> Token for Neon<MUL> {
    fn supported() -> bool {
        has!("neon") && (MUL == dots::WIDEN || has!("dotprod")) && (MUL != dots::TILES || has!("i8mm"))
    }

    #[inline(always)]
    unsafe fn new() -> Self {
        Self(())
    }

    #[inline(always)]
    fn vectorize<T: Task<Self>>(self, task: T) -> T::Out {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            match MUL {
                dots::TILES => with_tiles(self, task),
                dots::DOT => with_dot(self, task),
                _ => with_neon(self, task),
            }
        }
    }

    #[inline(always)]
    fn prefetch(self, line: *const u8) {
        // SAFETY: every aarch64 CPU has it; fetching ahead has no effect that could be seen, whatever the address.
        unsafe { asm!("prfm pldl1keep, [{0}]", in(reg) line, options(readonly, nostack, preserves_flags)) };
    }

    fn multiply(self, rounds: usize) -> (u64, i32) {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            match MUL {
                dots::TILES => ceiling::multiply_tiles(rounds),
                dots::DOT => ceiling::multiply_quads(rounds),
                _ => ceiling::multiply_pairs(rounds),
            }
        }
    }
}

impl<const MUL: u8> Simd for Neon<MUL> {
    type Few = Self;
    #[inline(always)]
    fn few(self) -> Self {
        self
    }
}
