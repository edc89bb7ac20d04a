//! Pools of random blocks that decode to numbers of the size that trained weights have.

use std::collections::HashMap;

use tokki_quant::random::resize;

use crate::gguf::DType;

/// Standard deviation of the weights.
const STD: f32 = 0.02;
/// Blocks in a pool: a prime, so that rows of any length drift through it, and small enough to stay in a cache.
const POOL_BLOCKS: usize = 4099;
/// The same for formats without blocks, which have one value each.
const VALUES: usize = 262_147;

/// One pool per format, drawn when first needed.
pub(super) struct Pools {
    random: Random,
    pools: HashMap<u32, Vec<u8>>,
}

impl Pools {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random(seed), pools: HashMap::new() }
    }

    /// The pool of a format, and a block number to start from.
    pub(super) fn pool(&mut self, dtype: DType) -> (&[u8], usize) {
        let count = if dtype.block_len() == 1 { VALUES } else { POOL_BLOCKS };
        let start = self.random.below(count as u32) as usize;
        let random = &mut self.random;
        let pool = self.pools.entry(dtype.gguf_id()).or_insert_with(|| {
            let mut bytes = Vec::with_capacity(count * dtype.block_bytes());
            for _ in 0..count {
                block(random, dtype, &mut bytes);
            }
            bytes
        });
        (pool, start)
    }
}

/// A seeded generator (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: u32) -> u32 {
        (((self.next() >> 32) * u64::from(n)) >> 32) as u32
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }

    fn bytes(&mut self, count: usize, out: &mut Vec<u8>) {
        for _ in 0..count {
            out.push((self.next() >> 56) as u8);
        }
    }
}

/// Appends one block.
fn block(random: &mut Random, dtype: DType, out: &mut Vec<u8>) {
    let (start, size) = (out.len(), random.between(0.8, 1.2) * STD);
    random.bytes(dtype.block_bytes(), out);
    resize(dtype, &mut out[start..], size);
}
