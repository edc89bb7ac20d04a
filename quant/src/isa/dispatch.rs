//! The one switch from an [`Isa`] to the token that proves it.

use super::scalar::Scalar;
use super::simd::{Kernel, Simd, Token};
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512, dots};
use super::{Isa, Level};

/// Runs `kernel` with the token of `isa`. It's compiled without the instructions of `isa`: its inner loops go through
/// [`super::simd::Token::vectorize`].
pub(crate) fn with_token<K: Kernel>(isa: Isa, kernel: K) -> K::Out {
    match isa.level() {
        Level::Scalar => kernel.run(Scalar),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` is made only for what this CPU has.
        Level::Avx2 => kernel.run(unsafe { Avx2::<{ dots::PAIRS }>::new() }),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::AvxVnni => kernel.run(unsafe { Avx2::<{ dots::AVX_VNNI }>::new() }),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx512Vnni => kernel.run(unsafe { Avx512::new() }),
        #[cfg(not(target_arch = "x86_64"))]
        Level::Avx2 | Level::AvxVnni | Level::Avx512Vnni => kernel.run(Scalar),
    }
}

/// Runs `kernel` as [`dispatch`] does where `isa` has vectors; portable code has none that would pay for its compilation.
pub(crate) fn dispatch_vectors<K: Kernel>(isa: Isa, kernel: K) -> Option<K::Out> {
    match isa.level() {
        Level::Scalar => None,
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` is made only for what this CPU has.
        Level::Avx2 => Some(unsafe { Avx2::<{ dots::PAIRS }>::new() }.vectorize(kernel)),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::AvxVnni => Some(unsafe { Avx2::<{ dots::AVX_VNNI }>::new() }.vectorize(kernel)),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx512Vnni => Some(unsafe { Avx512::new() }.vectorize(kernel)),
        #[cfg(not(target_arch = "x86_64"))]
        Level::Avx2 | Level::AvxVnni | Level::Avx512Vnni => None,
    }
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
