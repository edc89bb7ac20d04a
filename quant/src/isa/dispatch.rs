//! The one switch from an [`Isa`] to the token that proves it.

#[cfg(target_arch = "aarch64")]
use super::aarch64::Neon;
use super::scalar::Scalar;
use super::simd::{Kernel, Simd};
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512, Sse41, dots};
use super::{Isa, Level};

/// Runs `kernel` in portable code.
pub(crate) fn portable<K: Kernel>(kernel: K) -> K::Out {
    kernel.run(Scalar)
}

/// Runs `kernel` with the token of `isa`. It's compiled without the instructions of `isa`: its inner loops go through
/// [`super::simd::Token::vectorize`].
fn with_token<K: Kernel>(isa: Isa, kernel: K) -> K::Out {
    match with_vectors(isa, kernel) {
        Ok(out) => out,
        Err(kernel) => portable(kernel),
    }
}

/// As [`with_token`] where `isa` has vectors, else gives the kernel back: what is defined row by row needs no portable kernel
/// that would never run.
pub(crate) fn with_vectors<K: Kernel>(isa: Isa, kernel: K) -> Result<K::Out, K> {
    match isa.level() {
        Level::Scalar => Err(kernel),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` is made only for what this CPU has.
        Level::Sse41 => Ok(kernel.run(unsafe { Sse41::new() })),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => Ok(kernel.run(unsafe { Avx2::<{ dots::PAIRS }>::new() })),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::AvxVnni => Ok(kernel.run(unsafe { Avx2::<{ dots::AVX_VNNI }>::new() })),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx512Vnni => Ok(kernel.run(unsafe { Avx512::new() })),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: an `Isa` is made only for what this CPU has.
        Level::Neon => Ok(kernel.run(unsafe { Neon::<false>::new() })),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Level::NeonDot => Ok(kernel.run(unsafe { Neon::<true>::new() })),
    }
}

/// Runs `kernel` as [`dispatch`] does where `isa` has vectors. Returns whether it did.
pub(crate) fn dispatch_vectors<K: Kernel>(isa: Isa, kernel: K) -> bool {
    with_vectors(isa, Whole(kernel)).is_ok()
}

/// Runs `kernel` as a function of its own, compiled as a whole for `isa`.
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Out {
    with_token(isa, Whole(kernel))
}

struct Whole<K>(K);

impl<K: Kernel> Kernel for Whole<K> {
    type Out = K::Out;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> K::Out {
        s.vectorize(self.0)
    }
}
