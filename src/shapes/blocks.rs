//! Pools of random blocks that decode to numbers of the size that trained weights have.

use std::collections::HashMap;

use half::{bf16, f16};
use tokki_quant::matrix::Matrix;

use crate::gguf::DType;

/// Standard deviation of the weights.
const STD: f32 = 0.02;
/// Blocks in a pool: a prime, so that rows of any length drift through it, and small enough to stay in a cache.
const BLOCKS: usize = 4099;
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
        let count = if dtype.block_len() == 1 { VALUES } else { BLOCKS };
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

/// Appends one block. Where codes are uniform, a code's own spread is `levels / sqrt(12)`; the scale brings it to [`STD`].
fn block(random: &mut Random, dtype: DType, out: &mut Vec<u8>) {
    let near = random.between(0.8, 1.2) * STD;
    let half = |out: &mut Vec<u8>, x: f32| out.extend_from_slice(&f16::from_f32(x).to_le_bytes());
    match dtype {
        DType::F32 => out.extend_from_slice(&random.between(-1.73 * STD, 1.73 * STD).to_le_bytes()),
        DType::F16 => half(out, random.between(-1.73 * STD, 1.73 * STD)),
        DType::BF16 => out.extend_from_slice(&bf16::from_f32(random.between(-1.73 * STD, 1.73 * STD)).to_le_bytes()),
        DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 | DType::Q8_0 | DType::IQ4NL => {
            let (spread, minimum) = match dtype {
                DType::Q4_1 => (4.6, Some(-7.5)),
                DType::Q5_1 => (9.2, Some(-15.5)),
                DType::Q4_0 => (4.6, None),
                DType::Q5_0 => (9.2, None),
                DType::Q8_0 => (73.9, None),
                _ => (70.0, None),
            };
            half(out, near / spread);
            if let Some(minimum) = minimum {
                half(out, near / spread * minimum);
            }
            let codes = dtype.block_bytes() - if minimum.is_some() { 4 } else { 2 };
            random.bytes(codes, out);
        }
        DType::MXFP4 => {
            out.push(119 + random.below(2) as u8);
            random.bytes(16, out);
        }
        // Their scale is a small subnormal number of 2^-10 a step.
        DType::NVFP4 => {
            out.extend((0..4).map(|_| 3 + random.below(2) as u8));
            random.bytes(32, out);
        }
        DType::Q4K | DType::Q5K => {
            let levels = if dtype == DType::Q4K { 15.0 } else { 31.0 };
            let scale = near / (32.0 * levels / 3.464);
            half(out, scale);
            half(out, scale * levels / 2.0);
            k4_scales(random, out);
            random.bytes(dtype.block_bytes() - 16, out);
        }
        DType::Q6K => {
            random.bytes(192, out);
            out.extend((0..16).map(|_| 12 + random.below(9) as u8));
            half(out, near / (16.0 * 18.5));
        }
        DType::Q3K => {
            random.bytes(108, out);
            half(out, near / (18.5 * 2.3));
        }
        DType::Q2K => {
            out.extend((0..16).map(|_| (6 + random.below(5) as u8) * 0x11));
            random.bytes(64, out);
            half(out, near / (8.0 * 1.118));
            half(out, near / (8.0 * 1.118) * 1.5);
        }
        DType::IQ4XS => {
            half(out, near / (18.5 * 70.0));
            random.bytes(134, out);
        }
        DType::TQ1_0
        | DType::TQ2_0
        | DType::IQ1S
        | DType::IQ1M
        | DType::IQ2XXS
        | DType::IQ2XS
        | DType::IQ2S
        | DType::IQ3XXS
        | DType::IQ3S => {
            let start = out.len();
            random.bytes(dtype.block_bytes(), out);
            let block = &mut out[start..];
            set_scale(dtype, block, 1.0);
            let spread = spread(dtype, block);
            set_scale(dtype, block, near / spread);
        }
    }
}

/// The 12 bytes of scales and minimums of eight groups: 24 to 40 of 63 each, every minimum equal to its scale.
fn k4_scales(random: &mut Random, out: &mut Vec<u8>) {
    let s: [u8; 8] = std::array::from_fn(|_| 24 + random.below(17) as u8);
    let first = (0..4).map(|j| s[j] | (s[j + 4] >> 4) << 6);
    let both: Vec<u8> = first.collect();
    out.extend_from_slice(&both);
    out.extend_from_slice(&both);
    out.extend((4..8).map(|j| (s[j] & 15) | (s[j] & 15) << 4));
}

/// Sets the scale of a block of codes from lists, or of ternary ones.
fn set_scale(dtype: DType, block: &mut [u8], d: f32) {
    let bits = f16::from_f32(d).to_bits();
    match dtype {
        // Its four nibbles are the upper ones of four numbers.
        DType::IQ1M => {
            for (i, byte) in block[48..].iter_mut().skip(1).step_by(2).enumerate() {
                *byte = *byte & 15 | ((bits >> (4 * i)) as u8 & 15) << 4;
            }
        }
        DType::TQ1_0 => block[52..].copy_from_slice(&bits.to_le_bytes()),
        DType::TQ2_0 => block[64..].copy_from_slice(&bits.to_le_bytes()),
        _ => block[..2].copy_from_slice(&bits.to_le_bytes()),
    }
}

/// The root of the mean square of a block's weights; 1 for one of zeros.
fn spread(dtype: DType, block: &[u8]) -> f32 {
    let mut weights = vec![0.0; dtype.block_len()];
    if let Ok(matrix) = Matrix::new(dtype, 1, weights.len(), block) {
        matrix.decode_row(0, &mut weights);
    }
    let squares: f32 = weights.iter().map(|w| w * w).sum();
    if squares > 0.0 { (squares / weights.len() as f32).sqrt() } else { 1.0 }
}
