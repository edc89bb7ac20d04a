//! What every operation means: portable Rust on arrays.

mod lanes;
mod words;

use super::simd::{CHAINS, Simd, Task, Token};

/// Portable code, on every machine.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

impl Token for Scalar {
    const LACKS: Option<&'static str> = Some("no vectors that are known here: everything works, but many times slower");

    fn supported() -> bool {
        true
    }

    unsafe fn new() -> Self {
        Self
    }

    fn vectorize<T: Task<Self>>(self, task: T) -> T::Out {
        task.run(self)
    }

    #[inline(always)]
    fn prefetch(self, _line: *const u8) {}

    fn multiply(self, rounds: usize) -> (u64, i32) {
        let mut sums = [0i32; CHAINS];
        for round in 0..rounds {
            let a = i32::from(std::hint::black_box(round) as i8) | 1;
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = sum.wrapping_add(a.wrapping_mul(i as i32 + 1));
            }
        }
        ((rounds * CHAINS) as u64, sums.iter().fold(0, |sum: i32, x| sum.wrapping_add(*x)))
    }
}

impl Simd for Scalar {
    type Few = Self;
    #[inline(always)]
    fn few(self) -> Self {
        self
    }
}
