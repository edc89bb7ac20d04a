//! What every operation means: portable Rust on arrays.

mod lanes;
mod words;

use super::simd::{Simd, Task, Token};

/// Portable code, on every machine.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

impl Token for Scalar {
    fn vectorize<T: Task<Self>>(self, task: T) -> T::Out {
        task.run(self)
    }

    #[inline(always)]
    fn prefetch(self, _line: *const u8) {}
}

impl Simd for Scalar {
    type Few = Self;
    #[inline(always)]
    fn few(self) -> Self {
        self
    }
}
