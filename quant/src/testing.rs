//! What tests and benchmarks need: every instruction set, every format, seeded weights and activations, ordinary and
//! adversarial.

use crate::activation::{ActKinds, Activations};
use crate::dtype::DType;
use crate::formats::Field;
use crate::isa::Isa;
use crate::matmul::matmul;
use crate::matrix::{Fields, Matrix};
use crate::share::Tile;

/// Calls `test` with every instruction set of this CPU.
pub fn for_each_isa(test: impl FnMut(Isa)) {
    Isa::available().into_iter().for_each(test);
}

/// The instruction set that `TOKKI_ISA` names, else the best; `None` where it names none of this CPU.
pub fn chosen_isa() -> Option<Isa> {
    match std::env::var("TOKKI_ISA") {
        Ok(name) => Isa::by_name(&name),
        Err(_) => Some(Isa::best()),
    }
}

/// Calls `test` with every format.
pub fn for_each_format(test: impl FnMut(DType)) {
    DType::ALL.iter().copied().for_each(test);
}

/// A small seeded generator (splitmix64): the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    /// A generator; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n` (0 for `n == 0`).
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.bits() % n as u64) as usize }
    }

    /// A number in `-1.0..1.0`.
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Roughly normal: the sum of four uniform numbers, mean 0, standard deviation 1.
    pub fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let sum: f32 = (0..4).map(|i| ((bits >> (16 * i)) & 0xffff) as f32 / 65536.0 - 0.5).sum();
        sum * 1.732
    }

    /// `n` numbers in `-spread..spread`.
    pub fn values(&mut self, n: usize, spread: f32) -> Vec<f32> {
        (0..n).map(|_| self.signed() * spread).collect()
    }

    /// `n` roughly normal numbers.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

/// The bytes of `rows` x `cols` weights: random bits, but every weight is finite and of a size that sums stand.
///
/// # Panics
/// When `cols` isn't a whole number of blocks.
pub fn weights(dtype: DType, rows: usize, cols: usize, rng: &mut Rng) -> Vec<u8> {
    assert!(cols.is_multiple_of(dtype.block_len()), "{cols} weights in {dtype}");
    let mut decoded = vec![0f32; dtype.block_len()];
    let mut bytes = vec![0u8; rows * cols / dtype.block_len() * dtype.block_bytes()];
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        loop {
            block.fill_with(|| rng.bits() as u8);
            let Ok(matrix) = Matrix::new(dtype, 1, decoded.len(), block) else { continue };
            matrix.decode_row(0, &mut decoded);
            // Not too small, either: subnormal products take the processor a hundred times as long.
            if decoded.iter().all(|w| w.abs() < 1e9) && decoded.iter().any(|w| w.abs() > 1e-9) {
                break;
            }
        }
    }
    bytes
}

/// The bytes of `rows` x `cols` weights meant to break kernels: extreme quants and scales; numbers that are infinite, NaN,
/// subnormal, negative, zero.
pub fn adversarial(dtype: DType, rows: usize, cols: usize, rng: &mut Rng) -> Vec<u8> {
    let halves: Vec<usize> = Field::halves(dtype.visit(Fields)).collect();
    // Zeros of both signs, subnormals, ones, largest numbers; and then, seldom, because they drown the rest: infinities, NaN.
    const NUMBERS: [u16; 12] = [0, 0x8000, 1, 0x8001, 0x83ff, 0x3c00, 0xbc00, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00];
    let mut bytes = vec![0u8; rows * cols / dtype.block_len() * dtype.block_bytes()];
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        match [0x00, 0xff, 0x80, 0x7f, 0x88, 0x77].get(rng.below(9)) {
            Some(&byte) => block.fill(byte),
            None => block.fill_with(|| rng.bits() as u8),
        }
        for &at in &halves {
            let choices = if rng.below(16) == 0 { NUMBERS.len() } else { NUMBERS.len() - 3 };
            let number = NUMBERS[rng.below(choices)];
            block[at..at + 2].copy_from_slice(&number.to_le_bytes());
        }
    }
    bytes
}

/// `x`, rows of `k` activations, in every form that `k` allows.
pub fn activations(isa: Isa, x: &[f32], k: usize) -> Activations {
    let kinds = DType::ALL.iter().copied().filter(|dtype| k.is_multiple_of(dtype.block_len())).collect::<ActKinds>();
    let mut acts = Activations::new();
    let writer = acts.reset(kinds, x.len() / k, k);
    x.chunks_exact(k).enumerate().for_each(|(row, x)| writer.write(isa, row, x));
    acts
}

/// The whole product, `[columns][rows]`.
pub fn product(isa: Isa, m: &Matrix<'_>, x: &Activations) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.n() * m.rows()];
    matmul(isa, m, x, &mut Tile::whole(&mut out, m.rows()));
    out
}

/// Panics unless both hold the same bits; any NaN equals any NaN.
pub fn assert_same_bits(wanted: &[f32], found: &[f32], what: &str) {
    assert_eq!(wanted.len(), found.len(), "{what}: length");
    for (i, (wanted, found)) in wanted.iter().zip(found).enumerate() {
        let same = wanted.to_bits() == found.to_bits() || wanted.is_nan() && found.is_nan();
        assert!(same, "{what}: value {i}: wanted {wanted:e}, found {found:e}");
    }
}
