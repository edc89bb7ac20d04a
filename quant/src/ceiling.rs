//! What a thread can do at most, to hold speeds against: reading memory, multiplying small integers. The caller runs these
//! on all of its threads and takes the time.

use crate::isa::Isa;
use crate::isa::dispatch::{with_tiles, with_token};
use crate::isa::simd::{Kernel, MAX_ROWS, Simd, Words};
use crate::isa::tiles::{TILE_ROWS, TileKernel, TileMemory, TileUnit};

/// Reads all of `buffer` and returns a sum of it, so that no read can be left out.
pub fn read(isa: Isa, buffer: &[u8]) -> u64 {
    with_token(isa, Read(buffer))
}

/// Multiplies unsigned bytes below 16 with signed bytes, as fast as the instruction set can, `rounds` times. Returns the
/// number of multiply-adds done, and a sum that depends on all of them.
pub fn multiply(isa: Isa, rounds: usize) -> (u64, i32) {
    with_tiles(isa, Multiply(rounds)).unwrap_or_else(|multiply| with_token(isa, multiply))
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

impl TileKernel for Multiply {
    type Out = (u64, i32);

    /// Four products a round, as many as hide each other's latency.
    fn run<S: Words, U: TileUnit>(self, _s: S, unit: &mut U) -> (u64, i32) {
        const MULTIPLY_ADDS: usize = 4 * TILE_ROWS * MAX_ROWS * 64;
        let mut sums = TileMemory([[0x0101_0101; MAX_ROWS]; TILE_ROWS]);
        unit.load::<0>(&sums);
        unit.load::<1>(&TileMemory([[0x0707_0707; MAX_ROWS]; TILE_ROWS]));
        unit.zero::<4>();
        for _ in 0..self.0 {
            unit.add_product::<4, 0, 1, false>();
            unit.add_product::<5, 0, 1, false>();
            unit.add_product::<6, 0, 1, false>();
            unit.add_product::<7, 0, 1, false>();
        }
        // No instruction is left out: one sum speaks for all.
        unit.store::<4>(&mut sums);
        let sum = sums.0.as_flattened().iter().fold(0, |sum: i32, x| sum.wrapping_add(*x as i32));
        ((self.0 * MULTIPLY_ADDS) as u64, sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::dispatch::with_emulated_tiles;

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
    fn tiles_multiply_as_often_as_they_say() {
        if let Some((done, sum)) = with_emulated_tiles(Multiply(3)) {
            // Each adds 7 times 1, one in four to the tile that is read.
            assert_eq!((done, i64::from(sum)), (3 * 4 * 16 * 16 * 64, 7 * done as i64 / 4));
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
