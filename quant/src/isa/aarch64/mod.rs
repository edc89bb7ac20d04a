//! Tokens of aarch64: 128-bit vectors, with or without an instruction for dot products of bytes ([`Neon`]).

mod ceiling;
mod dots;
mod lanes;
mod words;

use std::arch::{asm, is_aarch64_feature_detected as has};

use super::simd::{Simd, Task, Token};

/// Proof that the CPU has NEON, and the dot product of bytes (`sdot`, FEAT_DotProd) if `DOT`.
#[derive(Clone, Copy)]
pub(super) struct Neon<const DOT: bool>(());

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

impl<const DOT: bool> Token for Neon<DOT> {
    fn supported() -> bool {
        has!("neon") && (!DOT || has!("dotprod"))
    }

    #[inline(always)]
    unsafe fn new() -> Self {
        Self(())
    }

    #[inline(always)]
    fn vectorize<T: Task<Self>>(self, task: T) -> T::Out {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { if DOT { with_dot(self, task) } else { with_neon(self, task) } }
    }

    #[inline(always)]
    fn prefetch(self, line: *const u8) {
        // SAFETY: every aarch64 CPU has it; fetching ahead has no effect that could be seen, whatever the address.
        unsafe { asm!("prfm pldl1keep, [{0}]", in(reg) line, options(readonly, nostack, preserves_flags)) };
    }

    fn multiply(self, rounds: usize) -> (u64, i32) {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { if DOT { ceiling::multiply_quads(rounds) } else { ceiling::multiply_pairs(rounds) } }
    }
}

impl<const DOT: bool> Simd for Neon<DOT> {
    type Few = Self;
    #[inline(always)]
    fn few(self) -> Self {
        self
    }
}
