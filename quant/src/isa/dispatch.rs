//! The one way from an [`Isa`] to the token that proves it.

use super::levels::Isa;
pub(crate) use super::levels::{with_tiles, with_vectors};
use super::scalar::Scalar;
use super::simd::{Kernel, Simd};

/// Runs `kernel` in portable code.
pub(crate) fn portable<K: Kernel>(kernel: K) -> K::Out {
    kernel.run(Scalar)
}

/// Runs `kernel` with the token of `isa`. It's compiled without the instructions of `isa`: its inner loops go through
/// [`super::simd::Token::vectorize`].
pub(crate) fn with_token<K: Kernel>(isa: Isa, kernel: K) -> K::Out {
    match with_vectors(isa, kernel) {
        Ok(out) => out,
        Err(kernel) => portable(kernel),
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

/// Runs `kernel` with emulated tiles and the vectors that a unit of tiles stands beside, where this CPU has those.
#[cfg(test)]
pub(crate) fn with_emulated_tiles<K: super::tiles::TileKernel>(kernel: K) -> Option<K::Out> {
    #[cfg(target_arch = "x86_64")]
    return super::x86::with_emulated_tiles(kernel);
    #[cfg(not(target_arch = "x86_64"))]
    return Some(kernel).and(None);
}
