//! What a thread can do at most, to hold speeds against: reading memory, multiplying small integers. The caller runs these
//! on all of its threads and takes the time.

use crate::isa::Isa;
use crate::isa::dispatch::with_token;
use crate::isa::simd::{Kernel, Simd};

/// Reads all of `buffer` and returns a sum of it, so that no read can be left out.
pub fn read(isa: Isa, buffer: &[u8]) -> u64 {
    with_token(isa, Read(buffer))
}

/// Multiplies unsigned bytes below 16 with signed bytes, as fast as the instruction set can, `rounds` times. Returns the
/// number of multiply-adds done, and a sum that depends on all of them.
pub fn multiply(isa: Isa, rounds: usize) -> (u64, i32) {
    with_token(isa, Multiply(rounds))
}

struct Read<'a>(&'a [u8]);

impl Kernel for Read<'_> {
    type Out = u64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> u64 {
        s.read(self.0)
    }
}

struct Multiply(usize);

impl Kernel for Multiply {
    type Out = (u64, i32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (u64, i32) {
        s.multiply(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read() {
        let mut buffer = vec![0u8; 100_003];
        for isa in Isa::available() {
            let before = read(isa, &buffer);
            for at in [0, 1, 255, 65_536, 100_002] {
                buffer[at] ^= 1;
                assert_ne!(read(isa, &buffer), before, "{isa:?} {at}");
                buffer[at] ^= 1;
            }
        }
    }

    #[test]
    fn all_instruction_sets_do_the_same_work() {
        for isa in Isa::available() {
            let (done, sum) = multiply(isa, 10);
            assert_eq!(multiply(isa, 20).0, 2 * done, "{isa:?}");
            assert_ne!(sum, 0, "{isa:?}");
        }
    }
}
